// What became of the runs of push and deploy: a JSON line for each, the newest two hundred.

import { Failure, UsageFailure } from "../failure.ts";
import { readState, writeState } from "../files/state.ts";
import { formatTime } from "../values/time.ts";

/** What became of one name in one run. */
export interface Change {
  readonly name: string | null;
  readonly outcome: string;
  /** The leaf that it had, and the one that it was to have. */
  readonly old: string | null;
  readonly new: string | null;
  readonly error?: string;
}

/** One run, or several that were alike. */
export interface HistoryEntry extends Change {
  readonly time: string;
  /** How many more names of that run went the same way, and have no line. */
  readonly others?: number;
  readonly times?: number;
  readonly last?: string;
}

const FILE = "history";
const MOST_LINES = 200;
/** Of one run and outcome, so that hundreds of names leave room for the runs before it. */
const MOST_OF_RUN = 20;
/** More is in the journal; and it must stay readable with every line as long. */
const MOST_ERROR = 600;

/** What main is handed of a run, as far as this needs it. */
interface Report {
  readonly warnings: readonly string[];
  readonly error?: string;
}

export interface Recording<R> {
  /** Whose lock is held; null where nothing may be written. */
  readonly state: string | null;
  readonly now: Date;
  /** What is reported of a run that came to nothing. */
  readonly empty: R;
  /** What the report says of each name; of what was only foreseen, nothing. */
  changes(report: R): readonly Change[];
}

/** Runs it, and writes down what it did or refused, also where it throws a Failure. */
export async function recorded<R extends Report>(
  run: () => Promise<R>,
  { state, now, empty, changes }: Recording<R>,
): Promise<R> {
  if (state === null) return await run();
  let report: R;
  try {
    report = await run();
  } catch (error) {
    if (!(error instanceof Failure) || error instanceof UsageFailure) throw error;
    const warning = record(state, changes({ ...empty, error: error.message }), now);
    throw warning === null ? error : new SuppressedError(new Failure(warning), error);
  }
  const warning = record(state, changes(report), now);
  return warning === null ? report : { ...report, warnings: [...report.warnings, warning] };
}

/** Why it could not be written, where that is so. */
function record(state: string, changes: readonly Change[], now: Date): string | null {
  if (changes.length === 0) return null;
  try {
    const before = readHistory(state);
    const after = extend(before, changes, now);
    if (after.length === before.length && after.every((entry, n) => entry === before[n])) {
      return null;
    }
    const lines = after.map((entry) => JSON.stringify(entry));
    writeState(state, FILE, lines.map((line) => `${line}\n`).join(""));
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `this run is not in the history: ${error.message}${error.hint ? `; ${error.hint}` : ""}`;
  }
}

/**
 * The last entry of each name, where that came to no good end. What befell a run as a whole, and so
 * has no name, is over with whatever went well later. Pure.
 */
export function faults(history: readonly HistoryEntry[]): HistoryEntry[] {
  const open = new Map<string | null, HistoryEntry>();
  for (const entry of history) {
    open.delete(entry.name);
    if (entry.error !== undefined) open.set(entry.name, entry);
    else open.delete(null);
  }
  return [...open.values()];
}

/**
 * A run like the one before it of that name is counted there; one that had nothing to do is told only
 * where that ends a fault. Pure.
 */
export function extend(
  history: readonly HistoryEntry[],
  changes: readonly Change[],
  now: Date,
): HistoryEntry[] {
  const time = formatTime(now);
  const extended = [...history];
  const add = (entry: HistoryEntry) => {
    const index = extended.findLastIndex(({ name }) => name === entry.name);
    const before = extended[index];
    if (before === undefined || !isAlike(before, entry)) extended.push(entry);
    else extended[index] = { ...before, times: (before.times ?? 1) + 1, last: time };
  };
  const told = new Map<string, number>();
  const rest = new Map<string, HistoryEntry>();
  for (const { error, ...change } of changes) {
    if (
      change.outcome === "unchanged" && error === undefined &&
      !faults(extended).some(({ name }) => name === null || name === change.name)
    ) continue;
    const words = error === undefined ? {} : { error: shorten(error) };
    const entry: HistoryEntry = { time, ...change, ...words };
    const { outcome } = change;
    const count = told.get(outcome) ?? 0;
    told.set(outcome, count + 1);
    if (count < MOST_OF_RUN) add(entry);
    else rest.set(outcome, { ...rest.get(outcome) ?? entry, others: count - MOST_OF_RUN });
  }
  for (const { others = 0, ...entry } of rest.values()) {
    add(others === 0 ? entry : { ...entry, others });
  }
  return extended.slice(-MOST_LINES);
}

function isAlike(one: HistoryEntry, other: HistoryEntry): boolean {
  return one.outcome === other.outcome && one.old === other.old && one.new === other.new &&
    one.error === other.error && one.others === other.others;
}

function shorten(words: string): string {
  return words.length > MOST_ERROR ? `${words.slice(0, MOST_ERROR)}…` : words;
}

/** Oldest first; what is no entry is passed over. Throws a Failure where it cannot be read. */
export function readHistory(state: string): HistoryEntry[] {
  return readState(state, FILE).split("\n").flatMap((line) => parseEntry(line) ?? []);
}

function parseEntry(line: string): HistoryEntry | null {
  try {
    const entry: unknown = JSON.parse(line);
    return isEntry(entry) ? entry : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function isEntry(value: unknown): value is HistoryEntry {
  if (typeof value !== "object" || value === null) return false;
  const entry: Partial<Record<keyof HistoryEntry, unknown>> = value;
  const isText = (item: unknown) => typeof item === "string";
  const isTextOrNull = (item: unknown) => item === null || isText(item);
  return isText(entry.time) && isText(entry.outcome) &&
    [entry.name, entry.old, entry.new].every(isTextOrNull) &&
    (entry.error === undefined || isText(entry.error)) &&
    (entry.others === undefined || typeof entry.others === "number") &&
    (entry.times === undefined || typeof entry.times === "number") &&
    (entry.last === undefined || isText(entry.last));
}
