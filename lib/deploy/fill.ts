// The directories that somebody began for a name, with their file "domains" alone: certsync's are the pairs
// there, until they were seen to be served.

import { basename } from "node:path";
import { installedPaths, installPair, type Pair } from "../certificate/pair.ts";
import { readFilled } from "../chain/deploy_memory.ts";
import { removeFile } from "../files/write_file.ts";
import { writeFilled } from "./memory.ts";

/** Written down first: after a crash it must be known whose the pair is. Returns the paths. */
export function fillDirectory(pair: Pair, directory: string, state: string): string[] {
  writeFilled(state, readFilled(state).add(basename(directory)));
  return installPair(pair, [directory]);
}

export function hasFilled(directory: string, state: string): boolean {
  return readFilled(state).has(basename(directory));
}

/** As it was before: without a pair no service reads it at its next start. */
export function emptyDirectory(directory: string, state: string): void {
  const { chain, key } = installedPaths(directory);
  [chain, key].forEach(removeFile);
  settleFilled([directory], state);
}

/** What was served from there is a pair like any other from now on, kept when it is replaced. */
export function settleFilled(directories: readonly string[], state: string): void {
  const filled = readFilled(state);
  const left = filled.difference(new Set(directories.map((directory) => basename(directory))));
  if (left.size < filled.size) writeFilled(state, left);
}
