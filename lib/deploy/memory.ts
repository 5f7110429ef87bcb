// Writes down what deploy remembers.

import type { Pair } from "../certificate/pair.ts";
import {
  type DeployMemory,
  type Loaded,
  type Made,
  type Owed,
  type Rejected,
  type Unhelped,
  UNPUBLISHED,
} from "../chain/deploy_memory.ts";
import { writeState } from "../files/state.ts";
import { formatTime } from "../values/time.ts";

export function writeLoaded(
  state: string,
  { loaded, loadedFor = new Map() }: {
    readonly loaded: Loaded;
    readonly loadedFor?: ReadonlyMap<string, Loaded>;
  },
): void {
  const linesOf = (name: string, loaded: Loaded) =>
    Array.from(loaded, (entry) => entry.join(" ") + (name === "" ? "" : `\t${name}`));
  const further = Array.from(loadedFor, ([name, loaded]) => linesOf(name, loaded));
  writeLines(state, "loaded", [...linesOf("", loaded), ...further.flat()]);
}

/** A name that is made as it should be stands alone in its line. */
export function writeMade(state: string, made: ReadonlyMap<string, Made>): void {
  const lines = Array.from(made, ([name, how]) => how === "made" ? name : `${name}\t${how}`);
  writeLines(state, "names", lines);
}

export function writeFilled(state: string, directories: ReadonlySet<string>): void {
  writeLines(state, "filled", [...directories]);
}

export function writeStaged(state: string, now: Date): void {
  writeState(state, "staged", `${formatTime(now)}\n`);
}

export function writeSuspects(state: string, suspects: ReadonlySet<string>): void {
  writeLines(state, "suspects", [...suspects]);
}

export function writeRejected(state: string, rejected: Rejected): void {
  writeLines(state, "rejected", Array.from(rejected, (entry) => entry.join(" ")));
}

/** Returns what is rejected from now on. */
export function changeRejected(
  rejected: Rejected,
  { add, remove }: { readonly add: Pair | null; readonly remove: Pair | null },
  now: Date,
  state: string,
): Rejected {
  const changed = new Map(rejected);
  if (remove !== null) changed.delete(remove.leaf.fingerprint);
  if (add !== null) changed.set(add.leaf.fingerprint, formatTime(now));
  if (add !== null || changed.size !== rejected.size) writeRejected(state, changed);
  return changed;
}

export function writeUnhelped(state: string, unhelped: readonly Unhelped[]): void {
  const lines = unhelped.map(({ service, probe, leaf }) => [service, probe, leaf].join("\t"));
  writeLines(state, "unhelped", lines);
}

export function writeOwed(state: string, owed: Owed): void {
  const lines = [...owed].flatMap(([service, names]) =>
    Array.from(names, (name) => `${service} ${name}`)
  );
  writeLines(state, "owed", lines);
}

export function writeDirectories(state: string, names: readonly string[]): void {
  writeLines(state, "directories", names.filter((name) => !name.includes("\n")));
}

/** The name of a service a line; behind a tab the word for one that has no endpoint. */
export function writeUnseen(
  state: string,
  { unseen, unpublished }: Pick<DeployMemory, "unseen" | "unpublished">,
): void {
  const without = Array.from(unpublished, (service) => `${service}\t${UNPUBLISHED}`);
  writeLines(state, "unseen", [...unseen, ...without]);
}

/** What docker did not tell leaves it as it was. */
export function writeAcme(state: string, isBehind: boolean | null): void {
  if (isBehind !== null) writeLines(state, "acme", isBehind ? ["behind"] : []);
}

export function writeAnswered(state: string, probes: readonly string[]): void {
  writeLines(state, "answered", probes);
}

function writeLines(state: string, name: string, lines: readonly string[]): void {
  writeState(state, name, lines.map((line) => `${line}\n`).join(""));
}
