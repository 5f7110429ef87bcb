// What ssh itself makes of a destination, its config read: `ssh -G` says it.

import type { RunContext } from "../run_context.ts";
import type { SshOptions } from "../values/push_target.ts";
import { run } from "./run.ts";
import { sshEnvironment, sshOptions } from "./ssh.ts";

export interface SshView {
  readonly hostName: string;
  readonly user: string;
  readonly port: number;
  /** By which name ssh looks for the host's key in known_hosts. */
  readonly knownAs: string;
  readonly knownHosts: readonly string[];
  /** Those of them that hold nothing, or cannot be read; looked at only where something failed. */
  readonly uselessKnownHosts: readonly string[];
  readonly identityFiles: readonly string[];
  /** Where ssh looks for an agent, if its config says so. */
  readonly identityAgent: string | null;
  /** Whether keys may come from elsewhere than files and an agent. */
  readonly hasKeyProvider: boolean;
  /** Whether ssh talks through another program, and so does not know the address. */
  readonly isProxied: boolean;
  /** The operator's own way there. */
  readonly proxyCommand: string | null;
  /** The signature algorithms that ssh may use with a key; null where it does not say. */
  readonly keyAlgorithms: readonly string[] | null;
  /** Destinations as ssh takes them, the first one first. */
  readonly jumps: readonly { readonly login: string; readonly port: number | null }[];
}

/** What the text alone tells, where ssh does not get that far: its config is broken, say. */
export function plainView(
  login: string,
  { port, identity, knownHosts }: SshOptions = { port: null, identity: null, knownHosts: null },
): SshView {
  const [, user = "", name = login] = /^(?:(.*)@)?(.*)$/.exec(login) ?? [];
  return parseSshView(
    [`hostname ${name}`, `user ${user}`, `port ${port ?? 22}`, `identityfile ${identity}`].join(
      "\n",
    ),
    { knownHosts: knownHosts ?? ["~/.ssh/known_hosts"] },
    "~",
  );
}

export async function readSshView(
  login: string,
  options: SshOptions,
  context: RunContext,
): Promise<SshView> {
  return await askSsh(login, sshOptions(options, context), options, context) ??
    plainView(login, options);
}

/** The same for each host on the way there, which get none of our options. */
export async function readJumpViews({ jumps }: SshView, context: RunContext): Promise<SshView[]> {
  const views = await Promise.all(jumps.map(({ login, port }) => {
    const args = port === null ? [] : ["-p", String(port)];
    return askSsh(login, args, { knownHosts: null }, context);
  }));
  return views.filter((view) => view !== null);
}

async function askSsh(
  login: string,
  options: readonly string[],
  ownFiles: Pick<SshOptions, "knownHosts">,
  context: RunContext,
): Promise<SshView | null> {
  const limits = { timeoutMs: 10_000, environment: sshEnvironment(context) };
  const { code, stdout } = await run("ssh", ["-G", ...options, "--", login], limits, context);
  return code === 0 ? parseSshView(stdout, ownFiles, context.environment.HOME ?? "/root") : null;
}

/** Pure. */
function parseSshView(
  text: string,
  { knownHosts }: Pick<SshOptions, "knownHosts">,
  home: string,
): SshView {
  const values = Map.groupBy(
    text.split("\n").map((line) => /^(\S+) (.*)$/.exec(line) ?? []),
    ([, keyword]) => keyword ?? "",
  );
  const all = (keyword: string) => (values.get(keyword) ?? []).map(([, , value = ""]) => value);
  const one = (keyword: string) => {
    const [value] = all(keyword);
    return value === undefined || value === "none" ? null : value;
  };
  const inHome = (path: string) => path.replace(/^~(?=\/)/, home);
  const hostName = (one("hostname") ?? "").toLowerCase();
  const port = Number(one("port") ?? 22);
  return {
    hostName,
    user: one("user") ?? "",
    port,
    knownAs: one("hostkeyalias") ?? (port === 22 ? hostName : `[${hostName}]:${port}`),
    // ssh prints them with a space between them, and would not say which one is within a name.
    knownHosts: (knownHosts ?? one("userknownhostsfile")?.split(/ (?=[/~])/) ?? []).map(inHome),
    uselessKnownHosts: [],
    identityFiles: all("identityfile").map(inHome),
    identityAgent: one("identityagent"),
    hasKeyProvider: one("pkcs11provider") !== null,
    isProxied: (one("proxyjump") ?? one("proxycommand")) !== null &&
      one("proxyusefdpass") !== "yes",
    proxyCommand: one("proxyjump") === null ? one("proxycommand") : null,
    keyAlgorithms: (one("pubkeyacceptedalgorithms") ?? one("pubkeyacceptedkeytypes"))?.split(",") ??
      null,
    jumps: (one("proxyjump") ?? "").split(",").flatMap(parseJump),
  };
}

function parseJump(text: string) {
  const [, user = "", name, port] =
    /^(?:ssh:\/\/)?([^@]+@)?(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(text) ?? [];
  if (name === undefined) return [];
  const login = user + name.replace(/^\[(.*)\]$/, "$1");
  return [{ login, port: port === undefined ? null : Number(port) }];
}
