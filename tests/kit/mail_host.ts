// A mail host with all that deploy meets there: mailcow, staging, docker and nine endpoints.

import { deepEqual, equal, notEqual } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import type { Leaf } from "./authority.ts";
import {
  certsync,
  type CertsyncOptions,
  type CertsyncResult,
  startCertsync,
  type Started,
} from "./certsync.ts";
import { type FakeDocker, fakeDocker } from "./fake_docker.ts";
import {
  type Endpoint,
  type MailServices,
  mailServices,
  type MailServicesOptions,
  SERVICES,
} from "./mail_services.ts";
import { type MailcowTree, mailcowTree, type Served } from "./mailcow_tree.ts";
import { run } from "./run.ts";
import { assertSame, type Snapshot, snapshot } from "./snapshot.ts";
import { tempDir } from "./temp_dir.ts";
import { textOf } from "./text_of.ts";

export interface MailHostOptions extends MailServicesOptions {
  /** The CA file that `deploy.trust` names. */
  trust: string;
  /** The top-level pair at first. */
  deployed?: Served;
  staged?: Served;
  /** Over the defaults of mailcow.conf. */
  conf?: Record<string, string | null>;
  /** Those that the config file names; without it deploy asks all nine of mailcow.conf. */
  endpoints?: readonly Endpoint[] | undefined;
  /** Over the `deploy` section of the config file. */
  deploy?: Record<string, unknown>;
  /** Further names, in the config file. */
  also?: readonly string[];
  /** Who is asked for TLSA records, "127.0.0.1:5353"; without one nobody is: `dane: off`. */
  resolver?: string;
  /** More of the tree, before the services start. */
  prepare?: (mailcow: MailcowTree) => Promise<unknown>;
}

export interface MailHost extends AsyncDisposable {
  root: string;
  mailcow: MailcowTree;
  services: MailServices;
  docker: FakeDocker;
  staging: string;
  state: string;
  config: string;
  /** Writes both files of a push, of the domain's certificate or of a further name's. */
  stage(leaf: Served, name?: string): Promise<void>;
  /** Writes the config file anew, with these over the section `deploy`. */
  configure(deploy: Record<string, unknown>, also?: readonly string[]): Promise<void>;
  /** Runs deploy to its end, and sees that it gives away no key. */
  deploy(args?: string[], options?: CertsyncOptions): Promise<CertsyncResult>;
  start(args?: string[]): Started;
  /** All services begin anew, with what lies there. */
  restartAll(): Promise<void>;
  /** What an operator is told to give to a shell here, with this host's docker, wherever he is. */
  shell(command: string): Promise<void>;
  /** What deploy remembers of the services: `<service> <fingerprint>` a line, sorted. */
  loaded(): Promise<string[]>;
  /** What is kept in `previous/`; null where there is nothing. */
  previous(): Promise<Served | null>;
  /** Fails unless everything that is installed is a real file of its mode and owner. */
  assertInstalled(leaf: Served, directory?: string): Promise<void>;
  /** The containers' part of each call, without `docker compose`; of a look (`ps`) that alone. */
  calls(): string[];
  /** Fails unless the deed leaves mailcow's tree and the staging as they were, without a call. */
  assertUntouched<T>(deed: () => Promise<T>): Promise<T>;
}

export async function mailHost(options: MailHostOptions): Promise<MailHost> {
  await using stack = new AsyncDisposableStack();
  const { path: root } = stack.use(await tempDir());
  // Deno may not write to a directory below which a program lies that it may run, as docker does.
  const { path: tmp } = stack.use(await tempDir());
  const staging = `${root}/incoming`;
  const state = `${root}/state`;
  const config = `${root}/config.yaml`;
  const mailcow = await mailcowTree(`${root}/mailcow`, {
    ...(options.deployed && { leaf: options.deployed }),
    ...(options.conf && { conf: options.conf }),
  });
  await options.prepare?.(mailcow);
  const services = stack.use(
    await mailServices(mailcow, {
      ...(options.addresses && { addresses: options.addresses }),
      ...(options.up && { up: options.up }),
    }),
  );
  await mailcow.configure({ ...services.conf, ...options.conf });
  const docker = stack.use(await fakeDocker(services));
  await Deno.mkdir(staging, { mode: 0o700 });
  const secrets = new Set<string>();

  async function configure(deploy: Record<string, unknown>, also = options.also ?? []) {
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        ...(also.length > 0 && { also }),
        ...(options.resolver && { resolver: options.resolver, verify: { trust: options.trust } }),
        deploy: {
          ...(options.resolver === undefined && { dane: "off" }),
          ...{ mailcow: mailcow.root, staging, state, trust: options.trust },
          ...{ settle: "0.5s", restart_timeout: "2s" },
          ...(options.endpoints && { endpoints: options.endpoints.map(services.url) }),
          ...{ ...options.deploy, ...deploy },
        },
      }),
    );
  }
  await configure({});

  /** Each file by a rename, as rsync does it. */
  async function stage(leaf: Served, name?: string) {
    const place = name === undefined ? staging : `${staging}/${name}`;
    for (const line of secretLines(leaf.keyPem)) secrets.add(line);
    await Deno.mkdir(place, { recursive: true, mode: 0o700 });
    const files = { "fullchain.pem": leaf.fullchainPem, "privkey.pem": leaf.keyPem };
    for (const [name, text] of Object.entries(files)) {
      const mode = name === "privkey.pem" ? 0o600 : 0o644;
      await Deno.writeTextFile(`${place}/.${name}.new`, text, { mode });
      await Deno.rename(`${place}/.${name}.new`, `${place}/${name}`);
    }
  }
  if (options.staged) await stage(options.staged);
  if (options.deployed) {
    for (const line of secretLines(options.deployed.keyPem)) secrets.add(line);
  }

  const argv = (args: string[]) => ["deploy", "--config", config, ...args];

  async function deploy(args: string[] = [], more: CertsyncOptions = {}) {
    const env = { TMPDIR: tmp, ...more.env };
    const result = await certsync(argv(args), { path: docker.bin, ...more, env });
    const said = result.stdout + result.stderr + JSON.stringify(docker.details);
    const leaked = [...secrets].filter((line) => said.includes(line));
    equal(leaked.length, 0, "a private key is in the output or in a call of docker");
    return result;
  }

  async function assertUntouched<T>(deed: () => Promise<T>): Promise<T> {
    const look = (): Promise<Snapshot[]> => Promise.all([mailcow.root, staging].map(snapshot));
    const before = await look();
    const [calls, connections] = [docker.calls.length, services.connections()];
    const result = await deed();
    const after = await look();
    for (const [index, one] of before.entries()) assertSame(one, after[index] ?? new Map());
    deepEqual(docker.calls.slice(calls), []);
    equal(services.connections(), connections, "an endpoint was contacted");
    return result;
  }

  const owned = stack.move();
  return {
    root,
    mailcow,
    services,
    docker,
    staging,
    state,
    config,
    stage,
    configure,
    deploy,
    start: (args = []) => startCertsync(argv(args), { path: docker.bin }),
    restartAll: async () => {
      await Promise.all(SERVICES.map(services.restart));
    },
    shell: async (command) => {
      notEqual(command, "", "there is no command");
      const env = { PATH: `${docker.bin}:${Deno.env.get("PATH")}` };
      await run("/bin/sh", ["-c", command], { env, cwd: "/" });
    },
    loaded: async () => (await textOf(`${state}/loaded`)).split("\n").filter(Boolean).sort(),
    previous: async () => {
      const fullchainPem = await textOf(`${state}/previous/cert.pem`);
      const keyPem = await textOf(`${state}/previous/key.pem`);
      return fullchainPem === "" ? null : { fullchainPem, keyPem };
    },
    assertInstalled: async (leaf, directory = mailcow.ssl) => {
      await assertFile(`${directory}/cert.pem`, leaf.fullchainPem, 0o644);
      await assertFile(`${directory}/key.pem`, leaf.keyPem, 0o600);
      const names = await readdir(mailcow.ssl, { recursive: true });
      deepEqual(names.filter((name) => name.includes(".certsync-")), []);
    },
    calls: () =>
      docker.calls.map((argv) =>
        argv[1] === "inspect" ? "inspect" : argv.slice(2).join(" ").replace(LOOK, "ps")
      ),
    assertUntouched,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** How docker is asked for all of its containers. */
const LOOK = /^ps --all --format json$/;

async function assertFile(path: string, text: string, mode: number): Promise<void> {
  const stat = await Deno.lstat(path);
  equal(stat.isFile, true, `${path} is not a real file`);
  equal((stat.mode ?? 0) & 0o7777, mode, `${path} has mode ${(stat.mode ?? 0).toString(8)}`);
  equal(stat.uid, Deno.uid());
  equal(stat.nlink, 1);
  equal(await Deno.readTextFile(path), text, `${path} holds something else`);
}

/** The base64 of a key, line by line: each is enough to know it by. */
function secretLines(keyPem: string): string[] {
  return keyPem.split("\n").filter((line) => line.length > 20 && !line.startsWith("-----"));
}

/** What `loaded` says once every service has taken the leaf. */
export function allLoaded({ fingerprint }: Pick<Leaf, "fingerprint">): string[] {
  return ["dovecot", "nginx", "postfix"].map((name) => `${name}-mailcow ${fingerprint}`);
}
