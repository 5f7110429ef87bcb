// Runs the compiled binary as its users do: as a process.

import { fileURLToPath } from "node:url";
import { endTree } from "./process_tree.ts";
import { feed } from "./run.ts";

const BINARY = fileURLToPath(new URL("../../dist/certsync", import.meta.url));

export interface CertsyncOptions {
  /** A directory to put first on PATH. */
  path?: string;
  /** Over PATH, HOME (an empty directory) and nothing else. */
  env?: Record<string, string>;
  cwd?: string;
  stdin?: string;
  /** When to kill it and fail; default 60 s. */
  timeoutMs?: number;
  /** A program that runs it, with its arguments: strace, for one. */
  under?: string[];
  /** "journal": stderr is what JOURNAL_STREAM names, as under systemd. */
  stderr?: "pipe" | "journal";
}

export interface CertsyncResult {
  /** Exit code; 128 and the signal's number where a signal ended it. */
  code: number;
  signal: Deno.Signal | null;
  stdout: string;
  /** Without what it told of waits, which depends on how busy this machine is. */
  stderr: string;
  /** What it told of waits. */
  waits: string[];
  /** The one JSON object on stdout; throws if that is not what is there. */
  // deno-lint-ignore no-explicit-any -- tests reach into it and assert on what they find
  json(): any;
}

export interface Started {
  pid: number;
  kill(signal: Deno.Signal): void;
  /** What it has said on stderr so far. */
  said(): string;
  result: Promise<CertsyncResult>;
}

/** Runs it to its end, whatever its exit code. */
export function certsync(
  args: string[],
  options: CertsyncOptions = {},
): Promise<CertsyncResult> {
  return startCertsync(args, options).result;
}

/** Starts it, for tests that signal it or run something beside it. */
export function startCertsync(
  args: string[],
  options: CertsyncOptions = {},
): Started {
  assertBuilt();
  const home = makeHome();
  const argv = [...(options.under ?? []), BINARY, ...args];
  const [command = BINARY, ...commandArgs] = options.stderr === "journal"
    ? ["/bin/sh", "-c", UNDER_JOURNAL, ...argv]
    : argv;
  const child = new Deno.Command(command, {
    args: commandArgs,
    cwd: options.cwd ?? home,
    clearEnv: true,
    env: { PATH: searchPath(options.path), HOME: home, ...options.env },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const out = collect(child.stdout);
  const err = collect(child.stderr);
  return {
    pid: child.pid,
    kill: (signal) => child.kill(signal),
    said: err.text,
    result: finish(child, { out, err }, args, options)
      .finally(() => removeHome(home)),
  };
}

const homes = new Set<string>();
// Nobody waits for what still runs where a test has failed.
globalThis.addEventListener("unload", () => homes.forEach(removeHome));

function makeHome(): string {
  const home = Deno.makeTempDirSync({ prefix: "certsync-home-" });
  homes.add(home);
  return home;
}

function removeHome(home: string): void {
  if (homes.delete(home)) Deno.removeSync(home, { recursive: true });
}

const UNDER_JOURNAL = "export JOURNAL_STREAM=$(stat -Lc %d:%i /dev/fd/2); " +
  'exec "$0" "$@"';

async function finish(
  child: Deno.ChildProcess,
  { out, err }: { out: Collected; err: Collected },
  args: string[],
  { stdin, timeoutMs = 60_000 }: CertsyncOptions,
): Promise<CertsyncResult> {
  const feeding = stdin === undefined ? undefined : feed(child.stdin, stdin);

  let timedOut = false;
  const timer = setTimeout(async () => {
    timedOut = true;
    await endTree(child);
    await Promise.all([out.cancel(), err.cancel()]); // an orphan may hold them open
  }, timeoutMs);
  const [{ code, signal }] = await Promise.all([child.status, out.ended, err.ended, feeding])
    .finally(() => clearTimeout(timer));

  const stdout = out.text();
  const stderr = err.text();
  if (timedOut) {
    throw new Error(
      `certsync ${args.join(" ")}: still running after ${timeoutMs} ms\n` +
        `stdout: ${stdout}\nstderr: ${stderr}`,
    );
  }
  const [waits, others] = apart(stderr);
  return { code, signal, stdout, stderr: others, waits, json: () => parsed(stdout, stderr) };
}

/** Lines such as "sending to mail.example.org, for at most 60s". */
function apart(stderr: string): [waits: string[], others: string] {
  const lines = stderr.split(/(?<=\n)/);
  const isWait = (line: string) => /^(<6>)?[a-z].*, for at most \d+s\n$/.test(line);
  return [lines.filter(isWait), lines.filter((line) => !isWait(line)).join("")];
}

interface Collected {
  text(): string;
  ended: Promise<void>;
  cancel(): Promise<void>;
}

/** What a stream has said so far, also where it never ends. */
function collect(stream: ReadableStream<Uint8Array>): Collected {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  async function read() {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
    }
  }
  return { text: () => text, ended: read(), cancel: () => reader.cancel() };
}

function parsed(stdout: string, stderr: string) {
  try {
    return JSON.parse(stdout);
  } catch (error) {
    throw new Error(
      `no JSON on stdout: ${JSON.stringify(stdout)}\nstderr: ${stderr}`,
      { cause: error },
    );
  }
}

/** Nobody in the world is asked for DANE, and nobody has any, unless a test brings its own dig. */
export const WITHOUT_DNS = fileURLToPath(new URL("without_dns", import.meta.url));

export function searchPath(first?: string): string {
  const path = `${WITHOUT_DNS}:${Deno.env.get("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin"}`;
  return first === undefined ? path : `${first}:${path}`;
}

function assertBuilt(): void {
  try {
    Deno.statSync(BINARY);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error("dist/certsync is missing: run make build");
  }
}
