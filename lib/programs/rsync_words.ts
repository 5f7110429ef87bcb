// What rsync's end means to the operator: whose words they are decides what they can tell.

import { quote } from "../failure.ts";
import type { SshTarget } from "../values/push_target.ts";
import type { Ending, Greeting } from "./rsync.ts";
import { explainFiles, isFileError, type Reason } from "./rsync_files.ts";
import { sshByHand } from "./ssh.ts";
import { explainDoor } from "./ssh_door.ts";
import {
  brokenConnection,
  hintAtFirewalls,
  hostOf,
  type Peer,
  saidAfterLogin,
  spokenLines,
  type Trouble,
  unexpire,
  userOf,
  wordsAround,
} from "./ssh_words.ts";

export interface TransferFailure {
  readonly error: string;
  readonly hint: string;
  /** The other side may run a command for another mode: worth one more try with that. */
  readonly mayBeForcedCommand: boolean;
  /** Nothing that makes sense came back: what the other side says when asked is worth a look. */
  readonly mayBeExplained: boolean;
  /** rsync ended its ssh before the other side's words had come through: they are worth a try. */
  readonly isWordless: boolean;
}

/** What was done, and to whom. */
export interface Attempt {
  readonly target: SshTarget;
  readonly peer: Peer;
  readonly timeoutMs: number;
  /** What the other side says when asked; null where it was not. */
  readonly greeting: Greeting | null;
}

/** Pure. */
export function explainTransfer({ code, stderr }: Ending, attempt: Attempt): TransferFailure {
  const said = saidAfterLogin(stderr, attempt.peer.view);
  if (said === null) return beforeLogin(code, spokenLines(stderr), attempt);
  const lines = spokenLines(said);
  const own = lines.filter((line) => isRsyncs(line));
  const isSilent = own.some((line) => /^protocol version mismatch|\(0 bytes received/.test(line));
  const far = explainFiles(code, own, lines, attempt.target, attempt.peer) ??
    explainShell(code, lines, isSilent, attempt);
  const telling = own.length > 0 && !isSilent ? own : lines;
  if (far !== null) {
    const isWordless = isFileError(code) && far.line === undefined;
    const mayBeExplained = attempt.greeting === null && far.line?.startsWith(MISMATCH) === true;
    return { ...failure(far, wordsAround(telling, far.line)), isWordless, mayBeExplained };
  }
  if (code === null || FORCED_COMMAND_CODES.includes(code)) {
    return {
      ...failure(forcedCommandTrouble(attempt), outOfTime(code, telling, attempt)),
      mayBeForcedCommand: true,
      mayBeExplained: isSilent && attempt.greeting === null,
    };
  }
  const words = wordsAround(telling, undefined);
  return {
    error: `rsync failed with code ${code}${words === "" ? "" : `: ${words}`}`,
    hint: `try it by hand: ${sshByHand(attempt.peer.login, attempt.peer.options)}`,
    mayBeForcedCommand: false,
    mayBeExplained: false,
    isWordless: false,
  };
}

/**
 * Letters that are none, or no agreement on the protocol, or on compression; a stream that makes no
 * sense, or was cut while writing; a command that ended as it pleased, which ssh passes on as 255.
 */
const FORCED_COMMAND_CODES = [1, 2, 4, 10, 12, 13, 14, 22, 255];

/** rsync's code is then at random, and no word of its own is of any weight. */
function beforeLogin(
  code: number | null,
  lines: readonly string[],
  attempt: Attempt,
): TransferFailure {
  const sshs = lines.filter((line) => !isRsyncs(line) || /Failed to exec ssh/.test(line));
  const door = explainDoor(sshs, attempt.peer);
  if (code === null && door.line === undefined) {
    const timedOut = { cause: "the connection timed out", hint: hintAtFirewalls(attempt.peer) };
    return failure(timedOut, outOfTime(code, sshs, attempt));
  }
  if (code !== null && code > 128 && code < 160 && door.line === undefined) {
    return failure({
      cause: `rsync was ended by signal ${code - 128} on this host`,
      hint:
        "see who ended it, such as the kernel for lack of memory: journalctl -k; then push again",
    }, "");
  }
  const words = wordsAround(sshs.length > 0 ? sshs : lines, door.line);
  return failure(door, words);
}

function outOfTime(code: number | null, lines: readonly string[], { timeoutMs }: Attempt): string {
  const said = wordsAround(lines, undefined);
  if (code !== null) return said;
  return `no end within ${timeoutMs / 1000} s${said === "" ? "" : `: ${said}`}`;
}

function failure({ cause, hint }: Trouble, words: string): TransferFailure {
  const error = words === "" ? cause : `${cause}: ${words}`;
  return { error, hint, mayBeForcedCommand: false, mayBeExplained: false, isWordless: false };
}

/** Of either side's rsync, or of the script that may stand before it over there. */
function isRsyncs(line: string): boolean {
  return /^(rsync(?: error| warning)?: |\S*rrsync(?: error)?: |\[\w+\]|protocol version mismatch|\(see the rsync man|unexpected tag |over-long vstring|Failed to negotiate|(?:Server|Client) list: |could not make way|cannot delete non-empty|invalid |inflate |ERROR: destination|(?:buffer )?overflow: )/
    .test(line);
}

const MISMATCH = "protocol version mismatch";

/** What the shell, sshd or ssh said of the command: whole lines that nobody else would say. */
function explainShell(
  code: number | null,
  lines: readonly string[],
  isSilent: boolean,
  { target, peer, greeting }: Attempt,
): Reason | null {
  const find = (pattern: RegExp) => lines.find((line) => pattern.test(line));
  if (find(/^unexpected tag |^Failed to negotiate/) !== undefined) return null;
  const broken = brokenConnection(lines);
  if (broken !== undefined) {
    return {
      cause: "the connection broke",
      hint: `run this again; where it stays so, look at sshd's log on ${hostOf(peer)}: ` +
        "journalctl -u ssh",
      line: broken,
    };
  }
  const notFound = find(
    /^(?:.+: )?\S*rsync: (?:(?:command )?not found|No such file or directory)$|command not found: \S*rsync$|Unknown command: \S*rsync|\(code 12[67]\)/i,
  );
  if (code === 126 || code === 127 || (isSilent && notFound !== undefined)) {
    return {
      cause: "rsync is missing on the other side",
      hint: `install the package rsync on ${hostOf(peer)}, and see that the forced command in ` +
        "authorized_keys names it rightly",
      ...(notFound !== undefined && { line: notFound }),
    };
  }
  if (!isSilent) return null;
  const expired = find(/^Password change required but no TTY available\.$/);
  if (expired !== undefined) {
    return {
      cause: "the password of the account over there has expired",
      hint: unexpire(peer),
      line: expired,
    };
  }
  return explainGreeting(lines, target, peer, greeting);
}

function explainGreeting(
  lines: readonly string[],
  target: SshTarget,
  peer: Peer,
  greeting: Greeting | null,
): Reason | null {
  const shell = `usermod -s /bin/sh ${userOf(peer)}`;
  if (greeting !== null && /^This account is (currently )?not available/m.test(greeting.text)) {
    return {
      cause: "the login shell of the account over there runs nothing",
      hint: `sshd needs a shell for a forced command; on ${hostOf(peer)}: ${shell}`,
      line: greeting.text,
    };
  }
  if (
    greeting !== null && greeting.code <= 1 && greeting.isEmpty &&
    spokenLines(greeting.stderr).length === 0
  ) {
    return {
      // A shell that ends well at once and a command that does so look alike.
      cause: greeting.code === 0
        ? "the forced command on the other side does not fit, or its login shell runs nothing " +
          "(/bin/true)"
        : "the other side ran nothing, and said nothing: its login shell may be one such as " +
          "/bin/false",
      hint: `on ${hostOf(peer)}: ${shell}; where that was its shell already (getent passwd ` +
        `${userOf(peer)}), ${compareForcedCommand(target, peer)}`,
    };
  }
  const mismatch = lines.find((line) => line.startsWith(MISMATCH));
  if (mismatch === undefined) return null;
  return {
    cause: "the other side runs something else than rsync, or its shell prints something first",
    hint: `${compareForcedCommand(target, peer)}; and see that the start-up files of that user's ` +
      "shell print nothing",
    line: greeting === null || greeting.text === ""
      ? mismatch
      : `it begins with ${quote(greeting.text.slice(0, 200))}`,
  };
}

function forcedCommandTrouble({ target, peer }: Attempt): Trouble {
  return {
    cause: "the forced command on the other side does not fit, or did not answer",
    hint: compareForcedCommand(target, peer),
  };
}

function compareForcedCommand({ text }: SshTarget, peer: Peer): string {
  return `compare the command="…" of this key in authorized_keys on ${hostOf(peer)} with the one ` +
    `that this rsync asks for: rsync -azL --debug=CMD -e /bin/false /etc/hostname '${text}'`;
}
