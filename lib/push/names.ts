// The host names that push looks after: the domain, and further ones with certificates of their own.

import { type LastPushed, pushedKey } from "../chain/last_fp.ts";
import type { PushConfig } from "../config/push_config.ts";
import type { Question } from "./source.ts";

export interface Name {
  readonly name: string;
  /** The same; null for the domain, whose pair lies at the top of the staging. */
  readonly further: string | null;
}

export function namesOf({ domain, also }: Pick<PushConfig, "domain" | "also">): Name[] {
  return [{ name: domain, further: null }, ...also.map((name) => ({ name, further: name }))];
}

/** `push.source` is the domain's; a further name has what find-npm-dir picks for it. */
export function questionOf(
  { name, further }: Name,
  pushed: LastPushed,
  config: PushConfig,
): Question {
  return {
    wanted: {
      ...{ live: config.live, commands: config.commands, domain: name },
      source: further === null ? config.source : { kind: "auto" },
    },
    pushed: new Set(leavesOf({ name, further }, pushed, config)),
  };
}

/** Those that the targets have of the name. */
export function leavesOf(
  { further }: Name,
  pushed: LastPushed,
  { to }: Pick<PushConfig, "to">,
): string[] {
  return to.flatMap((target) => pushed.get(pushedKey(target, further)) ?? []);
}
