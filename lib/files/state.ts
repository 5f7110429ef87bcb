// What a command remembers from run to run: a directory, one run in it at a time.

import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { ensureDir } from "@std/fs/ensure-dir";
import { asRoot, explain, Failure, quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { FileProblem, isMissing, readFile } from "./read_file.ts";
import {
  removeFile,
  removeTemporary,
  replaceFile,
  syncDirectory,
  TEMPORARY_PREFIX,
} from "./write_file.ts";

const LOCK_WAIT_MS = 60_000;

const SCRATCH = "scratch";

/**
 * Creates the directory where it is missing and takes its lock, which the kernel releases when the
 * process ends in whatever way. Waits up to a minute for another run. What a killed run left lying
 * around, a private key perhaps, goes at once.
 */
export async function holdState(directory: string, context: RunContext): Promise<Disposable> {
  let file: Deno.FsFile;
  try {
    // Not where it is there: to write to it may be forbidden, with a program below it.
    if (isMissing(dirname(directory))) await ensureDir(dirname(directory));
    const created = fs.mkdirSync(directory, { mode: 0o700, recursive: true });
    if (created !== undefined) syncDirectory(dirname(directory));
    file = openLock(join(directory, "lock"));
  } catch (cause) {
    const deed = `use the state directory ${quote(directory)}`;
    const error = explain(cause, deed);
    if (!(error instanceof Error)) throw error;
    if (error instanceof Failure && error.hint !== undefined) throw error;
    // ensureDir has no code for what stands in its place.
    const message = error instanceof Failure ? error.message : `cannot ${deed}: ${error.message}`;
    const hint =
      `see what is in the way with: namei -l ${shellWord(directory)}; move it away, and ` +
      "run this again";
    throw new Failure(message, { hint, cause });
  }
  try {
    if (!await file.tryLock(true)) await waitForLock(file, directory, context);
    clearState(directory);
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    [Symbol.dispose]() {
      file.close();
    },
  };
}

/**
 * The same for whoever would only look: neither waits nor makes anything; null where nobody uses it
 * yet.
 */
export async function tryState(directory: string): Promise<Disposable | "busy" | null> {
  const path = join(directory, "lock");
  try {
    if (isMissing(path)) return null;
    const file = openLock(path);
    if (await file.tryLock(true)) return { [Symbol.dispose]: () => file.close() };
    file.close();
    return "busy";
  } catch (cause) {
    throw explain(cause, `use the state directory ${quote(directory)}`);
  }
}

/** For reading too: a FIFO that somebody put there would else hold everything up. */
function openLock(path: string): Deno.FsFile {
  const before = fs.lstatSync(path, { throwIfNoEntry: false });
  if (before && !(before.isFile() && isOurs(before) && before.nlink === 1)) {
    throw new InTheWay(path, before);
  }
  return Deno.openSync(path, { create: true, read: true, write: true, mode: 0o600 });
}

function isOurs({ uid }: fs.Stats): boolean {
  return uid === Deno.uid() || uid === 0;
}

/**
 * The directory that certsync made in its state directory, and in it the files of these names: real
 * ones of ours that nobody else can write to. Throws a Failure that names what is something else.
 */
export function checkOwn(directory: string, names: readonly string[]): void {
  for (const path of [directory, ...names.map((name) => join(directory, name))]) {
    const stat = fs.lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const isRight = path === directory ? stat.isDirectory() : stat.isFile() && stat.nlink === 1;
    if (!isRight || !isOurs(stat) || (stat.mode & 0o022) !== 0) throw new InTheWay(path, stat);
  }
}

/** Somebody put it where certsync keeps its own: it is neither read nor removed. */
class InTheWay extends Failure {
  constructor(path: string, stat?: fs.Stats, detail = "") {
    const whose = stat === undefined || isOurs(stat)
      ? ""
      : `it belongs to user ${stat.uid}, who does not run this: `;
    super(
      `something that certsync did not make is in its state directory: ${quote(path)}${detail}`,
      {
        hint:
          `${whose}see what it is with ls -la, and move it away, or name another state directory`,
      },
    );
  }
}

function clearState(directory: string): void {
  try {
    for (const name of fs.readdirSync(directory)) {
      const path = join(directory, name);
      if (name === SCRATCH) clearScratch(path, "top");
      else if (name.startsWith(TEMPORARY_PREFIX)) removeTemporary(path);
    }
  } catch (error) {
    throw explain(error, `remove what an earlier run left in ${quote(directory)}`);
  }
}

/** What push sends, and what openssl is to verify. */
const SCRATCH_FILES = ["fullchain.pem", "privkey.pem", "chain.pem"];

/** Pairs of files, at its top or in a directory each: whatever else is there is somebody else's. */
function clearScratch(directory: string, level: "top" | "below"): void {
  const stat = fs.lstatSync(directory);
  const isPrivate = level === "below" || (stat.mode & 0o7777) === 0o700;
  if (!stat.isDirectory() || !isOurs(stat) || !isPrivate) throw new InTheWay(directory);
  const entries = fs.readdirSync(directory, { withFileTypes: true });
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && level === "top") clearScratch(path, "below");
    else if (!entry.isFile() || !SCRATCH_FILES.includes(entry.name)) throw new InTheWay(path);
  }
  entries.filter((entry) => entry.isFile()).forEach(({ name }) => fs.rmSync(join(directory, name)));
  fs.rmdirSync(directory);
}

async function waitForLock(
  file: Deno.FsFile,
  directory: string,
  context: RunContext,
): Promise<void> {
  context.stop.throwIfAborted();
  using _told = context.wait("another certsync is at work: waiting for it to end", LOCK_WAIT_MS);
  const enough = AbortSignal.any([AbortSignal.timeout(LOCK_WAIT_MS), context.stop]);
  const given = Promise.withResolvers<never>();
  enough.addEventListener("abort", () => given.reject(enough.reason));
  const locked = file.lock(true);
  locked.catch(() => {}); // after giving up nobody waits for it
  try {
    await Promise.race([locked, given.promise]);
  } catch (error) {
    context.stop.throwIfAborted();
    if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
    throw new Failure(`another certsync has been at work for a minute: ${quote(directory)}`, {
      hint: `see which one it is with: fuser -v ${shellWord(join(directory, "lock"))}`,
    });
  }
}

/**
 * The text of a state file; empty where there is none. Throws a Failure where it cannot be read.
 */
export function readState(directory: string, name: string): string {
  const path = join(directory, name);
  try {
    const stat = fs.lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return ""; // as is usual; to make an error of it takes time
    if (stat.isSymbolicLink() || !isOurs(stat)) throw new InTheWay(path, stat);
    if (!stat.isFile()) throw new InTheWay(path, stat, " is not a regular file");
    return new TextDecoder().decode(readFile(path, { follow: false }).bytes);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw explain(error, `read ${quote(path)}`);
    throw new Failure(`what certsync remembers, ${quote(path)}, ${error.detail}`, {
      hint: asRoot("remove that file, which is damaged"),
    });
  }
}

/** The same where a file that cannot be read is as good as none. */
export function readStateOrNothing(directory: string, name: string): string {
  try {
    return readState(directory, name);
  } catch (error) {
    if (error instanceof Failure && !(error instanceof InTheWay)) return "";
    throw error;
  }
}

/** Replaces a state file by a rename; an empty text removes it. */
export function writeState(directory: string, name: string, text: string): void {
  const path = join(directory, name);
  if (text === "") removeFile(path);
  else replaceFile(path, text, 0o600);
}

function makeDirectory(state: string | null): string {
  const wanted = state === null ? "/tmp/certsync-" : join(state, SCRATCH);
  try {
    if (state === null) return fs.mkdtempSync(wanted);
    fs.mkdirSync(wanted, { mode: 0o700 });
    return wanted;
  } catch (error) {
    throw explain(error, `make a directory for temporary files: ${quote(wanted)}`);
  }
}

export interface Scratch extends Disposable {
  readonly directory: string;
}

/**
 * A directory that nobody else can enter, gone when disposed. In a state directory, whose lock is
 * held, it has a fixed name, by which the next run finds what a killed one left. Without one (a dry
 * run) it is made where temporary files go.
 */
export function makeScratch(state: string | null): Scratch {
  const directory = makeDirectory(state);
  return {
    directory,
    [Symbol.dispose]() {
      try {
        fs.rmSync(directory, { recursive: true, force: true });
      } catch (error) {
        throw explain(error, `remove ${quote(directory)}`);
      }
    },
  };
}
