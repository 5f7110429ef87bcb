// How ssh is called, and what its words mean to the operator.

import type { RunContext } from "../run_context.ts";
import { type Completion, run } from "./run.ts";

export interface SshOptions {
  readonly port: number | null;
  readonly identity: string | null;
  /** Files to look for host keys in, `~` allowed; null means ssh's own. */
  readonly knownHosts: readonly string[] | null;
}

/** Options that let ssh neither ask, nor trust on first use, nor share a connection. ssh_config(5) */
export function sshOptions({ port, identity, knownHosts }: SshOptions): string[] {
  const settings = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ControlMaster=no",
    "ControlPath=none",
    "UpdateHostKeys=no",
    ...(identity === null ? [] : ["IdentitiesOnly=yes", `IdentityFile=${quoteSetting(identity)}`]),
    ...(knownHosts === null
      ? []
      : [`UserKnownHostsFile=${knownHosts.map(quoteSetting).join(" ")}`]),
  ];
  return [
    ...settings.flatMap((setting) => ["-o", setting]),
    ...(port === null ? [] : ["-p", String(port)]),
  ];
}

function quoteSetting(path: string): string {
  const text = literal(path);
  return /[\s"']/.test(text) ? `"${text.replaceAll('"', '\\"')}"` : text;
}

/** ssh would put something else in place of `%h`. */
function literal(path: string): string {
  return path.replaceAll("%", "%%");
}

/** What ssh needs from our own environment. */
export function sshEnvironment({ environment }: RunContext): Record<string, string | undefined> {
  return { HOME: environment.HOME, SSH_AUTH_SOCK: environment.SSH_AUTH_SOCK };
}

/** Runs a command on the other host; each word of it must be free of shell syntax. */
export function runRemotely(
  destination: string,
  command: readonly string[],
  options: SshOptions,
  timeoutMs: number,
  context: RunContext,
): Promise<Completion> {
  const args = [...sshOptions(options), "--", destination, ...command];
  return run("ssh", args, { timeoutMs, environment: sshEnvironment(context) }, context);
}

/** Lets ssh say when it has been let in: what then goes wrong is the command's over there. */
export const sayWhenLetIn = ["-o", "LogLevel=VERBOSE"];

export function wasLetIn(stderr: string): boolean {
  return /^Authenticated to /m.test(stderr);
}

/** What ssh said, without what it says of a connection that is well. */
export function withoutChatter(stderr: string): string {
  return stderr.replace(/^(Authenticated to|Transferred: sent|Bytes per second:) .*\n?/gm, "");
}

export interface Trouble {
  readonly cause: string;
  readonly hint: string;
}

/** The cause behind ssh's words, or null where they are not known. `peer` is the other host. */
export function explainSsh(stderr: string, peer: string, port: number): Trouble | null {
  const found = troubles.find(({ words }) => words.test(stderr));
  return found === undefined ? null : { cause: found.cause, hint: found.hint(peer, port) };
}

const bracket = (peer: string, port: number) => port === 22 ? peer : `[${peer}]:${port}`;

const troubles: readonly {
  words: RegExp;
  cause: string;
  hint(peer: string, port: number): string;
}[] = [
  {
    words: /REMOTE HOST IDENTIFICATION HAS CHANGED|differs from the key for the IP address/,
    cause: "the host key has changed",
    hint: (peer, port) =>
      `if ${peer} was rebuilt, take its new key from its own console ` +
      `(/etc/ssh/ssh_host_ed25519_key.pub) and replace the line of ${bracket(peer, port)} in ` +
      "known_hosts; if not, somebody may be in between",
  },
  {
    words: /No \S+ host key is known for|Host key verification failed/,
    cause: "the host key is unknown",
    hint: (peer, port) =>
      `put the line of ${bracket(peer, port)} into /etc/certsync/known_hosts: its name, then ` +
      "/etc/ssh/ssh_host_ed25519_key.pub from its own console",
  },
  {
    words: /UNPROTECTED PRIVATE KEY FILE|bad permissions/,
    cause: "ssh refuses the private key, because others can read it",
    hint: () => "chmod 600 the file that push.identity names",
  },
  {
    words: /Permission denied \([a-z]|Too many authentication failures|no such identity/,
    cause: "permission denied: the key is not accepted",
    hint: (peer) =>
      `is push.identity the right key, readable here, and its .pub line in the authorized_keys of ` +
      `that user on ${peer}, with the password of the account set to * and not to !`,
  },
  {
    words: /Could not resolve hostname|Name or service not known|Temporary failure in name/,
    cause: "the host name has no address",
    hint: (peer) => `is ${peer} spelled right, and does DNS work here? try: getent hosts ${peer}`,
  },
  {
    words: /No route to host|Network is unreachable/,
    cause: "there is no route to the host",
    hint: (peer) => `is ${peer} up, and is this host's network? try: ip route get, ping`,
  },
  {
    words: /Connection timed out|Operation timed out/,
    cause: "the connection timed out",
    hint: hintAtFirewalls,
  },
  {
    words: /Connection refused/,
    cause: "the connection was refused",
    hint: hintAtFirewalls,
  },
  {
    words: /Connection closed by|Connection reset by|kex_exchange_identification|Broken pipe/,
    cause: "the other side closed the connection",
    hint: (peer) => `look at sshd's log on ${peer}: journalctl -u ssh; fail2ban may be at work`,
  },
];

export function hintAtFirewalls(peer: string, port: number): string {
  return `let port ${port} inbound through the firewall of the mail host ${peer} and outbound ` +
    "through the one here, and see that sshd runs there";
}
