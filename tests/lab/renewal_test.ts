// A certificate that comes, and is renewed: every endpoint serves it, and none was ever silent.

import { deepEqual, equal, ok } from "node:assert/strict";
import { actions, ALL_RELOADED, type Lab, startLab } from "./lab.ts";
import { assertServed, busyClient, DOVECOT, type Failure, NAMES, NGINX } from "./wire.ts";

Deno.test("the first deploy takes the place of mailcow's own certificate on all nine endpoints", async () => {
  await using lab = await startLab();
  await assertServed(lab.first);

  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  await assertServed(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  equal(json.fingerprint, leaf.fingerprint);
  deepEqual(actions(json), ALL_RELOADED);
  equal(json.served.length, 18);
  equal(json.served.every(({ ok }: { ok: boolean }) => ok), true);
  deepEqual(json.warnings, []);
});

Deno.test("a renewal with any kind of key is served at once, and no connection fails meanwhile", async () => {
  await using lab = await startLab({
    first: { names: ["mail.example.org"], algorithm: "rsa" },
    isDeployed: true,
  });
  for (const algorithm of ["ecdsa-p384", "ed25519", "rsa", "ecdsa-p256"] as const) {
    const leaf = await lab.issue({ algorithm });
    const sentAway = await countSentAway(lab);
    const client = busyClient();
    const restarted = await lab.restartedBy(async () => {
      const { code, json } = await lab.deliver(leaf);
      await assertServed(leaf);
      equal(code, 0, json.error);
      equal(json.outcome, "deployed");
      deepEqual(actions(json), ALL_RELOADED);
    });
    const { connections, failures } = await client.stop();
    assertNoneRefused(failures, await countSentAway(lab) - sentAway, algorithm);
    ok(connections > NAMES.length, `${connections} connections`);
    deepEqual(restarted, []);
  }
  const again = await lab.deploy();
  equal(again.code, 0);
  equal(again.json.outcome, "unchanged");
});

Deno.test("once deploy has returned, no process that was reloaded gives the old one any more", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  await lab.compose("stop", "postfix-mailcow", "dovecot-mailcow"); // nothing else to wait for
  for (let renewal = 0; renewal < 6; renewal++) {
    const leaf = await lab.issue();
    equal((await lab.deliver(leaf)).code, 0);
    for (let turn = 0; turn < 5; turn++) await assertServed(leaf, NGINX);
  }
});

/**
 * How many clients Dovecot has sent away by itself: told to reload, it says "BYE" to whoever is at a
 * login process that is too young to have reached auth (login_die() in its src/login-common/main.c).
 * On a busy machine a bare `dovecot reload` does it to some connections in ten thousand.
 */
async function countSentAway(lab: Lab): Promise<number> {
  const log = await lab.compose("logs", "--no-color", "dovecot-mailcow");
  return log.split("(disconnected before auth was ready").length - 1;
}

/** Nobody was refused but those that Dovecot has in its log. */
function assertNoneRefused(failures: readonly Failure[], sentAway: number, during: string): void {
  const isDovecots = ({ name }: Failure) => DOVECOT.includes(name);
  deepEqual(failures.filter((failure) => !isDovecots(failure)), [], during);
  const told = failures.filter(isDovecots);
  const words = told.map(({ name, why }) => `${name} ${why}`).join("; ");
  ok(told.length <= sentAway, `${during}: ${words}; Dovecot knows of ${sentAway}`);
}
