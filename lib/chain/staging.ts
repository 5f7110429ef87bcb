// What push delivered: files in a directory that belongs to somebody else, so nothing is taken on
// trust.

import * as fs from "node:fs";
import { join } from "node:path";
import { deliveredPaths, isMixed, type Pair, parsePair } from "../certificate/pair.ts";
import { asRoot, explain, Failure, quote } from "../failure.ts";
import { formatMode } from "../files/exposure.ts";
import { FileProblem, isMissing, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";
import { pause, type RunContext } from "../run_context.ts";

/** Something is missing, or changes: there as it is while a push is under way. */
class Unfinished extends Failure {
  override name = "Unfinished";
}

const PUSH_MS = 60_000;
const WAIT_MS = 15_000;
const BETWEEN_MS = 1_000;

/** The same; where it may be a push that is under way, it is looked at again for a while. */
export async function awaitStaged(directory: string, context: RunContext): Promise<Pair | Failure> {
  let look: Look | null = null;
  for (let waitedMs = 0;; waitedMs += BETWEEN_MS) {
    look = lookInto(directory, look);
    const { staged, isWhole } = look;
    if (isWhole || waitedMs >= WAIT_MS || !isFresh(directory, context.now)) return staged;
    if (waitedMs === 0) {
      context.tell(
        `a push may be under way: looking into ${quote(directory)} again for up to 15 s`,
      );
    }
    await pause(BETWEEN_MS, context);
  }
}

/** The same as it is at this moment. */
export function lookAtStaged(directory: string): Pair | Failure {
  return lookInto(directory, null).staged;
}

interface Look {
  /** Null where they could not be read. */
  readonly files: PairFiles | null;
  readonly staged: Pair | Failure;
  readonly isWhole: boolean;
}

/** The same bytes are not parsed again: a minute of pushes must not take more memory than one. */
function lookInto(directory: string, last: Look | null): Look {
  let files: PairFiles | null = null;
  try {
    files = readFiles(directory);
    if (last?.files && sameFiles(files, last.files)) return last;
    const staged = parsePair(files, deliveredPaths(directory));
    return { files, staged, isWhole: !isMixed(staged) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { files, staged: error, isWhole: !(error instanceof Unfinished) };
  }
}

function sameFiles(one: PairFiles, other: PairFiles): boolean {
  const isSame = (a: Uint8Array, b: Uint8Array) =>
    a.length === b.length && a.every((byte, index) => byte === b[index]);
  return isSame(one.chainPem, other.chainPem) && isSame(one.keyPem, other.keyPem);
}

/** All that a push may write: the pair of the domain, and that of each further name. */
export function whatIsStaged(staging: string, also: readonly string[]): string[] {
  return [staging, ...also.map((name) => join(staging, name))]
    .flatMap((directory) => [directory, ...Object.values(deliveredPaths(directory))]);
}

/** Whether nothing was pushed yet, to a staging that is as it should be. */
export function isEmptyStaging(staging: string, also: readonly string[]): boolean {
  const [, ...places] = whatIsStaged(staging, also);
  return lookAt(staging)?.isDirectory() === true && places.every((path) => isMissing(path));
}

/** Whether it changed in the last minute. The sender sets the other times, but not this one. */
function isFresh(directory: string, now: Date): boolean {
  return [directory, ...Object.values(deliveredPaths(directory))].some((path) => {
    const stat = lookAt(path);
    return stat !== null && stat.ctimeMs > now.getTime() - PUSH_MS;
  });
}

/** Null where there is nothing, or nothing that this user may see: whoever reads it says so. */
function lookAt(path: string): fs.Stats | null {
  try {
    return fs.lstatSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error) return null;
    throw error;
  }
}

/** What ends a mismatch that does not end by itself; undefined where it may. */
export function mixedHint(directory: string, now: Date): string | undefined {
  return isFresh(directory, now)
    ? undefined
    : "it has been so for over a minute: run on the NPM host, and where several push here on one " +
      "alone: certsync push --force";
}

/** What is wrong with the directory itself, and the way out. */
export function stagingWarnings(directory: string): string[] {
  const stat = lookAt(directory);
  if (!stat?.isDirectory()) return [];
  const where = `the staging directory ${quote(directory)} (mode ${formatMode(stat.mode)})`;
  const wayOut = `run: chmod 700 ${directory}`;
  return [
    ...((stat.mode & 0o022) === 0 ? [] : [`others can write to ${where}; ${wayOut}`]),
    ...((stat.mode & 0o700) === 0o700 ? [] : [`push cannot write to ${where}; ${wayOut}`]),
  ];
}

/** What is judged is the DER of what was read once. Throws a Failure that says what is wrong. */
export function readStaged(directory: string): Pair {
  return parsePair(readFiles(directory), deliveredPaths(directory));
}

interface PairFiles {
  readonly chainPem: Uint8Array<ArrayBuffer>;
  readonly keyPem: Uint8Array<ArrayBuffer>;
}

function readFiles(directory: string): PairFiles {
  const paths = deliveredPaths(directory);
  const before = identify(directory);
  const chainPem = readStagedFile(paths.chain, before.uid);
  const keyPem = readStagedFile(paths.key, before.uid);
  const after = identify(directory);
  if (after.dev !== before.dev || after.ino !== before.ino) {
    throw new Failure(`the staging directory was replaced while it was read: ${quote(directory)}`);
  }
  return { chainPem, keyPem };
}

function identify(directory: string): fs.Stats {
  try {
    const stat = fs.lstatSync(directory);
    if (stat.isDirectory()) return stat;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new Failure(`no staged cert: ${quote(directory)} does not exist`, {
        hint: "set deploy.staging to where push delivers, or create it for the user of the push",
      });
    }
    throw explain(error, `look into ${quote(directory)}`);
  }
  throw new Failure(`no staged cert: ${quote(directory)} is not a real directory`, {
    hint: "replace it with a directory that belongs to the user of the push",
  });
}

/** Only a file that the directory's owner or root made, and that has no second name. */
function readStagedFile(path: string, owner: number): Uint8Array<ArrayBuffer> {
  try {
    const file = readFile(path, { follow: false, maxBytes: MAX_PEM_BYTES });
    if (file.links !== 1) {
      throw new Failure(`no staged cert: ${quote(path)} is a hard link`, REMOVE);
    }
    if (file.uid !== owner && file.uid !== 0) {
      throw new Failure(
        `no staged cert: ${quote(path)} belongs to uid ${file.uid}, not to the directory's owner`,
        REMOVE,
      );
    }
    return file.bytes;
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const isUnfinished = error.kind === "missing" || error.kind === "changing";
    const message = `no staged cert: ${quote(path)} ${error.detail}`;
    throw new (isUnfinished ? Unfinished : Failure)(message, {
      hint: hintFor(error),
      cause: error,
    });
  }
}

const REMOVE = {
  hint: "remove it, with all that is in it, and run on the NPM host: certsync push --force",
};

function hintFor({ kind }: FileProblem): string {
  switch (kind) {
    case "missing":
      return "run on the NPM host: certsync push --force";
    case "symlink":
      return "push must follow links (rsync -L); run on the NPM host: certsync push --force";
    case "changing":
      return "a push may be under way; run certsync deploy again in a minute";
    case "unreadable":
      return asRoot("look at the disk, and at lsattr: dmesg tells more");
    default:
      return REMOVE.hint;
  }
}
