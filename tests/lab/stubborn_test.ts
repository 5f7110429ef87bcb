// Services that do not do what they are told: restarted, called stale, or given back what they had.

import { deepEqual, equal, match } from "node:assert/strict";
import { actions, ALL_RELOADED, type Lab, SERVICES, startLab } from "./lab.ts";
import {
  askAll,
  assertServed,
  DOVECOT,
  NGINX,
  POSTFIX,
  untilAnswered,
  WITHOUT_LOGIN,
} from "./wire.ts";

const DEAF = {
  "postfix-mailcow": ["postfix", "/usr/sbin/postfix"],
  "dovecot-mailcow": ["dovecot", "/usr/sbin/dovecot"],
  "nginx-mailcow": ["nginx", "/usr/sbin/nginx"],
} as const;

for (const service of SERVICES) {
  const [program, real] = DEAF[service];
  Deno.test(`${service}, where its reload does nothing, is restarted, and the others are not`, async () => {
    await using lab = await startLab({ settle: "3s", isDeployed: true, first: {} });
    await lab.wrap(
      service,
      program,
      `case "$*" in reload | *"-s reload") exit 0 ;; esac\nexec ${real} "$@"`,
    );
    const leaf = await lab.issue();
    const restarted = await lab.restartedBy(async () => {
      const { code, json } = await lab.deliver(leaf);
      await assertServed(leaf);
      equal(code, 0, json.error);
      equal(json.outcome, "deployed");
      deepEqual(actions(json), { ...ALL_RELOADED, [service]: "restarted" });
    });
    deepEqual(restarted, [service]);
  });
}

Deno.test("a service that serves another certificate even then is stale, and not restarted for it again", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "5s",
    isDeployed: true,
    first: {},
  });
  await lab.tell("nginx-mailcow", "ssl/cert.pem", lab.first.fullchainPem);
  await lab.tell("nginx-mailcow", "ssl/key.pem", lab.first.keyPem);
  await lab.compose("restart", "nginx-mailcow");
  await untilAnswered(NGINX);

  const leaf = await lab.issue();
  const first = await lab.deliver(leaf);
  equal(first.code, 1);
  equal(first.json.outcome, "stale");
  deepEqual(actions(first.json), { ...ALL_RELOADED, "nginx-mailcow": "restarted" });
  match(first.json.error, /https/);
  await assertServed(leaf, [...POSTFIX, ...DOVECOT]);
  await assertServed(lab.first, NGINX);

  const second = await lab.deploy();
  equal(second.code, 1);
  equal(second.json.outcome, "stale");
  deepEqual(actions(second.json), { "nginx-mailcow": "reloaded" });
  match(second.json.error, /a restart of nginx-mailcow did not help before/);

  await lab.tell("nginx-mailcow", "ssl", null);
  await lab.compose("restart", "nginx-mailcow");
  await untilAnswered(NGINX);
  const third = await lab.deploy();
  equal(third.code, 0, third.json.error);
  equal(third.json.outcome, "repaired");
  await assertServed(leaf);
  equal((await lab.deploy()).json.outcome, "unchanged");
});

/** OpenSSL's level 3 takes RSA from 3072 bits on: certsync and the other services like the pair. */
async function refuseRsa(lab: Lab, service: typeof SERVICES[number]): Promise<void> {
  await lab.tell(service, "security-level", "3");
  await lab.compose("restart", service);
  await untilAnswered();
}

Deno.test("a pair that Dovecot cannot load is rolled back, and not tried again until another comes or by force", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
  });
  await refuseRsa(lab, "dovecot-mailcow");

  const bad = await lab.issue({ algorithm: "rsa" });
  const { code, json } = await lab.deliver(bad);
  await assertServed(lab.first, WITHOUT_LOGIN);
  equal(json.outcome, "rolled-back");
  equal(code, 1);
  match(json.error, /imap/);
  equal(await Deno.readTextFile(lab.tree.certFile), lab.first.fullchainPem);
  equal(await Deno.readTextFile(lab.tree.keyFile), lab.first.keyPem);
  match(await Deno.readTextFile(`${lab.state}/rejected`), new RegExp(bad.fingerprint));

  const restarted = await lab.restartedBy(async () => {
    const again = await lab.deploy();
    equal(again.code, 1);
    equal(again.json.outcome, "refused");
    match(again.json.error, /rolled back before/);
    deepEqual(again.json.installed, []);
  });
  deepEqual(restarted, []);
  await assertServed(lab.first, WITHOUT_LOGIN);

  const good = await lab.issue();
  const other = await lab.deliver(good);
  equal(other.code, 0, other.json.error);
  equal(other.json.outcome, "deployed");
  await assertServed(good, WITHOUT_LOGIN);

  await lab.tell("dovecot-mailcow", "security-level", "2");
  await lab.compose("restart", "dovecot-mailcow");
  await untilAnswered(DOVECOT);
  const forced = await lab.deliver(bad, ["--force"]);
  equal(forced.code, 0, forced.json.error);
  equal(forced.json.outcome, "deployed");
  await assertServed(bad, WITHOUT_LOGIN);
});

Deno.test("a pair with which nginx does not even start is rolled back", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
  });
  await refuseRsa(lab, "nginx-mailcow");

  const bad = await lab.issue({ algorithm: "rsa" });
  const { code, json } = await lab.deliver(bad);
  equal(json.outcome, "rolled-back");
  equal(code, 1);
  match(json.error, /https/);
  await assertServed(lab.first);
  equal((await lab.deploy()).json.outcome, "refused");
});

Deno.test("where a leftover directory was replaced too, it is rolled back with the rest", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
    sni: async (issue) => [{
      name: "mail.example.org",
      leaf: await issue(),
      domains: ["mail.example.org"],
    }],
  });
  await refuseRsa(lab, "dovecot-mailcow");
  const { code, json } = await lab.deliver(await lab.issue({ algorithm: "rsa" }));
  equal(json.outcome, "rolled-back");
  equal(code, 1);
  await assertServed(lab.first, WITHOUT_LOGIN);
});

Deno.test("an expired certificate is not put back", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "8s",
    first: {
      notBefore: new Date(Date.now() - 90 * 86_400_000),
      notAfter: new Date(Date.now() - 86_400_000),
    },
  });
  await refuseRsa(lab, "dovecot-mailcow");
  const bad = await lab.issue({ algorithm: "rsa" });
  const { code, json } = await lab.deliver(bad);
  equal(code, 1);
  match(json.outcome, /^(stale|failed)$/);
  await assertServed(bad, ["smtp", ...NGINX]); // Postfix's others ask Dovecot
  const mail = await askAll(DOVECOT);
  equal(Object.values(mail).every((is) => is.startsWith("none")), true);
});
