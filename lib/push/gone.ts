// Since when the last lineage of a name is gone: NPM may make it anew under another number, or it was
// the last.

import type { PushConfig } from "../config/push_config.ts";
import type { Failure } from "../failure.ts";
import { readStateOrNothing, writeState } from "../files/state.ts";
import { formatTime } from "../values/time.ts";
import type { Name } from "./names.ts";

const FILE = "gone";
const DAY_MS = 24 * 60 * 60 * 1_000;

/** A name without a lineage, though one was pushed. */
export interface Gone {
  readonly name: Name;
  readonly failure: Failure;
}

/** For a day what is gone is a warning, by name; from then on it is the failure. */
export function noteGone(
  gone: readonly Gone[],
  present: readonly Name[],
  { state, dryRun }: Pick<PushConfig, "state" | "dryRun">,
  now: Date,
): ReadonlyMap<string, string | Failure> {
  const text = readStateOrNothing(state, FILE);
  const noted = parseGone(text);
  for (const { further } of present) noted.delete(further);
  const ends = new Map<string, string | Failure>();
  for (const { name, failure } of gone) {
    const before = noted.get(name.further);
    // A clock that was set back must not make it last longer.
    const since = before !== undefined && before <= now ? before : now;
    if (now.getTime() - since.getTime() >= DAY_MS) {
      ends.set(name.name, failure);
      continue;
    }
    noted.set(name.further, since);
    const words = `gone since ${formatTime(since)}, which is an error after a day`;
    ends.set(name.name, `${failure.message}: ${words}`);
  }
  const next = formatGone(noted);
  if (!dryRun && next !== text) writeState(state, FILE, next);
  return ends;
}

/** The domain's moment, and behind a TAB whose else it is, a line each. */
function parseGone(text: string): Map<string | null, Date> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [time = "", name = null] = line.trim().split("\t");
      const since = new Date(time);
      return Number.isNaN(since.getTime()) ? [] : [[name, since] as const];
    }),
  );
}

function formatGone(gone: ReadonlyMap<string | null, Date>): string {
  return Array.from(
    gone,
    ([name, since]) => `${formatTime(since)}${name === null ? "" : `\t${name}`}\n`,
  ).join("");
}
