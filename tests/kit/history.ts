// The history in a state directory, apart from the memories beside it.

import { deepEqual, equal } from "node:assert/strict";
import { lstat, readdir } from "node:fs/promises";
import { textOf } from "./text_of.ts";

export interface Entry {
  time: string;
  outcome: string;
  name: string | null;
  old: string | null;
  new: string | null;
  error?: string;
  times?: number;
  last?: string;
}

/** Oldest first; fails where a line is none, or the file is not one that root alone can read. */
export async function historyIn(state: string): Promise<Entry[]> {
  const text = await textOf(`${state}/history`);
  if (text === "") return [];
  const stat = await lstat(`${state}/history`);
  deepEqual([stat.isFile(), stat.mode & 0o7777, stat.nlink], [true, 0o600, 1]);
  equal(text.at(-1), "\n");
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** What a state directory holds besides the history, which every run that did something extends. */
export async function memoriesIn(state: string): Promise<string[]> {
  await historyIn(state);
  const names = await readdir(state).catch(() => []);
  return names.filter((name) => name !== "history").sort();
}
