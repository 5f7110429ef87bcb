// What push remembers: the leaf of each name that each target last received, a line each.

import { join } from "node:path";
import { readStateOrNothing, writeState } from "../files/state.ts";
import type { PushTarget } from "../values/push_target.ts";

/** Fingerprint by what `pushedKey` makes of target and name. */
export type LastPushed = ReadonlyMap<string, string>;

/** `name` is a further one; null stands for the domain, whose key is the target as ever. */
export function pushedKey({ text }: Pick<PushTarget, "text">, name: string | null): string {
  return name === null ? text : `${text}\t${name}`;
}

const FILE = "last_fp";

export function lastPushedPath(state: string): string {
  return join(state, FILE);
}

export function readLastPushed(state: string, targets: readonly PushTarget[]): LastPushed {
  return parseLastPushed(readStateOrNothing(state, FILE), targets);
}

export function writeLastPushed(state: string, pushed: LastPushed): void {
  writeState(state, FILE, formatLastPushed(pushed));
}

const pairs = "(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}";
const line = new RegExp(`^(${pairs}) (\\S[^\\t]*(?:\\t[a-z0-9_.-]+)?)$`);
/** As the shell script before us wrote it, or `openssl x509 -fingerprint` printed it. */
const bareLine = new RegExp(`^(?:sha256 Fingerprint=)?(${pairs})$`, "i");

/** Whatever is no record is unknown; a bare fingerprint counts where there is one target. */
export function parseLastPushed(
  text: string,
  targets: readonly Pick<PushTarget, "text">[],
): LastPushed {
  // A tab at the end is left there: a name belongs behind it.
  const lines = text.split(/\r?\n/).map((line) => line.replace(/^\s+| +$/g, ""))
    .filter((line) => line !== "");
  const [only] = targets;
  const bare = bareLine.exec(lines[0] ?? "")?.[1];
  if (bare !== undefined && lines.length === 1 && targets.length === 1 && only !== undefined) {
    return new Map([[only.text, bare.toUpperCase()]]);
  }
  return new Map(lines.flatMap((text) => {
    const [, fingerprint, key] = line.exec(text) ?? [];
    return fingerprint === undefined || key === undefined
      ? []
      : [[key, fingerprint.toUpperCase()] as const];
  }));
}

/** Whether there is anything but records: of what that was for, nobody can tell. */
export function holdsOther(
  text: string,
  targets: readonly Pick<PushTarget, "text">[],
): boolean {
  return text.split(/\r?\n/).some((each) =>
    each.trim() !== "" && parseLastPushed(each, targets).size === 0
  );
}

export function formatLastPushed(pushed: LastPushed): string {
  return Array.from(pushed, ([key, fingerprint]) => `${fingerprint} ${key}\n`).join("");
}
