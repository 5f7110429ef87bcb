// Makes the SNI directory of a further name, and takes it out of service again. None is ever removed:
// a service that knows it would load nothing any more.

import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { installPair, type Pair } from "../certificate/pair.ts";
import { type Made, readMade } from "../chain/deploy_memory.ts";
import { placeOf } from "../chain/name_place.ts";
import { refuseForeignPlace } from "../chain/name_refusals.ts";
import { explain, quote } from "../failure.ts";
import { FileProblem, readFile } from "../files/read_file.ts";
import { removeFile, replaceFile, syncDirectory } from "../files/write_file.ts";
import { emptyDirectory, fillDirectory, hasFilled } from "./fill.ts";
import { writeMade } from "./memory.ts";

const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o644;

/** Its `domains` comes last: with that it is served. Returns the paths. */
export function makeDirectory(
  name: string,
  pair: Pair,
  directory: string,
  state: string,
): string[] {
  const domains = join(directory, "domains");
  const isThere = fs.lstatSync(domains, { throwIfNoEntry: false }) !== undefined;
  const before = readMade(state).get(name);
  // First: after a crash nobody else's is taken for ours, and ours not for another's.
  if (before === undefined && !isThere) remember(name, "begun", state);
  try {
    if (isThere) { // only its pair is not
      const own = basename(directory);
      const place = placeOf(own, { sslDirectory: dirname(directory) }, before !== undefined);
      if (place === "foreign") throw refuseForeignPlace(own, directory); // since it was decided
      if (hasWritten(basename(directory), directory, state)) return installPair(pair, [directory]);
      return fillDirectory(pair, directory, state);
    }
    if (!fs.lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) fs.mkdirSync(directory);
    fs.chmodSync(directory, DIRECTORY_MODE);
    syncDirectory(dirname(directory));
    const paths = installPair(pair, [directory]);
    replaceFile(domains, `${name}\n`, FILE_MODE);
    remember(name, before === undefined || before === "begun" ? "made" : "anew", state);
    return [...paths, domains].sort();
  } catch (error) {
    throw explain(error, `make ${quote(directory)}`);
  }
}

/** It is there, and took another pair: should it go away from now on, that is for the first time. */
export function confirmMade(name: string, state: string): void {
  const before = readMade(state).get(name);
  if (before !== undefined && before !== "made") remember(name, "made", state);
}

/** Whether `domains` there is certsync's own, as it wrote it: no other may be taken away. */
export function hasWritten(name: string, directory: string, state: string): boolean {
  try {
    const { bytes } = readFile(join(directory, "domains"), { follow: false });
    return readMade(state).has(name) && new TextDecoder().decode(bytes) === `${name}\n`;
  } catch (error) {
    if (error instanceof FileProblem) return false;
    throw error;
  }
}

/**
 * No service serves it from its next start on; when it comes again, that is for the first time. Of one
 * that somebody else began the pair goes.
 */
export function unmakeDirectory(name: string, directory: string, state: string): void {
  if (hasFilled(directory, state)) return emptyDirectory(directory, state);
  if (!hasWritten(name, directory, state)) return;
  removeFile(join(directory, "domains"));
  if (readMade(state).has(name)) remember(name, "begun", state);
}

function remember(name: string, how: Made, state: string): void {
  writeMade(state, new Map(readMade(state)).set(name, how));
}
