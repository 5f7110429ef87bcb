// deploy of three names, killed at any point and given any error: each pair is whole, and the next run
// is right.

import { deepEqual, equal, ok } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import type { Leaf } from "../kit/authority.ts";
import { type MailHost, mailHost } from "../kit/mail_host.ts";
import { failAtCalls, killAtCalls } from "./at_calls.ts";
import { beginning, ca, ENDPOINTS, filesBelow, fresh } from "./mail_side.ts";
import { places, size, sized, some } from "./size.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const NAMES = ["a.example.com", "b.example.com", "c.example.com"];
const DAY_MS = 86_400_000;
const issue = (from: number) =>
  Promise.all(
    NAMES.map((name) =>
      ca.issue({
        names: [name],
        notBefore: new Date(Date.now() + from * DAY_MS),
        notAfter: new Date(Date.now() + 60 * DAY_MS),
      })
    ),
  );
const [older, newer] = await Promise.all([issue(-30), issue(-1)]);

interface Scenario {
  name: string;
  prepare(host: MailHost): Promise<unknown>;
  /** What each directory may hold after whatever came in between. */
  holds: Leaf[][];
}

async function begin(host: MailHost, leaves: readonly Leaf[]): Promise<void> {
  await Deno.remove(host.state, { recursive: true }).catch(() => {});
  for (const name of NAMES) {
    await Deno.remove(`${host.mailcow.ssl}/${name}`, { recursive: true }).catch(() => {});
  }
  for (const name of await readdir(host.mailcow.ssl)) {
    if (name.startsWith(".")) await Deno.remove(`${host.mailcow.ssl}/${name}`);
  }
  await host.mailcow.put(fresh);
  await host.stage(fresh);
  await stageAll(host, leaves);
  await host.restartAll();
  host.docker.forget();
}

async function stageAll(host: MailHost, leaves: readonly Leaf[]): Promise<void> {
  for (const [index, name] of NAMES.entries()) await host.stage(leaves[index] as Leaf, name);
}

const scenarios: Scenario[] = [
  {
    name: "three directories are made",
    prepare: (host) => begin(host, newer),
    holds: NAMES.map((_, index) => [newer[index] as Leaf]),
  },
  {
    name: "three names are renewed",
    prepare: async (host) => {
      await begin(host, older);
      const { code, stderr } = await host.deploy();
      equal(code, 0, stderr);
      await stageAll(host, newer);
    },
    holds: NAMES.map((_, index) => [older[index] as Leaf, newer[index] as Leaf]),
  },
];

const namesHost = () =>
  mailHost({
    ...{ trust: ca.rootFile, deployed: fresh, staged: fresh, endpoints: ENDPOINTS, also: NAMES },
    deploy: { settle: "0.1s", restart_timeout: "10s" },
  });

const count = sized({ quick: 2, ci: 40, full: Infinity });

/** Whatever has happened: what is served from a directory is one whole pair of its name. */
async function assertWhole(host: MailHost, { holds }: Scenario): Promise<void> {
  for (const [index, name] of NAMES.entries()) {
    const directory = `${host.mailcow.ssl}/${name}`;
    const domains = await Deno.readTextFile(`${directory}/domains`).catch(() => null);
    if (domains === null) { // it is served for nobody, which only a new one may be
      equal(holds[index]?.length, 1, `${directory} is served no more`);
      continue;
    }
    equal(domains, `${name}\n`);
    const [chain, key] = await Promise.all(
      ["cert.pem", "key.pem"].map((file) => Deno.readTextFile(`${directory}/${file}`)),
    );
    const mixed = holds[index]?.filter(({ fullchainPem, keyPem }) =>
      (fullchainPem === chain) !== (keyPem === key)
    );
    const whole = holds[index]?.some(({ fullchainPem, keyPem }) =>
      fullchainPem === chain && keyPem === key
    );
    // Between two renames the key is new and the certificate is not yet: the next run mends that.
    ok(whole || mixed?.length === 2, `${directory} holds something else`);
  }
}

/** The next run with the same staging. */
async function assertHealed(host: MailHost): Promise<void> {
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  for (const [index, name] of NAMES.entries()) {
    const leaf = newer[index] as Leaf;
    await host.assertInstalled(leaf, `${host.mailcow.ssl}/${name}`);
    for (const endpoint of ENDPOINTS) {
      equal(host.services.serves(endpoint, name), leaf.fingerprint, `${endpoint} ${name}`);
    }
  }
  for (const endpoint of ENDPOINTS) equal(host.services.serves(endpoint), fresh.fingerprint);
  const left = (await filesBelow(host.root)).filter((path) => /\/\.[^/]*$|scratch/.test(path));
  deepEqual(left, []);
  equal((await host.deploy(["--json"])).json().result, "unchanged");
}

/** The next run where the staging of all names is gone by then. */
async function assertRecovered(host: MailHost, scenario: Scenario): Promise<void> {
  for (const name of NAMES) await Deno.remove(`${host.staging}/${name}`, { recursive: true });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  for (const [index, name] of NAMES.entries()) {
    const directory = `${host.mailcow.ssl}/${name}`;
    if (await Deno.stat(`${directory}/domains`).catch(() => null) === null) continue;
    const text = await Deno.readTextFile(`${directory}/cert.pem`);
    const leaf = scenario.holds[index]?.find(({ fullchainPem }) => fullchainPem === text);
    ok(leaf, `${directory} holds another certificate`);
    equal(await Deno.readTextFile(`${directory}/key.pem`), leaf.keyPem, directory);
  }
  for (const endpoint of ENDPOINTS) equal(host.services.serves(endpoint), fresh.fingerprint);
}

Deno.test("deploy of three names killed at any point is healed by the next run", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, namesHost);
  for (const scenario of scenarios) {
    await t.step(scenario.name, async () => {
      const attack = { name: scenario.name, places: hosts, begin: beginning(scenario), count };
      await killAtCalls(attack, async (host, kill) => {
        await assertWhole(host, scenario);
        await (kill === "before" ? assertHealed : assertRecovered)(host, scenario);
      });
    });
  }
});

Deno.test("an error of the file system while three names are installed leaves whole pairs, and is said", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, namesHost);
  for (const scenario of size === "quick" ? some(scenarios, 1) : scenarios) {
    await t.step(scenario.name, async () => {
      const attack = { name: scenario.name, places: hosts, begin: beginning(scenario), count };
      await failAtCalls(attack, async (host) => {
        await assertWhole(host, scenario);
        await assertHealed(host);
      });
    });
  }
});
