// DANE beside deploy and verify: real signed zones, and what senders would make of each renewal.

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { parseChain } from "../lib/certificate/certificate.ts";
import { explain } from "../lib/chain/mail_exchange.ts";
import { comeTrue, foreseeDane, foretell, renewalsOf, withForesight } from "../lib/deploy/dane.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import { emptyCertificate } from "../lib/deploy/certificates.ts";
import { emptyDeployReport } from "../lib/deploy/report.ts";
import { type Authority, authority, type Leaf, type LeafOptions, tlsa } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { record } from "./kit/dane_states.ts";
import { type DnsZone, dnsZone, type Resolver } from "./kit/dns_zone.ts";
import { freePort } from "./kit/free_port.ts";
import { type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";
import { runContext } from "./kit/run_context.ts";
import { smtpServer } from "./kit/smtp_server.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { facts, fresh as after, installed, old as before, own, sni, SSL } from "./deploy_facts.ts";

const NAME = "mail.example.org";
const ELSEWHERE = ["mail.example.com", "mail.example.net", "mail.example.edu"];
const OWNER = `_25._tcp.${NAME}`;

const at = ({ address, port }: Resolver) => `${address}:${port}`;
const lines = (owner: string, records: string[]) =>
  records.map((record) => `${owner}. TLSA ${record}`);

/** What deploy says besides its progress. */
function trouble(stderr: string): string[] {
  return stderr.split("\n").filter((line) => line !== "" && !line.startsWith("installed "));
}

interface Scene extends AsyncDisposable {
  zone: DnsZone;
  host: MailHost;
  /** On PATH: the real dig and delv. */
  programs: string;
  issue(more?: Partial<LeafOptions>): Promise<Leaf>;
  /** Serves the one, and stages the other. */
  renew(installed: Leaf, next: Leaf): Promise<void>;
  deploy(...args: string[]): ReturnType<MailHost["deploy"]>;
  verify(...args: string[]): ReturnType<MailHost["deploy"]>;
}

async function scene(
  ca: Authority,
  records: string[] = [],
  options: Partial<MailHostOptions> = {},
): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const zone = stack.use(await dnsZone({ records }));
  const { path: programs } = stack.use(await tempDir());
  for (const name of ["dig", "delv"] as const) {
    await Deno.symlink(need(name), `${programs}/${name}`);
  }
  const issue = (more = {}) => ca.issue({ names: [NAME, ...ELSEWHERE], ...more });
  const host = stack.use(
    await mailHost({
      trust: ca.rootFile,
      deployed: await issue(),
      endpoints: ["smtp"],
      resolver: at(zone.validating),
      ...options,
    }),
  );
  const owned = stack.move();
  const path = `${programs}:${host.docker.bin}`;
  return {
    ...{ zone, host, programs, issue },
    renew: async (installed, next) => {
      await host.mailcow.put(installed);
      await host.services.restart("postfix");
      await host.stage(next);
    },
    deploy: (...args) => host.deploy(args, { path }),
    verify: (...args) => certsync(["verify", "--config", host.config, ...args], { path }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("deploy tells once which record a new key lacks, and verify until it is published", async (t) => {
  await using ca = await authority();
  await using all = await scene(ca);
  const { zone, host } = all;
  const key = (leaf: Leaf, form = "1 1") => record(3, form, leaf.certPem);
  const issuer = (leaf: Leaf, form = "1 1") => record(2, form, leaf.chainPem);
  const wildcard = `*.${NAME}`;
  let installed = await all.issue();
  const renewal = async (
    published: (old: Leaf, next: Leaf) => string[],
    { keeps, issuerName, owner = OWNER }: { keeps?: true; issuerName?: string; owner?: string } =
      {},
  ) => {
    const old = installed;
    const next = await all.issue({
      ...(keeps && { keyPem: old.keyPem }),
      ...(issuerName && { issuerName }),
    });
    const records = published(old, next);
    await Promise.all([all.renew(old, next), zone.publish(lines(owner, records))]);
    installed = next;
    return { next, records };
  };

  const breaking: {
    what: string;
    published(old: Leaf, next: Leaf): string[];
    lacking(next: Leaf): string;
    how?: Parameters<typeof renewal>[1];
    cure?: RegExp;
  }[] = [
    { what: "the old key alone", published: (old) => [key(old)], lacking: (next) => key(next) },
    {
      what: "the old key in the stronger digest",
      published: (old, next) => [key(next), key(old, "1 2")],
      lacking: (next) => key(next, "1 2"),
    },
    {
      what: "3 0 1, and a key that is kept",
      published: (old) => [key(old, "0 1")],
      lacking: (next) => key(next),
      how: { keeps: true },
    },
    {
      what: "2 1 1 of another issuer, and a key that is kept",
      published: (old) => [issuer(old)],
      lacking: (next) => issuer(next),
      how: { keeps: true, issuerName: "Kit Intermediate E2" },
      cure: /^hint: the CA changes its issuers as it likes: publish all .* reuse_key = True /m,
    },
    {
      what: "2 0 1 of another issuer, and a key that is kept",
      published: (old) => [issuer(old, "0 1")],
      lacking: (next) => issuer(next),
      how: { keeps: true },
      cure: /^hint: the CA changes its issuers as it likes: publish all .* reuse_key = True /m,
    },
    {
      what: "the old key at a wildcard",
      published: (old) => [key(old)],
      lacking: (next) => key(next),
      how: { owner: wildcard },
    },
  ];
  for (const { what, published, lacking, how = {}, cure } of breaking) {
    await t.step(`${what}: the alert with the record, once, and the cure`, async () => {
      const { next, records } = await renewal(published, how);
      const record = lacking(next);
      const { owner = OWNER } = how;
      const words = `publish ${owner}. IN TLSA ${record}`;
      const before = await all.deploy("--dry-run", "--json");
      equal(before.code, 0);
      equal(before.json().outcome, "would-deploy");
      ok(before.json().warnings.join("\n").includes(words), before.stdout);
      equal(
        before.json().notes.includes(`TLSA 3 1 1 changes with the key: it will be ${key(next)}`),
        how.keeps !== true,
      );

      const { code, stdout, stderr } = await all.deploy();
      equal(code, 1);
      match(stdout, /^deployed mail\.example\.org [0-9A-F:]{11} \(was /);
      const [error = "", hint = "", ...others] = trouble(stderr);
      deepEqual(others, []);
      ok(error.startsWith(`ERROR: no TLSA record fits the new certificate: ${words}`), error);
      match(error, /; senders that check DANE hold mail to mail\.example\.org back .*TTL 1h\)$/);
      match(
        hint,
        / reuse_key = True right below \[renewalparams\] .* certsync find-npm-dir mail\.example\.org$/,
      );
      if (cure !== undefined) match(hint, cure);
      await host.assertInstalled(next);

      const [again, wrong] = await Promise.all([all.deploy("--verbose"), all.verify()]);
      deepEqual([again.code, again.stderr], [0, ""]);
      doesNotMatch(again.stdout, /TLSA|DANE/);
      equal(wrong.code, 2, wrong.stdout + wrong.stderr);
      match(wrong.stdout, /^tlsa +_25\._tcp\.mail\.example\.org .* no record fits$/m);
      const line = wrong.stdout.trimEnd().split("\n").at(-1) ?? "";
      const advice =
        / in the DNS: publish (\S+) IN (TLSA [0-9a-f ]+[0-9a-f]),? ?.*\(seen by all after 1h, its TTL\)$/
          .exec(line);
      deepEqual(advice?.slice(1), [`${owner}.`, `TLSA ${record}`], line);
      // To the letter, beside what stands there.
      await zone.publish([...lines(owner, records), `${advice?.[1]} ${advice?.[2]}`]);
      const mended = await all.verify("--leg", "tlsa");
      equal(mended.code, 0, mended.stdout + mended.stderr);
      match(mended.stdout, /^tlsa +_25\._tcp\.mail\.example\.org .* ok$/m);
    });
  }

  await t.step(
    "the same leaf without the root that is published: it is the chain that counts",
    async () => {
      const old = { ...installed, fullchainPem: installed.fullchainPem + ca.rootPem };
      const records = [record(2, "1 1", ca.rootPem)];
      await Promise.all([all.renew(old, installed), zone.publish(lines(OWNER, records))]);
      equal((await all.verify("--leg", "tlsa")).code, 0);
      const { code, stdout, stderr } = await all.deploy();
      equal(code, 1);
      match(stdout, /^repaired /);
      const words = `publish ${OWNER}. IN TLSA ${issuer(installed)}`;
      ok(
        trouble(stderr)[0]?.startsWith(`ERROR: no TLSA record fits the new certificate: ${words};`),
        stderr,
      );
      equal((await all.verify("--leg", "tlsa")).code, 2);
      await zone.publish(lines(OWNER, [...records, issuer(installed)]));
      equal((await all.verify("--leg", "tlsa")).code, 0);
    },
  );

  await t.step(
    "the record that is to come is for the wildcard's place too, before deploy",
    async () => {
      const { next, records } = await renewal((old) => [key(old)], { owner: wildcard });
      const [words = ""] = (await all.deploy("--dry-run", "--json")).json().warnings;
      const advice = /publish (\S+) IN (TLSA [0-9a-f ]+), at the wildcard, which (\S+) would hide;/
        .exec(words);
      deepEqual(advice?.slice(1), [`${wildcard}.`, `TLSA ${key(next)}`, OWNER]);
      const standing = lines(wildcard, records);
      await zone.publish([...standing, ...lines(OWNER, [key(next)])]);
      equal((await all.verify("--leg", "tlsa")).code, 2, "the wildcard is not hidden");
      await zone.publish([...standing, `${advice?.[1]} ${advice?.[2]}`]);
      equal((await all.verify("--leg", "tlsa")).code, 0);
      const { code, stdout, stderr } = await all.deploy();
      deepEqual([code, trouble(stderr)], [0, []]);
      doesNotMatch(stdout.replace(/^TLSA 3 1 1 changed .*/m, ""), /TLSA|DANE/);
      equal((await all.verify("--leg", "tlsa")).code, 0);
    },
  );

  await t.step("and before the push, of what only the source has yet", async () => {
    const next = await all.issue();
    const source = `${host.root}/source.pem`;
    await Promise.all([
      all.renew(installed, installed),
      zone.publish(lines(OWNER, [key(installed)])),
      Deno.writeTextFile(source, next.fullchainPem),
    ]);
    const { stdout } = await all.verify("--source", source);
    const line = stdout.trimEnd().split("\n").at(-1) ?? "";
    const steps =
      `in the DNS: publish ${OWNER}. IN TLSA ${key(next)} (seen by all after 1h, its TTL); ` +
      "then on the NPM host: certsync push; then on the mail host: " +
      `certsync deploy --config "${all.host.config}"`;
    ok(line.endsWith(steps), line);
  });

  await t.step(
    "verify names the record that is to come before the deploy that it is for",
    async () => {
      const { next, records } = await renewal((old) => [key(old)]);
      const pending = await all.verify();
      const line = pending.stdout.trimEnd().split("\n").at(-1) ?? "";
      const advice =
        / in the DNS: publish (\S+) IN (TLSA [0-9a-f ]+) \(seen by all after 1h, its TTL\); then on the mail host: certsync deploy --config "[^"]+"$/
          .exec(line);
      deepEqual(advice?.slice(1), [`${OWNER}.`, `TLSA ${key(next)}`], line);
      await zone.publish([...lines(OWNER, records), `${advice?.[1]} ${advice?.[2]}`]);
      match(
        (await all.verify()).stdout,
        /: run on the mail host: certsync deploy --config "[^"]+"$/m,
      );
      const { code, stderr } = await all.deploy();
      deepEqual([code, trouble(stderr)], [0, []]);
      equal((await all.verify()).code, 0);
    },
  );

  await t.step("a rollback that breaks it says so, and what to leave there", async () => {
    const before = installed;
    const { next, records } = await renewal((_, next) => [key(next)]);
    equal((await all.deploy()).code, 0);
    const back = await all.deploy("--rollback");
    equal(back.code, 1);
    await host.assertInstalled(before);
    const [error = "", hint = ""] = trouble(back.stderr);
    const words = `publish ${OWNER}. IN TLSA ${key(before)};`;
    ok(
      error.startsWith(`ERROR: no TLSA record fits the certificate that is gone back to: ${words}`),
    );
    match(hint, /^hint: leave the other records where they are: /);
    await zone.publish(lines(OWNER, [...records, key(before)]));
    equal((await all.verify("--leg", "tlsa")).code, 0);
    const forward = await all.deploy("--force");
    deepEqual([forward.code, trouble(forward.stderr)], [0, []]);
    await host.assertInstalled(next);
    equal((await all.verify("--leg", "tlsa")).code, 0);
  });

  await t.step("of two runs that end badly the one that changes the leaf tells it", async () => {
    const { next } = await renewal((old) => [key(old)]);
    host.services.temper("postfix", { ignores: "restart" });
    const stale = await all.deploy("--json");
    deepEqual([stale.code, stale.json().outcome], [1, "stale"]);
    match(
      stale.json().error,
      /^not serving the new certificate: .*; no TLSA record fits the new certificate: publish /,
    );
    match(stale.json().hint, /reuse_key/);
    const still = await all.deploy("--json");
    deepEqual([still.code, still.json().outcome], [1, "stale"]);
    doesNotMatch(still.stdout + still.stderr, /no TLSA|reuse_key/);
    host.services.temper("postfix", {});
    await host.services.restart("postfix");
    const mended = await all.deploy("--json");
    equal(mended.code, 0);
    doesNotMatch(mended.stdout + mended.stderr, /no TLSA|reuse_key/);
    await host.assertInstalled(next);
    equal((await all.verify("--leg", "tlsa")).code, 2);
  });

  await t.step("with cert.pem gone it is judged by what port 25 gives", async () => {
    const here = installed;
    await Promise.all([all.renew(here, here), zone.publish(lines(OWNER, [key(here)]))]);
    await Deno.remove(`${host.mailcow.ssl}/cert.pem`);
    const repaired = await all.deploy();
    deepEqual([repaired.code, trouble(repaired.stderr)], [0, []]);
    doesNotMatch(repaired.stdout, /TLSA|DANE/);

    const { next } = await renewal((old) => [key(old)]);
    await Deno.remove(`${host.mailcow.ssl}/cert.pem`);
    const { code, stderr } = await all.deploy();
    equal(code, 1);
    match(
      stderr,
      new RegExp(`^ERROR: no TLSA record fits the new certificate: publish .* ${key(next)};`, "m"),
    );
  });

  const quiet: [
    what: string,
    published: (old: Leaf, next: Leaf) => string[],
    leg: string | null,
  ][] = [
    ["nothing published", () => [], null],
    ["both keys", (old, next) => [key(old), key(next)], "ok"],
    ["the issuer", (old) => [record(2, "1 1", old.chainPem)], "ok"],
    [
      "usages 0 and 1 alone",
      (old) => [record(1, "1 1", old.certPem), record(0, "1 1", old.chainPem)],
      "no record that senders go by",
    ],
  ];
  for (const [what, published, leg] of quiet) {
    await t.step(`${what}: no word`, async () => {
      const { next } = await renewal(published);
      const { code, stdout, stderr } = await all.deploy();
      deepEqual([code, trouble(stderr)], [0, []]);
      doesNotMatch(stdout.replace(/^TLSA 3 1 1 changed .*/m, ""), /TLSA|DANE/);
      await host.assertInstalled(next);
      const { code: verdict, json } = await all.verify("--json");
      const legs = json().legs.filter((each: { leg: string }) => each.leg === "tlsa");
      equal(verdict, 0);
      deepEqual(legs.map((each: { verdict: string }) => each.verdict), leg === null ? [] : [leg]);
    });
  }

  await t.step("a record of nobody's key: a warning, and it is deployed", async () => {
    const { next } = await renewal(() => [`3 1 1 ${"ab".repeat(32)}`]);
    const { code, stderr } = await all.deploy();
    equal(code, 0);
    match(
      stderr,
      new RegExp(
        `WARNING: no TLSA record of ${NAME} fits, before or with the new certificate: publish ${OWNER}\\. IN TLSA ${
          key(next)
        };`,
      ),
    );
    equal((await all.verify("--leg", "tlsa")).code, 2);
  });

  await t.step("a record behind an alias is to be published where the alias leads", async () => {
    const [old, next] = [installed, await all.issue()];
    const alias = "_dane.example.org";
    await Promise.all([
      all.renew(old, next),
      zone.publish([`${OWNER}. CNAME ${alias}.`, ...lines(alias, [key(old)])]),
    ]);
    match((await all.deploy()).stderr, new RegExp(`publish ${alias}\\. IN TLSA ${key(next)};`));
    installed = next;
  });

  await t.step(
    "a key that is kept, with 3 1 1 alone: it is asked, and there is no word",
    async () => {
      const next = await all.issue({ keyPem: installed.keyPem });
      await Promise.all([all.renew(installed, next), zone.publish(lines(OWNER, [key(installed)]))]);
      const { code, stdout, stderr } = await all.deploy("--verbose");
      equal(code, 0);
      match(stderr, /\bdig\b/);
      doesNotMatch(stdout + stderr.replace(/^.*\bdig\b.*/mg, ""), /TLSA|DANE/);
      installed = next;
      equal((await all.verify("--leg", "tlsa")).code, 0);
      // Nothing changes: nothing is started.
      const { stdout: again, stderr: traced } = await all.deploy("--verbose");
      match(again, /^nothing to do/);
      equal(traced, "");
    },
  );

  await t.step("dane: off, nobody is asked", async () => {
    await renewal((old) => [key(old)]);
    await host.configure({ dane: "off" });
    const { code, stderr } = await all.deploy("--verbose");
    equal(code, 0);
    doesNotMatch(stderr, /\bdig\b|TLSA|DANE/);
    doesNotMatch((await all.verify()).stdout, /tlsa/);
    equal((await all.verify("--leg", "tlsa")).code, 2);
    await host.configure({});
  });

  await t.step(
    "port 25 published nowhere here: a note that the records are another host's",
    async () => {
      await renewal((old) => [key(old)]);
      host.docker.published = { smtps: { address: "127.0.0.1", port: host.services.ports.smtps } };
      const { code, stdout, stderr } = await all.deploy();
      deepEqual([code, trouble(stderr)], [0, []]);
      match(
        stdout,
        /^the TLSA records of mail\.example\.org are another host's: port 25 .* nowhere/m,
      );
      host.docker.published = undefined;
    },
  );

  await t.step(
    "what port 25 does not give is compared with what is deployed, and said",
    async () => {
      await renewal((old) => [key(old)]);
      await all.deploy();
      const place = `127.0.0.1:${host.services.ports.smtp}`;
      const silences = [
        ["closed", `port 25 cannot be reached from here: ${place}: connection refused`],
        ["refuses-starttls", `port 25 gives none: ${place}: STARTTLS is not offered`],
      ] as const;
      for (const legs of [["tlsa"], ["tlsa", "deployed"]]) {
        const verify = (...args: string[]) =>
          all.verify(...args, ...legs.flatMap((leg) => ["--leg", leg]));
        for (const [manner, silence] of silences) {
          await host.services.behave("smtp", manner);
          await zone.publish(lines(OWNER, [`3 1 1 ${"ab".repeat(32)}`]));
          const wrong = await verify();
          equal(wrong.code, 2);
          match(wrong.stdout, /^tlsa .* no record fits what is deployed$/m);
          ok(wrong.stdout.includes(`\n  ${OWNER}: ${silence}\n`), wrong.stdout);
          await zone.publish(lines(OWNER, [key(installed)]));
          const right = await verify("--json");
          const [leg] = right.json().legs;
          deepEqual([right.code, leg.verdict, leg.error], [0, "fits what is deployed", silence]);
          equal(leg.match, legs.length === 1 ? null : true);
        }
      }
      await host.services.behave("smtp", "normal");
    },
  );

  await t.step("every format tells it", async () => {
    await zone.publish(lines(OWNER, [`3 1 1 ${"ab".repeat(32)}`]));
    const nagios = await all.verify("--format", "nagios");
    equal(nagios.code, 2);
    match(nagios.stdout, /^CERTSYNC CRITICAL - .*: in the DNS: publish _25.* mismatched=1;;;0$/m);
    const { stdout } = await all.verify("--format", "prometheus");
    match(stdout, /^certsync_match\{.*leg="tlsa",where="_25\._tcp\.mail\.example\.org".*\} 0$/m);
    match(stdout, /^certsync_status\{.*\} 2$/m);
  });
});

Deno.test("what cannot be validated or asked is a note to deploy and to verify, and no more", async (t) => {
  await using ca = await authority();
  const old = await ca.issue({ names: [NAME, ...ELSEWHERE] });
  const records = ELSEWHERE.flatMap((name) =>
    lines(`_25._tcp.${name}`, [record(3, "1 1", old.certPem)])
  );
  await using all = await scene(ca, [...records, ...lines(OWNER, [record(3, "1 1", old.certPem)])]);
  const cases: [name: string, deployed: RegExp, verified: string][] = [
    [
      "mail.example.com",
      /^DANE: the TLSA records of \S+ are not signed/m,
      "not signed: senders pass it over",
    ],
    [
      "mail.example.net",
      /^DANE of \S+ is not known: DNSSEC validation fails$/m,
      "not known: DNSSEC validation fails",
    ],
    [
      "mail.example.edu",
      /^DANE of \S+ is not known: .*SERVFAIL$/m,
      "not known: the resolver cannot find it out: SERVFAIL",
    ],
  ];
  for (const [name, deployed, verified] of cases) {
    await t.step(name, async () => {
      await all.renew(old, await all.issue());
      const { code, stdout, stderr } = await all.deploy("--domain", name);
      deepEqual([code, trouble(stderr)], [0, []]);
      match(stdout, deployed);
      const { code: verdict, json } = await all.verify("--json", "--domain", name);
      const leg = json().legs.find((each: { leg: string }) => each.leg === "tlsa");
      deepEqual([verdict, leg.verdict, leg.noted, leg.match], [0, verified, true, null]);
    });
  }
  /** What status says of it, once. */
  const pointed = async (env?: Record<string, string>) => {
    const { json } = await certsync(["status", "--json", "--config", all.host.config], {
      ...(env ? { env } : { path: `${all.programs}:${all.host.docker.bin}` }),
    });
    const points = json().points.filter(({ point }: { point: string }) => point === "dane");
    equal(points.length, 1);
    return points[0];
  };
  const { state, words } = await pointed();
  deepEqual([state, words], [
    "ok",
    `the resolver ${at(all.zone.validating)} is asked, and validates`,
  ]);
  const unasked: [what: string, resolver: () => string, words: RegExp][] = [
    ["a resolver that does not validate", () => at(all.zone.trusting), /does not validate DNSSEC/],
    ["a resolver that is not there", () => `127.0.0.1:${freePort()}`, /connection refused/],
  ];
  for (const [what, resolver, words] of unasked) {
    await t.step(what, async () => {
      const config = JSON.parse(await Deno.readTextFile(all.host.config));
      await Deno.writeTextFile(
        all.host.config,
        JSON.stringify({ ...config, resolver: resolver() }),
      );
      await all.renew(old, await all.issue());
      const { code, stdout, stderr } = await all.deploy();
      deepEqual([code, trouble(stderr)], [0, []]);
      match(stdout, /^DANE could not be (asked|validated): the resolver /m);
      match(stdout, words);
      const { code: verdict, json } = await all.verify("--json");
      const leg = json().legs.find((each: { leg: string }) => each.leg === "tlsa");
      deepEqual([verdict, leg.noted, leg.match, leg.status], [0, true, null, "ok"]);
      const [, deed] = /^un(asked|validated)$/.exec(leg.verdict) ?? [];
      ok(leg.error.startsWith(`could not be ${deed}: the resolver `), leg.error);
      match(leg.error, words);
      match((await all.verify()).stdout, words);
      const point = await pointed();
      equal(point.state, "note");
      match(point.words, words);
      match(point.mend, /^set resolver in the config file to one that validates DNSSEC/);
      const alone = await all.verify("--leg", "tlsa");
      equal(alone.code, 3);
      match(alone.stdout, words);
    });
  }
  await t.step(
    "no dig and no delv: no word, and mailcow's own resolver was asked first",
    async () => {
      const { resolver: _, ...config } = JSON.parse(await Deno.readTextFile(all.host.config));
      await Deno.writeTextFile(all.host.config, JSON.stringify(config));
      await all.renew(old, await all.issue());
      all.host.docker.forget();
      await Promise.all(["dig", "delv"].map((name) => Deno.remove(`${all.programs}/${name}`)));
      await using bare = await tempDir();
      for (const name of ["bash", "openssl"] as const) {
        await Deno.symlink(need(name), `${bare.path}/${name}`);
      }
      const env = { PATH: `${all.host.docker.bin}:${bare.path}` };
      const { code, stdout, stderr } = await all.host.deploy([], { env });
      deepEqual([code, trouble(stderr)], [0, []]);
      doesNotMatch(stdout.replace(/^TLSA 3 1 1 changed .*/m, ""), /TLSA|DANE/);
      const asked = all.host.calls().filter((call) => call.includes("unbound-mailcow"));
      match(asked.join("\n"), /^exec -T unbound-mailcow dig -r @127\.0\.0\.1 [^\n]*$/);
      const { state, mend } = await pointed(env);
      equal(state, "note");
      match(mend, /^install the package bind9-dnsutils, for dig, or have mailcow's own run: cd /);
    },
  );
});

function chainOf(leaf: Leaf) {
  const chain = parseChain(new TextEncoder().encode(leaf.fullchainPem), "the chain");
  return { leaf: chain[0], chain };
}

interface NameReport {
  name: string;
  outcome: string;
  status: string;
  error?: string;
  hint?: string;
}

Deno.test("of two names the one that is affected is told, in the first line of the one alert", async () => {
  await using ca = await authority();
  const also = "mail2.example.org";
  const issue = (names: string[]) => ca.issue({ names });
  const [old, next, other, renewed] = await Promise.all(
    [[NAME], [NAME], [also], [also]].map(issue),
  );
  if (!old || !next || !other || !renewed) throw new Error("four leaves");
  await using all = await scene(ca, [], { also: [also] });
  const { zone, host } = all;
  await all.renew(old, old);
  await host.stage(other, also);
  equal((await all.deploy()).code, 0);

  await Promise.all([host.stage(next), host.stage(renewed, also)]);
  const standing = [
    ...lines(OWNER, [await tlsa(old), await tlsa(next)]),
    ...lines(`_25._tcp.${also}`, [await tlsa(other)]),
  ];
  await zone.publish(standing);
  const words = `publish _25._tcp.${also}. IN TLSA ${await tlsa(renewed)}`;
  const before = await all.deploy("--dry-run");
  equal(before.code, 0);
  ok(before.stderr.includes(words), before.stderr);
  doesNotMatch(before.stderr, new RegExp(`publish ${OWNER}`));

  await using alert = await alerts();
  const json = await all.deploy("--json");
  equal(json.code, 1);
  const told = (report: { certificates: NameReport[] }) =>
    report.certificates.map(({ name, outcome, error }) => [name, outcome, error?.split(":")[0]]);
  deepEqual(told(json.json()), [
    [NAME, "deployed", undefined],
    [also, "deployed", "no TLSA record fits the new certificate"],
  ]);
  match(
    json.json().certificates[1].hint,
    /reuse_key = True .* certsync find-npm-dir mail2\.example\.org$/,
  );
  const [first = ""] = (await alert.after(json.stderr)).split("\n");
  ok(first.startsWith("ERROR: ") && first.includes(words), first);
  doesNotMatch(json.stderr, new RegExp(`publish ${OWNER}`));
  const again = await all.deploy();
  deepEqual([again.code, trouble(again.stderr)], [0, []]);

  const wrong = await all.verify("--json");
  equal(wrong.code, 2, wrong.stdout);
  deepEqual(
    wrong.json().certificates.map(({ name, status }: NameReport) => [name, status]),
    [[NAME, "ok"], [also, "critical"]],
  );
  const legs = wrong.json().legs.filter(({ leg }: { leg: string }) => leg === "tlsa");
  deepEqual(
    legs.map(({ name, verdict }: { name: string; verdict: string }) => [name, verdict]),
    [[NAME, "ok"], [also, "no record fits"]],
  );
  ok((await all.verify()).stdout.trimEnd().split("\n").at(-1)?.includes(`in the DNS: ${words}`));
  await zone.publish([...standing, words.slice("publish ".length)]);
  equal((await all.verify()).code, 0);

  // Where port 25 is silent each is held against its own.
  await host.services.behave("smtp", "closed");
  const silent = await all.verify("--json", "--leg", "tlsa");
  deepEqual(
    silent.json().legs.map((
      { name, verdict, fingerprint }: { name: string; verdict: string; fingerprint: string },
    ) => [name, verdict, fingerprint]),
    [
      [NAME, "fits what is deployed", next.fingerprint],
      [also, "fits what is deployed", renewed.fingerprint],
    ],
  );
});

/** What the unit of deploy alerts, all in one place. */
async function alerts() {
  const dir = await tempDir();
  const { path } = dir;
  const program = (name: string, text: string) =>
    Deno.writeTextFile(`${path}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  // By the run's identifier it knows when it was, and by that time what it said.
  await program(
    "journalctl",
    `case "$*" in
      *--output=export) echo __REALTIME_TIMESTAMP=1700000000000000 ;;
      *) cat ${path}/journal ;;
    esac`,
  );
  await program("alert", `cat >${path}/told`);
  const tell = new URL("../systemd/tell-alert", import.meta.url);
  const script = (await Deno.readTextFile(tell)).replaceAll("/etc/certsync/alert", `${path}/alert`);
  return {
    after: async (stderr: string) => {
      await Deno.writeTextFile(`${path}/journal`, stderr);
      await run(need("dash"), ["-c", script, "tell-alert", "mailcow-cert-deploy.service"], {
        env: {
          ...{ PATH: `${path}:${Deno.env.get("PATH")}`, STATE_DIRECTORY: path },
          MONITOR_INVOCATION_ID: "0123abcd",
        },
      });
      return await Deno.readTextFile(`${path}/told`);
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}

Deno.test("all names are asked about at once, and each is answered by name", async () => {
  await using ca = await authority();
  const names = [NAME, "mail2.example.org"];
  const [old, next] = await Promise.all([ca.issue({ names }), ca.issue({ names })]);
  const [before, after] = await Promise.all([tlsa(old), tlsa(next)]);
  await using zone = await dnsZone({
    records: [
      ...lines(OWNER, [before, after]),
      ...lines("_25._tcp.mail2.example.org", [before]),
    ],
  });
  const port = freePort();
  await using _server = await smtpServer([{ address: "127.0.0.1", port, pair: old }]);
  const scene = {
    published: [{ protocol: "smtp", host: "127.0.0.1", port }],
    compose: { directory: "/", version: "native" },
  } as const;
  const { address, port: dns } = zone.validating;
  const config = { resolver: { host: address, port: dns }, rollback: false };
  const foresee = (next: Leaf) =>
    foreseeDane(
      names.map((name) => ({ name, installed: chainOf(old), next: chainOf(next) })),
      ...[scene, config, runContext()] as const,
    );
  const told = await foresee(next);
  deepEqual([...told.keys()], names);
  deepEqual(told.get(NAME), { error: null, hint: null, warnings: [], notes: [] });
  const { error, hint, warnings, notes } = told.get("mail2.example.org") ?? {};
  match(
    error ?? "",
    new RegExp(`: publish _25\\._tcp\\.mail2\\.example\\.org\\. IN TLSA ${after};`),
  );
  match(hint ?? "", /find-npm-dir mail2\.example\.org$/);
  deepEqual([warnings, notes], [[], []]);
  equal((await foresee(old)).size, 0);
});

Deno.test("records that fit another host's port 25 are its own, and only noted", async () => {
  await using ca = await authority();
  const [old, next, gateway] = await Promise.all(
    [[NAME], [NAME], ["gateway.example.com"]].map((names) => ca.issue({ names })),
  );
  if (!old || !next || !gateway) throw new Error("three leaves");
  const tell = async (published: Leaf, given: (Leaf & { ip: string })[]) => {
    const dane = explain({
      ...{ kind: "secure", owner: OWNER, ttlSeconds: 3600 },
      records: [await tlsa(published)],
    });
    const reached = given.map((leaf) => ({ ip: leaf.ip, ...chainOf(leaf) }));
    const change = { before: [chainOf(old)], next: chainOf(next), reached };
    return foretell(NAME, dane, change, { isHere: true, isRollback: false }, new Date());
  };
  const one = { ip: "192.0.2.25", ...gateway };
  const words = `the TLSA records of ${NAME} are another host's: they fit what 192.0.2.25:25 gives`;
  const nothing = { error: null, hint: null, warnings: [], notes: [] };
  deepEqual(await tell(gateway, [one]), { ...nothing, notes: [words] });
  const stranger = await ca.issue({ names: [NAME] });
  const lack = async (leaf: Leaf) => `publish ${OWNER}. IN TLSA ${await tlsa(leaf)}`;
  // The same that verify asks for: the record of what senders are given there.
  const broken = await tell(stranger, [one]);
  equal(broken.error, null);
  match(
    broken.warnings.join("\n"),
    new RegExp(
      `^no TLSA record of ${NAME} fits, and another host takes its mail: ` +
        `for what 192.0.2.25:25 gives, ${await lack(gateway)};`,
    ),
  );
  // Two hosts, two keys: a record for each.
  const both = await tell(stranger, [{ ip: "192.0.2.24", ...old }, one]);
  match(
    both.warnings.join("\n"),
    new RegExp(
      `: ${await lack(next)}, and for what 192.0.2.25:25 gives, ${await lack(gateway)};`,
    ),
  );
});

Deno.test("of a record for what is gone back to, it is told to leave the others there", async () => {
  await using ca = await authority();
  const [now, back] = [await ca.issue({ names: [NAME] }), await ca.issue({ names: [NAME] })];
  const dane = explain({
    ...{ kind: "secure", owner: OWNER, ttlSeconds: 3600 },
    records: [await tlsa(now)],
  });
  const change = { before: [chainOf(now)], next: chainOf(back), reached: [] };
  const { error, hint } = foretell(
    ...[NAME, dane, change, { isHere: true, isRollback: true }, new Date()] as const,
  );
  match(error ?? "", /fits the certificate that is gone back to: publish .*back until they see it/);
  match(hint ?? "", /^leave the other records where they are: .* comes back with a later certsync/);
});

Deno.test("what was foreseen of a pair that is not there is not told", () => {
  const foreseen = { error: "publish it", hint: "keep it", warnings: [], notes: [] };
  const report = { ...emptyDeployReport(null), outcome: "deployed", installed: ["x"] } as const;
  const told = (more: Parameters<typeof withForesight>[0]) => {
    const { error, hint } = withForesight(more, foreseen);
    return [error, hint];
  };
  deepEqual(told(report), ["publish it", "keep it"]);
  deepEqual(told({ ...report, outcome: "rolled-back", error: "silent" }), ["silent", undefined]);
  deepEqual(told({ ...report, outcome: "failed", installed: [], error: "no" }), ["no", undefined]);
  deepEqual(told({ ...report, outcome: "stale", error: "old one", hint: "look" }), [
    "old one; publish it",
    "look; keep it",
  ]);
});

Deno.test("of a name whose pair could not be put there, nothing has come true", () => {
  const foresight = { error: "publish it", hint: "keep it", warnings: [], notes: [] };
  const further = [
    { name: "a.example", directory: "/ssl/a" },
    { name: "b.example", directory: "/ssl/b" },
    { name: "c.example", directory: null },
    { name: "d.example", directory: "/ssl/d" },
  ];
  const failed = further.map(({ name }) => emptyCertificate(name));
  const certificates = failed.map((one) =>
    one.name === "d.example" ? { ...one, outcome: "deployed" as const } : one
  );
  const installed = ["/ssl/cert.pem", "/ssl/b/cert.pem"];
  const foreseen = new Map(further.map(({ name }) => [name, foresight]));
  const left = comeTrue(foreseen, { certificates, installed }, further);
  deepEqual([...left.keys()], ["b.example", "c.example", "d.example"]);
});

Deno.test("what port 25 gives anew is told from what it goes on with, by the directories ahead of the top level", () => {
  const told = (
    given: Parameters<typeof facts>[0],
    directories: string[],
    further: Partial<NamePlan>[] = [],
  ) => {
    const found = facts({ deployed: installed(before), ...given });
    const plans = further.map((more): NamePlan => ({
      ...{ name: "shop.example.com", refusal: null, serving: own, directory: "/ssl/shop" },
      ...{ deed: "install", former: before, warnings: [], ...more },
    }));
    return renewalsOf({ ...found, further: plans }, { directories })
      .map(({ name, installed, next }) => [name, installed, next]);
  };
  deepEqual(told({}, [SSL]), [[NAME, before, after]]);
  deepEqual(told({}, []), []);
  deepEqual(told({ deployed: installed(null) }, [SSL]), [[NAME, null, after]]);
  deepEqual(told({ deployed: installed(after) }, [SSL]), []); // of another mode alone
  // Postfix has that of an SNI directory ahead of the top-level one.
  const sniDirectories = [sni("a", [NAME], own)];
  deepEqual(told({ sniDirectories }, [`${SSL}/a`, SSL]), [[NAME, own, after]]);
  deepEqual(told({ sniDirectories }, [SSL]), []);
  const shop = "shop.example.com";
  deepEqual(told({}, [], [{}]), [[shop, before, own]]);
  deepEqual(told({}, [], [{ deed: "none" }]), []);
  deepEqual(told({}, [], [{ serving: null }]), []);
  deepEqual(told({}, [], [{ former: null, deed: "make" }]), [[shop, before, own]]);
  const byTop = { directory: null, deed: "none", former: null, serving: after } as const;
  deepEqual(told({}, [SSL], [byTop]), [[NAME, before, after], [shop, before, after]]);
  deepEqual(told({}, [], [byTop]), []);
});
