// Runs the binary under strace: first to see what it does to the file system, then to strike there.

import { startCertsync } from "../kit/certsync.ts";
import type { CertsyncOptions, CertsyncResult } from "../kit/certsync.ts";
import { need } from "../kit/programs.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { textOf } from "../kit/text_of.ts";

/** A system call that a run makes on a file of the scene. */
export interface Call {
  name: string;
  /** Which one of that name it is, counted over all on `paths`; from 1. */
  nth: number;
  /** As strace prints it. */
  text: string;
  /** Whether it changes the file system. */
  changes: boolean;
}

export interface Trace {
  calls: Call[];
  /** Every file that the calls name, below the root. */
  paths: string[];
  result: CertsyncResult;
}

export interface Run {
  args: string[];
  options?: CertsyncOptions;
}

/** What can change a file system; the `?` is for those that an architecture lacks. */
const CHANGING = [
  ...["write", "pwrite64", "writev", "?pwritev", "?sendfile", "copy_file_range", "ftruncate"],
  ...["?rename", "renameat", "?renameat2", "?unlink", "unlinkat", "?mkdir", "mkdirat", "?rmdir"],
  ...["?link", "linkat", "?symlink", "symlinkat", "?chmod", "fchmod", "fchmodat", "?chown"],
  ...["fchown", "?lchown", "fchownat", "?mknod", "mknodat", "fsync", "fdatasync", "fallocate"],
  ...["?truncate", "utimensat", "setxattr", "fsetxattr"],
];
const OPENING = ["?open", "openat", "?creat"];

const TRACED = `trace=${[...CHANGING, ...OPENING].join(",")}`;

/**
 * The calls of the main thread, which does all of this, on files below the root. Twice, so that the
 * second one counts as a run does that is to be struck.
 */
export async function trace(root: string, prepare: () => Promise<Run>): Promise<Trace> {
  const strace = need("strace");
  await using dir = await tempDir();
  const log = `${dir.path}/log`;
  const begin = async (...more: string[]) => {
    const { args, options } = await prepare();
    const under = [strace, "-qq", "-y", "-s", "100000", "-o", log, "-e", TRACED, ...more];
    const result = await startCertsync(args, { ...options, under }).result;
    return { result, lines: (await Deno.readTextFile(log)).split("\n") };
  };
  const found = new Set<string>();
  for (const line of (await begin()).lines) {
    for (const path of pathsIn(line)) {
      if (path === root || path.startsWith(`${root}/`)) found.add(path);
    }
  }
  const paths = [...found];
  const { result, lines } = await begin(...paths.flatMap((path) => ["-P", path]));
  const counts = new Map<string, number>();
  const calls = lines.flatMap((text): Call[] => {
    const name = /^(\w+)\(/.exec(text)?.[1];
    if (name === undefined) return [];
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    return [{ name, nth, text, changes: changesFiles(name, text) }];
  });
  return { calls, paths, result };
}

function changesFiles(name: string, text: string): boolean {
  return !/^open/.test(name) || /O_CREAT|O_TRUNC/.test(text);
}

/** Absolute ones, and those relative to a directory that is open. */
function pathsIn(line: string): string[] {
  const quoted = Array.from(line.matchAll(/"(\/[^"]*)"/g), ([, path]) => path ?? "");
  const open = Array.from(line.matchAll(/\d+<(\/[^>]*)>/g), ([, path]) => path ?? "");
  const below = /\d+<(\/[^>]*)>, "([^"/][^"]*)"/.exec(line);
  return [...quoted, ...open, ...(below ? [`${below[1]}/${below[2]}`] : [])];
}

export type Strike =
  /** Killed at the entry, so that the call is not made; or when it is made. */
  | { kill: "before" | "after" }
  | { error: string };

export interface Struck extends CertsyncResult {
  /** Whether it came to the call. */
  isStruck: boolean;
  /** Of the call that got the error: services end in any order, so that it may be another one. */
  changes: boolean;
}

/** One run that is struck at one call. */
export async function strike(
  { name, nth }: Pick<Call, "name" | "nth">,
  how: Strike,
  paths: readonly string[],
  { args, options }: Run,
): Promise<Struck> {
  await using dir = await tempDir();
  const log = `${dir.path}/log`;
  const deed = "error" in how
    ? `error=${how.error}`
    : how.kill === "before"
    ? "signal=KILL"
    : "delay_exit=20s";
  const under = [
    ...[need("strace"), "-qq", "-o", log, "-e", `trace=${name}`],
    ...["-e", `inject=${name}:${deed}:when=${nth}`],
    ...paths.flatMap((path) => ["-P", path]),
  ];
  const run = startCertsync(args, { ...options, under });
  if ("kill" in how && how.kill === "after") {
    let hasEnded = false;
    run.result.finally(() => hasEnded = true).catch(() => {});
    while (!hasEnded && !(await textOf(log)).includes("(DELAYED)")) await pause(3);
    if (!hasEnded) killChild(run.pid);
  }
  const result = await run.result;
  const text = await textOf(log);
  const isStruck = /INJECTED|DELAYED|killed by SIGKILL/.test(text) ||
    result.signal === "SIGKILL" || result.code === 137;
  const injected = text.split("\n").find((line) => line.includes("(INJECTED)")) ?? "";
  return { ...result, isStruck, changes: changesFiles(name, injected) };
}

function killChild(strace: number): void {
  const [certsync] = Deno.readTextFileSync(`/proc/${strace}/task/${strace}/children`).split(" ");
  if (certsync) Deno.kill(Number(certsync), "SIGKILL");
  Deno.kill(strace, "SIGKILL"); // it would sit out the delay
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
