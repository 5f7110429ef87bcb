// What push delivered: files in a directory that belongs to somebody else, so nothing is taken on
// trust.

import * as fs from "node:fs";
import { join } from "node:path";
import { parseOnce } from "../certificate/known_pairs.ts";
import { deliveredPaths, isMixed, type Pair, type PairFiles } from "../certificate/pair.ts";
import { asRoot, explain, Failure, orFailure, quote } from "../failure.ts";
import { formatMode } from "../files/exposure.ts";
import { lookAt } from "../files/look_at.ts";
import { FileProblem, isMissing, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";
import { pause, type RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { Unsuitable } from "./unsuitable.ts";

/** Something is missing, or changes: there as it is while a push is under way. */
class Unfinished extends Failure {
  override name = "Unfinished";
}

/** For the further name there is no directory at all: push does not know of it, or not yet. */
export class NothingStaged extends Unfinished {
  override name = "NothingStaged";
}

const PUSH_MS = 60_000;
const WAIT_MS = 15_000;
const BETWEEN_MS = 1_000;

/** What is staged for each name. */
export interface Staged {
  /** The pair at the top: the domain's. */
  readonly top: Pair | Failure;
  /** By further name, that of its own directory. */
  readonly further: ReadonlyMap<string, Pair | Failure>;
}

/**
 * Reads them; where it may be a push that is under way, they are looked at again for a while, once for
 * all. Only these names are looked for: nothing is listed.
 */
export async function awaitStaged(
  directory: string,
  names: readonly string[],
  context: RunContext,
): Promise<Staged> {
  const places = placesOf(directory, names);
  let looks = places.map((place) => lookInto(place, null));
  using told = new DisposableStack();
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += BETWEEN_MS) {
    const open = places.filter((_, index) => looks[index]?.isWhole === false);
    if (!open.some((place) => isFresh(place, context.now))) break;
    if (waitedMs === 0) {
      told.use(
        context.wait(`a push may be under way: looking into ${quote(directory)} again`, WAIT_MS),
      );
    }
    await pause(BETWEEN_MS, context);
    looks = looks.map((look) => look.isWhole ? look : lookInto(look.place, look));
  }
  return stagedIn(looks);
}

/** The same as it is at this moment. */
export function lookAtStaged(directory: string, names: readonly string[]): Staged {
  return stagedIn(placesOf(directory, names).map((place) => lookInto(place, null)));
}

function placesOf(staging: string, names: readonly string[]): [Place, ...Place[]] {
  return [{ staging, name: null }, ...names.map((name) => ({ staging, name }))];
}

function stagedIn(looks: readonly Look[]): Staged {
  const [top, ...further] = looks;
  if (top === undefined) throw new TypeError("the top is looked into always");
  return {
    top: top.staged,
    further: new Map(further.map(({ place, staged }) => [place.name ?? "", staged] as const)),
  };
}

/** Where the pair of a name lies: `name` is null for the domain's, at the top. */
interface Place {
  readonly staging: string;
  readonly name: string | null;
}

/** Where the pair of a further name is delivered. */
export function stagedDirectory(staging: string, name: string | null): string {
  return name === null ? staging : join(staging, name);
}

interface Look {
  readonly place: Place;
  /** Null where they could not be read. */
  readonly files: PairFiles | null;
  readonly staged: Pair | Failure;
  readonly isWhole: boolean;
}

/** The same bytes are not parsed again: a minute of pushes must not take more memory than one. */
function lookInto(place: Place, last: Look | null): Look {
  let files: PairFiles | null = null;
  try {
    files = readFiles(place);
    if (last?.files && sameFiles(files, last.files)) return last;
    const staged = parse(files, place);
    return { place, files, staged, isWhole: !isMixed(staged) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { place, files, staged: error, isWhole: !(error instanceof Unfinished) };
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

/** Throws a Failure that names the way out. */
function parse(files: PairFiles, place: Place): Pair {
  const staged = orFailure(() => parseOnce(files, pathsIn(place)));
  if (staged instanceof Failure) throw new Unsuitable(staged);
  return staged;
}

function pathsIn({ staging, name }: Place) {
  return deliveredPaths(stagedDirectory(staging, name));
}

/** Whether it changed in the last minute. The sender sets the other times, but not this one. */
function isFresh({ staging, name }: Place, now: Date): boolean {
  const directory = stagedDirectory(staging, name);
  const places = [staging, directory, ...Object.values(deliveredPaths(directory))];
  return places.some((path) => {
    const stat = lookAt(path);
    return stat !== null && stat.ctimeMs > now.getTime() - PUSH_MS;
  });
}

/** What ends a mismatch that does not end by itself; undefined where it may. */
export function mixedHint(
  staging: string,
  name: string | null,
  now: Date,
): string | undefined {
  return isFresh({ staging, name }, now)
    ? undefined
    : "it has been so for over a minute: run on the NPM host, and where several push here on one " +
      "alone: certsync push --force";
}

/** Whose the directory is, and what lies there. */
export interface StagingSight {
  readonly uid: number;
  /** Other names than these, the first twenty. */
  unasked(names: readonly string[]): { readonly others: string[]; readonly hasMore: boolean };
}

const MOST_NAMES = 20;
/** A directory that is larger holds some ten thousand names, of which none is worth the time. */
const MOST_BYTES = 1024 * 1024;
/** rsync's own, while a push is under way. */
const PASSING = /^\.(fullchain|privkey)\.pem\./;

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    throw explain(error, `look into ${quote(directory)}`);
  }
}

/** Or why there is none. */
export function lookAtStaging(directory: string): StagingSight | Failure {
  try {
    const { uid, size } = identifyTop(directory);
    return {
      uid,
      unasked(names) {
        if (size > MOST_BYTES) return { others: [], hasMore: true };
        const others = namesIn(directory).filter((name) =>
          !names.includes(name) && !PASSING.test(name)
        ).sort();
        return { others: others.slice(0, MOST_NAMES), hasMore: others.length > MOST_NAMES };
      },
    };
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** What is wrong with the directory itself and with those of further names, and the way out. */
export function stagingWarnings(staging: string, also: readonly string[]): string[] {
  return [staging, ...also.map((name) => join(staging, name))].flatMap(modeWarnings);
}

function modeWarnings(directory: string): string[] {
  const stat = lookAt(directory);
  if (!stat?.isDirectory()) return [];
  const where = `the staging directory ${quote(directory)} (mode ${formatMode(stat.mode)})`;
  const wayOut = `run: chmod 700 ${shellWord(directory)}`;
  return [
    ...((stat.mode & 0o022) === 0 ? [] : [`others can write to ${where}; ${wayOut}`]),
    ...((stat.mode & 0o700) === 0o700 ? [] : [`push cannot write to ${where}; ${wayOut}`]),
  ];
}

/** What is judged is the DER of what was read once. Throws a Failure that says what is wrong. */
export function readStaged(staging: string, name: string | null = null): Pair {
  const place = { staging, name };
  return parse(readFiles(place), place);
}

/** The very bytes for each name, by the same rules. Throws a Failure. */
export function readStagedFiles(staging: string, names: readonly string[]): PairFiles[] {
  const top = identifyTop(staging);
  const files = names.map((name) => readFiles({ staging, name }, () => top));
  checkSame(top, identifyTop(staging), staging);
  return files;
}

function readFiles(place: Place, lookAtTop = identifyTop): PairFiles {
  const paths = pathsIn(place);
  const before = identify(place, lookAtTop);
  const chainPem = readStagedFile(paths.chain, before.uid);
  const keyPem = readStagedFile(paths.key, before.uid);
  checkSame(before, identify(place, lookAtTop), stagedDirectory(place.staging, place.name));
  return { chainPem, keyPem };
}

function checkSame(before: fs.Stats, after: fs.Stats, directory: string): void {
  if (after.dev === before.dev && after.ino === before.ino) return;
  throw new Failure(`the staging directory was replaced while it was read: ${quote(directory)}`);
}

/** The directory itself; that of a further name belongs to whom the staging belongs to. */
function identify({ staging, name }: Place, lookAtTop: (staging: string) => fs.Stats): fs.Stats {
  const top = lookAtTop(staging);
  if (name === null) return top;
  const directory = stagedDirectory(staging, name);
  const what = `no staged cert for ${quote(name)}: ${quote(directory)}`;
  const stat = lookAt(directory);
  if (stat === null) throw new NothingStaged(`${what} does not exist`, ALSO_THERE);
  if (!stat.isDirectory()) {
    // Followed with -r and a slash behind it, a link would have what it leads to removed.
    throw new Failure(`${what} is not a real directory`, {
      hint: `remove that alone, and not what a link leads to: rm ${shellWord(directory)}; then ` +
        "run on the NPM host: certsync push --force",
    });
  }
  if (stat.uid === top.uid) return stat;
  throw new Failure(
    `${what} belongs to uid ${stat.uid}, not to the owner of the staging directory`,
    REMOVE,
  );
}

const ALSO_THERE = {
  hint: "name it in also on the NPM host too, and run there: certsync push --force",
};

function identifyTop(directory: string): fs.Stats {
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
