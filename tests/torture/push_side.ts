// Both sides of a push, which can be put back to a beginning, and what must hold there.

import { deepEqual, equal, ok } from "node:assert/strict";
import { readdir, readlink } from "node:fs/promises";
import { authority, type Leaf } from "../kit/authority.ts";
import { certsync, type CertsyncOptions, type CertsyncResult } from "../kit/certsync.ts";
import { memoriesIn } from "../kit/history.ts";
import { type NpmTree, npmTree } from "../kit/npm_tree.ts";
import { type SshServer, sshServer } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import type { Run } from "./strace.ts";

const NAME = "mail.example.org";

export const ca = await authority("Torture", "ecdsa-p384");
const FURTHER = ["shop.example.net", "blog.example.com"];
export const [first, second, ...further] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [NAME] }),
  ...FURTHER.map((name) => ca.issue({ names: [name] })),
]);

export interface PushSide extends AsyncDisposable {
  root: string;
  npm: NpmTree;
  server: SshServer;
  incoming: string;
  state: string;
  to: string;
  /** What is to be in the staging in the end, by directory; "" is its top. */
  leaves: ReadonlyMap<string, Leaf>;
  /** As it was before any push, with `second` renewed from `first`. */
  begin(): Promise<void>;
  run(args?: string[]): Run;
  push(args?: string[], options?: CertsyncOptions): Promise<CertsyncResult>;
  configure(changes: Record<string, unknown>): Promise<void>;
}

/** `also` are further names, each with a certificate of its own. */
export async function pushSide(also: readonly string[] = []): Promise<PushSide> {
  await using stack = new AsyncDisposableStack();
  const { path: root } = stack.use(await tempDir());
  const server = stack.use(await sshServer());
  const [state, incoming] = [`${root}/state`, `${root}/incoming/`];
  const config = `${root}/config.yaml`;
  const npm = await npmTree(`${root}/letsencrypt`);
  await npm.add(5, first);
  await npm.renew(5, second);
  const leaves = new Map([["", second]]);
  for (const [index, name] of also.entries()) {
    const leaf = further[index];
    if (leaf === undefined) throw new Error(`no certificate for ${name}`);
    await npm.add(6 + index, leaf);
    leaves.set(name, leaf);
  }
  const to = server.target(incoming);
  let settings: Record<string, unknown> = {
    ...{ live: npm.live, to, port: server.port, identity: server.identity },
    ...{ known_hosts: server.knownHosts, state, trust: ca.rootFile, timeout: "10s" },
  };
  async function configure(changes: Record<string, unknown>) {
    settings = { ...settings, ...changes };
    await Deno.writeTextFile(
      config,
      JSON.stringify({ domain: NAME, also: also.length === 0 ? undefined : also, push: settings }),
    );
  }
  await configure({});
  const argv = (args: string[]) => ["push", "--config", config, "--json", ...args];
  const owned = stack.move();
  return {
    root,
    npm,
    server,
    incoming,
    state,
    to,
    leaves,
    configure,
    begin: async () => {
      await settle(root);
      for (const path of [state, incoming]) {
        await Deno.remove(path, { recursive: true }).catch(none);
      }
      await Deno.mkdir(incoming);
    },
    run: (args = []) => ({ args: argv(args) }),
    push: (args = [], options) => certsync(argv(args), options),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** With two further names. */
export function ofThree(): Promise<PushSide> {
  return pushSide(FURTHER);
}

function none(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** Waits for the rsync and ssh of a run that was killed: nothing may come from them later. */
async function settle(root: string): Promise<void> {
  while (await isUsed(root)) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function isUsed(root: string): Promise<boolean> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => "")));
  return places.some((place) => place.startsWith(root));
}

/** What holds even where nothing has been put in order yet. */
export async function assertSafe(side: PushSide): Promise<void> {
  const { root, state, incoming, to, leaves } = side;
  for (const directory of [state, incoming]) {
    for (const path of await filesBelow(directory)) {
      const text = await Deno.readTextFile(path).catch(() => ""); // rsync may have renamed it
      if (!text.includes("PRIVATE KEY")) continue;
      equal(((await Deno.stat(path)).mode ?? 0) & 0o077, 0, `${path} is open to others`);
    }
  }
  const remembered = await Deno.readTextFile(`${state}/last_fp`).catch(() => "");
  if (remembered === "") return;
  await settle(root);
  for (const line of remembered.trimEnd().split("\n")) {
    const [place, leaf] = [...leaves].find(([place, { fingerprint }]) =>
      line === recordOf(fingerprint, to, place)
    ) ?? [];
    ok(leaf !== undefined, `last_fp names another certificate: ${line}`);
    await assertArrived(`${incoming}${place}`, leaf);
  }
}

function recordOf(fingerprint: string, to: string, place: string): string {
  return `${fingerprint} ${to}${place === "" ? "" : `\t${place}`}`;
}

/** The next run, and that there is nothing to do after it. */
export async function assertHealed(side: PushSide): Promise<void> {
  const { state, incoming, root, to, leaves } = side;
  const result = await side.push();
  equal(result.code, 0, result.stderr);
  await assertAll();
  const lines = Array.from(leaves, ([place, { fingerprint }]) => recordOf(fingerprint, to, place));
  const remembered = (await Deno.readTextFile(`${state}/last_fp`)).trimEnd().split("\n");
  deepEqual(remembered.sort(), lines.sort());
  deepEqual(await memoriesIn(state), ["last_fp", "lock"]);
  await settle(root);
  await assertAll();
  const further = [...leaves.keys()].filter((place) => place !== "");
  deepEqual((await readdir(incoming)).sort(), ["fullchain.pem", "privkey.pem", ...further].sort());

  async function assertAll() {
    for (const [place, leaf] of leaves) await assertArrived(`${incoming}${place}`, leaf);
  }
}

export async function assertArrived(incoming: string, leaf: Leaf): Promise<void> {
  equal(await Deno.readTextFile(`${incoming}/fullchain.pem`), leaf.fullchainPem);
  equal(await Deno.readTextFile(`${incoming}/privkey.pem`), leaf.keyPem);
  equal(((await Deno.stat(`${incoming}/privkey.pem`)).mode ?? 0) & 0o777, 0o600);
}

async function filesBelow(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) =>
      `${parentPath}/${name}`
    );
  } catch {
    return [];
  }
}
