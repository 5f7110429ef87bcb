// A mailcow that is real where it counts, up and running, with certsync's configuration for it.

import { fileURLToPath } from "node:url";
import { type Authority, authority, type Leaf, type LeafOptions } from "../kit/authority.ts";
import { certsync, type CertsyncOptions } from "../kit/certsync.ts";
import { type MailcowTree, mailcowTree } from "../kit/mailcow_tree.ts";
import { run, tryRun } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { type EndpointName, HOSTNAME, NAMES, untilAnswered } from "./wire.ts";

export const SERVICES = ["postfix-mailcow", "dovecot-mailcow", "nginx-mailcow"] as const;
export type Service = typeof SERVICES[number];

export interface LabOptions {
  /** SNI directories that are there when the services start. */
  sni?: (issue: Lab["issue"]) => Promise<SniDirectory[]>;
  /** Over mailcow.conf's. */
  conf?: Record<string, string>;
  settle?: string;
  restartTimeout?: string;
  /** The first certificate; default mailcow's own, self-signed. */
  first?: Partial<LeafOptions>;
  /** Whether the first certificate came by a deploy. */
  isDeployed?: boolean;
  /** The newest Postfix and Dovecot that Debian has, instead of mailcow's older ones. */
  isNewest?: boolean;
  /** In a network of their own, with ports that docker publishes. */
  isPublished?: boolean;
  /** The endpoints that are to answer before the lab is handed over; default all. */
  untilUp?: readonly EndpointName[];
}

export interface SniDirectory {
  name: string;
  leaf: Leaf;
  domains: string[];
}

export interface Deployment {
  code: number;
  stderr: string;
  // deno-lint-ignore no-explicit-any -- tests reach into it and assert on what they find
  json: any;
}

export interface Lab extends AsyncDisposable {
  path: string;
  ca: Authority;
  tree: MailcowTree;
  config: string;
  state: string;
  staging: string;
  /** What the services started with. */
  first: Leaf;
  sni: SniDirectory[];
  issue(options?: Partial<LeafOptions>): Promise<Leaf>;
  /** Puts a pair into staging, as push does: the domain's, or that of a further name. */
  stage(leaf: Leaf, name?: string): Promise<void>;
  deploy(args?: string[], options?: CertsyncOptions): Promise<Deployment>;
  /** Stages the leaf, and deploys. */
  deliver(leaf: Leaf, args?: string[]): Promise<Deployment>;
  compose(...args: string[]): Promise<string>;
  /** When a service's container was last started. */
  startedAt(service: Service): Promise<string>;
  /** Which services were restarted during something. */
  restartedBy(something: () => Promise<unknown>): Promise<Service[]>;
  /** The service of each `docker compose restart` during something, sorted. */
  restartsDuring(something: () => Promise<unknown>): Promise<string[]>;
  /** Writes a file below the service's /lab, or removes it: see lab/start/prepare. */
  tell(service: Service, file: string, text: string | null): Promise<void>;
  /** Makes a program in the service's container do something else: a shell script, or null. */
  wrap(service: Service, program: string, script: string | null): Promise<void>;
  configure(deploy: Record<string, string>, also?: readonly string[]): Promise<void>;
}

export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const stack = new AsyncDisposableStack();
  try {
    return await build(options, stack);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function build(options: LabOptions, stack: AsyncDisposableStack): Promise<Lab> {
  const dir = stack.use(await tempDir());
  const ca = stack.use(await authority("Lab", "ecdsa-p384"));
  const issue = (leaf: Partial<LeafOptions> = {}) => ca.issue({ names: [HOSTNAME], ...leaf });
  const first = await issue(options.first ?? { signedBy: "self" });

  const root = `${dir.path}/mailcow-dockerized`;
  const tree = await mailcowTree(root, {
    leaf: first,
    conf: {
      MAILCOW_HOSTNAME: HOSTNAME,
      SMTP_PORT: "127.0.0.1:25",
      SMTPS_PORT: "127.0.0.1:465",
      SUBMISSION_PORT: "127.0.0.1:587",
      IMAP_PORT: "127.0.0.1:143",
      IMAPS_PORT: "127.0.0.1:993",
      POP_PORT: "127.0.0.1:110",
      POPS_PORT: "127.0.0.1:995",
      SIEVE_PORT: "4190",
      HTTPS_BIND: "127.0.0.1",
      ...(options.isNewest && { LAB_IMAGE: "certsync-lab-newest" }),
      ...options.conf,
    },
  });
  const sni = await options.sni?.(issue) ?? [];
  for (const { name, leaf, domains } of sni) await tree.putSni(name, leaf, domains);

  const source = fileURLToPath(new URL("./mailcow", import.meta.url));
  await run("cp", ["-r", `${source}/.`, root]);
  const composeFile = `${root}/docker-compose.published.yml`;
  if (options.isPublished) await Deno.rename(composeFile, `${root}/docker-compose.yml`);
  else await Deno.remove(composeFile);
  await Deno.symlink("mailcow.conf", `${root}/.env`); // as mailcow has it
  // Strong enough for the level at which a test makes OpenSSL refuse RSA with 2048 bits.
  const group = ["-algorithm", "DH", "-pkeyopt", "group:ffdhe3072"];
  await run("openssl", ["genpkey", "-genparam", ...group, "-out", `${tree.ssl}/dhparams.pem`]);
  for (const service of SERVICES) {
    await Deno.mkdir(`${root}/lab/${service}/sbin`, { recursive: true });
  }

  const config = `${dir.path}/config.yaml`;
  const [state, staging] = [`${dir.path}/state`, `${dir.path}/incoming`];
  await Deno.mkdir(staging, { mode: 0o700 });
  const configure = async (deploy: Record<string, string>, also: readonly string[] = []) => {
    const lines = Object.entries({
      mailcow: root,
      staging,
      state,
      trust: ca.rootFile,
      settle: options.settle ?? "5s",
      restart_timeout: options.restartTimeout ?? "30s",
      dane: "off", // there is no resolver in the lab
      ...deploy,
    }).map(([key, value]) => `  ${key}: ${value}\n`);
    const names = also.length === 0 ? "" : `also: [${also.join(", ")}]\n`;
    await Deno.writeTextFile(config, `${names}deploy:\n${lines.join("")}`);
  };
  await configure({});

  const compose = (...args: string[]) => run("docker", ["compose", ...args], { cwd: root });
  const stage = async (leaf: Leaf, name?: string) => {
    const place = name === undefined ? staging : `${staging}/${name}`;
    await Deno.mkdir(place, { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(`${place}/fullchain.pem`, leaf.fullchainPem, { mode: 0o644 });
    await Deno.writeTextFile(`${place}/privkey.pem`, leaf.keyPem, { mode: 0o600 });
  };
  const deploy = async (args: string[] = [], more: CertsyncOptions = {}) => {
    const result = await certsync(["deploy", "--json", "--config", config, ...args], {
      timeoutMs: 150_000,
      ...more,
    });
    return { code: result.code, stderr: result.stderr, json: result.json() };
  };
  const inspect = (service: Service, format: string) =>
    run("docker", ["inspect", "--format", format, `mailcowdockerized-${service}-1`]);
  const startedAt = (service: Service) => inspect(service, "{{.State.StartedAt}}");

  stack.defer(async () => {
    const down = ["compose", "--progress", "quiet", "down", "--timeout", "1"];
    await tryRun("timeout", ["60", "docker", ...down], { cwd: root });
  });
  await compose("--progress", "quiet", "up", "--detach");
  const isUpWithout = options.conf?.NGINX_USE_PROXY_PROTOCOL ? NAMES.slice(0, -1) : NAMES;
  await untilAnswered(options.untilUp ?? isUpWithout);

  const lab = {
    path: dir.path,
    ca,
    tree,
    config,
    state,
    staging,
    first,
    sni,
    issue,
    stage,
    deploy,
    deliver: async (leaf: Leaf, args: string[] = []) => {
      await stage(leaf);
      return await deploy(args);
    },
    compose,
    startedAt,
    restartedBy: async (something: () => Promise<unknown>) => {
      const before = await Promise.all(SERVICES.map(startedAt));
      await something();
      const after = await Promise.all(SERVICES.map(startedAt));
      return SERVICES.filter((_, i) => before[i] !== after[i]);
    },
    restartsDuring: async (something: () => Promise<unknown>) => {
      const since = Date.now();
      await something();
      const span = ["--since", `${since / 1_000}`, "--until", `${Date.now() / 1_000}`];
      const service = '{{index .Actor.Attributes "com.docker.compose.service"}}';
      const filter = ["--filter", "event=restart", "--format", service];
      const said = await run("docker", ["events", ...span, ...filter]);
      return said.split("\n").filter((line) => line !== "").sort();
    },
    tell: async (service: Service, file: string, text: string | null) => {
      const path = `${root}/lab/${service}/${file}`;
      if (text === null) return await Deno.remove(path, { recursive: true });
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      await Deno.writeTextFile(path, text);
    },
    wrap: async (service: Service, program: string, script: string | null) => {
      const path = `${root}/lab/${service}/sbin/${program}`;
      if (script === null) return await Deno.remove(path);
      await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    },
    configure,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  if (options.isDeployed) {
    const { code, json } = await lab.deliver(first);
    if (code !== 0) throw new Error(`the first deploy failed: ${JSON.stringify(json)}`);
  }
  return lab;
}

/** The services by action, as deploy's JSON has them. */
export function actions(json: Deployment["json"]): Record<string, string> {
  return Object.fromEntries(
    json.services.map(({ service, action }: Record<string, string>) => [service, action]),
  );
}

export const ALL_RELOADED = {
  "postfix-mailcow": "reloaded",
  "dovecot-mailcow": "reloaded",
  "nginx-mailcow": "reloaded",
};
