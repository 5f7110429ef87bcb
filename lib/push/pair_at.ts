// The pair in one directory, read once; a renewal or an upload may be under way there.

import { join } from "node:path";
import { deliveredPaths, keyFits, type Pair, pairWithKey, parsePair } from "../certificate/pair.ts";
import { publicHalfFits } from "../certificate/public_half.ts";
import { leftByCertbot, readLineageFile } from "../chain/lineage_file.ts";
import { type Lineage, readableHint } from "../chain/npm_dir.ts";
import type { CommandsToTell } from "../config/push_config.ts";
import { Failure, quote } from "../failure.ts";
import { FileProblem } from "../files/read_file.ts";
import { whatMayEndIt } from "./cut_off.ts";

/** Where the pair was read, and the pair, or why what was read there is none. */
export interface Source {
  readonly directory: string;
  readonly warnings: readonly string[];
  readonly pair: Pair | Failure;
  /** Whether key and certificate belong together, as far as can be told without a process. */
  readonly keyFits: boolean;
  /** What else could be sent for the name, the best one first. */
  readonly others: readonly string[];
}

/** A failure that a renewal causes while it lasts. */
export class Passing extends Failure {
  override name = "Passing";
}

export const plainCommands: CommandsToTell = {
  push: "certsync push",
  again: "certsync push",
  find: "certsync find-npm-dir",
};

/** Reads the pair there once. Throws a Failure where there is nothing to read. */
export function readAt(
  directory: string,
  { warnings, others }: Pick<Source, "warnings" | "others">,
  { find } = plainCommands,
): Source {
  const paths = deliveredPaths(directory);
  const chain = readSourceFile(paths.chain, find), key = readSourceFile(paths.key, find);
  const told = [chain.warning, key.warning].flatMap((warning) => warning ?? []);
  const facts = { directory, others, warnings: [...new Set([...warnings, ...told])] };
  try {
    const pair = parsePair({ chainPem: chain.bytes, keyPem: key.bytes }, paths);
    return { ...facts, pair, keyFits: seemsToFit(pair) };
  } catch (error) {
    if (error instanceof Failure) return { ...facts, pair: error, keyFits: false };
    throw error;
  }
}

function seemsToFit(pair: Pair): boolean {
  return publicHalfFits(pair) ?? keyFits(pair);
}

/**
 * With the chain as it was looked at, and the key read now: where the two belong together they are a
 * snapshot. Null where they do not, or cannot be told to: both are to be read again then.
 */
export function readKeyOf(
  { directory, chain, warning }: Lineage,
  found: Pick<Source, "warnings" | "others">,
): Source | null {
  if (chain === null) return null;
  const paths = deliveredPaths(directory);
  try {
    const key = readLineageFile(paths.key);
    const pair = pairWithKey(chain, key.bytes, paths);
    if (!seemsToFit(pair)) return null;
    const told = [warning, key.warning].flatMap((warning) => warning ?? []);
    return {
      ...found,
      ...{ directory, pair, keyFits: true },
      warnings: [...new Set([...found.warnings, ...told])],
    };
  } catch (error) {
    if (error instanceof FileProblem || error instanceof Failure) return null;
    throw error;
  }
}

function readSourceFile(path: string, find: string) {
  try {
    return readLineageFile(path);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const message = `source unreadable: ${quote(path)} ${error.detail}`;
    if (error.kind === "unreadable") {
      throw new Failure(message, { hint: readableHint() });
    }
    const directory = join(path, "..");
    const hint = leftByCertbot(directory).length > 0
      ? whatMayEndIt(directory)
      : `see which directory holds the certificate with: ${find}`;
    const mayPass = ["missing", "symlink", "changing"].includes(error.kind);
    throw mayPass ? new Passing(message, { hint }) : new Failure(message, { hint });
  }
}
