// How rsync is called for push, and what its words mean to the operator.

import { quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import type { PushTarget } from "../values/push_target.ts";
import { type Completion, lastWords, run, TimedOut } from "./run.ts";
import {
  explainSsh,
  hintAtFirewalls,
  sayWhenLetIn,
  sshEnvironment,
  type SshOptions,
  sshOptions,
  type Trouble,
  wasLetIn,
  withoutChatter,
} from "./ssh.ts";

/** Compressed is what the documentation of the chain calls for; not every forced command takes it. */
export type Mode = "-azL" | "-aL";

export interface Transfer {
  readonly files: readonly string[];
  /** The directory that holds the files. */
  readonly from: string;
  readonly target: PushTarget;
  readonly ssh: SshOptions & { readonly port: number };
  readonly timeoutMs: number;
}

/** Null, or why the transfer failed. Throws only what has nothing to do with this target. */
export async function transfer(
  mode: Mode,
  { files, from, target, ssh, timeoutMs }: Transfer,
  context: RunContext,
): Promise<TransferFailure | null> {
  const remoteShell = ["ssh", ...sshOptions(ssh), ...sayWhenLetIn].map(quoteForRsync).join(" ");
  try {
    const completion = await run(
      "rsync",
      [mode, "-e", remoteShell, "--", ...files, target.text],
      { timeoutMs, cwd: from, environment: sshEnvironment(context) },
      context,
    );
    return completion.code === 0 ? null : explainRsync(completion, target, ssh);
  } catch (error) {
    if (error instanceof TimedOut) return explainSilence(error.stderr, timeoutMs, target, ssh.port);
    throw error;
  }
}

/** rsync splits the text of -e at spaces; within quotes a quote is doubled. rsync(1) */
function quoteForRsync(word: string): string {
  return /^[A-Za-z0-9_.,:=@%+/~-]+$/.test(word) ? word : `'${word.replaceAll("'", "''")}'`;
}

export interface TransferFailure {
  readonly error: string;
  readonly hint: string;
  /** The other side may run a command for another mode: worth one more try with that. */
  readonly mayBeForcedCommand: boolean;
}

/** Pure. The order matters: rsync reports code 12 for nearly everything that ends its stream. */
export function explainRsync(
  { code, stderr }: Pick<Completion, "code" | "stderr">,
  target: PushTarget,
  { port, identity }: Pick<Transfer["ssh"], "port" | "identity">,
): TransferFailure {
  const words = lastWords(withoutChatter(stderr));
  const known = explainSsh(withoutRsync(stderr), target.host, port) ??
    explainFarSide(code, stderr, target);
  if (known !== null) return { ...failure(known, words), mayBeForcedCommand: false };
  if (FORCED_COMMAND_CODES.includes(code)) {
    return { ...failure(forcedCommandTrouble(target), words), mayBeForcedCommand: true };
  }
  return {
    error: `rsync failed with code ${code}: ${words}`,
    hint: `try it by hand: ssh -v -p ${port} ` +
      `${identity === null ? "" : `-i ${quote(identity)} `}${target.login}`,
    mayBeForcedCommand: false,
  };
}

/** No agreement on compression; a stream that makes no sense; one that was cut while writing. */
const FORCED_COMMAND_CODES = [4, 12, 10];

/** Pure. What it means that the time ran out: a forced command can only hang once it runs. */
export function explainSilence(
  stderr: string,
  timeoutMs: number,
  target: PushTarget,
  port: number,
): TransferFailure {
  const chatterless = withoutChatter(stderr);
  const said = lastWords(chatterless);
  const words = `no end within ${timeoutMs / 1000} s${said === "" ? "" : `: ${said}`}`;
  if (wasLetIn(stderr)) {
    return { ...failure(forcedCommandTrouble(target), words), mayBeForcedCommand: true };
  }
  const trouble = explainSsh(chatterless, target.host, port) ??
    { cause: "the connection timed out", hint: hintAtFirewalls(target.host, port) };
  return { ...failure(trouble, words), mayBeForcedCommand: false };
}

/** Its words of files and streams over there read like ssh's of keys and connections. */
function withoutRsync(stderr: string): string {
  return stderr.replace(/^(rsync\b|\[).*\n?/gm, "");
}

function failure({ cause, hint }: Trouble, words: string) {
  return { error: words === "" ? cause : `${cause}: ${words}`, hint };
}

const FILE_ERROR = 11;

function explainFarSide(code: number, stderr: string, target: PushTarget): Trouble | null {
  if (/Failed to exec ssh/.test(stderr)) {
    return { cause: "ssh is not installed on this host", hint: "install openssh-client" };
  }
  if (/No space left on device|Disk quota exceeded/.test(stderr)) {
    return {
      cause: "no space left on the mail host",
      hint: `free some space in ${target.directory} on ${target.host}`,
    };
  }
  // rsync(1): 11 is an error in file I/O. A full disk over there gave it once without a word.
  if (code === FILE_ERROR && lastWords(withoutChatter(stderr)) === "") {
    return {
      cause: `the other side could not write (rsync's code ${code}), and did not say why`,
      hint:
        `free some space in ${target.directory} on ${target.host}, and see that the user of the ` +
        "push may write there",
    };
  }
  if (code === 127 || /rsync: (command )?not found|rsync: No such file|code 127/.test(stderr)) {
    return {
      cause: "rsync is missing on the other side",
      hint: `install the package rsync on ${target.host}, and see that the forced command in ` +
        "authorized_keys names it rightly",
    };
  }
  if (/is your shell clean/.test(stderr)) {
    return {
      cause: "the other side runs something else than rsync, or its shell prints something first",
      hint:
        `${compareForcedCommand(target)}; and see that the start-up files of that user's shell ` +
        "print nothing",
    };
  }
  if (
    /(mkstemp|mkdir|open|rename|chdir|change_dir)\b.*(Permission denied|Read-only|No such)/.test(
      stderr,
    )
  ) {
    return {
      cause: "the other side cannot write there",
      hint: `${target.directory} on ${target.host} must exist and belong to the user of the push`,
    };
  }
  return null;
}

function forcedCommandTrouble(target: PushTarget): Trouble {
  return {
    cause: "the forced command on the other side does not fit, or did not answer",
    hint: compareForcedCommand(target),
  };
}

function compareForcedCommand({ host, text }: PushTarget): string {
  return `compare the command="…" of this key in authorized_keys on ${host} with the one that this ` +
    `rsync asks for: rsync -azL --debug=CMD -e /bin/false /etc/hostname '${text}'`;
}

/** The command that our rsync asks the other side to run; null where this rsync cannot tell. */
export async function serverCommand(
  mode: Mode,
  { text }: PushTarget,
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
