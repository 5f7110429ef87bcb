// What Nginx Proxy Manager has, and what of that was pushed.

import { deliveredPaths } from "../certificate/pair.ts";
import { holdsOther, lastPushedPath, parseLastPushed, pushedKey } from "../chain/last_fp.ts";
import {
  chooseLineage,
  type Lineage,
  liveDirectories,
  namedLineage,
  readLineages,
} from "../chain/npm_dir.ts";
import { standardLiveDirectories } from "../config/standard.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import { Failure, orFailure, quote } from "../failure.ts";
import { FileProblem, isMissing, readFileIfAny } from "../files/read_file.ts";
import type { RunContext } from "../run_context.ts";
import type { PushTarget } from "../values/push_target.ts";
import { holding } from "./chain_file.ts";
import { attempt, type Leg, makeLeg, unread } from "./leg.ts";
import { locationLeg } from "./location_leg.ts";
import { furtherName, type Subject } from "./subject.ts";

type Lineages = () => readonly Lineage[];

/** Looks through Nginx Proxy Manager's directories once for all names. */
export function lineagesOnce({ live }: VerifyConfig["push"], now: Date): Lineages {
  let read: readonly Lineage[] | null = null;
  return () => read ??= readLineages(liveDirectories(live), now);
}

export async function sourceLegs(
  subject: Subject,
  config: VerifyConfig,
  lineages: Lineages,
  context: RunContext,
): Promise<Leg[]> {
  const { push, source } = config;
  if (source !== null && !subject.isFurther) {
    return [await locationLeg("source", source, config, context)];
  }
  // Which of its files holds a further name's certificate, a host elsewhere does not say.
  const isElsewhere = source !== null || standardLiveDirectories.every(isMissing);
  if (!push.isConfigured && isElsewhere) return [];
  const found = orFailure(() => findSource(subject, push, lineages));
  if (found === null && !push.isConfigured) return [];
  if (found === null || found instanceof Failure) {
    const where = (push.live ?? standardLiveDirectories).join(" ");
    return [unread({ leg: "source", where }, found ?? noSource(subject, push))];
  }
  const where = deliveredPaths(found.directory).chain;
  return [await attempt({ leg: "source", where }, context, () => holding(found.chain, where))];
}

/** What push would send; null where there is none for the name. */
function findSource(
  { name, isFurther }: Subject,
  { source }: VerifyConfig["push"],
  lineages: Lineages,
): Pick<Lineage, "directory" | "chain"> | null {
  if (isFurther) return chooseLineage(lineages(), name ?? "").best;
  if (source.kind === "directory") return { directory: source.name, chain: null };
  if (source.kind === "auto" && name === null) return null;
  return source.kind === "lineage"
    ? namedLineage(lineages(), source.name, name)
    : chooseLineage(lineages(), name ?? "").best;
}

function noSource({ name, isFurther }: Subject, { source }: VerifyConfig["push"]): Failure {
  const isNamed = source.kind === "lineage" && !isFurther;
  if (!isNamed && name === null) {
    return new Failure("which certificate is meant is not known", {
      hint: "set domain in the config file, or give --domain mail.example.org",
    });
  }
  const sought = isNamed ? source.name : `certificate for ${quote(name ?? "")}`;
  return new Failure(`no ${sought} there`, {
    hint: isFurther
      ? `request a certificate for ${name} in Nginx Proxy Manager, or take it out of also`
      : "see what is there with: certsync find-npm-dir",
  });
}

export function pushedLegs(subject: Subject, { push }: VerifyConfig): Leg[] {
  const where = lastPushedPath(push.state);
  let text: string;
  try {
    const file = readFileIfAny(where, { follow: true });
    if (file === null && !push.isConfigured) return [];
    text = new TextDecoder().decode(file?.bytes);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    return [unread({ leg: "pushed", where }, error)];
  }
  const known = push.to ?? [UNNAMED_TARGET];
  const pushed = parseLastPushed(text, known);
  const targets = push.to?.map((target) => target.text) ?? targetsIn([...pushed.keys()]);
  const isGarbage = holdsOther(text, known);
  if (targets.length === 0 && isGarbage) targets.push(UNNAMED_TARGET.text);
  const nothing = isGarbage
    ? { error: "holds a line that is no record of a push", obstacle: "spoilt" } as const
    : { error: "nothing has been pushed there yet", obstacle: "empty" } as const;
  return targets.map((target) => {
    const facts = { leg: "pushed", where: target || where } as const;
    const fingerprint = pushed.get(pushedKey({ text: target }, furtherName(subject)));
    return makeLeg(
      fingerprint === undefined ? { ...facts, ...nothing } : { ...facts, fingerprint },
    );
  });
}

/** For what the shell script before us noted, where no config file says which target it had. */
const UNNAMED_TARGET: Pick<PushTarget, "text"> = { text: "" };

/** Those that any name was pushed to. */
function targetsIn(keys: readonly string[]): string[] {
  return [...new Set(keys.map((key) => key.split("\t", 1)[0] ?? ""))];
}
