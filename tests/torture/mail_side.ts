// A mail host that can be put back to a beginning, and what must hold there whatever has happened.

import { deepEqual, equal, ok } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { authority, type Leaf } from "../kit/authority.ts";
import type { CertsyncResult } from "../kit/certsync.ts";
import { memoriesIn } from "../kit/history.ts";
import { type MailHost, mailHost } from "../kit/mail_host.ts";
import type { Run } from "./strace.ts";

export const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const SERVICES = { postfix: "smtps", dovecot: "imaps", nginx: "https" } as const;
export const ENDPOINTS = Object.values(SERVICES);

export const ca = await authority("Torture", "ecdsa-p384");
const from = (days: number, names = [NAME]) =>
  ca.issue({
    names,
    notBefore: new Date(Date.now() + days * DAY_MS),
    notAfter: new Date(Date.now() + 60 * DAY_MS),
  });
/** Each a renewal of the one before. */
export const [oldest, old, fresh] = await Promise.all([from(-50), from(-30), from(-1)]);
/** For another name than the mail host's. */
const strangers = await from(-1, ["www.example.net"]);

/** How a run begins, and where it may end. */
export interface Scenario {
  name: string;
  args?: string[];
  prepare(host: MailHost): Promise<unknown>;
  /** What the next run, with the same staging, installs and says. */
  ends: { leaf: Leaf; outcomes: string[] }[];
  /** What a run may leave that finds nothing good in the staging. */
  leaves: Leaf[];
}

export function sniOf({ mailcow }: MailHost): string {
  return `${mailcow.ssl}/${NAME}`;
}

/** As before any deploy: old is installed everywhere and served, fresh is staged. */
async function begin(host: MailHost, deployed: Leaf, staged: Leaf): Promise<void> {
  for (const service of ["postfix", "dovecot", "nginx"] as const) host.services.temper(service, {});
  await Deno.remove(host.state, { recursive: true }).catch(() => {});
  for (const directory of [host.mailcow.ssl, sniOf(host)]) {
    for (const name of await readdir(directory)) {
      if (name.startsWith(".")) await Deno.remove(`${directory}/${name}`);
    }
  }
  await host.mailcow.put(deployed);
  await host.mailcow.putSni(NAME, deployed, [NAME]);
  await host.stage(staged);
  await host.restartAll();
  host.docker.forget();
}

async function deployed(host: MailHost): Promise<void> {
  const { code, stderr } = await host.deploy();
  equal(code, 0, stderr);
}

const DONE = ["deployed", "repaired", "unchanged"];

export const scenarios: Scenario[] = [
  {
    name: "a first deploy",
    prepare: (host) => begin(host, old, fresh),
    ends: [{ leaf: fresh, outcomes: DONE }],
    leaves: [old, fresh],
  },
  {
    name: "a renewal",
    prepare: async (host) => {
      await begin(host, oldest, old);
      await deployed(host);
      await host.stage(fresh);
    },
    ends: [{ leaf: fresh, outcomes: DONE }],
    leaves: [old, fresh],
  },
  {
    name: "deploy --rollback",
    args: ["--rollback"],
    prepare: async (host) => {
      await begin(host, old, fresh);
      await deployed(host);
    },
    ends: [{ leaf: fresh, outcomes: DONE }, { leaf: old, outcomes: ["refused"] }],
    leaves: [old, fresh],
  },
  {
    name: "a rollback of itself",
    prepare: async (host) => {
      await begin(host, old, fresh);
      host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
    },
    ends: [{ leaf: old, outcomes: ["rolled-back", "refused"] }],
    leaves: [old, fresh],
  },
  {
    name: "a recovery",
    prepare: async (host) => {
      await begin(host, old, fresh);
      await deployed(host);
      await host.stage(strangers);
      await Deno.writeTextFile(host.mailcow.keyFile, oldest.keyPem);
      await Deno.writeTextFile(`${sniOf(host)}/key.pem`, oldest.keyPem);
    },
    ends: [{ leaf: old, outcomes: ["refused"] }],
    leaves: [old],
  },
];

export function deployRun(host: MailHost, { args = [] }: Pick<Scenario, "args">): Run {
  return {
    args: ["deploy", "--config", host.config, "--json", ...args],
    options: { path: host.docker.bin },
  };
}

/** Prepares a host, and gives the run there. */
export function beginning(scenario: Pick<Scenario, "args" | "prepare">) {
  return async (host: MailHost): Promise<Run> => {
    await scenario.prepare(host);
    return deployRun(host, scenario);
  };
}

export function tortureHost(): Promise<MailHost> {
  return mailHost({
    trust: ca.rootFile,
    deployed: old,
    staged: fresh,
    endpoints: ENDPOINTS,
    deploy: { settle: "0.1s", restart_timeout: "1.5s" },
    prepare: (mailcow) => mailcow.putSni(NAME, old, [NAME]),
  });
}

/** What holds even where nothing has been put in order yet. */
export async function assertSafe(host: MailHost): Promise<void> {
  for (const path of await filesBelow(host.root)) {
    const { mode } = await Deno.lstat(path);
    const text = await Deno.readTextFile(path);
    if (text.includes("PRIVATE KEY")) equal((mode ?? 0) & 0o077, 0, `${path} is open to others`);
  }
  for (const line of await host.loaded()) {
    const [service = "", fingerprint] = line.split(" ");
    const endpoint = SERVICES[service.replace("-mailcow", "") as keyof typeof SERVICES];
    equal(host.services.serves(endpoint, NAME), fingerprint, `loaded says otherwise: ${line}`);
  }
}

/** The next run with the same staging. */
export async function assertHealed(host: MailHost, { ends }: Scenario): Promise<void> {
  const result = await host.deploy(["--json"]);
  const { outcome } = result.json();
  const end = ends.find(({ outcomes }) => outcomes.includes(outcome));
  ok(end, `${outcome}: ${result.stderr}`);
  equal(result.code, DONE.includes(outcome) ? 0 : 1);
  await assertTidy(host);
  await assertDirectory(host, host.mailcow.ssl, [end.leaf]);
  await assertDirectory(host, sniOf(host), [end.leaf]);
  for (const endpoint of ENDPOINTS) {
    for (const sni of [NAME, undefined]) {
      equal(host.services.serves(endpoint, sni), end.leaf.fingerprint, `${endpoint} ${sni}`);
    }
  }
  if (!DONE.includes(outcome)) return;
  deepEqual(
    await host.loaded(),
    ["dovecot", "nginx", "postfix"].map((name) => `${name}-mailcow ${end.leaf.fingerprint}`),
  );
}

/** The next run, where the staging is gone by then. */
export async function assertRecovered(host: MailHost, { leaves, ends }: Scenario): Promise<void> {
  const outcomes = ends.flatMap(({ outcomes }) => outcomes).filter((one) => one === "rolled-back");
  await Deno.remove(host.staging, { recursive: true }); // half of a push would be waited for
  const result: CertsyncResult = await host.deploy(["--json"]);
  const { outcome } = result.json();
  ok(outcome === "refused" || outcomes.includes(outcome), result.stderr);
  await assertTidy(host);
  const top = await assertDirectory(host, host.mailcow.ssl, leaves);
  await assertDirectory(host, sniOf(host), leaves);
  await assertSafe(host);
  for (const endpoint of ENDPOINTS) {
    const served = host.services.serves(endpoint);
    ok(served && leaves.some(({ fingerprint }) => fingerprint === served), `${endpoint} is silent`);
  }
  return await host.stage(top); // the staging is as good as it was
}

/** Which of the pairs it holds, whole. */
export async function assertDirectory(
  { mailcow }: MailHost,
  directory: string,
  leaves: readonly Leaf[],
): Promise<Leaf> {
  const [certificate, key] = [`${directory}/cert.pem`, `${directory}/key.pem`];
  const text = await Deno.readTextFile(certificate);
  const leaf = leaves.find(({ fullchainPem }) => fullchainPem === text);
  ok(leaf, `${directory} holds another certificate`);
  equal(await Deno.readTextFile(key), leaf.keyPem, `${directory} holds another key`);
  for (const [path, mode] of [[certificate, 0o644], [key, 0o600]] as const) {
    const stat = await Deno.lstat(path);
    ok(stat.isFile && stat.uid === Deno.uid(), path);
    equal((stat.mode ?? 0) & 0o7777, mode, path);
  }
  ok(directory.startsWith(mailcow.ssl));
  return leaf;
}

/** No file of ours that does not belong there, and a previous pair that is one. */
async function assertTidy(host: MailHost): Promise<void> {
  const known = [
    ...["lock", "loaded", "rejected", "answered", "previous"],
    ...["unhelped", "unseen", "directories", "staged"],
  ];
  deepEqual((await memoriesIn(host.state)).filter((name) => !known.includes(name)), []);
  const paths = await filesBelow(host.root);
  deepEqual(paths.filter((path) => /\/\.[^/]*$|scratch/.test(path)), []);
  const previous = await host.previous();
  if (previous === null) return;
  const isPair = [oldest, old, fresh].some(({ fullchainPem, keyPem }) =>
    previous.fullchainPem === fullchainPem && previous.keyPem === keyPem
  );
  ok(isPair, "the previous pair is a mixture");
}

export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) =>
    `${parentPath}/${name}`
  );
}
