// Why ssh was not let in: each pattern is a whole line of ssh's or sshd's own.

import { quote } from "../failure.ts";
import { shellWord } from "../values/shell_word.ts";
import { sshByHand } from "./ssh.ts";
import { hostKeyDoors } from "./ssh_host_key.ts";
import { AS_SETUP, type KeyJudgement } from "./ssh_key.ts";
import { plainView, type SshView } from "./ssh_view.ts";
import {
  askedFor,
  type Door,
  hintAtFirewalls,
  hostOf,
  hostsOnTheWay,
  type Peer,
  spokenLines,
  type Trouble,
  unexpireOneOf,
  userOf,
} from "./ssh_words.ts";

/** Why ssh was not let in. `lines` may hold a banner and a jump host's words too. */
export function explainDoor(
  lines: readonly string[],
  peer: Peer,
): Trouble & { readonly line: string | undefined } {
  for (const { words, explain } of doors) {
    for (const line of lines) {
      const found = words.exec(line);
      if (found !== null) return { ...explain(found, peer, lines), line };
    }
  }
  return {
    cause: "ssh was not let in",
    hint: `see why with: ${sshByHand(peer.login, peer.options)}`,
    line: undefined,
  };
}

function somewhere({ jumps, view }: Peer): string {
  return jumps.length === 0 && view.proxyCommand === null
    ? "over there"
    : "on one of the hosts on the way";
}

/** The cause alone, for somebody who goes there in another way. */
export function causeOfDoor(stderr: string, login: string): string | null {
  const options = { port: null, identity: null, knownHosts: null };
  const nothing = {
    jumps: [],
    keys: [],
    commonAlgorithms: [],
    configFile: "~/.ssh/config",
    uid: null,
  };
  const peer = { ...nothing, view: plainView(login), login, options };
  const { line, cause } = explainDoor(spokenLines(stderr), peer);
  return line === undefined ? null : cause;
}

/** With a way of the operator's own, what ended is that, and nobody knows what lies behind it. */
function closed(trouble: Trouble, peer: Peer): Trouble {
  const { view, configFile } = peer;
  if (view.proxyCommand === null) return trouble;
  return {
    cause: "the ProxyCommand of ssh's config here ended, or leads nowhere",
    hint: `look at ProxyCommand for ${askedFor(peer)} in ssh's config, ` +
      `${quote(configFile)} or /etc/ssh/ssh_config: it is ${quote(view.proxyCommand)}, and must ` +
      `lead to sshd of ${hostOf(peer)}; see what it says with: ${
        sshByHand(peer.login, peer.options)
      }`,
  };
}

const closedHint = (peer: Peer) =>
  `look at sshd's log on ${hostsOnTheWay(peer)}: journalctl -u ssh; fail2ban may be at work`;

/** The first that fits any line is the one that counts. */
const doors: readonly Door[] = [
  // Once the host is known, it may say anything in a banner before these.
  {
    words: /^Your account has expired; please contact your system administrator/,
    explain: (_, peer) => ({
      cause: `the account ${somewhere(peer)} has expired`,
      hint: unexpireOneOf(peer),
    }),
  },
  {
    words: /^Password change required but no TTY available\.$/,
    explain: (_, peer) => ({
      cause: `the password of the account ${somewhere(peer)} has expired`,
      hint: unexpireOneOf(peer),
    }),
  },
  {
    words: /Too many authentication failures$/,
    explain: (_, peer) => ({
      cause: "permission denied: the other side gave up before the right key was offered",
      hint: "name the one key that it takes with push.identity: without it, ssh offers every key " +
        `of the agent first; its .pub line belongs into the authorized_keys of ${
          userOf(peer)
        } on ` +
        hostOf(peer),
    }),
  },
  {
    words: /^(\S+): Permission denied \(([^)]*)\)\.?$/,
    explain: ([, login = ""], peer) => denied(login, peer),
  },
  {
    words: /^(?:rsync: .*)?Failed to exec ssh\b/,
    explain: () => ({
      cause: "ssh is not installed on this host",
      hint: "install the package openssh-client",
    }),
  },
  ...hostKeyDoors,
  {
    words: /^Bad owner or permissions on (.+)$/,
    explain: ([, file = ""], { uid }) => ({
      cause: "ssh refuses its own config on this host",
      hint: uid === 0
        ? `chown root ${shellWord(file)}; chmod 600 ${shellWord(file)}`
        : `it must belong to who runs this${uid === null ? "" : ` (user ${uid})`}, and nobody ` +
          `else may write it: chmod 600 ${shellWord(file)}`,
    }),
  },
  {
    words: /^(.+?):? line (\d+): /,
    explain: ([, file = "", line]) => ({
      cause: "ssh does not understand its config on this host",
      hint: `mend or remove line ${line} of ${quote(file)}`,
    }),
  },
  {
    words: /^Can't open user config file (.+?): |: terminating, \d+ bad configuration options$/,
    explain: (_, { configFile }) => ({
      cause: "ssh does not understand its config on this host",
      hint: `see what it says of ${quote(configFile)} with: ssh -G localhost`,
    }),
  },
  {
    words: /^Unable to negotiate with \S+ port \d+: no matching (.+) found\. Their offer: /,
    explain: ([, what = ""], { login, configFile, commonAlgorithms: [algorithm] }) => ({
      cause: `ssh here and sshd there have no ${what} in common`,
      hint: algorithm === undefined
        ? "ssh here knows none that is offered: bring the older of the two OpenSSH up to date"
        : `put these three lines at the top of ${quote(configFile)}: ` +
          `Host ${askedFor({ login })}, and: ${keywordOf(what)} +${algorithm}, and: Host *`,
    }),
  },
  {
    words: /^(?:bind(?: \S+)?|getifaddrs|getaddrinfo): /,
    explain: (_, { login, configFile }) => ({
      cause: "this host has not the address that ssh's config tells it to use",
      hint: `take BindAddress or BindInterface for ${askedFor({ login })} out of ssh's ` +
        `config, ${quote(configFile)} or /etc/ssh/ssh_config`,
    }),
  },
  {
    words: /^ssh: Could not resolve hostname ([^:]+): /,
    explain: ([, name = ""]) => ({
      cause: "the host name has no address",
      hint: `is ${name} spelled right, and does DNS work here? try: getent hosts ${name}`,
    }),
  },
  {
    words: /^ssh: connect to host (\S+) port \d+: (?:No route to host|Network is unreachable)/,
    explain: ([, name]) => ({
      cause: "there is no route to the host",
      hint: `is ${name} up, and is this host's network? try: ip route get, ping`,
    }),
  },
  {
    words: /^ssh: connect to host (\S+) port (\d+): (?:Connection|Operation) timed out/,
    explain: ([, name, port], peer) => ({
      cause: "the connection timed out",
      hint: hintAtFirewalls(peer, name, port),
    }),
  },
  {
    words: /^ssh: connect to host (\S+) port (\d+): Connection refused/,
    explain: ([, name, port], peer) => ({
      cause: "the connection was refused",
      hint: hintAtFirewalls(peer, name, port),
    }),
  },
  {
    words: /^ssh: connect to host (\S+) port (\d+): (?:Permission denied|Operation not permitted)/,
    explain: ([, name, port]) => ({
      cause: "this host does not let the connection out",
      hint: `let port ${port} to ${name} out through this host's own firewall or security module`,
    }),
  },
  {
    words: /^Connection timed out during banner exchange|^Connection to \S+ port \d+ timed out/,
    explain: (_, peer) =>
      closed({ cause: "the connection timed out", hint: hintAtFirewalls(peer) }, peer),
  },
  {
    words: /^channel \d+: open failed: (.+)$/,
    explain: (_, peer) => ({
      cause: "the jump host does not reach the mail host",
      hint: `from the jump host: nc -vz ${hostOf(peer)} ${peer.view.port}; let that port ` +
        `inbound through the firewall of ${hostOf(peer)}, and let sshd of the jump host forward ` +
        "(AllowTcpForwarding, PermitOpen; an account there whose password has expired may not: " +
        "chage -l)",
    }),
  },
  {
    words:
      /^(?:kex|ssh)_exchange_identification: |^Connection (?:closed|reset) by |^Received disconnect|Broken pipe$/,
    explain: (_, peer) =>
      closed({ cause: "the other side closed the connection", hint: closedHint(peer) }, peer),
  },
];

function denied(login: string, peer: Peer): Trouble {
  const cause = "permission denied: the key is not accepted";
  const isJump = peer.jumps.some(({ user, hostName }) => login === `${user}@${hostName}`) &&
    login !== `${userOf(peer)}@${hostOf(peer)}`;
  const place = isJump
    ? `${login}, the jump host`
    : `${userOf(peer)} on ${hostOf(peer)}, with the password of the account set to * and not to !`;
  const line = `put its .pub line into the authorized_keys of ${place}` +
    (isJump ? "" : `, ${AS_SETUP}`);
  const sound = peer.keys.filter(({ trouble }) => trouble === null);
  const [bad] = peer.keys.flatMap(({ trouble }) => trouble ?? []);
  if (!isJump && sound.length === 0 && bad !== undefined) {
    return { cause: `${bad.cause}, so no key was accepted`, hint: bad.hint };
  }
  const unused = sound.filter((key) => !mayBeUsed(key, peer.view));
  if (!isJump && unused.length > 0 && unused.length === sound.length) {
    return {
      cause: "permission denied: ssh here may not use a key of this kind",
      hint: `PubkeyAcceptedAlgorithms (or PubkeyAcceptedKeyTypes) in ssh's config, ` +
        `${quote(peer.configFile)} or /etc/ssh/ssh_config, leaves out ${
          unused[0]?.type
        }: take it ` +
        `out for ${askedFor(peer)}`,
    };
  }
  const { identity } = peer.options;
  if (identity !== null && !isJump) {
    return { cause, hint: `is push.identity, ${quote(identity)}, the right key? ${line}` };
  }
  const offered = sound.map(({ path }) => quote(path)).join(", ");
  return {
    cause,
    hint: `name the right key with push.identity${
      offered === "" || isJump ? "" : ` (ssh's own here: ${offered})`
    }, and ${line}`,
  };
}

/** sshd takes RSA keys with SHA-2 alone, and calls that by other names than the key. */
function mayBeUsed({ type }: KeyJudgement, { keyAlgorithms }: SshView): boolean {
  if (type === null || keyAlgorithms === null) return true;
  const wanted = type === "ssh-rsa" ? ["rsa-sha2-256", "rsa-sha2-512"] : [type];
  return keyAlgorithms.some((name) => wanted.includes(name) || /[*?]/.test(name));
}

const keywords: Readonly<Record<string, string>> = {
  "key exchange method": "KexAlgorithms",
  "host key type": "HostKeyAlgorithms",
  "cipher": "Ciphers",
  "MAC": "MACs",
};

function keywordOf(what: string): string {
  return keywords[what] ?? "KexAlgorithms";
}

/** What was offered in vain, and what to ask `ssh -Q` for; null where that was not the trouble. */
export function refusedOffer(
  lines: readonly string[],
): { readonly query: string; readonly offer: readonly string[] } | null {
  const [, what = "", offer] = lines
    .map((line) => /no matching (.+) found\. Their offer: (\S+)$/.exec(line))
    .find((found) => found !== null) ?? [];
  return offer === undefined
    ? null
    : { query: keywordOf(what).replace(/^KexAlgorithms$/, "kex"), offer: offer.split(",") };
}
