// What push and deploy did, or refused to do, of late: a line of JSON for each run, the newest last.

import { Failure } from "../failure.ts";
import { readStateOrNothing, writeState } from "../files/state.ts";

/** One run, or several that came to the same one after the other. */
export interface HistoryLine {
  /** ISO 8601, of the first of them. */
  readonly time: string;
  /** Of the last of them, and how many there were. */
  readonly last: string;
  readonly times: number;
  readonly outcome: string;
  readonly name: string | null;
  /** The fingerprints: what was there, and what was to be. */
  readonly old: string | null;
  readonly new: string | null;
  readonly error: string | null;
}

export type Happening = Omit<HistoryLine, "last" | "times">;

const FILE = "history";
const MAX_LINES = 200;

/** Pure: what is like the newest line is counted there. */
export function addToHistory(
  lines: readonly HistoryLine[],
  happening: Happening,
): readonly HistoryLine[] {
  const newest = lines.at(-1);
  const { time } = happening;
  const isAlike = newest !== undefined &&
    (["outcome", "name", "old", "new", "error"] as const).every((key) =>
      newest[key] === happening[key]
    );
  return isAlike
    ? [...lines.slice(0, -1), { ...newest, last: time, times: newest.times + 1 }]
    : [...lines, { ...happening, last: time, times: 1 }].slice(-MAX_LINES);
}

/** What is no line of it is passed over: it is there to be looked at, and decides nothing. */
export function readHistory(state: string): readonly HistoryLine[] {
  return readStateOrNothing(state, FILE).split("\n").flatMap(parseLine);
}

function parseLine(line: string): HistoryLine[] {
  try {
    const value: unknown = JSON.parse(line);
    return isHistoryLine(value) ? [value] : [];
  } catch {
    return []; // no JSON
  }
}

function isHistoryLine(value: unknown): value is HistoryLine {
  if (typeof value !== "object" || value === null) return false;
  const has = (key: string, ...types: string[]) => {
    const item: unknown = Reflect.get(value, key);
    return types.includes(item === null ? "null" : typeof item);
  };
  return ["time", "last", "outcome"].every((key) => has(key, "string")) && has("times", "number") &&
    ["name", "old", "new", "error"].every((key) => has(key, "string", "null"));
}

/** To be called with the state's lock held. Returns why it could not be written, if so. */
export function writeHistory(state: string, happenings: readonly Happening[]): string | null {
  if (happenings.length === 0) return null;
  const lines = happenings.reduce(addToHistory, readHistory(state));
  try {
    writeState(state, FILE, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `the history could not be written: ${error.message}`;
  }
}
