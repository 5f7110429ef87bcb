// What push needs on this host: the certificate of each name, a key for ssh, and targets that answer.

import { dirname, join } from "node:path";
import { lifeLeft, OVERDUE, parseChain, timeState } from "../certificate/certificate.ts";
import { headline } from "../certificate/headline.ts";
import { deliveredPaths } from "../certificate/pair.ts";
import { readLineageFile, realDirectory } from "../chain/lineage_file.ts";
import {
  chooseLineage,
  type Lineage,
  liveDirectories,
  namedLineage,
  readableHint,
  readLineages,
} from "../chain/npm_dir.ts";
import { hintAtVolumes } from "../chain/npm_volume.ts";
import type { Destination, PushConfig } from "../config/push_config.ts";
import { Failure, quote } from "../failure.ts";
import { FileProblem, isMissing } from "../files/read_file.ts";
import { tryState } from "../files/state.ts";
import { judgeIdentity } from "../programs/ssh_peer.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { exposurePoints, failedPoint, type Point, point, pointsOf } from "./point.ts";
import { targetPoint } from "./target.ts";

/** What a path unit is to watch for it is told beside the points. */
export interface PushSight {
  readonly points: readonly Point[];
  readonly watches: readonly string[];
}

export async function lookAtPush(
  config: PushConfig,
  { offline }: { readonly offline: boolean },
  context: RunContext,
): Promise<PushSight> {
  const sources = await readSources(config, context);
  return {
    points: [
      ...(sources instanceof Failure
        ? [failedPoint("source", sources)]
        : sources.map((source) => sourcePoint(source, config))),
      ...await keyPoints(config.to, context),
      ...exposurePoints("push state", config.state, "700"),
      ...await allEnded(
        config.to.filter(({ kind }) => kind === "local").map((one) => targetPoint(one, context)),
      ),
      ...offline ? [] : await pointsOf("targets", () => targetPoints(config, context)),
    ],
    watches: sources instanceof Failure ? [] : watchedFor(sources, config),
  };
}

/** What there is for a name; `unreadable` where that cannot be told by this user. */
interface Source {
  readonly name: string;
  readonly found: Found | "none" | "unreadable";
}

type Found = Pick<Lineage, "directory" | "fingerprint" | "notAfter" | "lifeLeft" | "problem"> & {
  readonly state: Lineage["state"] | "unreadable";
};

async function readSources(
  { domain, also, live, source }: PushConfig,
  context: RunContext,
): Promise<Source[] | Failure> {
  try {
    const lineages = source.kind === "directory" && also.length === 0
      ? []
      : readLineages(liveDirectories(live), context.now);
    return [domain, ...also].map((name): Source => {
      if (name === domain && source.kind === "directory") {
        return { name, found: readDirectory(source.name, context.now) };
      }
      const lineage = name === domain && source.kind === "lineage"
        ? namedLineage(lineages, source.name, name)
        : chooseLineage(lineages, name).best;
      if (lineage === null) {
        const isHidden = lineages.some(({ isUnreadable }) => isUnreadable);
        return { name, found: isHidden ? "unreadable" : "none" };
      }
      const state = lineage.isUnreadable ? "unreadable" : lineage.state;
      return { name, found: { ...lineage, state } };
    });
  } catch (error) {
    const hinted = await hintAtVolumes(error, context);
    if (hinted instanceof Failure) return hinted;
    throw hinted;
  }
}

function readDirectory(directory: string, now: Date): Found {
  const path = deliveredPaths(directory).chain;
  const unknown = { directory, fingerprint: null, notAfter: null, lifeLeft: 0 };
  try {
    const [leaf] = parseChain(readLineageFile(path).bytes, quote(path));
    const { fingerprint, notAfter } = leaf;
    const state = timeState(leaf, now);
    return {
      directory,
      fingerprint,
      notAfter,
      lifeLeft: lifeLeft(leaf, now),
      state,
      problem: null,
    };
  } catch (error) {
    if (error instanceof FileProblem) {
      const state = error.kind === "unreadable" ? "unreadable" : "broken";
      return { ...unknown, state, problem: `${quote(path)} ${error.detail}` };
    }
    if (!(error instanceof Failure)) throw error;
    return { ...unknown, state: "broken", problem: error.message };
  }
}

function sourcePoint({ name, found }: Source, { commands }: PushConfig): Point {
  const what = `source of ${name}`;
  const see = `see what is there with: ${commands.find} --all`;
  if (found === "none") return point(what, "error", "no certificate covers it", see);
  if (found === "unreadable") {
    return point(what, "unknown", "no directory may be read by this user", readableHint());
  }
  const { directory, fingerprint, notAfter, state, problem } = found;
  const where = quote(directory);
  if (state === "unreadable") return point(what, "unknown", problem ?? where, readableHint());
  const told = headline(`${where}:`, { fingerprint, notAfter: notAfter && formatTime(notAfter) });
  const renew = "renew it in Nginx Proxy Manager, and see its log for why it did not";
  if (state === "broken") return point(what, "error", problem ?? `${where} is broken`, see);
  if (state !== "valid") return point(what, "error", `${told}, which is ${state}`, renew);
  if (found.lifeLeft < OVERDUE) {
    return point(what, "warning", `${told}, whose renewal is overdue`, renew);
  }
  return point(what, "ok", told);
}

/** As setup has it watched: certbot's own record of renewals, or where uploads are written in place. */
function watchedFor(sources: readonly Source[], { live, source }: PushConfig): string[] {
  const all = source.kind === "auto" ? liveDirectories(live) : [];
  const used = sources.flatMap(({ found }) => typeof found === "string" ? [] : [found.directory]);
  return [
    ...new Set([
      ...all.flatMap((directory) => renewalBeside(directory) ?? []),
      ...used.map((directory) => renewalBeside(dirname(directory)) ?? realDirectory(directory)),
    ]),
  ];
}

function renewalBeside(live: string): string | null {
  const renewal = join(dirname(realDirectory(live)), "renewal");
  return isMissing(renewal) ? null : renewal;
}

async function keyPoints(targets: readonly Destination[], context: RunContext): Promise<Point[]> {
  const remote = targets.filter((target) => target.kind === "ssh");
  const one = new Map(remote.map((target) => [target.ssh.identity, target] as const));
  return await allEnded(Array.from(one, async ([identity, target]): Promise<Point> => {
    if (identity === null) return point("ssh key", "ok", "ssh's own choice");
    const trouble = await judgeIdentity(target, target.ssh, context);
    if (trouble === null) return point("ssh key", "ok", identity);
    const state = trouble.file === "unreadable" ? "unknown" : "error";
    return point("ssh key", state, trouble.cause, trouble.hint);
  }));
}

/** Under push's lock: rrsync takes one at a time, and a push must not find it taken. */
async function targetPoints(config: PushConfig, context: RunContext): Promise<Point[]> {
  const to = config.to.filter(({ kind }) => kind === "ssh");
  if (to.length === 0) return [];
  const lock = await tryState(config.state);
  if (lock === "busy") {
    const again = "run certsync status again when that has ended";
    return to.map(({ text }) => point(`target ${text}`, "unknown", "a push is running", again));
  }
  using _lock = lock;
  return await allEnded(to.map((target) => targetPoint(target, context)));
}
