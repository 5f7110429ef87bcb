// Since when the last lineage is gone: NPM may make it anew under another number, or it was the last.

import type { PushConfig } from "../config/push_config.ts";
import type { Failure } from "../failure.ts";
import { readStateOrNothing, writeState } from "../files/state.ts";
import { formatTime } from "../values/time.ts";

const FILE = "gone";
const DAY_MS = 24 * 60 * 60 * 1_000;

/** The warning, for a day: from then on it throws the failure. */
export function warnOfGone(
  failure: Failure,
  { state, dryRun }: Pick<PushConfig, "state" | "dryRun">,
  now: Date,
): string {
  const noted = Date.parse(readStateOrNothing(state, FILE).trim());
  // A clock that was set back must not make it last longer.
  const since = noted <= now.getTime() ? new Date(noted) : now;
  if (now.getTime() - since.getTime() >= DAY_MS) throw failure;
  if (!dryRun) writeState(state, FILE, `${formatTime(since)}\n`);
  return `${failure.message}: gone since ${formatTime(since)}, which is an error after a day`;
}

/** It is there. */
export function forgetGone(state: string): void {
  if (readStateOrNothing(state, FILE) !== "") writeState(state, FILE, "");
}
