// Runs an outside program: an argument array, a clean environment, a time-out, bounded output.

import { Failure, quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";

/** Every program that certsync may start, with the Debian package that holds it. */
const packages = {
  rsync: "rsync",
  ssh: "openssh-client",
  "ssh-keygen": "openssh-client",
  "ssh-add": "openssh-client",
  openssl: "openssl",
  docker: "docker-ce-cli",
  "docker-compose": "docker-compose",
  podman: "podman",
  getent: "libc-bin",
  systemctl: "systemd",
  dig: "bind9-dnsutils",
  delv: "bind9-dnsutils",
} as const;

export type Program = keyof typeof packages;

export const programs: readonly string[] = Object.keys(packages);

export interface Invocation {
  readonly stdin?: Uint8Array;
  readonly timeoutMs: number;
  /** It is ended once it has printed that much. */
  readonly enoughBytes?: number;
  readonly cwd?: string;
  /** Added to `LC_ALL` and `PATH`, which every program gets; nothing else is inherited. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface Completion {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The program could not be started, or brought to its end. */
export class ProgramFailure extends Failure {}

/** It started, and ended as no working one does. */
export class BrokenProgram extends ProgramFailure {
  override name = "BrokenProgram";
}

export class TimedOut extends ProgramFailure {
  override name = "TimedOut";

  constructor(message: string, /** What the program had said. */ readonly stderr: string) {
    super(withWords(message, stderr));
  }
}

export class MissingProgram extends ProgramFailure {
  override name = "MissingProgram";
}

/** Above anything an honest program prints here, below what would hurt. */
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/** How long a program may take to obey SIGTERM before it gets SIGKILL. */
const KILL_AFTER_MS = 1_000;

/**
 * Resolves with what the program printed, whatever its exit code. Throws MissingProgram, TimedOut
 * (with what it had printed until then) or, when the operator stops us, the reason for that.
 */
export async function run(
  program: Program,
  args: readonly string[],
  { stdin, timeoutMs, enoughBytes = Infinity, cwd, environment }: Invocation,
  context: RunContext,
): Promise<Completion> {
  context.stop.throwIfAborted();
  const began = performance.now();
  const trace = (end: string) =>
    context.trace(
      `${[program, ...args].map(traced).join(" ")}: ${
        Math.round(performance.now() - began)
      } ms, ${end}`,
    );
  const child = start(program, args, {
    ...(cwd === undefined ? {} : { cwd }),
    clearEnv: true,
    env: defined({ LC_ALL: "C", PATH: context.environment.PATH, ...environment }),
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const stdout = collect(child.stdout, program, enoughBytes);
  const stderr = collect(child.stderr, program, Infinity);
  const finished = Promise.all([
    child.status,
    stdout.done,
    stderr.done,
    stdin === undefined ? undefined : feed(child.stdin, stdin),
  ]);
  finished.catch(() => {}); // after a time-out nobody waits for it

  const limit = deadline(timeoutMs, context.stop);
  try {
    const outcome = await Promise.race([finished, limit.reached, stdout.enough]);
    if (outcome === "timed out") {
      throw new TimedOut(
        `${program} did not finish within ${timeoutMs / 1000} s`,
        stderr.text(),
      );
    }
    context.stop.throwIfAborted();
    if (outcome === "enough") await end(child);
    const { code } = await child.status;
    trace(`exit code ${code}`);
    return { code, stdout: stdout.text(), stderr: stderr.text() };
  } catch (error) {
    await end(child);
    trace("ended by certsync");
    throw error;
  } finally {
    limit.cancel();
    stdout.cancel();
    stderr.cancel();
  }
}

/** As it could be typed. */
function traced(argument: string): string {
  return /^[\w./:@%+=,-]+$/.test(argument) ? argument : quote(argument);
}

/** What a program said, for a message: its last lines, without the empty ones. */
export function lastWords(stderr: string): string {
  const lines = stderr.split(/[\r\n]+/).map((line) => line.trim()).filter((line) => line !== "");
  return lines.slice(-6).join("; ").slice(0, 1_000);
}

function withWords(message: string, stderr: string): string {
  const words = lastWords(stderr);
  return words === "" ? message : `${message}: ${words}`;
}

function start(program: Program, args: readonly string[], options: Deno.CommandOptions) {
  try {
    return new Deno.Command(program, { ...options, args: [...args] }).spawn();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new MissingProgram(`${program} is not installed on this host`, {
        hint: `install the package ${packages[program]}` +
          (program === "docker" ? ", or link it into /usr/local/bin where it lies elsewhere" : ""),
        cause,
      });
    }
    if (cause instanceof Error) {
      throw new ProgramFailure(`cannot start ${program}: ${cause.message}`, { cause });
    }
    throw cause;
  }
}

/** SIGTERM first: rsync passes it on to its ssh. */
async function end(child: Deno.ChildProcess): Promise<void> {
  signal(child, "SIGTERM");
  const timer = setTimeout(() => signal(child, "SIGKILL"), KILL_AFTER_MS);
  await child.status;
  clearTimeout(timer);
}

function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended already
  }
}

function deadline(timeoutMs: number, stop: AbortSignal) {
  const { promise: reached, resolve } = Promise.withResolvers<"timed out" | "stopped">();
  const timer = setTimeout(() => resolve("timed out"), timeoutMs);
  const onStop = () => resolve("stopped");
  stop.addEventListener("abort", onStop);
  return {
    reached: reached.then((why) => {
      if (why === "stopped") stop.throwIfAborted();
      return "timed out" as const;
    }),
    cancel() {
      clearTimeout(timer);
      stop.removeEventListener("abort", onStop);
    },
  };
}

/** Reads a stream on the side; a grandchild that holds it open cannot outlast `cancel`. */
function collect(stream: ReadableStream<Uint8Array>, program: Program, enoughBytes: number) {
  const { promise: enough, resolve: beEnough } = Promise.withResolvers<"enough">();
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  async function read(): Promise<void> {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      length += value.length;
      if (length > MAX_OUTPUT_BYTES) {
        throw new ProgramFailure(
          `${program} printed more than ${MAX_OUTPUT_BYTES / 1024 ** 2} MiB`,
        );
      }
      chunks.push(value);
      if (length >= enoughBytes) return beEnough("enough");
    }
  }
  return {
    done: read(),
    enough,
    text() {
      const decoder = new TextDecoder();
      return chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("") +
        decoder.decode();
    },
    cancel() {
      reader.cancel().catch(() => {});
    },
  };
}

async function feed(stream: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<void> {
  const writer = stream.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch (error) {
    // A program may have read all it wanted, or have died; what it says or returns is what counts.
    if (!(error instanceof Deno.errors.BrokenPipe || error instanceof TypeError)) throw error;
  }
}

function defined(record: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
