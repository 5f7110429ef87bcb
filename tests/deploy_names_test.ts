// Several certificates: each name's own, over the directories that mailcow serves ahead of the top level.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Leaf } from "./kit/authority.ts";
import { record } from "./kit/dane_states.ts";
import { dnsZone } from "./kit/dns_zone.ts";
import { historyIn } from "./kit/history.ts";
import { ENDPOINT_NAMES } from "./kit/mail_services.ts";
import type { MailHost } from "./kit/mail_host.ts";
import {
  assertGives,
  CLUB,
  NAME,
  namesAuthority,
  outcomes,
  refusalOf,
  restarts,
  SHOP,
  THREE,
} from "./kit/names_host.ts";
import { need } from "./kit/programs.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { textOf } from "./kit/text_of.ts";
import { until } from "./kit/until.ts";

const { ca, fresh, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [shop, club, newShop, both, wrong, past] = await Promise.all([
  issue([SHOP]),
  issue([CLUB]),
  issue([SHOP], -0.5),
  issue([SHOP, CLUB]),
  issue(["other.example.org"]),
  issue([SHOP], -90, -1),
]);

const RESTARTS = ["dovecot", "nginx", "postfix"].map((name) => `restart ${name}-mailcow`);

function assertServes(host: MailHost, leaves: Record<string, Leaf>): void {
  for (const [name, leaf] of Object.entries({ "": fresh, [NAME]: fresh, ...leaves })) {
    assertGives(host, name === "" ? undefined : name, leaf);
  }
}

/** Nothing is left to do, and nothing is done. */
async function assertUnchanged(host: MailHost): Promise<void> {
  const again = await host.assertUntouched(() => host.deploy(["--json"]));
  equal(again.json().result, "unchanged", again.stderr);
  equal(again.code, 0);
}

Deno.test("deploy makes a directory for each further name, and restarts all once, Dovecot first", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: undefined });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  const report = result.json();
  deepEqual(outcomes(report), { [NAME]: "repaired", [SHOP]: "deployed", [CLUB]: "deployed" });
  equal(report.result, "deployed");
  for (const [name, leaf] of [[SHOP, shop], [CLUB, club]] as const) {
    const directory = `${host.mailcow.ssl}/${name}`;
    await host.assertInstalled(leaf, directory);
    equal(await Deno.readTextFile(`${directory}/domains`), `${name}\n`);
    equal(((await Deno.stat(directory)).mode ?? 0) & 0o7777, 0o755);
    for (const endpoint of ENDPOINT_NAMES) {
      equal(host.services.serves(endpoint, name), leaf.fingerprint, endpoint);
    }
  }
  assertServes(host, { [SHOP]: shop, [CLUB]: club });
  equal(restarts(host)[0], "restart dovecot-mailcow");
  deepEqual(restarts(host).sort(), RESTARTS);
  match(result.stderr, /restarting dovecot-mailcow, then nginx-mailcow and postfix-mailcow, once/);
  const asked = new Set(report.served.map(({ sni }: { sni: string | null }) => sni));
  deepEqual(asked, new Set([NAME, null, SHOP, CLUB]));
  equal(report.served.every(({ ok }: { ok: boolean }) => ok), true);
  const loaded = (await host.loaded()).filter((line) => line.endsWith(`\t${SHOP}`));
  deepEqual(
    loaded,
    ["dovecot", "nginx", "postfix"].map((one) => `${one}-mailcow ${shop.fingerprint}\t${SHOP}`),
  );
  equal(await textOf(`${host.state}/names`), `${SHOP}\n${CLUB}\n`);
  await assertUnchanged(host);
});

Deno.test("a renewal of one name touches no other's directory, restarts nothing, and can be gone back from", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: THREE });
  equal((await host.deploy()).code, 0);
  const others = await snapshot(`${host.mailcow.ssl}/${CLUB}`);
  await host.stage(newShop, SHOP);
  host.docker.forget();
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(outcomes(result.json()), {
    [NAME]: "unchanged",
    [SHOP]: "deployed",
    [CLUB]: "unchanged",
  });
  equal(result.json().certificates[1].replaces, shop.fingerprint);
  assertSame(others, await snapshot(`${host.mailcow.ssl}/${CLUB}`));
  deepEqual(restarts(host), []);
  assertServes(host, { [SHOP]: newShop, [CLUB]: club });
  const asked = new Set(result.json().served.map(({ sni }: { sni: string | null }) => sni));
  deepEqual(asked, new Set([NAME, null, SHOP]));
  equal(await textOf(`${host.state}/previous-names/${SHOP}/cert.pem`), shop.fullchainPem);

  const wouldBe = await host.deploy(["--rollback", "--only", SHOP, "--dry-run"]);
  match(wouldBe.stdout, /^would roll back shop\.example\.com to /m);
  const back = await host.deploy(["--rollback", "--only", SHOP, "--json"]);
  equal(back.code, 0, back.stderr);
  deepEqual(outcomes(back.json()), {
    [NAME]: "unchanged",
    [SHOP]: "deployed",
    [CLUB]: "unchanged",
  });
  match(
    await textOf(`${host.state}/history`),
    /"name":"shop\.example\.com","outcome":"rolled-back"/,
  );
  assertServes(host, { [SHOP]: shop, [CLUB]: club });
  const again = (await host.deploy(["--json"])).json();
  match(refusalOf(again, SHOP), /rolled back before.*--force --only shop/);
  // As of the domain: by the leaf that was to come, and not by what lies there.
  equal(again.certificates[1].fingerprint, newShop.fingerprint);
  equal((await historyIn(host.state)).at(-1)?.new, newShop.fingerprint);
  const forced = await host.deploy(["--force", "--only", SHOP, "--json"]);
  equal(forced.code, 0, forced.stderr);
  assertServes(host, { [SHOP]: newShop, [CLUB]: club });
  await assertUnchanged(host);

  const both = await host.deploy(["--rollback", "--only", SHOP, "--only", CLUB]);
  match(both.stdout, /^rolled back shop\.example\.com to .*\(was /m);
  const { result: worst, ...all } =
    (await host.deploy(["--rollback", "--only", SHOP, "--only", CLUB, "--json"])).json();
  deepEqual(outcomes(all), { [NAME]: "unchanged", [SHOP]: "deployed", [CLUB]: "refused" });
  equal(worst, "refused");
});

Deno.test("where only further names change, the text begins with them and tells, or foretells, all that is done", async () => {
  await using host = await namesHost({ [SHOP]: shop }, { endpoints: THREE });
  equal((await host.deploy()).code, 0);
  await host.stage(newShop, SHOP);
  await host.stage(club, CLUB);
  await host.configure({}, [SHOP, CLUB]);
  const [was, is, other, own] = [shop, newShop, club, fresh].map((one) =>
    one.fingerprint.slice(0, 11)
  );
  const until = ", valid until \\d{4}-\\d{2}-\\d{2}\n";
  const changed = (deed: string) =>
    `^${deed} shop\\.example\\.com ${is} \\(was ${was}, \\d+ days left\\)${until}` +
    `${deed} club\\.example\\.net ${other}${until}`;
  const rest = `unchanged: mail\\.example\\.org ${own}${until}$`;
  const dry = await host.deploy(["--dry-run"]);
  match(
    dry.stdout,
    new RegExp(
      `${changed("would deploy")}would install cert\\.pem and key\\.pem in .*/${SHOP}\n` +
        `would make .*/${CLUB}, served for ${CLUB}\nwould restart postfix-mailcow\n` +
        "would restart dovecot-mailcow\nwould restart nginx-mailcow\n" +
        `TLSA 3 1 1 of ${SHOP} changes with its key: it will be 3 1 1 [0-9a-f]{64}\n${rest}`,
    ),
  );
  const done = await host.deploy();
  match(
    done.stdout,
    new RegExp(
      `${changed("deployed")}postfix-mailcow: restarted, dovecot-mailcow: restarted, nginx-.*\n` +
        "on the wire: 12 of 12 handshakes gave the right one\n" +
        `TLSA 3 1 1 of ${SHOP} changed with its key: it is 3 1 1 [0-9a-f]{64}\n${rest}`,
    ),
  );
  match((await host.deploy()).stdout, /^nothing to do: mailcow serves mail/);
});

Deno.test("where a name has nothing to go back to, it keeps what it has, and that is not refused from then on", async () => {
  const top = await issue([NAME, SHOP], -1, 60);
  await using host = await namesHost({ [SHOP]: shop }, { deployed: top, staged: top });
  equal((await host.deploy()).code, 0);
  const before = await snapshot(host.mailcow.ssl);
  for (const only of [SHOP, "all"]) {
    const back = await host.deploy(["--rollback", "--only", only, "--json"]);
    equal(back.code, 1);
    match(refusalOf(back.json(), SHOP), /no previous certificate in ".*previous-names/);
    assertSame(before, await snapshot(host.mailcow.ssl));
    equal(await textOf(`${host.state}/rejected`), "");
  }
  await assertUnchanged(host);
});

Deno.test("bad pairs stop no good one, and each is told with its own cause, exit 1", async () => {
  const bad: Record<string, [RegExp, ((host: MailHost, name: string) => Promise<unknown>)?]> = {
    "a.example.com": [
      /certificate does not cover "a\.example\.com"/,
      (host, name) => host.stage(wrong, name),
    ],
    [SHOP]: [/certificate expired at/, (host, name) => host.stage(past, name)],
    "c.example.com": [
      /key does not match certificate/,
      async (host, name) => host.stage({ ...(await issue([name])), keyPem: club.keyPem }, name),
    ],
    "d.example.com": [
      // To the letter: what the link leads to stays.
      /is not a real directory; hint: remove that alone, and not what a link leads to: rm .*\/d\.example\.com"?'?; then run/,
      (host, name) => Deno.symlink("/etc", `${host.staging}/${name}`),
    ],
    "e.example.com": [
      /is not a real directory/,
      (host, name) => Deno.writeTextFile(`${host.staging}/${name}`, shop.fullchainPem),
    ],
    "f.example.com": [/does not exist; hint: name it in also on the NPM host too/],
  };
  // Nothing is staged for one that the domain's own certificate covers.
  const covered = "g.example.com";
  const top = await issue([NAME, covered]);
  await using host = await namesHost({ [CLUB]: club }, {
    ...{ also: [...Object.keys(bad), covered, CLUB], deployed: top, staged: top },
  });
  for (const [name, [, make]] of Object.entries(bad)) await make?.(host, name);
  // What nobody asked for, by who has the push key:
  await host.stage(shop, "asked.by.nobody.example");
  await Deno.symlink("/", `${host.staging}/unasked.example.org`);

  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  const report = result.json();
  const { [NAME]: own, [CLUB]: good, [covered]: too, ...others } = outcomes(report);
  equal(too, "repaired");
  match(
    report.warnings.join(),
    /"g\.example\.com" is served with the certificate of the mail hostname/,
  );
  deepEqual([own, good, report.error, report.result], [
    "repaired",
    "deployed",
    undefined,
    "refused",
  ]);
  deepEqual(Object.values(others), Object.keys(bad).map(() => "refused"));
  for (const [name, [words]] of Object.entries(bad)) {
    match(refusalOf(report, name), words);
    match(result.stderr, new RegExp(`ERROR: ${name}: `));
    equal(await textOf(`${host.mailcow.ssl}/${name}/domains`), "", name);
  }
  equal((result.stdout + result.stderr).includes("nobody.example"), false);
  equal(await textOf(`${host.mailcow.ssl}/asked.by.nobody.example/domains`), "");
  for (const [name, leaf] of [[SHOP, top], [covered, top], [CLUB, club]] as const) {
    for (const endpoint of ["smtps", "imaps", "https"] as const) {
      equal(host.services.serves(endpoint, name), leaf.fingerprint, `${endpoint} ${name}`);
    }
  }
});

Deno.test("whose directory it is, and what is refused with its way out", async (t) => {
  type Case = {
    prepare: (host: MailHost) => Promise<unknown>;
    staged?: Record<string, Leaf>;
    outcomes: Record<string, string>;
    words?: RegExp;
    served?: Record<string, Leaf>;
    /** What the hint says, to the letter; what it gives to a shell is `commands`. */
    follow?: (host: MailHost, commands: string[]) => Promise<unknown>;
    /** What is warned of from then on. */
    left?: RegExp;
  };
  /** In mailcow's directory, with its docker. */
  const shell = (host: MailHost, command: string) => host.shell(command);
  const put = (name: string, leaf: Leaf, domains: string[]) => (host: MailHost) =>
    host.mailcow.putSni(name, leaf, domains);
  const three = [SHOP, `autoconfig.${SHOP}`, `autodiscover.${SHOP}`];
  const san = await issue(three, -50, 20);
  const oldSan = await issue(three, -90, -1);
  const cases: Record<string, Case> = {
    "mailcow's own directory of three names, and a certificate for one": {
      prepare: put(SHOP, san, three),
      outcomes: { [SHOP]: "refused" },
      words: /autoconfig\.shop\.example\.com", "autodiscover.*; hint: add .*; or take them out of/,
      served: { [SHOP]: san },
      follow: async (host, [restart = ""]) => {
        await Deno.writeTextFile(`${host.mailcow.ssl}/${SHOP}/domains`, `${SHOP}\n`);
        await shell(host, restart);
      },
    },
    "the same once what lies there has expired": {
      prepare: put(SHOP, oldSan, three),
      outcomes: { [SHOP]: "deployed" },
      served: { [SHOP]: shop },
    },
    "a directory of another name's, whose file holds it": {
      prepare: put("whatever", past, [SHOP]),
      outcomes: { [SHOP]: "deployed" },
      served: { [SHOP]: shop },
    },
    "two names in one directory, and no pair for both": {
      prepare: put("two", await issue([SHOP, CLUB], -50, 40), [SHOP, CLUB]),
      staged: { [SHOP]: shop, [CLUB]: club },
      outcomes: { [SHOP]: "refused", [CLUB]: "refused" },
      words: /is served for "club\.example\.net" too/,
    },
    "two names in one directory, and one pair for both": {
      prepare: put("two", await issue([SHOP, CLUB], -50, 40), [SHOP, CLUB]),
      staged: { [SHOP]: shop, [CLUB]: both },
      outcomes: { [SHOP]: "deployed", [CLUB]: "deployed" },
      served: { [SHOP]: both, [CLUB]: both },
    },
    "one name in two directories": {
      prepare: async (host) => {
        await put("a", past, [SHOP])(host);
        await put("b", past, [SHOP])(host);
      },
      outcomes: { [SHOP]: "refused" },
      follow: async (host, [restart = ""]) => {
        await Deno.writeTextFile(`${host.mailcow.ssl}/b/domains`, "");
        await Deno.rename(`${host.mailcow.ssl}/b`, `${host.root}/away`);
        await shell(host, restart);
      },
      words:
        /several files.*b\/domains"; hint: take it out of all of them but one, and move a directory/,
    },
    "one name in two directories, each of which is for another too": {
      prepare: async (host) => {
        await put("a", past, [SHOP, "a.example.org"])(host);
        await put("b", past, [SHOP, "b.example.org"])(host);
      },
      outcomes: { [SHOP]: "refused" },
      left: /^"\S+\/b" keeps its own certificate, which expired at /,
      words: /several files.*b\/domains"; hint: take it out of all of them but one, then: cd/,
      follow: async (host, [restart = ""]) => {
        await Deno.writeTextFile(`${host.mailcow.ssl}/b/domains`, "b.example.org\n");
        await shell(host, restart);
      },
    },
    "a file of two lines": {
      prepare: async (host) => {
        const directory = await host.mailcow.putSni(SHOP, past, [SHOP]);
        await Deno.writeTextFile(`${directory}/domains`, `${SHOP}\nwww.${SHOP}\n`);
      },
      outcomes: { [SHOP]: "refused" },
      follow: async (host, commands) => {
        for (const command of commands) await shell(host, command);
      },
      words:
        /do not read .* alike; hint: .*printf '%s\\n' 'shop\.example\.com www\.shop\.example\.com'/,
    },
    "a directory of its own that lacks its pair, and is for somebody else too": {
      prepare: async (host) => {
        await Deno.mkdir(`${host.mailcow.ssl}/${SHOP}`);
        await Deno.writeTextFile(
          `${host.mailcow.ssl}/${SHOP}/domains`,
          `${SHOP} www.elsewhere.example\n`,
        );
      },
      outcomes: { [SHOP]: "refused" },
      words: /is served for "www\.elsewhere\.example" too/,
    },
    "something else under its name": {
      prepare: (host) => Deno.mkdir(`${host.mailcow.ssl}/${SHOP}`),
      outcomes: { [SHOP]: "refused" },
      follow: (host) => Deno.rename(`${host.mailcow.ssl}/${SHOP}`, `${host.root}/away`),
      words: /is not for "shop\.example\.com"; hint: certsync did not make it/,
    },
  };
  for (const [what, one] of Object.entries(cases)) {
    await t.step(what, async () => {
      await using host = await namesHost(one.staged ?? { [SHOP]: shop });
      await one.prepare(host);
      await host.restartAll();
      const domains = await textOf(`${host.mailcow.ssl}/${SHOP}/domains`);
      const result = await host.deploy(["--json"]);
      const { [NAME]: _, ...further } = outcomes(result.json());
      deepEqual(further, one.outcomes, result.stderr);
      const isRefused = Object.values(further).includes("refused");
      equal(result.code, isRefused ? 1 : 0);
      if (one.words) match(refusalOf(result.json(), SHOP), one.words);
      if (one.served) assertServes(host, one.served);
      equal(await textOf(`${host.mailcow.ssl}/${SHOP}/domains`), domains);
      deepEqual(restarts(host), []);
      if (!isRefused) await assertUnchanged(host);
      if (one.follow === undefined) return;
      const hint = refusalOf(result.json(), SHOP).split("; hint: ")[1] ?? "";
      const parts = hint.split(/; then: |, then: |: (?=printf)/);
      const commands = parts.filter((part) => /^(cd|printf|docker compose) /.test(part));
      equal(parts.at(-1), `certsync deploy --config "${host.config}"`);
      await one.follow(host, commands);
      const after = await host.deploy(["--json"]);
      equal(after.code, 0, after.stderr);
      assertServes(host, { [SHOP]: shop });
      match((await host.deploy(["--json"])).json().warnings.join("\n"), one.left ?? /^$/);
    });
  }
});

Deno.test("the top-level pair stands in where it covers the name: with a warning, and without a new directory", async () => {
  const wide = await issue([NAME, SHOP]);
  // As push sends it where both names are in one lineage.
  await using host = await namesHost({ [SHOP]: wide }, { deployed: wide, staged: wide });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(outcomes(result.json()), { [NAME]: "repaired", [SHOP]: "repaired" });
  const same = await host.assertUntouched(() => host.deploy(["--json"]));
  deepEqual([same.json().result, same.json().warnings], ["unchanged", []]);
  await host.stage(await issue([SHOP], -0.1, 95), SHOP);
  equal((await host.deploy(["--json"])).json().certificates[1].outcome, "deployed");
  await host.stage(await issue([SHOP], -0.1, 50), SHOP); // ends sooner
  const sooner = await host.deploy(["--json"]);
  match(sooner.json().warnings.join(), /its own ends sooner/);
  await host.assertInstalled(wide, `${host.mailcow.ssl}/${SHOP}`);
});

Deno.test("no directory is made while the running acme-mailcow would move it away", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  host.docker.acme = "n";
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  match(
    refusalOf(result.json(), SHOP),
    /backups\/; hint: .*with: cd \S+ && docker compose up -d acme-mailcow; then: certsync deploy/,
  );
  equal((await host.loaded()).some((line) => line.includes(SHOP)), false);
  host.docker.trouble = "engine-down"; // so that nobody can tell
  match(
    refusalOf((await host.deploy(["--json"])).json(), SHOP),
    /^no directory can be made.*docker does not tell.*: timeout 10 docker ps; .*: systemctl restart docker; then run certsync deploy .*again$/,
  );
  equal(await textOf(`${host.mailcow.ssl}/${SHOP}/domains`), "");
  deepEqual(restarts(host), []);
  host.docker.trouble = "none";
  host.docker.acme = "y";
  equal((await host.deploy()).code, 0);
  assertServes(host, { [SHOP]: shop });
});

Deno.test("a directory that went away is made anew once, and again only by force", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  equal((await host.deploy()).code, 0);
  const directory = `${host.mailcow.ssl}/${SHOP}`;
  await Deno.remove(directory, { recursive: true });
  equal((await host.deploy(["--json"])).json().certificates[1].outcome, "deployed");
  assertServes(host, { [SHOP]: shop });
  await Deno.remove(directory, { recursive: true });
  const again = await host.deploy(["--json"]);
  match(
    refusalOf(again.json(), SHOP),
    /went away again.*certsync deploy --config \S+ --force --only shop\.example\.com/,
  );
  equal((await host.deploy(["--force", "--only", SHOP])).code, 0);
  assertServes(host, { [SHOP]: shop });
});

Deno.test("a name that is in also no more keeps its directory, and is told of with the steps", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: THREE });
  equal((await host.deploy()).code, 0);
  await host.configure({}, [CLUB]);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().result, "unchanged");
  const { warnings } = result.json();
  equal(warnings.length, 1, warnings.join("\n"));
  match(
    warnings.join("\n"),
    /"shop\.example\.com" is in also no more.*rm -r ".*\/shop\.example\.com" && cd \S+ && docker compose restart dovecot-mailcow nginx-mailcow postfix-mailcow/,
  );
  await host.assertInstalled(shop, `${host.mailcow.ssl}/${SHOP}`);
  await Deno.remove(`${host.mailcow.ssl}/${SHOP}`, { recursive: true });
  await host.restartAll();
  host.docker.forget();
  deepEqual((await host.deploy(["--json"])).json().warnings, []);
  deepEqual(restarts(host), []);
  await assertUnchanged(host);
});

Deno.test("what goes on being served from a directory that somebody removed leads to the one restart", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: ["imaps"] });
  equal((await host.deploy()).code, 0);
  await host.configure({}, [CLUB]);
  await Deno.remove(`${host.mailcow.ssl}/${SHOP}`, { recursive: true });
  host.docker.forget();
  equal(host.services.serves("imaps", SHOP), shop.fingerprint);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  // Also of those that nobody asked on the wire.
  deepEqual(restarts(host).sort(), RESTARTS);
  equal(restarts(host)[0], "restart dovecot-mailcow");
  assertServes(host, { [SHOP]: fresh, [CLUB]: club });
  await assertUnchanged(host);
});

Deno.test("a name is not gone back from to a pair that has expired", async () => {
  await using host = await namesHost({ [SHOP]: shop }, {
    prepare: (mailcow) => mailcow.putSni(SHOP, past, [SHOP]),
  });
  equal((await host.deploy()).code, 0);
  const back = await host.deploy(["--rollback", "--only", SHOP, "--json"]);
  equal(back.code, 1);
  const words = refusalOf(back.json(), SHOP);
  match(words, /expired at .*hint: there is no good pair to go back to: .*--rollback --only shop/);
  match(words, /previous-names\/shop\.example\.com/);
  assertServes(host, { [SHOP]: shop });
});

Deno.test("while a foreign directory holds no pair that fits, nothing is restarted", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  await host.mailcow.putSni("foreign", { ...club, keyPem: shop.keyPem }, ["foreign.example.org"]);
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().certificates[1].outcome, "stale", result.stderr);
  match(
    refusalOf(result.json(), SHOP),
    /was not restarted.*foreign" holds no pair.*hint: .*mend that pair, or move its directory out/,
  );
  deepEqual(restarts(host), []);
  await Deno.remove(`${host.mailcow.ssl}/foreign`, { recursive: true });
  equal((await host.deploy()).code, 0);
  assertServes(host, { [SHOP]: shop });
});

Deno.test("of a new pair that a service cannot load for its name alone, that one goes back", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: THREE });
  equal((await host.deploy()).code, 0);
  await host.stage(newShop, SHOP);
  // nginx goes on with what it has, and then does not come up.
  host.services.temper("nginx", { cannotLoad: [newShop.fingerprint] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  deepEqual(outcomes(result.json()), {
    ...{ [NAME]: "unchanged", [SHOP]: "rolled-back", [CLUB]: "unchanged" },
  });
  match(
    refusalOf(result.json(), SHOP),
    /no certificate any more.*rolled back to .*--force --only shop/,
  );
  const { fingerprint, replaces } = result.json().certificates[1];
  deepEqual([fingerprint, replaces], [newShop.fingerprint, shop.fingerprint]); // as of the domain
  assertServes(host, { [SHOP]: shop, [CLUB]: club });
  match(await textOf(`${host.state}/rejected`), new RegExp(newShop.fingerprint));
  match(refusalOf((await host.deploy(["--json"])).json(), SHOP), /rolled back before/);
});

Deno.test("where several are new and nothing is served any more, all go back and are tried one a run", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: THREE });
  host.services.temper("nginx", { cannotLoad: [club.fingerprint] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  deepEqual(outcomes(result.json()), {
    ...{ [NAME]: "repaired", [SHOP]: "rolled-back", [CLUB]: "rolled-back" },
  });
  assertServes(host, { [SHOP]: fresh, [CLUB]: fresh });
  equal(await textOf(`${host.state}/rejected`), "");

  const second = await host.deploy(["--json"]);
  deepEqual(outcomes(second.json()), {
    ...{ [NAME]: "unchanged", [SHOP]: "deployed", [CLUB]: "refused" },
  });
  match(
    refusalOf(second.json(), CLUB),
    /one a run; hint: the next one is tried by: certsync deploy/,
  );
  const third = await host.deploy(["--json"]);
  deepEqual(outcomes(third.json()), {
    ...{ [NAME]: "unchanged", [SHOP]: "unchanged", [CLUB]: "rolled-back" },
  });
  match(await textOf(`${host.state}/rejected`), new RegExp(club.fingerprint));
  equal(await textOf(`${host.state}/suspects`), "");
  assertServes(host, { [SHOP]: shop, [CLUB]: fresh });
});

Deno.test("a name that waits for its turn is taken at once by force, as the hint says", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club });
  host.services.temper("nginx", { cannotLoad: [club.fingerprint] });
  equal((await host.deploy()).code, 1);
  const waiting = refusalOf((await host.deploy(["--json"])).json(), CLUB);
  match(
    waiting,
    /; this one at once by: certsync deploy --config \S+ --force --only club\.example\.net$/,
  );
  host.services.temper("nginx", {});
  const taken = await host.deploy(["--json", "--force", "--only", CLUB]);
  equal(taken.code, 0, taken.stderr);
  assertServes(host, { [SHOP]: shop, [CLUB]: club });
  equal(await textOf(`${host.state}/suspects`), "");
});

Deno.test("a container that ends whenever it starts with a new directory has it taken out of service", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  host.services.temper("nginx", { cannotLoad: [shop.fingerprint] });
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("restart") && argv.includes("nginx-mailcow")) {
      host.docker.containers.nginx = "restarting";
    }
    return undefined;
  };
  const run = host.start(["--json"]);
  await until(async () => (await textOf(`${host.state}/rejected`)) !== "");
  host.docker.intercept = () => undefined;
  host.docker.containers.nginx = undefined;
  const result = await run.result;
  equal(result.json().certificates[1].outcome, "rolled-back", result.stderr);
  match(refusalOf(result.json(), SHOP), /its directory was taken out of service again/);
  equal(await textOf(`${host.mailcow.ssl}/${SHOP}/domains`), "");
  assertServes(host, { [SHOP]: fresh });
  host.services.temper("nginx", {});
  equal((await host.deploy(["--force", "--only", "all"])).code, 0);
  assertServes(host, { [SHOP]: shop });
  equal(await textOf(`${host.state}/names`), `${SHOP}\n`); // should it go away, that is the first time
});

Deno.test("the history has a line for each name that something became of", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: wrong });
  equal((await host.deploy()).code, 1);
  const lines = (await textOf(`${host.state}/history`)).trim().split("\n").map((line) =>
    JSON.parse(line)
  );
  deepEqual(lines.map(({ name, outcome }) => [name, outcome]), [
    [NAME, "repaired"],
    [SHOP, "deployed"],
    [CLUB, "refused"],
  ]);
});

Deno.test("an older pair than certsync's own is refused for its name, and no other's", async () => {
  const older = await issue([SHOP], -5);
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club });
  equal((await host.deploy()).code, 0);
  await host.stage(older, SHOP);
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  match(
    refusalOf(result.json(), SHOP),
    /older .*; hint: .*certsync deploy --config \S+ --force --only shop\.example\.com/,
  );
  equal((await host.deploy(["--force", "--only", SHOP])).code, 0);
  assertServes(host, { [SHOP]: older, [CLUB]: club });
});

Deno.test("a container that is stopped while a directory is made stays so, and serves it once it runs", async () => {
  await using host = await namesHost({ [SHOP]: shop }, { endpoints: THREE });
  await host.services.stop("dovecot");
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  match(result.json().warnings.join(), /dovecot-mailcow is not running/);
  equal(restarts(host).includes("restart dovecot-mailcow"), false);
  await host.services.start("dovecot");
  equal((await host.deploy()).code, 0);
  assertServes(host, { [SHOP]: shop });
  await assertUnchanged(host);
});

Deno.test("a directory in which nothing can be installed is its name's failure, and no other's", async () => {
  await using host = await namesHost({ [SHOP]: newShop, [CLUB]: club });
  const directory = await host.mailcow.putSni(SHOP, shop, [SHOP]);
  await Deno.remove(`${directory}/cert.pem`);
  await Deno.mkdir(`${directory}/cert.pem`); // as docker makes one where a file is missing
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().certificates[1].outcome, "failed");
  match(
    refusalOf(result.json(), SHOP),
    /a directory where a file belongs: ".*cert\.pem"; hint: remove it/,
  );
  await Deno.remove(`${directory}/cert.pem`);
  // The key that lies there alone by now is nowhere else.
  const again = await host.deploy(["--json"]);
  equal(again.code, 1);
  const [, key = "", aside = ""] = /set it aside: mv "(.*)" "(.*)"; then:/.exec(again.stderr) ?? [];
  await Deno.rename(key, aside);
  const after = await host.deploy(["--json"]);
  equal(after.code, 0, after.stderr);
  assertServes(host, { [SHOP]: newShop, [CLUB]: club });
});

Deno.test("what keeps the top level from being written is told of each name that waited for it", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  const key = `${host.mailcow.ssl}/key.pem`;
  await Deno.remove(key);
  await Deno.mkdir(key);
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  deepEqual(outcomes(result.json()), { [NAME]: "failed", [SHOP]: "failed" });
  match(refusalOf(result.json(), SHOP), /a directory where a file belongs: ".*key\.pem"/);
  await Deno.remove(key);
  const after = await host.deploy(["--json"]);
  equal(after.code, 0, after.stderr);
  assertServes(host, { [SHOP]: shop });
});

Deno.test("deploy --dry-run tells of directories that it would make, and makes none", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  const before = await snapshot(host.root);
  const result = await host.deploy(["--dry-run"]);
  equal(result.code, 0, result.stderr);
  match(result.stdout, /would make .*\/shop\.example\.com, served for shop\.example\.com/);
  match(result.stdout, /would restart dovecot-mailcow/);
  assertSame(before, await snapshot(host.root));
});

Deno.test("--only must be about a name that there is", async () => {
  await using host = await namesHost({ [SHOP]: shop });
  const result = await host.deploy(["--force", "--only", CLUB, "--json"]);
  equal(result.code, 2);
  match(result.stderr, /--only names what is neither the domain nor in also/);
});

Deno.test("what senders that check DANE make of a further name's new key is told with that name, exit 1", async () => {
  const name = "shop.example.org";
  const [before, next] = await Promise.all([issue([name], -20), issue([name])]);
  const records = [`_25._tcp.${name}. TLSA ${record(3, "1 1", before.certPem)}`];
  await using zone = await dnsZone({ records });
  await using programs = await tempDir();
  for (const program of ["dig", "delv"] as const) {
    await Deno.symlink(need(program), `${programs.path}/${program}`);
  }
  await using host = await namesHost({ [name]: before }, {
    endpoints: ["smtp"],
    resolver: `${zone.validating.address}:${zone.validating.port}`,
  });
  const path = `${programs.path}:${host.docker.bin}`;
  equal((await host.deploy([], { path })).code, 0);
  await host.stage(next, name);
  const dry = await host.deploy(["--dry-run", "--json"], { path });
  match(
    dry.json().warnings.join(),
    /no TLSA record fits the new certificate: publish .*shop\.example\.org/,
  );
  const result = await host.deploy(["--json"], { path });
  equal(result.code, 1);
  const [own, further] = result.json().certificates;
  deepEqual([own.error, own.outcome, further.outcome], [undefined, "unchanged", "deployed"]);
  match(
    further.error,
    /no TLSA record fits.*publish _25\._tcp\.shop\.example\.org\. IN TLSA 3 1 1 /,
  );
  match(further.hint, /reuse_key/);
  equal(host.services.serves("smtp", name), next.fingerprint);
  equal((await host.deploy([], { path })).code, 0);

  // Also while the domain's own is refused.
  await Promise.all([host.stage(wrong), host.stage(await issue([name]), name)]);
  const { certificates, warnings } = (await host.deploy(["--json"], { path })).json();
  deepEqual(outcomes({ certificates }), { [NAME]: "refused", [name]: "deployed" });
  match(warnings.join(), /no TLSA record of shop\.example\.org fits, before or with/);
});
