// How rsync is called for push.

import type { RunContext } from "../run_context.ts";
import type { LocalTarget, PushTarget, SshOptions, SshTarget } from "../values/push_target.ts";
import { type Invocation, run, TimedOut } from "./run.ts";
import { runRemotely, sayWhenLetIn, sshEnvironment, sshOptions } from "./ssh.ts";

/** Compressed is what the documentation of the chain calls for; not every forced command takes it. */
export type Mode = "-azL" | "-aL";

interface Load {
  /** Files, and directories without a slash at the end: with one, rsync would send what is in them. */
  readonly files: readonly string[];
  /** The directory that holds these. */
  readonly from: string;
  readonly timeoutMs: number;
}

export interface Transfer extends Load {
  readonly target: SshTarget;
  readonly ssh: SshOptions;
}

/** How a transfer came to its end: without a code where the time ran out. */
export interface Ending {
  readonly code: number | null;
  readonly stderr: string;
}

/** Throws only what has nothing to do with this target. */
export async function transfer(
  mode: Mode,
  { files, from, target, ssh, timeoutMs }: Transfer,
  context: RunContext,
): Promise<Ending> {
  const remoteShell = ["ssh", ...sshOptions(ssh, context), ...sayWhenLetIn].map(quoteForRsync);
  return await toItsEnd(
    [mode, "-e", remoteShell.join(" "), "--", ...files, target.text],
    { timeoutMs, cwd: from, environment: sshEnvironment(context) },
    context,
  );
}

/**
 * Into a directory of this host: no owner is carried over, which would be a container's perhaps, but
 * the modes are, also where a file lies there that others can read.
 */
export async function copyHere(
  { files, from, target, timeoutMs }: Load & { readonly target: LocalTarget },
  context: RunContext,
): Promise<Ending> {
  const directory = target.directory.replace(/\/*$/, "/");
  const args = ["-rtL", "--perms", "--", ...files, directory];
  return await toItsEnd(args, { timeoutMs, cwd: from }, context);
}

async function toItsEnd(
  args: readonly string[],
  invocation: Invocation,
  context: RunContext,
): Promise<Ending> {
  try {
    return await run("rsync", args, invocation, context);
  } catch (error) {
    if (error instanceof TimedOut) return { code: null, stderr: error.stderr };
    throw error;
  }
}

/** rsync splits the text of -e at spaces; within quotes a quote is doubled. rsync(1) */
function quoteForRsync(word: string): string {
  return /^[A-Za-z0-9_.,:=@%+/~-]+$/.test(word) ? word : `'${word.replaceAll("'", "''")}'`;
}

/** The command that our rsync asks the other side to run; null where this rsync cannot tell. */
export async function serverCommand(
  mode: Mode,
  { text }: Pick<PushTarget, "text">,
  context: RunContext,
): Promise<string | null> {
  const args = [mode, "--debug=CMD", "-e", "/bin/false", "--", "/dev/null", text];
  try {
    const { stdout, stderr } = await run("rsync", args, { timeoutMs: 10_000 }, context);
    return parseServerCommand(stdout + stderr);
  } catch (error) {
    if (error instanceof TimedOut) return null;
    throw error;
  }
}

/** Pure. rsync puts quotes around an argument of unusual letters, without changing it. */
export function parseServerCommand(output: string): string | null {
  const command = /\b(rsync --server .+?) *(?:\(\d+ args\))?$/m.exec(output)?.[1];
  return command?.replace(/ "(.*)"$/, " $1") ?? null;
}

/** What the other side says when rsync's server is asked for, before anything is sent. */
export interface Greeting {
  readonly code: number;
  /** What stands before the four bytes of rsync's version, or instead of them. */
  readonly text: string;
  /** Whether not a byte came. */
  readonly isEmpty: boolean;
  /** What it said on the side. */
  readonly stderr: string;
}

export const GREETING_TIMEOUT_MS = 10_000;

/** Null where it gives no answer: a word that rsync swallowed is not worth another wait. */
export async function readGreeting(
  { target, ssh }: Pick<Transfer, "target" | "ssh">,
  context: RunContext,
): Promise<Greeting | null> {
  // The letters are of no weight: it is told that there is nothing to come.
  const command = SERVER + safeDirectory(target);
  try {
    const { code, stdout, stderr } = await runRemotely(
      target.login,
      [command],
      ssh,
      GREETING_TIMEOUT_MS,
      context,
    );
    return greetingIn(stdout, code, stderr);
  } catch (error) {
    if (error instanceof TimedOut) return null;
    throw error;
  }
}

/** Where rsync's version stands, a small number in four bytes; -1 where it does not. */
function versionAt(stdout: string): number {
  return Math.max(-1, stdout.indexOf("\0\0\0") - 1);
}

function greetingIn(stdout: string, code: number, stderr: string): Greeting {
  const version = versionAt(stdout);
  const text = (version < 0 ? stdout : stdout.slice(0, version)).slice(0, 1_024);
  return { code, text: text.trim(), isEmpty: stdout === "", stderr };
}

/** What came back when its server was asked for as push does it, and was told no more than a version. */
export interface Answer extends Ending {
  /** Null where it came to no end. */
  readonly greeting: Greeting | null;
  /** Whether rsync's version is in it. */
  readonly hasVersion: boolean;
  /** Whether it will compress; null where an rsync of its age, or its command, does not tell. */
  readonly compresses: boolean | null;
}

/** Protocol 31, which every rsync since 2013 speaks, in four bytes. */
const VERSION = new Uint8Array([31, 0, 0, 0]);
/** Far more than rsync says by then. */
const ENOUGH_BYTES = 1_024;

/** `command` is what push asks for; of its path only one that no shell reads otherwise is told. */
export async function askServer(
  { target, ssh, timeoutMs }: Pick<Transfer, "target" | "ssh" | "timeoutMs">,
  command: string,
  context: RunContext,
): Promise<Answer> {
  const letters = /^rsync --server \S+ \. /.exec(command)?.[0] ?? SERVER;
  const args = [
    ...sshOptions(ssh, context),
    ...sayWhenLetIn,
    ...["--", target.login, letters + safeDirectory(target)],
  ];
  const invocation = {
    ...{ timeoutMs, stdin: VERSION, enoughBytes: ENOUGH_BYTES },
    environment: sshEnvironment(context),
  };
  try {
    const { code, stdout, stderr } = await run("ssh", args, invocation, context);
    return readAnswer(code, stdout, stderr);
  } catch (error) {
    if (!(error instanceof TimedOut)) throw error;
    const { stderr } = error;
    return { code: null, stderr, greeting: null, hasVersion: false, compresses: null };
  }
}

/** With what our own rsync says of such an answer. Pure. */
function readAnswer(code: number, stdout: string, stderr: string): Answer {
  const version = versionAt(stdout);
  const greeting = greetingIn(stdout, code, stderr);
  const said = greeting.text !== ""
    ? "protocol version mismatch -- is your shell clean?"
    : "rsync: connection unexpectedly closed (0 bytes received so far) [sender]";
  const lists = version < 0 ? "" : stdout.slice(version + 4);
  return {
    code: code === 0 ? 12 : code,
    stderr: `${stderr.replace(/\n?$/, "\n")}${said}\n`,
    greeting,
    hasVersion: version >= 0,
    compresses: /\bmd5\b/.test(lists) ? /\bzlib\b/.test(lists) : null,
  };
}

const SERVER = "rsync --server -logDtpre.iLsfxCIvu . ";

function safeDirectory({ directory }: PushTarget): string {
  return /^[\w./-]+$/.test(directory) ? directory : ".";
}
