// Who of mailcow's servers reads which directory: the real ones, against the model that deploy has.

import { deepEqual, equal, match } from "node:assert/strict";
import { rightLeaves } from "../../lib/chain/sni.ts";
import { readMailcow } from "../../lib/chain/mailcow.ts";
import type { Leaf } from "../kit/authority.ts";
import { assertSame, snapshot } from "../kit/snapshot.ts";
import { actions, ALL_RELOADED, type Lab, SERVICES, startLab } from "./lab.ts";
import { ask, assertServed, DOVECOT, HOSTNAME, NGINX, POSTFIX, untilAnswered } from "./wire.ts";

const PROTOCOL = {
  "postfix-mailcow": "smtps",
  "dovecot-mailcow": "imaps",
  "nginx-mailcow": "https",
};
const DAY_MS = 86_400_000;

/** Makes directories as mailcow, an operator or a backup may have left them, each with its own leaf. */
async function furnish(lab: Lab): Promise<void> {
  const texts: Record<string, string> = {
    [HOSTNAME]: `${HOSTNAME} autodiscover.example.org`, // without a line end, as mailcow writes it
    "two-lines": "one.example.net\ntwo.example.net\n",
    "*.example.com": "*.example.com",
    "tabs": "three.example.net\tfour.example.net\n",
    "dos": "five.example.net\r\n",
    ".hidden": "six.example.net\n",
    "certs/nested": "seven.example.net\n",
  };
  for (const [name, text] of Object.entries(texts)) {
    const directory = await lab.tree.putSni(name, await lab.issue({ names: ["own.example"] }));
    await Deno.writeTextFile(`${directory}/domains`, text);
  }
  await Deno.symlink("certs/nested", `${lab.tree.ssl}/link`);
  await Deno.symlink(`${lab.tree.ssl}/certs/nested`, `${lab.tree.ssl}/host-path`);
}

for (const isNewest of [false, true]) {
  Deno.test(`what ${isNewest ? "the newest" : "mailcow's"} servers give for a name is what the model calls right`, async () => {
    await using lab = await startLab({ isNewest, first: {} });
    await furnish(lab);
    await lab.compose("restart", ...SERVICES);
    await untilAnswered();
    const { sniDirectories } = readMailcow(lab.tree.root);
    const places = { top: lab.first, sniDirectories, hostname: HOSTNAME };
    const numbers = ["one", "two", "three", "four", "five", "six", "seven"];
    const names = [
      ...[HOSTNAME, "shop.example.com", "a.shop.example.com", "elsewhere.example"],
      ...numbers.map((label) => `${label}.example.net`),
    ];
    const wrong: string[] = [];
    for (const service of SERVICES) {
      for (const name of names) {
        const [top, own] = rightLeaves({ service, name }, places, new Date());
        const given = await ask(PROTOCOL[service] as "imaps", name);
        // Dovecot 2.3 takes the carriage return for a part of the name.
        const isOdd = name.startsWith("five") && service === "dovecot-mailcow" && !isNewest;
        if (given !== (isOdd ? top : own ?? top)) wrong.push(`${service} ${name}: ${given}`);
      }
    }
    deepEqual(wrong, []);
  });

  Deno.test(`a renewal on ${isNewest ? "the newest" : "mailcow's"} servers needs reloads alone, with directories of every kind`, async () => {
    await using lab = await startLab({
      isNewest,
      first: {},
      sni: async (issue) => [
        { name: HOSTNAME, leaf: await issue(), domains: [HOSTNAME] },
        { name: "wild", leaf: await issue(), domains: ["*.example.org"] },
      ],
    });
    const leaf = await lab.issue();
    const { code, json } = await lab.deliver(leaf);
    equal(code, 0, json.error);
    deepEqual(actions(json), ALL_RELOADED);
    await assertServed(leaf, [...POSTFIX, ...NGINX]);
    equal(json.served.every(({ ok }: { ok: boolean }) => ok), true);
    equal((await lab.deploy()).json.outcome, "unchanged");
  });
}

Deno.test("an expired leaf that a wildcard gives to the mail hostname is taken over, whoever serves it", async () => {
  let expired: Leaf | undefined;
  await using lab = await startLab({
    first: {},
    sni: async (issue) => {
      const end = new Date(Date.now() - DAY_MS);
      const begin = new Date(Date.now() - 90 * DAY_MS);
      expired = await issue({ names: ["*.example.org"], notBefore: begin, notAfter: end });
      return [{ name: "*.example.org", leaf: expired, domains: ["*.example.org"] }];
    },
  });
  equal(await ask("imaps", HOSTNAME), expired?.fingerprint, "Dovecot gives it");
  equal(await ask("smtps", HOSTNAME), lab.first.fingerprint, "Postfix does not");
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  await assertServed(leaf);
  deepEqual(actions(json), ALL_RELOADED);
  const again = await lab.deploy();
  deepEqual([again.code, again.json.outcome], [0, "unchanged"]);
});

Deno.test("directories that the servers do not know, or pass over, restart nobody", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const shop = await lab.issue({ names: [HOSTNAME, "shop.example"] });
  const directory = await lab.tree.putSni("shop", shop, ["shop.example", HOSTNAME]);
  const before = await snapshot(directory);
  const restarted = await lab.restartedBy(async () => {
    const leaf = await lab.issue();
    const { code, json } = await lab.deliver(leaf); // newer than the containers
    equal(code, 0, json.error);
    deepEqual(actions(json), ALL_RELOADED);
    await assertServed(leaf);
  });
  deepEqual(restarted, []);

  await lab.tell("postfix-mailcow", "no-sni", ""); // its map is empty
  await lab.compose("restart", "postfix-mailcow", "dovecot-mailcow");
  await untilAnswered();
  equal(await ask("imaps", HOSTNAME), shop.fingerprint);
  const next = await lab.issue();
  const again = await lab.restartedBy(async () => {
    const { code, json } = await lab.deliver(next);
    equal(code, 0, json.error);
    match(json.warnings.join(), /shop" keeps its own certificate/);
  });
  deepEqual(again, []);
  await assertServed(next, [...POSTFIX, ...NGINX]);
  for (const name of DOVECOT) equal(await ask(name, HOSTNAME), shop.fingerprint);
  const third = await lab.deploy();
  equal(third.json.outcome, "unchanged");
  match(third.json.warnings.join(), /shop" keeps its own certificate/, "said by every run");
  assertSame(before, await snapshot(directory));
});
