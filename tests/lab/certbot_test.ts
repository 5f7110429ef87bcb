// push beside real renewals: certbot, pebble, sshd and rsync, and what certbot leaves when it is cut off.

import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { certsync, type CertsyncResult } from "../kit/certsync.ts";
import { sshServer } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { type Npm, npm, type Pebble, pebble, type Strike } from "./certbot.ts";

const NAME = "mail.example.org";

let acme: Pebble;
Deno.test.beforeAll(async () => {
  acme = await pebble();
});
Deno.test.afterAll(async () => await acme[Symbol.asyncDispose]());

interface Host extends AsyncDisposable {
  npm: Npm;
  push(...args: string[]): Promise<CertsyncResult>;
  /** The staged leaf's fingerprint; throws unless chain and key are of one renewal. */
  staged(): Promise<string>;
  /** That what is staged is what the container has. */
  assertCurrent(n?: number): Promise<void>;
}

/** NPM's host with a lineage, and the mail host, both on this machine. */
async function startHost(n = 5): Promise<Host> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await tempDir());
  const proxy = stack.use(await npm(acme));
  const server = stack.use(await sshServer());
  await proxy.issue(n, [NAME]);
  const incoming = `${path}/incoming`;
  await Deno.mkdir(incoming);
  const config = `${path}/config.yaml`;
  const push = {
    live: proxy.live,
    to: server.target(`${incoming}/`),
    port: server.port,
    identity: server.identity,
    known_hosts: server.knownHosts,
    state: `${path}/state`,
    trust: acme.rootFile,
  };
  await Deno.writeTextFile(config, JSON.stringify({ domain: NAME, push }));
  const read = (name: string) => Deno.readTextFile(`${incoming}/${name}.pem`);
  const owned = stack.move();
  return {
    npm: proxy,
    push: (...args) => certsync(["push", "--config", config, "--json", ...args]),
    staged: async () => {
      const leaf = new X509Certificate(await read("fullchain"));
      ok(leaf.checkPrivateKey(createPrivateKey(await read("privkey"))), "two renewals are mixed");
      return leaf.fingerprint256;
    },
    assertCurrent: async (lineage = n) => {
      for (const kind of ["fullchain", "privkey"] as const) {
        equal(await read(kind), await proxy.read(lineage, kind));
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("each of thirty renewals is pushed whole while push runs in a loop", async () => {
  await using host = await startHost();
  equal((await host.push()).code, 0);
  let isOver = false;
  const seen = new Set<string>();
  const failures: string[] = [];
  const pushing = (async () => {
    while (!isOver) {
      const { code, stderr } = await host.push();
      if (code !== 0) failures.push(stderr);
      seen.add(await host.staged());
    }
  })();
  try {
    for (let renewal = 0; renewal < 30; renewal++) {
      await host.npm.renew(5, renewal % 2 === 0 ? ["--key-type", "rsa"] : ["--key-type", "ecdsa"]);
    }
  } finally {
    isOver = true;
    await pushing;
  }
  deepEqual(failures, []);
  ok(seen.size > 10, `${seen.size} pairs were seen`);
  const { code, stderr } = await host.push();
  equal(code, 0, stderr);
  await host.assertCurrent();
});

Deno.test("a name added, a key that is kept, a lineage deleted and made anew are all followed", async () => {
  await using host = await startHost();
  equal((await host.push()).json().outcome, "pushed");
  const first = await host.staged();

  await host.npm.issue(5, [NAME, "imap.example.org"], ["--expand", "--force-renewal"]);
  equal((await host.push()).json().outcome, "pushed");
  await host.assertCurrent();

  const key = await host.npm.read(5, "privkey");
  await host.npm.renew(5, ["--reuse-key"]);
  equal(await host.npm.read(5, "privkey"), key);
  equal((await host.push()).json().outcome, "pushed");
  await host.assertCurrent();
  notEqual(await host.staged(), first);

  await host.npm.remove(5);
  const gone = await host.push();
  deepEqual([gone.code, gone.json().outcome], [1, "failed"]);
  match(gone.json().error, /^no certificate for "mail\.example\.org" in the live directories/);

  await host.npm.issue(6, [NAME]);
  const again = await host.push();
  deepEqual([again.code, again.json().source], [0, host.npm.dir(6)], again.stderr);
  await host.assertCurrent(6);
});

Deno.test("a renewal that a signal interrupts leaves absolute links, and each later one is pushed", async () => {
  await using host = await startHost();
  equal((await host.push()).code, 0);
  const before = await host.staged();
  // Four links find the way back; of the next four, certbot makes one.
  const { isStruck } = await host.npm.renewStruck(5, {
    signal: "SIGTERM",
    event: "os.symlink",
    at: 6,
    when: "before",
  });
  ok(isStruck);
  const absolute = /^\/etc\/letsencrypt\/archive\/npm-5\/fullchain1\.pem$/;
  match(await Deno.readLink(`${host.npm.dir(5)}/fullchain.pem`), absolute);
  const settled = await host.push();
  deepEqual([settled.code, settled.json().outcome], [0, "unchanged"], settled.stderr);

  for (let renewal = 0; renewal < 2; renewal++) {
    await host.npm.renew(5);
    match(
      await Deno.readLink(`${host.npm.dir(5)}/fullchain.pem`),
      /^\/etc\/letsencrypt\/archive\//,
    );
    const pushed = await host.push();
    deepEqual([pushed.code, pushed.json().outcome], [0, "pushed"], pushed.stderr);
    await host.assertCurrent();
  }
  notEqual(await host.staged(), before);
});

/** As many at once as there is patience for. */
const PLACES = 3;

Deno.test("certbot killed at any change is told as it is, and its next run is pushed", async () => {
  await using stack = new AsyncDisposableStack();
  const hosts = await Promise.all(
    Array.from({ length: PLACES }, async () => stack.use(await startHost())),
  );
  for (const host of hosts) {
    equal((await host.push()).code, 0);
    await host.npm.restore();
  }
  const never = { signal: "SIGKILL", at: 1_000_000, when: "before" } as const;
  const { changes } = await hosts[0]!.npm.renewStruck(5, never);
  ok(changes > 20, `${changes} changes`);
  const strikes = Array.from({ length: changes }, (_, index) => index + 1).flatMap((at) =>
    (["before", "after"] as const).map((when): Strike => ({ signal: "SIGKILL", at, when }))
  ).values();
  const faults: string[] = [];
  let struck = 0;
  await Promise.all(hosts.map(async (host) => {
    for (const strike of strikes) {
      try {
        await host.npm.restore();
        const { isStruck } = await host.npm.renewStruck(5, strike);
        if (!isStruck) throw new Error("it did not come to that");
        struck++;
        await assertTruth(host, await host.push());
        await host.npm.renew(5);
        const healed = await host.push();
        equal(healed.code, 0, healed.stderr);
        await host.assertCurrent();
      } catch (error) {
        faults.push(`${strike.when} ${strike.at}: ${error}`);
      }
    }
  }));
  console.log(`lab: certbot was killed at ${struck} moments of a renewal of ${changes} changes`);
  deepEqual(faults, []);
});

/** Whole pairs alone are sent, and what is said to be there is there. */
async function assertTruth(
  host: Host,
  { code, stderr, json }: CertsyncResult,
): Promise<void> {
  const report = json();
  const staged = await host.staged();
  if (code === 0) {
    ok(["pushed", "unchanged"].includes(report.outcome), report.outcome);
    equal(report.fingerprint, staged, stderr);
    return;
  }
  match(report.error, /fullchain\.pem|privkey\.pem/, stderr);
  ok(/renew npm-5 once more|a renewal or a push may be under way/.test(report.hint), stderr);
}
