// What ssh says of the other side's host key, and what makes it known here.

import { quote } from "../failure.ts";
import type { SshView } from "./ssh_view.ts";
import { type Door, hostOf, type Peer } from "./ssh_words.ts";

/** The line that makes the host known, and where it belongs. */
function knownHostsLine(view: SshView, peer: Peer, type = "ed25519"): string {
  const { knownAs, hostName } = view;
  return `the line of ${knownAs} into ${placeFor(view, peer)}: this name, a space, and what ` +
    `/etc/ssh/ssh_host_${type.toLowerCase()}_key.pub holds on the console of ${hostName}`;
}

/** Our options go to the target alone; every ssh reads the file for all users. */
function placeFor({ knownAs, knownHosts, uselessKnownHosts }: SshView, peer: Peer): string {
  const [file] = knownHosts;
  if (file !== undefined) return quote(file);
  const why = uselessKnownHosts.length === 0
    ? "ssh looked into none"
    : `${uselessKnownHosts.map(quote).join(" and ")} is none that ssh can read keys from`;
  return knownAs === peer.view.knownAs
    ? `"/etc/certsync/known_hosts", and set push.known_hosts to that (${why})`
    : `"/etc/ssh/ssh_known_hosts" (${why})`;
}

/** Of the target and the hosts before it, the one that ssh calls so. */
function viewOf(name: string, { view, jumps }: Peer): SshView {
  return [view, ...jumps].find(({ knownAs }) => knownAs === name) ?? view;
}

/** The kind of key that ssh itself names, as the files of sshd are named. */
function typeSaid(lines: readonly string[]): string {
  const [, type = "ed25519"] =
    /^(?:The fingerprint for the|No) (\S+?)(?:-CERT)? (?:key |host key is known )/m
      .exec(lines.join("\n")) ?? [];
  return type.toLowerCase();
}

const HOST_UNKNOWN = "the host key is unknown";
const HOST_CHANGED = "the host key has changed";

const RESTART = "then: systemctl restart ssh";

/** In the order in which they count. */
export const hostKeyDoors: readonly Door[] = [
  {
    words: /^(?:\S+ host key for (\S+) was revoked |Host key \S+ \S+ revoked by file )/,
    explain: ([, name = ""], peer) => {
      const view = viewOf(name, peer);
      return {
        cause: "the host key is revoked: somebody declared it stolen or withdrawn",
        hint: "do not trust it; on the console there remove /etc/ssh/ssh_host_*_key*, run " +
          `ssh-keygen -A, ${RESTART}; then put ${knownHostsLine(view, peer)}`,
      };
    },
  },
  {
    words: /^Error checking host key \S+ \S+ in revoked keys file (.+): /,
    explain: ([, file = ""]) => ({
      cause: "the list of revoked host keys cannot be read on this host",
      hint: `put ${quote(file)} back, which RevokedHostKeys names in ssh's config; an empty one ` +
        "revokes nothing",
    }),
  },
  {
    words: /^Certificate invalid: (.+)$/,
    explain: ([, why], peer, lines) => {
      const type = typeSaid(lines);
      const name = peer.view.knownAs.replace(/^\[(.*)\]:\d+$/, "$1");
      return {
        cause: `the certificate of the host key is not valid: ${why}`,
        hint: `have the host key of ${hostOf(peer)} signed anew by its CA: ssh-keygen -s CA -I ` +
          `${name} -h -n ${name} -V +52w /etc/ssh/ssh_host_${type}_key.pub, ${RESTART}`,
      };
    },
  },
  {
    words: /^Host key for (\S+) has changed /,
    explain: ([, name = ""], peer, lines) => {
      const view = viewOf(name, peer);
      const [, file = view.knownHosts[0] ?? "known_hosts", line] = lines
        .map((line) => /^Offending \S+ key in (.+?)(?::(\d+))?$/.exec(line))
        .find((found) => found !== null) ?? [];
      return {
        cause: HOST_CHANGED,
        hint: `if ${view.hostName} was rebuilt, replace the line of ${name} in ` +
          `${quote(file)}${line === undefined ? "" : ` (line ${line})`} with this name, a space, ` +
          `and what /etc/ssh/ssh_host_${typeSaid(lines)}_key.pub holds on its ` +
          "own console; if not, somebody may be in between",
      };
    },
  },
  {
    words:
      /^(?:@ +WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED|.* differs from the key for the IP address)/,
    explain: (_, peer) => ({
      cause: HOST_CHANGED,
      hint: `if ${hostOf(peer)} was rebuilt, replace the line of ${peer.view.knownAs} in ` +
        "known_hosts with its new key; if not, somebody may be in between",
    }),
  },
  {
    words: /^No (\S+) host key is known for (\S+) and /,
    explain: ([, type, name = ""], peer) => {
      const line = knownHostsLine({ ...viewOf(name, peer), knownAs: name }, peer, type);
      return { cause: HOST_UNKNOWN, hint: `put ${line}` };
    },
  },
  {
    // Only a jump host, which ssh asks about on a terminal, fails without more words.
    words: /^Host key verification failed\.$/,
    explain: (_, peer) => {
      const views = peer.jumps.length > 0 ? peer.jumps : [peer.view];
      const lines = views.map((view) => knownHostsLine(view, peer));
      return { cause: HOST_UNKNOWN, hint: `put ${lines.join("; and ")}` };
    },
  },
];
