// The legs that lie in files, of this host or of one that was named: those of each name at once.

import { join } from "node:path";
import type { DeployMemory } from "../chain/deploy_memory.ts";
import type { Mailcow } from "../chain/mailcow.ts";
import { legNames, type VerifyConfig } from "../config/verify_config.ts";
import type { Failure } from "../failure.ts";
import { lookAt } from "../files/look_at.ts";
import type { RunContext } from "../run_context.ts";
import type { Leg } from "./leg.ts";
import { deployedLegs, type DeployFacts, sniLegs, stagedLegs } from "./mailcow_legs.ts";
import { lineagesOnce, pushedLegs, sourceLegs } from "./source_legs.ts";
import type { Subject } from "./subject.ts";

export interface FiledLegs {
  /** Those of the name that are wanted. */
  of(subject: Subject): Promise<readonly Leg[]>;
  /** What is deployed for the name, or is served ahead of that; also where nobody wants to see it. */
  servedFrom(subject: Subject, leg: "deployed" | "sni"): Promise<readonly Leg[]>;
}

export interface Surroundings extends Pick<DeployFacts, "isAcmeBehind"> {
  readonly config: VerifyConfig;
  readonly mailcow: Mailcow | Failure | null;
  /** Null where this user cannot see it. */
  readonly memory: DeployMemory | null;
}

export function filedLegs(
  subjects: readonly Subject[],
  { config, mailcow, memory, isAcmeBehind }: Surroundings,
  context: RunContext,
): FiledLegs {
  const lineages = lineagesOnce(config.push, context.now);
  const made = memory?.made ?? null;
  // What cannot be seen may be there.
  const wasReplaced = (name: string) =>
    made === null || lookAt(join(config.deploy.state, "previous-names", name)) !== null;
  const facts = { made, wasReplaced, isAcmeBehind };
  const readers = {
    source: (subject: Subject) => sourceLegs(subject, config, lineages, context),
    pushed: (subject: Subject) => pushedLegs(subject, config),
    staged: (subject: Subject) => stagedLegs(subject, config, context),
    deployed: (subject: Subject) => deployedLegs(subject, config, mailcow, facts, context),
    sni: (subject: Subject) => sniLegs(subject, config.also, mailcow, context),
  };
  const wanted = config.legs ?? legNames;
  const read = new Map(subjects.map((subject) => {
    const legs = Promise.all(
      wanted.map((name) => name === "served" || name === "tlsa" ? [] : readers[name](subject)),
    ).then((legs) => legs.flat());
    legs.catch(() => {}); // whoever waits for it is told
    return [subject, legs] as const;
  }));
  const of = async (subject: Subject) => await read.get(subject) ?? [];
  return {
    of,
    async servedFrom(subject, leg) {
      // A further name's directory is what is deployed for it.
      const name = subject.isFurther ? "deployed" : leg;
      return wanted.includes(name)
        ? (await of(subject)).filter((each) => each.leg === name)
        : await readers[name](subject);
    },
  };
}
