// Whose words they are that a call of ssh ends with, and what is known of the other side.

import type { SshOptions } from "../values/push_target.ts";
import { lastWords } from "./run.ts";
import type { KeyJudgement } from "./ssh_key.ts";
import type { SshView } from "./ssh_view.ts";

export interface Trouble {
  readonly cause: string;
  readonly hint: string;
}

/** The other side, as far as it is known here. */
export interface Peer {
  readonly login: string;
  readonly options: SshOptions;
  readonly view: SshView;
  readonly jumps: readonly SshView[];
  /** The keys that ssh could offer; looked at only where none was taken. */
  readonly keys: readonly KeyJudgement[];
  /** Of what the other side offers, what ssh here knows; looked at only where they did not agree. */
  readonly commonAlgorithms: readonly string[];
  readonly configFile: string;
  /** Who runs this. */
  readonly uid: number | null;
}

/** What a line means where ssh was not let in. */
export interface Door {
  readonly words: RegExp;
  explain(match: RegExpExecArray, peer: Peer, lines: readonly string[]): Trouble;
}

/** What anybody says: its lines, without what ssh says of a connection that is well. */
export function spokenLines(stderr: string): string[] {
  const chatter = /^(Authenticated to|Transferred: sent|Bytes per second:) |^Killed by signal 1\.$/;
  return stderr.split(/[\r\n]+/).map((line) => line.trimEnd())
    .filter((line) => line.trim() !== "" && !/^@+$/.test(line) && !chatter.test(line));
}

/** The last of the lines, but never without the one that was the reason. */
export function wordsAround(lines: readonly string[], reason: string | undefined): string {
  const last = withoutEpilogue(lines, reason).slice(-6);
  return lastWords(
    (reason === undefined || last.includes(reason.replace(location, ""))
      ? last
      : [reason, ...last.slice(1)])
      .join("\n"),
  );
}

/** What rsync says at the end of whatever went wrong: it tells nothing that was not said before. */
const epilogue =
  /^rsync error: .* at \S+\.c\(\d+\)|^rsync: connection unexpectedly closed|^\(see the rsync man/;
/** Where in its source that was. */
const location = / at \S+\.c\(\d+\)( \[\w+=[\w.]+\])?$/;

/** The other side's stays where it is all that there is. */
function withoutEpilogue(lines: readonly string[], reason: string | undefined): string[] {
  const others = lines.filter((line) => line === reason || !epilogue.test(line));
  const theirs = lines.filter((line) => !/\[sender[\]=]|^\(see /.test(line));
  return (others.length > 0 ? others : theirs).map((line) => line.replace(location, ""));
}

/**
 * What was said once the target itself had let ssh in: a jump host says the same of itself, and a
 * banner comes before it. Null where ssh was not let in.
 */
export function saidAfterLogin(stderr: string, { hostName, isProxied }: SshView): string | null {
  for (const login of stderr.matchAll(/^Authenticated to (\S+) \((.*)\).*$/gm)) {
    const [line, name, way] = login;
    if (name?.toLowerCase() !== hostName || (isProxied && way !== "via proxy")) continue;
    return stderr.slice(login.index + line.length);
  }
  return null;
}

/** By which of these a connection, once it stood, is reported broken. */
const broken = [
  /^Connection to \S+ closed by remote host\.$/,
  /^(client_loop|packet_write_wait|ssh_packet_\w+|ssh_dispatch_run_fatal|Write failed|Read from)\b/,
  /^Connection (closed|reset) by \S+( port \d+)?$/,
  /^Timeout, server \S+ not responding\.$/,
  /^(Received disconnect|Disconnected) from /,
];

export function brokenConnection(lines: readonly string[]): string | undefined {
  return lines.find((line) => broken.some((pattern) => pattern.test(line)));
}

export function hostOf({ view }: Pick<Peer, "view">): string {
  return view.hostName;
}

/** The host as the operator calls it, which ssh's config may hold. */
export function askedFor({ login }: Pick<Peer, "login">): string {
  return login.replace(/^.*@/, "");
}

export function userOf({ view }: Pick<Peer, "view">): string {
  return view.user || "that user";
}

export function hintAtFirewalls(peer: Peer, host?: string, port?: string): string {
  const target = hostOf(peer);
  const ownPort = String(peer.view.port);
  const where = host === undefined || (host.toLowerCase() === target && port === ownPort)
    ? `the mail host ${target}`
    : peer.jumps.some(({ hostName }) => hostName === host.toLowerCase())
    ? `the jump host ${host}`
    : `the mail host ${host}`;
  return `let port ${port ?? ownPort} inbound through the firewall of ${where} and outbound ` +
    `through the one here, and see that sshd runs there`;
}

/** Sets back all that can end an account or its password. chage(1) */
export function unexpire(peer: Pick<Peer, "view">): string {
  return `on ${hostOf(peer)}, as root: chage -E -1 -I -1 -M -1 -d "$(date +%F)" ${userOf(peer)}`;
}

/** The same before the target itself has let ssh in: any host on the way may have said so. */
export function unexpireOneOf({ view, jumps }: Pick<Peer, "view" | "jumps">): string {
  const hosts = [...jumps, view];
  if (hosts.length === 1 && view.proxyCommand === null) return unexpire({ view });
  const commands = hosts.map((view) => unexpire({ view })).join("; or ");
  return `where chage -l says that the account has expired, alone: ${commands}` +
    (view.proxyCommand === null ? "" : "; or on a host that the ProxyCommand goes through");
}

/** Where more hosts than the target may have said it. */
export function hostsOnTheWay({ view, jumps }: Pick<Peer, "view" | "jumps">): string {
  return [...jumps, view].map(({ hostName }) => hostName).join(" and on ");
}
