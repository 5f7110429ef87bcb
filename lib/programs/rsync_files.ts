// What is said over there of files and directories, and what lets them be written.

import { dirname } from "node:path";
import { quote } from "../failure.ts";
import type { SshTarget } from "../values/push_target.ts";
import { shellWord } from "../values/shell_word.ts";
import { hostOf, type Peer, type Trouble, userOf } from "./ssh_words.ts";

export type Reason = Trouble & { readonly line?: string };

/** rsync(1): input/output files could not be selected; file I/O; some files were not carried over. */
const FILE_ERRORS = [3, 11, 23];

/** `own` are the lines of rsync, or of rrsync; `lines` are all. */
export function explainFiles(
  code: number | null,
  own: readonly string[],
  lines: readonly string[],
  target: SshTarget,
  peer: Peer,
): Reason | null {
  for (const line of own) {
    const found = explainSpace(line, target, peer) ?? explainBlocked(line, target, peer) ??
      explainRrsync(line, peer) ?? explainDirectory(line, target, peer);
    if (found !== null) return { ...found, line };
  }
  return explainTraceback(lines, target, peer) ?? explainSilence(code, target, peer);
}

export const NO_SPACE = /No space left on device|Disk quota exceeded/;

function explainSpace(line: string, { directory }: SshTarget, peer: Peer): Trouble | null {
  if (NO_SPACE.test(line)) {
    return {
      cause: "no space left on the mail host",
      hint: `free some space in ${directory} on ${hostOf(peer)}`,
    };
  }
  if (/File too large/.test(line)) {
    return {
      cause: "the mail host lets that user write no file of this size",
      hint: `on ${hostOf(peer)}: take the fsize limit of ${userOf(peer)} out of ` +
        "/etc/security/limits.conf and the ulimit -f that the forced command runs under",
    };
  }
  return null;
}

/** With what to type on the host of that directory. */
export function explainBlockedFile(line: string, directory: string): Trouble | null {
  const [, name] =
    /^(?:rsync: .*)?(?:could not make way for [\w ]+|cannot delete non-empty directory): (.+)$/
      .exec(line) ?? [];
  if (name === undefined) return null;
  const path = `${directory.replace(/\/?$/, "/")}${name.replaceAll('"', "")}`;
  return {
    cause: "a directory lies where a file belongs",
    hint: `rm -r ${shellWord(path)}, if nothing in it is needed`,
  };
}

function explainBlocked(line: string, { directory }: SshTarget, peer: Peer): Trouble | null {
  const blocked = explainBlockedFile(line, directory);
  if (blocked !== null) return { ...blocked, hint: `on ${hostOf(peer)}: ${blocked.hint}` };
  if (!/^(?:rsync: .*)?ERROR: destination must be a directory/.test(line)) return null;
  return { cause: "the other side cannot write there", hint: mustBeDirectory(directory, peer) };
}

function mustBeDirectory(directory: string, peer: Peer): string {
  const path = directory.replace(/(?<=.)\/+$/, "");
  return `${quote(path)} on ${hostOf(peer)} must be a directory, and is something else: remove ` +
    `it, then: ${install(path, peer)}`;
}

/** What the script before rsync does not let through. rrsync(1) */
function explainRrsync(line: string, peer: Peer): Trouble | null {
  const [, words = ""] = /rrsync error: (.+)$/.exec(line) ?? [];
  if (words.startsWith("Another instance of rrsync")) {
    return {
      cause: "another push into that directory is under way",
      hint: "run this again when it has ended",
    };
  }
  if (words.startsWith("sending to read-only server")) {
    return {
      cause: "rrsync on the other side lets that directory be read only",
      hint: `in the authorized_keys of ${userOf(peer)} on ${hostOf(peer)}, write rrsync -wo for ` +
        "rrsync -ro",
    };
  }
  if (words.startsWith("Restricted directory does not exist")) {
    return { cause: RRSYNC_LACKS, hint: rrsyncNeeds(peer) };
  }
  return null;
}

const RRSYNC_LACKS = "rrsync on the other side cannot use the directory that it is for";

function rrsyncNeeds(peer: Peer): string {
  return `the directory that the rrsync in authorized_keys on ${hostOf(peer)} names must exist, ` +
    `and be for the push alone: make it, as root, with install -d -o ${userOf(peer)} -m 700 and ` +
    "its path";
}

/** rrsync is a Python script, and lets this one through. */
function explainTraceback(
  lines: readonly string[],
  target: SshTarget,
  peer: Peer,
): Reason | null {
  if (!lines.some((line) => /\block_or_die\b/.test(line))) return null;
  for (const line of lines) {
    const [, error, path = ""] =
      /^(FileNotFound|Permission|NotADirectory)Error: \[Errno \d+\] [^:]+: '(.+)'$/.exec(line) ??
        [];
    if (error === undefined) continue;
    return {
      cause: RRSYNC_LACKS,
      hint: error === "NotADirectory"
        ? mustBeDirectory(path, peer)
        : mustBelong(path, error === "FileNotFound" ? "missing" : "there", target, peer),
      line,
    };
  }
  return null;
}

/** The path in the line is the forced command's own, whatever push asked for. */
function explainDirectory(line: string, target: SshTarget, peer: Peer): Trouble | null {
  const [, deed, path, why = ""] =
    /^rsync: .*?\b(mkstemp|mkdir|open|rename|chdir|change_dir|change_dir#\d|cannot stat destination|failed to stat|failed to set (?:times|permissions) on)\b[^"]*"([^"]*)".*?((?:Permission denied|Read-only|No such|Not a directory|File exists|Operation not permitted).*)$/
      .exec(line) ?? [];
  if (deed === undefined || path === undefined) return null;
  const twice = countedTwice(path, target);
  if (twice !== null) {
    return {
      cause: "rrsync on the other side counts the path from its own directory",
      hint: `write the target as ${target.text.slice(0, -target.directory.length)}${twice}`,
    };
  }
  const cause = "the other side cannot write there";
  const isOfFile = ["mkstemp", "rename", "failed to stat"].includes(deed);
  const directory = isOfFile ? dirname(path) : path;
  if (/Not a directory|File exists/.test(why)) {
    return { cause, hint: mustBeDirectory(directory, peer) };
  }
  if (/Read-only/.test(why)) {
    const hint = `the file system of ${quote(directory)} on ${
      hostOf(peer)
    } is read-only: remount it`;
    return { cause, hint };
  }
  const state = deed === "mkdir" || /No such/.test(why) ? "missing" : "there";
  return { cause, hint: mustBelong(directory, state, target, peer) };
}

/** The directory as rrsync would have it; null where that is not what happened. */
function countedTwice(path: string, { directory }: SshTarget): string | null {
  const asked = directory.replace(/\/+$/, "");
  if (!asked.startsWith("/") || path === asked || !path.endsWith(asked)) return null;
  const base = path.slice(0, -asked.length);
  if (asked === base) return "/";
  return asked.startsWith(`${base}/`) ? `${asked.slice(base.length)}/` : null;
}

/** Nobody else's directory is ever given away: one that is there must be the staging for certain. */
function mustBelong(
  directory: string,
  state: "missing" | "there",
  target: SshTarget,
  peer: Peer,
): string {
  const host = hostOf(peer);
  if (mayBelong(directory, state)) {
    return `${directory} on ${host} must exist and belong to the user of the push, and its ` +
      `parents let him through: ${install(directory, peer)}`;
  }
  if (target.directory === "/") return rrsyncNeeds(peer);
  const own = `/home/${peer.view.user || "certsync"}/incoming`.replace("/home/root/", "/root/");
  return `${quote(directory)} on ${host} is not for the push alone; make a directory that is, as ` +
    `root: ${install(own, peer)}; and write the target as ` +
    `${target.text.slice(0, -target.directory.length)}${own}/, and so the forced command, where ` +
    "there is one";
}

const system = ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr"];

function mayBelong(directory: string, state: "missing" | "there"): boolean {
  const parts = directory.split("/").filter((part) => part !== "" && part !== ".");
  if (!directory.startsWith("/") || parts.includes("..") || parts.length < 2) return false;
  if (state === "missing") return true;
  return parts.length >= 3 && !system.includes(parts[0] ?? "") &&
    !parts.some((part) => part.startsWith(".") || part === "mailcow-dockerized");
}

function install(directory: string, peer: Peer): string {
  return `install -d -o ${userOf(peer)} -m 700 ${shellWord(directory)}`;
}

/** A full disk over there, say, gave such a code once without a word. */
function explainSilence(
  code: number | null,
  { directory }: SshTarget,
  peer: Peer,
): Reason | null {
  if (code === null || !FILE_ERRORS.includes(code)) return null;
  return {
    cause: `the other side could not write (rsync's code ${code}), and did not say why`,
    hint: `free some space in ${directory} on ${hostOf(peer)}, and see that it is a directory ` +
      "where the user of the push may write; where the forced command is rrsync, the target's " +
      "path begins at its directory",
  };
}

/** Whether the end is one whose reason rsync usually gives. */
export function isFileError(code: number | null): boolean {
  return code !== null && FILE_ERRORS.includes(code);
}
