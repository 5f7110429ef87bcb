// A real sshd on a loopback port, with keys on both sides.

import { endTree } from "./process_tree.ts";
import { freePort } from "./free_port.ts";
import { need } from "./programs.ts";
import { run, tryRun } from "./run.ts";
import { tempDir } from "./temp_dir.ts";
import { until } from "./until.ts";

/** The documentation's forced command for `rsync -aL`, and the one for -azL. */
export function forcedCommand(flags: "-aL" | "-azL", dir: string): string {
  const letters = flags === "-aL" ? "pre" : "prze";
  return `rsync --server -logDt${letters}.iLsfxCIvu . ${dir}`;
}

export interface SshServerOptions {
  /** Forced command of the client's key, with `restrict`; default none. */
  command?: string;
  /** Environment of every session, e.g. a PATH where rsync is not. */
  env?: Record<string, string>;
  address?: "127.0.0.1" | "::1";
  /** Who logs in; default the user that runs the tests. */
  user?: string;
  /** Whether sshd asks PAM; default only where it must. */
  pam?: boolean;
  /** Further lines of sshd_config, which go before the others. */
  settings?: string[];
}

export interface SshServer extends AsyncDisposable {
  address: string;
  port: number;
  /** Who logs in. */
  user: string;
  /** "user@127.0.0.1:/dir/", with brackets around an IPv6 address. */
  target(dir: string): string;
  /** Private key file that the server knows. */
  identity: string;
  /** The public half, one line. */
  publicKey: string;
  /** Private key file that the server does not know. */
  strangerIdentity: string;
  /** known_hosts file with this server's key; ones without and with another. */
  knownHosts: string;
  emptyKnownHosts: string;
  wrongKnownHosts: string;
  /** "[127.0.0.1]:PORT ssh-ed25519 …" */
  knownHostsLine: string;
  /** Replaces the forced command of the client's key; none for a shell. */
  force(command?: string): Promise<void>;
  /** Replaces authorized_keys. */
  authorize(lines: string): Promise<void>;
  /** The private host key; its public half lies beside it. */
  hostKey: string;
  /** Lets sshd read its config and its host keys anew, with these lines before the others. */
  restart(settings?: string[]): Promise<void>;
  /** sshd's own log. */
  log(): string;
  /** How many connections it has accepted since it was ready. */
  connections(): number;
}

export async function sshServer(
  options: SshServerOptions = {},
): Promise<SshServer> {
  const dir = await tempDir();
  const address = options.address ?? "127.0.0.1";
  const path = (name: string) => `${dir.path}/${name}`;

  const keys = free.pop() ?? await newKeys(dir.path);
  await Promise.all(Array.from(keys, ([name, { secret, line }]) =>
    Promise.all([
      Deno.writeTextFile(path(name), secret, { mode: 0o600 }),
      Deno.writeTextFile(path(`${name}.pub`), `${line}\n`),
    ])));
  const [hostKey, otherHostKey, publicKey] = (["host_key", "other_host_key", "identity"] as const)
    .map((name) => keys.get(name)!.line) as [string, string, string];

  async function force(command?: string) {
    const prefix = command === undefined
      ? ""
      : `command="${command.replaceAll('"', '\\"')}",restrict `;
    await Deno.writeTextFile(path("authorized_keys"), `${prefix}${publicKey}\n`);
  }
  await force(options.command);

  // sshd reads authorized_keys as the one who logs in.
  if (options.user !== undefined) await Deno.chmod(dir.path, 0o711);
  const { child, port } = await start(dir.path, address, options);
  const readiness = connectionsIn(Deno.readTextFileSync(path("log")));

  const host = `[${address}]:${port}`;
  const knownHostsLine = `${host} ${hostKey}`;
  await Promise.all([
    Deno.writeTextFile(path("known_hosts"), `${knownHostsLine}\n`),
    Deno.writeTextFile(path("wrong_known_hosts"), `${host} ${otherHostKey}\n`),
    Deno.writeTextFile(path("empty_known_hosts"), ""),
  ]);

  const user = options.user ?? await userName();
  const log = () => Deno.readTextFileSync(path("log"));
  return {
    address,
    port,
    user,
    target: (dir) => `${user}@${address.includes(":") ? `[${address}]` : address}:${dir}`,
    identity: path("identity"),
    publicKey,
    strangerIdentity: path("stranger"),
    knownHosts: path("known_hosts"),
    emptyKnownHosts: path("empty_known_hosts"),
    wrongKnownHosts: path("wrong_known_hosts"),
    knownHostsLine,
    force,
    hostKey: path("host_key"),
    restart: async (settings = options.settings ?? []) => {
      const begun = listeningsIn(log());
      const config = await configuration(need("sshd"), dir.path, { ...options, settings });
      await Deno.writeTextFile(path("sshd_config"), listening(config, address, port));
      child.kill("SIGHUP");
      await until(() => listeningsIn(log()) > begun);
    },
    authorize: (lines) => Deno.writeTextFile(path("authorized_keys"), lines),
    log,
    connections: () => connectionsIn(log()) - readiness,
    [Symbol.asyncDispose]: async () => {
      await endTree(child);
      await dir[Symbol.asyncDispose]();
      free.push(keys);
    },
  };
}

interface KeyPair {
  secret: string;
  /** The public half. */
  line: string;
}

const KEY_NAMES = ["host_key", "other_host_key", "identity", "stranger"] as const;
type Keys = ReadonlyMap<typeof KEY_NAMES[number], KeyPair>;

/** Those of servers that are gone: no two servers at a time have a key in common. */
const free: Keys[] = [];

async function newKeys(dir: string): Promise<Keys> {
  const parent = await Deno.makeTempDir({ dir });
  return new Map(
    await Promise.all(KEY_NAMES.map(async (name) => {
      const path = `${parent}/${name}`;
      const args = ["-q", "-t", "ed25519", "-N", "", "-C", "certsync-kit"];
      await run(need("ssh-keygen"), [...args, "-f", path]);
      const secret = await Deno.readTextFile(path);
      const line = (await Deno.readTextFile(`${path}.pub`)).trim();
      return [name, { secret, line }] as const;
    })),
  );
}

function listening(config: string, address: string, port: number): string {
  return `${config}\nListenAddress ${address}\nPort ${port}\n`;
}

async function start(
  dir: string,
  address: string,
  options: SshServerOptions,
): Promise<{ child: Deno.ChildProcess; port: number }> {
  const sshd = need("sshd");
  if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true });
  const common = await configuration(sshd, dir, options);

  // Another process may take the port before sshd does.
  for (let attempt = 1;; attempt++) {
    const port = freePort([address]);
    await Deno.writeTextFile(`${dir}/sshd_config`, listening(common, address, port));
    await Deno.writeTextFile(`${dir}/log`, "");
    const child = new Deno.Command(sshd, {
      args: ["-D", "-f", `${dir}/sshd_config`, "-E", `${dir}/log`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    if (await isReady(child, address, port)) return { child, port };
    const log = await Deno.readTextFile(`${dir}/log`);
    if (attempt === 3 || !log.includes("Address already in use")) {
      throw new Error(`sshd did not start: ${log}`);
    }
  }
}

async function configuration(
  sshd: string,
  dir: string,
  { env, pam, settings = [] }: SshServerOptions,
): Promise<string> {
  const lines = [
    ...settings,
    `HostKey ${dir}/host_key`,
    `AuthorizedKeysFile ${dir}/authorized_keys`,
    "PidFile none",
    "StrictModes no",
    `UsePAM ${pam ?? await isLocked() ? "yes" : "no"}`,
    "PermitRootLogin yes",
    "PubkeyAuthentication yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "LogLevel VERBOSE",
    "MaxStartups 100",
    "UseDNS no",
    // The default, safe from quantum computers too, takes each side 75 ms of a core.
    "KexAlgorithms curve25519-sha256",
  ];
  // From this level on a bash that sshd starts leaves ~/.bashrc unread: whatever the user has there
  // may take its time, or print something.
  const pairs = Object.entries({ SHLVL: "1", ...env })
    .map(([key, value]) => `"${key}=${value}"`);
  lines.push(`SetEnv ${pairs.join(" ")}`);

  // OpenSSH 9.8 and later makes a failing client wait; older ones lack the word.
  hasPenalties ??= knowsPenalties(sshd, dir);
  if (await hasPenalties) lines.push("PerSourcePenalties no");
  return lines.join("\n");
}

let hasPenalties: Promise<boolean> | undefined;

async function knowsPenalties(sshd: string, dir: string): Promise<boolean> {
  await Deno.writeTextFile(`${dir}/probe`, `HostKey ${dir}/host_key\nPerSourcePenalties no\n`);
  return (await tryRun(sshd, ["-t", "-f", `${dir}/probe`])).code === 0;
}

/** Whether sshd without PAM would take the account for a locked one. */
async function isLocked(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  const shadow = await Deno.readTextFile("/etc/shadow");
  return /^root:!/m.test(shadow);
}

/** Connects until sshd says its name; false if it ended instead. */
async function isReady(
  child: Deno.ChildProcess,
  hostname: string,
  port: number,
): Promise<boolean> {
  let ended = false;
  child.status.then(() => ended = true);
  while (!ended) {
    try {
      using connection = await Deno.connect({ hostname, port });
      const greeting = new Uint8Array(8);
      await connection.read(greeting);
      return new TextDecoder().decode(greeting).startsWith("SSH-2.0-");
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  return false;
}

async function userName(): Promise<string> {
  const passwd = await Deno.readTextFile("/etc/passwd");
  const entry = passwd.split("\n").map((line) => line.split(":"))
    .find((fields) => fields[2] === String(Deno.uid()));
  if (!entry?.[0]) throw new Error(`uid ${Deno.uid()} is not in /etc/passwd`);
  return entry[0];
}

function connectionsIn(log: string): number {
  return log.match(/^Connection from /gm)?.length ?? 0;
}

function listeningsIn(log: string): number {
  return log.match(/^Server listening on /gm)?.length ?? 0;
}
