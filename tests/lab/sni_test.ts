// Directories that Postfix and Dovecot serve by name, ahead of the certificate that deploy installs.

import { deepEqual, equal, match } from "node:assert/strict";
import { assertSame, snapshot } from "../kit/snapshot.ts";
import { actions, ALL_RELOADED, startLab } from "./lab.ts";
import {
  ask,
  askAll,
  assertServed,
  DOVECOT,
  HOSTNAME,
  NAMES,
  NGINX,
  POSTFIX,
  untilServed,
} from "./wire.ts";

const MAIL = [...POSTFIX, ...DOVECOT];

Deno.test("a leftover directory of the mail hostname gets the new certificate too, Postfix's compiled map included", async () => {
  await using lab = await startLab({
    sni: async (issue) => [{ name: HOSTNAME, leaf: await issue(), domains: [HOSTNAME] }],
  });
  const [leftover] = lab.sni;
  if (leftover === undefined) throw new Error("no SNI directory");

  // What the documentation does by hand, and what its mail clients then get.
  const byHand = await lab.issue();
  await lab.tree.put(byHand);
  await lab.compose("exec", "-T", "postfix-mailcow", "postfix", "reload");
  await lab.compose("exec", "-T", "dovecot-mailcow", "dovecot", "reload");
  await lab.compose("exec", "-T", "nginx-mailcow", "nginx", "-s", "reload");
  await untilServed(byHand, NAMES);
  await assertServed(byHand, NGINX);
  for (const name of MAIL) {
    equal(await ask(name, null), byHand.fingerprint, name);
    equal(await ask(name, HOSTNAME), leftover.leaf.fingerprint, name);
  }

  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  await assertServed(leaf);
  equal(code, 0, json.error);
  deepEqual(actions(json), ALL_RELOADED);
  deepEqual(
    json.installed,
    [lab.tree.certFile, lab.tree.keyFile, `${lab.tree.ssl}/${HOSTNAME}/cert.pem`]
      .concat(`${lab.tree.ssl}/${HOSTNAME}/key.pem`).sort(),
  );
  deepEqual(json.warnings, []);
});

Deno.test("a directory of the mail hostname with names that only HTTPS uses gets the new one too", async () => {
  await using lab = await startLab({
    sni: async (issue) => [{
      name: HOSTNAME,
      leaf: await issue({ names: [HOSTNAME, "autodiscover.example.org"] }),
      domains: [HOSTNAME, "autodiscover.example.org", "autoconfig.example.org"],
    }],
  });
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  await assertServed(leaf);
  equal(code, 0, json.error);
  equal(await ask("imaps", "autodiscover.example.org"), leaf.fingerprint);
});

Deno.test("a directory for other names is left alone, and its clients keep their certificate", async () => {
  const shop = "mail.shop.example";
  await using lab = await startLab({
    sni: async (issue) => [
      { name: shop, leaf: await issue({ names: [shop] }), domains: [shop, `imap.${shop}`] },
      { name: HOSTNAME, leaf: await issue(), domains: [HOSTNAME] },
    ],
  });
  const theirs = lab.sni[0]?.leaf.fingerprint;
  const before = await snapshot(`${lab.tree.ssl}/${shop}`);
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  await assertServed(leaf);
  for (const name of [...MAIL, ...NGINX]) equal(await ask(name, shop), theirs, name);
  assertSame(before, await snapshot(`${lab.tree.ssl}/${shop}`));
  match(json.warnings.join("\n"), /mail\.shop\.example/);

  equal((await lab.deploy()).json.outcome, "unchanged");
});

Deno.test("a directory of the mail hostname and of names that the new one lacks keeps serving its own", async () => {
  const shop = "mail.shop.example";
  await using lab = await startLab({
    sni: async (issue) => [{
      name: HOSTNAME,
      leaf: await issue({ names: [HOSTNAME, shop] }),
      domains: [HOSTNAME, shop],
    }],
  });
  const theirs = lab.sni[0]?.leaf.fingerprint;
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  match(json.warnings.join("\n"), /mail\.shop\.example/);
  const expected = MAIL.flatMap((name) => [
    [name, leaf.fingerprint],
    [`${name} with SNI`, theirs],
  ]);
  deepEqual(await askAll(MAIL), Object.fromEntries(expected));
  await assertServed(leaf, NGINX);
});

Deno.test("a directory of the mail hostname whose own certificate has expired gets the new one", async () => {
  const DAY_MS = 86_400_000;
  await using lab = await startLab({
    sni: async (issue) => [{
      name: "backups",
      leaf: await issue({
        names: [HOSTNAME, "old.example.org"],
        notBefore: new Date(Date.now() - 100 * DAY_MS),
        notAfter: new Date(Date.now() - 10 * DAY_MS),
      }),
      domains: [HOSTNAME, "old.example.org"],
    }],
  });
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  await assertServed(leaf);
});
