// An NPM host and a mail host, both on this machine, with what a test may change about them.

import { deepEqual, equal } from "node:assert/strict";
import type { Authority, Leaf, LeafOptions } from "./authority.ts";
import { certsync, type CertsyncOptions, type CertsyncResult } from "./certsync.ts";
import { type NpmTree, npmTree } from "./npm_tree.ts";
import { need } from "./programs.ts";
import { type SshServer, sshServer, type SshServerOptions } from "./ssh_server.ts";
import { type TempDir, tempDir } from "./temp_dir.ts";

export const NAME = "mail.example.org";

export interface Scene extends AsyncDisposable {
  path: string;
  npm: NpmTree;
  /** The directory that the pair is read from. */
  source: string;
  server: SshServer;
  incoming: string;
  /** The target over SSH that is `incoming`. */
  to: string;
  state: string;
  configFile: string;
  /** Replaces keys of `push:`, and `also` beside it; undefined leaves one out. */
  configure(changes: Record<string, unknown>): Promise<void>;
  /** Issues a certificate for the source directory. */
  store(options: Partial<LeafOptions>): Promise<Leaf>;
  /** Writes `last_fp`. */
  remember(text: string): Promise<void>;
  args(more: string[]): string[];
  push(args?: string[], options?: CertsyncOptions): Promise<CertsyncResult>;
  /** The other side holds this pair, and nothing else. */
  assertArrived(leaf: Leaf): Promise<void>;
  /** A port where a connection is taken and nothing is ever said. */
  silentPort(): number;
}

export interface SceneOptions extends SshServerOptions {
  ca: Authority;
  leaf: Leaf;
  server?: SshServer;
  /** The source is a directory of plain files. */
  plainFiles?: boolean;
}

export async function makeScene(options: SceneOptions): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const dir: TempDir = stack.use(await tempDir());
  const server = options.server ?? stack.use(await sshServer(options));
  const { ca, leaf } = options;
  const npm = await npmTree(`${dir.path}/letsencrypt`);
  const source = options.plainFiles ? await npm.addCustom(5, leaf) : await npm.add(5, leaf);
  const incoming = `${dir.path}/incoming/`;
  await Deno.mkdir(incoming);
  if (options.user !== undefined) {
    await Deno.chmod(dir.path, 0o711);
    const { uid, gid } = idsOf(options.user);
    await Deno.chown(incoming, uid, gid);
  }
  const state = `${dir.path}/state`;
  const configFile = `${dir.path}/config.yaml`;
  const to = server.target(incoming);
  let settings: Record<string, unknown> = {
    live: npm.live,
    source: options.plainFiles ? source : "auto",
    to,
    port: server.port,
    identity: server.identity,
    known_hosts: server.knownHosts,
    state,
    trust: ca.rootFile,
    timeout: "20s",
  };
  const configure = async (changes: Record<string, unknown>) => {
    settings = { ...settings, ...changes };
    const { also, ...push } = settings;
    await Deno.writeTextFile(configFile, JSON.stringify({ domain: NAME, also, push }));
  };
  await configure({});
  const args = (more: string[]) => ["push", "--config", configFile, ...more];
  const owned = stack.move();
  return {
    path: dir.path,
    npm,
    source,
    server,
    incoming,
    to,
    state,
    configFile,
    configure,
    args,
    store: async (changes) => {
      const leaf = await ca.issue({ names: [NAME], ...changes });
      await Deno.writeTextFile(`${source}/fullchain.pem`, leaf.fullchainPem);
      await Deno.writeTextFile(`${source}/privkey.pem`, leaf.keyPem);
      return leaf;
    },
    remember: async (text) => {
      await Deno.mkdir(state, { recursive: true, mode: 0o700 });
      await Deno.writeTextFile(`${state}/last_fp`, text);
    },
    push: (more = [], options) => certsync(args(more), options),
    assertArrived: async (leaf) => {
      deepEqual(namesIn(incoming), ["fullchain.pem", "privkey.pem"]);
      equal(await Deno.readTextFile(`${incoming}/fullchain.pem`), leaf.fullchainPem);
      equal(await Deno.readTextFile(`${incoming}/privkey.pem`), leaf.keyPem);
      equal(modeOf(`${incoming}/privkey.pem`), 0o600);
    },
    silentPort: () => {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      owned.defer(() => listener.close());
      return listener.addr.port;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function idsOf(user: string): { uid: number; gid: number } {
  const fields = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"))
    .find(([name]) => name === user);
  return { uid: Number(fields?.[2]), gid: Number(fields?.[3]) };
}

/** An ssh that reads this config as the operator's own: sshd's and ssh's home is not HOME. */
export async function withSshConfig(scene: Scene, text: string): Promise<CertsyncOptions> {
  const home = `${scene.path}/home`;
  await Deno.mkdir(`${home}/.ssh`, { recursive: true, mode: 0o700 });
  await Deno.mkdir(`${scene.path}/bin`, { recursive: true });
  await Deno.writeTextFile(`${home}/.ssh/config`, text);
  // A jump host is reached by the same program with the same -F.
  await Deno.writeTextFile(
    `${scene.path}/bin/ssh`,
    `#!/bin/sh\nexec ${need("ssh")} -F ${home}/.ssh/config "$@"\n`,
    { mode: 0o755 },
  );
  return { path: `${scene.path}/bin`, env: { HOME: home } };
}

export function namesIn(dir: string): string[] {
  return Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();
}

export function modeOf(path: string): number {
  return (Deno.statSync(path).mode ?? 0) & 0o7777;
}
