// What rsync's end means to the operator: whose words they are decides what they can tell.

import { dirname } from "node:path";
import { quote } from "../failure.ts";
import type { PushTarget } from "../values/push_target.ts";
import type { Ending, Greeting } from "./rsync.ts";
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
  readonly target: PushTarget;
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
  const far = explainFarSide(code, own, attempt) ?? explainShell(code, lines, isSilent, attempt);
  const telling = own.length > 0 && !isSilent ? own : lines;
  if (far !== null) {
    const isWordless = code === FILE_ERROR && far.line === undefined;
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
  return {
    error: `rsync failed with code ${code}: ${wordsAround(telling, undefined)}`,
    hint: `try it by hand: ${sshByHand(attempt.peer.login, attempt.peer.options)}`,
    mayBeForcedCommand: false,
    mayBeExplained: false,
    isWordless: false,
  };
}

/**
 * No agreement on the protocol, or on compression; a stream that makes no sense; one that was cut
 * while writing.
 */
const FORCED_COMMAND_CODES = [2, 4, 12, 10];

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
  return /^(rsync(?: error| warning)?: |\S*rrsync(?: error)?: |\[\w+\]|protocol version mismatch|\(see the rsync man|unexpected tag |over-long vstring|Failed to negotiate|(?:Server|Client) list: |could not make way|cannot delete non-empty|invalid |inflate )/
    .test(line);
}

type Reason = Trouble & { readonly line?: string };

const FILE_ERROR = 11;
const MISMATCH = "protocol version mismatch";

/** From rsync's own lines alone. */
function explainFarSide(
  code: number | null,
  own: readonly string[],
  { target, peer }: Attempt,
): Reason | null {
  const host = hostOf(peer);
  for (const line of own) {
    if (/No space left on device|Disk quota exceeded/.test(line)) {
      return {
        cause: "no space left on the mail host",
        hint: `free some space in ${target.directory} on ${host}`,
        line,
      };
    }
    const blocked =
      /^(?:rsync: .*)?(?:could not make way for [\w ]+|cannot delete non-empty directory): (.+)$/
        .exec(line)?.[1];
    if (blocked !== undefined) {
      const path = `${target.directory.replace(/\/?$/, "/")}${blocked.replaceAll('"', "")}`;
      return {
        cause: "a directory lies where a file belongs",
        hint: `on ${host}: rm -r ${quote(path)}, if nothing in it is needed`,
        line,
      };
    }
    const lock = /rrsync error: Another instance of rrsync/.test(line);
    if (lock) {
      return {
        cause: "another push into that directory is under way",
        hint: "run this again when it has ended",
        line,
      };
    }
    const disk = explainDirectory(line, target, peer);
    if (disk !== null) return { ...disk, line };
  }
  // rsync(1): 11 is an error in file I/O. A full disk over there gave it once without a word.
  if (code === FILE_ERROR) {
    return {
      cause: `the other side could not write (rsync's code ${code}), and did not say why`,
      hint: `free some space in ${target.directory} on ${host}, and see that the user of the ` +
        "push may write there; where the forced command is rrsync, the target's path begins at " +
        "its directory",
    };
  }
  return null;
}

/** The path in the line is the forced command's own, whatever push asked for. */
function explainDirectory(line: string, target: PushTarget, peer: Peer): Trouble | null {
  const [, deed, path, why = ""] =
    /^rsync: .*?\b(mkstemp|mkdir|open|rename|chdir|change_dir|change_dir#\d|cannot stat destination)\b[^"]*"([^"]*)".*?((?:Permission denied|Read-only|No such|Not a directory|File exists|Operation not permitted).*)$/
      .exec(line) ?? [];
  if (deed === undefined || path === undefined) return null;
  const host = hostOf(peer);
  const twice = countedTwice(path, target);
  if (twice !== null) {
    return {
      cause: "rrsync on the other side counts the path from its own directory",
      hint: `write the target as ${target.text.slice(0, -target.directory.length)}${twice}`,
    };
  }
  const directory = deed === "mkstemp" || deed === "rename" ? dirname(path) : path;
  if (/Not a directory|File exists/.test(why)) {
    return {
      cause: "the other side cannot write there",
      hint:
        `${quote(directory)} on ${host} must be a directory, and is something else: remove it, ` +
        `then: install -d -o ${userOf(peer)} -m 700 ${quote(directory)}`,
    };
  }
  return {
    cause: "the other side cannot write there",
    hint: /Read-only/.test(why)
      ? `the file system of ${quote(directory)} on ${host} is read-only: remount it`
      : `${directory} on ${host} must exist and belong to the user of the push, and its parents ` +
        `let him through: install -d -o ${userOf(peer)} -m 700 ${quote(directory)}`,
  };
}

/** The directory as rrsync would have it; null where that is not what happened. */
function countedTwice(path: string, { directory }: PushTarget): string | null {
  const asked = directory.replace(/\/+$/, "");
  if (!asked.startsWith("/") || path === asked || !path.endsWith(asked)) return null;
  const base = path.slice(0, -asked.length);
  if (asked === base) return "/";
  return asked.startsWith(`${base}/`) ? `${asked.slice(base.length)}/` : null;
}

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
  target: PushTarget,
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
    greeting !== null && greeting.code === 1 && greeting.text === "" &&
    spokenLines(greeting.stderr).length === 0
  ) {
    return {
      cause: "the other side ran nothing, and said nothing: its login shell may be one such as " +
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

function compareForcedCommand({ text }: PushTarget, peer: Peer): string {
  return `compare the command="…" of this key in authorized_keys on ${hostOf(peer)} with the one ` +
    `that this rsync asks for: rsync -azL --debug=CMD -e /bin/false /etc/hostname '${text}'`;
}
