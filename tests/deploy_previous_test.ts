// What deploy keeps to go back to, and what it makes of it: never a pair that is none.

import { deepEqual, equal, match } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { authority, type Leaf } from "./kit/authority.ts";
import { type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import type { Served } from "./kit/mailcow_tree.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
/** On a curve that node:crypto does not know, so that openssl alone sees that the key fits. */
const brainpool = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"];
const [old, fresh, newer, unusual] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME], notBefore: daysAgo(1) }),
  ca.issue({ names: [NAME], notBefore: daysAgo(0.5) }),
  run(need("openssl"), brainpool).then((keyPem) =>
    ca.issue({ names: [NAME], notBefore: daysAgo(30), keyPem })
  ),
]);

const SERVICES = ["postfix", "dovecot", "nginx"].map((name) => `${name}-mailcow`);
/** Where no service runs, only the files are looked at. */
const NONE_UP = { up: [] };

function host(options: Partial<MailHostOptions>): Promise<MailHost> {
  const endpoints = ["smtps", "imaps", "https"] as const;
  const deploy = { settle: "0.5s", restart_timeout: "1s" };
  return mailHost({ trust: ca.rootFile, endpoints, deploy, ...options });
}

/** What earlier runs left in the state directory. */
async function remember(
  { state }: MailHost,
  { previous, rejected = [], loaded }: { previous?: Served; rejected?: Leaf[]; loaded?: Leaf },
): Promise<void> {
  await Deno.mkdir(`${state}/previous`, { recursive: true, mode: 0o700 });
  if (previous !== undefined) {
    await Deno.writeTextFile(`${state}/previous/cert.pem`, previous.fullchainPem);
    await Deno.writeTextFile(`${state}/previous/key.pem`, previous.keyPem, { mode: 0o600 });
  }
  const when = "2026-01-01T00:00:00Z";
  const fingerprints = rejected.map(({ fingerprint }) => `${fingerprint} ${when}\n`);
  await Deno.writeTextFile(`${state}/rejected`, fingerprints.join(""));
  if (loaded === undefined) return;
  const lines = SERVICES.map((service) => `${service} ${loaded.fingerprint}\n`);
  await Deno.writeTextFile(`${state}/loaded`, lines.join(""));
}

const rejected = async ({ state }: MailHost) =>
  (await Deno.readTextFile(`${state}/rejected`)).split("\n").filter(Boolean)
    .map((line) => line.split(" ")[0]);

const mixture = (certificate: Leaf, key: Leaf): Served => ({
  fullchainPem: certificate.fullchainPem,
  keyPem: key.keyPem,
});

Deno.test("--rollback after an automatic one rejects nothing, and what it put back is taken", async () => {
  await using mail = await host({ deployed: old, staged: fresh });
  await remember(mail, { previous: old, rejected: [fresh] });
  const back = await mail.deploy(["--rollback", "--json"]);
  deepEqual([back.code, back.json().fingerprint], [0, old.fingerprint], back.stderr);
  deepEqual(await rejected(mail), [fresh.fingerprint]);

  await mail.stage(old);
  const next = await mail.assertUntouched(() => mail.deploy(["--json"]));
  deepEqual([next.code, next.json().outcome], [0, "unchanged"], next.stderr);
});

Deno.test("a mixture that was kept is never put back", async () => {
  await using mail = await host({ deployed: old, staged: fresh });
  await mail.mailcow.put(mixture(old, newer)); // so that it is not kept itself
  await remember(mail, { previous: mixture(old, newer) });
  mail.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const result = await mail.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "stale"], result.stderr);
  await mail.assertInstalled(fresh);
  deepEqual(await rejected(mail), []);
});

Deno.test("a pair that was rolled back is not kept as the previous one", async () => {
  await using mail = await host({ deployed: fresh, staged: newer, ...NONE_UP });
  await remember(mail, { previous: old, rejected: [fresh] });
  const result = await mail.deploy(["--force"]);
  equal(result.code, 0, result.stderr);
  await mail.assertInstalled(newer);
  deepEqual(await mail.previous(), { fullchainPem: old.fullchainPem, keyPem: old.keyPem });
});

Deno.test("where openssl says nothing, no key is taken for the certificate's", async () => {
  await using mail = await host({ deployed: old, ...NONE_UP });
  await remember(mail, { previous: mixture(old, newer) });
  await Deno.remove(mail.mailcow.keyFile);
  const mute = "#!/bin/sh\ncat >/dev/null\n";
  await Deno.writeTextFile(`${mail.docker.bin}/openssl`, mute, { mode: 0o755 });
  const { code, stderr } = await mail.assertUntouched(() => mail.deploy());
  equal(code, 1);
  match(stderr, /^ERROR: openssl x509 could not tell: /m);
});

Deno.test("a pair whose key openssl alone knows is whole, and is kept when it is replaced", async () => {
  await using mail = await host({ deployed: unusual, ...NONE_UP });
  await remember(mail, { previous: old, loaded: unusual });
  const empty = await mail.assertUntouched(() => mail.deploy(["--json"]));
  deepEqual([empty.code, empty.json().outcome], [1, "refused"]);
  deepEqual(empty.json().warnings, []);

  await mail.stage(unusual);
  const same = await mail.assertUntouched(() => mail.deploy(["--json"]));
  deepEqual([same.code, same.json().outcome], [0, "unchanged"], same.stderr);

  await mail.stage(newer);
  const replaced = await mail.deploy();
  equal(replaced.code, 0, replaced.stderr);
  const { fullchainPem, keyPem } = unusual;
  deepEqual(await mail.previous(), { fullchainPem, keyPem });

  await mail.stage(fresh); // an older one, but the deployed one is a mixture
  await mail.mailcow.put(mixture(newer, old));
  await Deno.remove(`${mail.staging}/privkey.pem`);
  const healed = await mail.deploy(["--json"]);
  deepEqual([healed.code, healed.json().outcome], [1, "refused"]);
  match(healed.json().warnings[0], new RegExp(`did not match in .*: put ${unusual.fingerprint}`));
  await mail.assertInstalled(unusual);
});

Deno.test("what a killed run left beside the kept pairs goes, also when there is nothing to do", async () => {
  await using mail = await host({ deployed: fresh, staged: fresh, ...NONE_UP });
  await remember(mail, { previous: old, loaded: fresh });
  const previous = `${mail.state}/previous`;
  await Deno.mkdir(`${previous}/x`);
  for (const left of [".certsync-key.pem", "x/.certsync-key.pem", "x/.certsync-cert.pem"]) {
    await Deno.writeTextFile(`${previous}/${left}`, newer.keyPem);
  }
  const result = await mail.assertUntouched(() => mail.deploy(["--json"]));
  equal(result.json().outcome, "unchanged", result.stderr);
  deepEqual((await readdir(previous, { recursive: true })).sort(), ["cert.pem", "key.pem", "x"]);
});
