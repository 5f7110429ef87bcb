// certsync verify: says which copy is old, where the chain is stuck, and how long there is.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { VerifyReport } from "../lib/verify/report.ts";
import { type Authority, authority, type Leaf } from "./kit/authority.ts";
import { certsync, type CertsyncResult, searchPath, startCertsync } from "./kit/certsync.ts";
import { verifyHere, verifyLines } from "./kit/in_process.ts";
import { ENDPOINT_NAMES, ENDPOINTS, type MailServices, mailServices } from "./kit/mail_services.ts";
import { type MailcowTree, mailcowTree } from "./kit/mailcow_tree.ts";
import { type NpmTree, npmTree } from "./kit/npm_tree.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { type SshServer, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";
const TARGET = `certsync@${NAME}:/home/certsync/incoming/`;
const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

/** One for all: what is shown lies in files and on the wire. */
let ca: Authority, current: Leaf, old: Leaf;
Deno.test.beforeAll(async () => {
  ca = await authority();
  [current, old] = await Promise.all([
    ca.issue({ names: [NAME], notBefore: daysAgo(30.5) }),
    ca.issue({ names: [NAME], notBefore: daysAgo(89) }),
  ]);
});
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("when every copy is the same, verify says so and touches nothing", async () => {
  await using all = await scene();
  const before = await snapshot(all.dir);
  const { code, stdout, stderr } = await all.verify();
  equal(code, 0, stdout + stderr);
  equal(stderr, "");
  const lines = stdout.trimEnd().split("\n");
  equal(lines.at(-1), "all 23 match"); // five files and nine endpoints, with SNI and without
  match(lines[0] ?? "", /^leg +where +fingerprint +expires +verdict$/);
  equal(lines.filter((line) => line.endsWith("  ok")).length, 6);
  match(stdout, /^served +9 endpoints \(18 ways\) .* ok$/m); // alike, and well
  const all23 = (await all.verify("--all")).stdout;
  equal(all23.split("\n").filter((line) => line.endsWith("  ok")).length, 23);
  assertSame(before, await snapshot(all.dir));
});

Deno.test("each leg that is left behind is named, with what to do about it", async (t) => {
  await using all = await scene();
  const { old, current } = all;
  const steps: [
    leg: string,
    next: string,
    stuck: () => Promise<unknown>,
    mend: () => Promise<unknown>,
  ][] = [
    [
      "pushed",
      "run on the NPM host: certsync push; then on the mail host: certsync deploy",
      async () => {
        await all.everywhere(old, current);
      },
      () => all.push(current),
    ],
    [
      "staged",
      "run on the NPM host: certsync push --force; then on the mail host: certsync deploy",
      noChange,
      () => all.stage(current),
    ],
    ["deployed", "run on the mail host: certsync deploy", noChange, () => all.mailcow.put(current)],
    [
      "sni",
      "run on the mail host: certsync deploy",
      noChange,
      () => all.mailcow.putSni(NAME, current),
    ],
    ["served", "run on the mail host: certsync deploy", noChange, () => all.load(current)],
  ];
  for (const [leg, next, stuck, mend] of steps) {
    await t.step(leg, async () => {
      await stuck();
      const report = await all.look();
      deepEqual([report.status, report.staleAt], ["critical", leg]);
      for (const { leg: name, match, fingerprint } of report.legs) {
        equal(match, fingerprint === current.fingerprint);
        if (name === "source") equal(match, true);
        if (name === "served") equal(match, false);
      }
      const lines = verifyLines(report);
      match(lines.at(-1) ?? "", new RegExp(`^\\d+ of 23 match, stale at ${leg}: ${next}$`));
      const marked = lines.filter((line) => /^[>|]/.test(line));
      match(marked[0] ?? "", new RegExp(`^>  ${leg} .* another one$`));
      equal(marked.length, report.legs.filter((leg) => !leg.match).length);
      equal(marked.slice(1).every((line) => line.startsWith("| ")), true);
      await mend();
    });
  }
  await t.step("one of nine ports", async () => {
    await all.mailcow.put(old);
    await all.services.restart("nginx");
    await all.mailcow.put(current);
    const { code, stdout } = await all.verify();
    equal(code, 2);
    match(
      stdout,
      /^21 of 23 match, stale at served: run on the mail host: certsync deploy --config "[^"]+"$/m,
    );
    equal(stdout.match(/^[>|] .*/gm)?.every((line) => line.includes("https://")), true);
    await all.services.restart("nginx");
  });
  await t.step("none any more", async () => {
    match((await all.verify()).stdout, /^all 23 match$/m);
  });
});

Deno.test("a renewal that is not a day old may still be on its way, an older one may not", async () => {
  await using all = await scene({ served: [] });
  const [fresh, older] = await Promise.all([
    all.ca.issue({ names: [NAME], notBefore: daysAgo(0.9) }),
    all.ca.issue({ names: [NAME], notBefore: daysAgo(1.1) }),
  ]);
  await all.npm.renew(5, fresh);
  const warning = await all.verify();
  equal(warning.code, 1, warning.stdout);
  match(warning.stdout, /^> {2}pushed .* not yet here$/m);
  match(
    warning.stdout,
    /, stale at pushed: run on the NPM host: certsync push --config "[^"]+"; then on the mail /m,
  );

  await all.npm.renew(5, older);
  const critical = await all.verify();
  equal(critical.code, 2, critical.stdout);
  match(critical.stdout, /^> {2}pushed .* another one$/m);
});

Deno.test("thresholds are days, or a part of the certificate's life", async (t) => {
  await using all = await scene({ served: ["imaps"] });
  // 60 of 90 days are left.
  const cases: [flags: string[], code: number][] = [
    [[], 0],
    [["--warn", "61d"], 1],
    [["--warn", "59d"], 0],
    [["--warn", "67%"], 1],
    [["--warn", "66%"], 0],
    [["--warn", "80d", "--critical", "61d"], 2],
    [["--warn", "100%", "--critical", "67%"], 2],
    [["--warn", "100%", "--critical", "59d"], 1],
  ];
  for (const [flags, code] of cases) {
    await t.step(flags.join(" ") || "none", async () => {
      const report = await all.look(...flags);
      equal(report.status, ["ok", "warning", "critical"][code]);
      const last = verifyLines(report).at(-1) ?? "";
      match(
        last,
        code === 0
          ? /^all 7 match$/
          : /^7 of 7 match; .* expires in 59 days: in Nginx Proxy Manager: renew the .*certsync deploy$/,
      );
    });
  }
  await t.step("from the config file", async () => {
    const endpoints = all.services.url("imaps");
    await all.configure({ verify: { endpoints, warn: "80d", critical: "70d" } });
    equal((await all.verify()).code, 2);
    equal((await all.verify("--warn", "9d", "--critical", "1d")).code, 0);
  });
});

Deno.test("a certificate that expired or is for another name is critical though all match", async () => {
  await using all = await scene({ served: ["imaps"] });
  const [expired, foreign] = await Promise.all([
    all.ca.issue({ names: [NAME], notBefore: daysAgo(91), notAfter: daysAgo(1) }),
    all.ca.issue({ names: ["other.example.org"] }),
  ]);
  await all.everywhere(expired);
  const first = await all.verify();
  equal(first.code, 2);
  match(
    first.stdout,
    /^7 of 7 match; .*: expired: in Nginx Proxy Manager: renew the certificate for mail\.example/m,
  );

  await all.everywhere(foreign);
  await all.configure({
    push: { ...all.pushSection, source: "npm-5" },
    verify: { endpoints: all.services.url("imaps") },
  });
  const second = await all.verify();
  equal(second.code, 2, second.stdout);
  match(
    second.stdout,
    /: wrong name: in Nginx Proxy Manager: request a certificate for mail\.example\.org; then on /m,
  );
  match(second.stdout, /^ {2}hint: it does not cover mail\.example\.org; issue one that does$/m);
});

Deno.test("a leaf served without its intermediate is a warning", async () => {
  await using all = await scene({ served: ["imaps"] });
  await all.everywhere({ ...all.current, fullchainPem: all.current.certPem });
  const { code, stdout, stderr } = await all.verify();
  equal(code, 1, stdout);
  match(stdout, /^7 of 7 match; .*: no intermediate: in Nginx Proxy Manager: renew /m);
  match(stdout, /^ {2}hint: let it serve the whole of fullchain\.pem$/m);
  match(stderr, /^WARNING: imaps:\/\/127\.0\.0\.1:\d+ serves its leaf without the intermediate/);
  equal(stderr.match(/WARNING/g)?.length, 1);
});

Deno.test("the JSON has the keys of the contract, and the same facts as openssl for every endpoint", async () => {
  await using all = await scene();
  const { code, stdout, stderr, json } = await all.verify("--json");
  deepEqual([code, stderr], [0, ""]);
  const report = json();
  deepEqual(
    [report.schema, report.command, report.status, report.domain, report.staleAt],
    [1, "verify", "ok", NAME, null],
  );
  deepEqual([report.timers, report.warnings], [[], []]);
  doesNotMatch(stdout, /PRIVATE KEY/);

  const [source] = report.legs;
  deepEqual(report.certificates, [{ name: NAME, status: "ok", staleAt: null }]);
  deepEqual(Object.keys(source).slice(0, 12), [
    ...["leg", "name", "where", "fingerprint", "notBefore", "notAfter"],
    ...["subject", "issuer", "names", "match", "noted", "stale"],
  ]);
  equal(source.where, `${all.npm.dir(5)}/fullchain.pem`);
  deepEqual([source.names, source.subject], [[NAME], `CN=${NAME}`]);
  const pushed = report.legs.find(({ leg }: { leg: string }) => leg === "pushed");
  deepEqual([pushed.where, pushed.fingerprint, pushed.notAfter], [
    TARGET,
    all.current.fingerprint,
    null,
  ]);
  const sni = report.legs.find(({ leg }: { leg: string }) => leg === "sni");
  equal(sni.sni, NAME);

  const served = report.legs.filter(({ leg }: { leg: string }) => leg === "served");
  equal(served.length, 18);
  await Promise.all(ENDPOINT_NAMES.flatMap((name) =>
    [NAME, undefined].map(async (sni) => {
      const where = all.services.url(name);
      const leg = served.find((leg: { where: string; sni?: string }) =>
        leg.where === where && leg.sni === sni
      );
      const facts = await askOpenssl(all, name, sni);
      deepEqual(
        [leg.fingerprint, leg.notBefore, leg.notAfter, leg.subject, leg.issuer, leg.ip],
        [...facts, "127.0.0.1"],
        `${where} ${sni}`,
      );
    })
  ));
});

Deno.test("a name with both address families is asked at each, and each is a leg", async () => {
  await using all = await scene({ served: ["imaps"], addresses: ["127.0.0.1", "::1"] });
  const bin = await all.program(
    "getent",
    `
    case "$1 $2" in
    "ahosts v46.example") printf '127.0.0.1 STREAM\\n127.0.0.1 DGRAM\\n127.0.0.2 STREAM\\n::1 STREAM\\n' ;;
    "ahosts v6.example") printf '::1 STREAM both\\n' ;;
    *) exit 2 ;;
    esac`,
  );
  const port = all.services.ports.imaps;
  const urls = ["v46", "v6", "none"].map((name) => `imaps://${name}.example:${port}`);
  const result = await all.verifyWith(
    { path: bin },
    "--json",
    ...urls.flatMap((url) => ["--endpoint", url]),
  );
  const served = result.json().legs.filter(({ leg }: { leg: string }) => leg === "served");
  const seen = served.map(({ where, ip, sni, match, error }: Record<string, string>) => [
    where?.split(/[/.]+/)[1],
    ip ?? error,
    sni ?? null,
    match,
  ]);
  deepEqual(seen, [
    ["v46", "127.0.0.1", NAME, true],
    ["v46", "127.0.0.1", null, true],
    ["v46", "127.0.0.2", NAME, null],
    ["v46", "127.0.0.2", null, null],
    ["v46", "::1", NAME, true],
    ["v46", "::1", null, true],
    ["v6", "::1", NAME, true],
    ["v6", "::1", null, true],
    ["none", "none.example has no address", null, null],
  ]);
  equal(result.code, 2);

  const text = await all.verifyWith({ path: bin }, "--endpoint", urls[0] ?? "");
  match(text.stdout, /^ *served +imaps:\S+ \(4 ways\) .* ok$/m);
  match(text.stdout, / 127\.0\.0\.2 SNI +- +- +no certificate$/m);
  match(text.stdout, /^ {2}imaps:\/\/v46\.example:\d+ at 127\.0\.0\.2: connection refused$/m);
});

Deno.test("localhost is asked at every address family that this host gives it", async () => {
  await using all = await scene({ served: ["imaps"], addresses: ["127.0.0.1", "::1"] });
  const known = await run("/usr/bin/getent", ["ahosts", "localhost"]);
  const families = [/^127\./m, /^::1\b/m].filter((family) => family.test(known)).length;
  const url = `imaps://localhost:${all.services.ports.imaps}`;
  const { legs } = (await all.verify("--json", "--endpoint", url)).json();
  const served = legs.filter(({ leg }: { leg: string }) => leg === "served");
  equal(served.length, families * 2);
  equal(served.every((leg: { match: boolean }) => leg.match), true);
});

Deno.test("a dead endpoint is critical where it was configured and a warning where it was not", async () => {
  await using all = await scene();
  await all.services.behave("pop3", "closed");
  await all.services.behave("https", "hangs-up");
  const standard = await all.verify();
  equal(standard.code, 1, standard.stdout);
  match(
    standard.stdout,
    /^served +pop3:\/\/127\.0\.0\.1:\d+ no SNI +- +- +switched off$/m,
  );
  doesNotMatch(standard.stdout, /refused/); // other endpoints of Dovecot answer
  match(standard.stdout, /^ {2}https:\/\/127\.0\.0\.1:\d+: closed the connection/m);
  match(
    standard.stdout,
    /^19 of 21 match; https:\/\/.*: no certificate: run on the mail host: cd .*restart nginx-mailcow$/m,
  );

  await all.configure({ verify: { endpoints: [all.services.url("pop3")] } });
  equal((await all.verify()).code, 2);
  await all.configure({ deploy: { ...all.deploySection, endpoints: [all.services.url("pop3")] } });
  equal((await all.verify()).code, 2);
  await all.configure({});
  equal((await all.verify("--endpoint", all.services.url("pop3"))).code, 2);
  equal((await all.verify("--endpoint", all.services.url("imap"))).code, 0);
});

Deno.test("dead endpoints delay none, and cost the time-out once", async () => {
  await using all = await scene({ verify: { timeout: "2s" } });
  for (const name of ["smtp", "imaps", "https"] as const) await all.services.behave(name, "silent");
  const start = performance.now();
  const result = await all.verify("--json");
  const took = performance.now() - start;
  equal(took >= 2_000 && took < 5_000, true, `${took} ms`);
  equal(result.code, 1);
  const served = result.json().legs.filter(({ leg }: { leg: string }) => leg === "served");
  for (const { where, match: matches, error } of served) {
    const isDead = /^(smtp|imaps|https):/.test(where);
    equal(matches, isDead ? null : true, where);
    if (isDead) equal(error, "no certificate within 2 s");
  }
});

Deno.test("a host shows what it has: the NPM host, the mail host, and any other", async () => {
  await using all = await scene();
  const legs = async (...args: string[]) => {
    const { legs } = (await certsync(["verify", "--json", ...args])).json();
    return [...new Set(legs.map(({ leg }: { leg: string }) => leg))];
  };
  const npmHost = await all.write("npm.yaml", { domain: NAME, push: all.pushSection });
  const mailHost = await all.write("mail.yaml", { deploy: all.deploySection });
  const endpoint = ["--endpoint", all.services.url("imaps")];
  deepEqual(await legs("--config", npmHost, ...endpoint), ["source", "pushed", "served"]);
  deepEqual(await legs("--config", mailHost), ["staged", "deployed", "sni", "served"]);
  deepEqual(await legs("--domain", NAME, ...endpoint), ["served"]);

  const { domain } = (await certsync(["verify", "--json", "--config", mailHost])).json();
  equal(domain, NAME); // MAILCOW_HOSTNAME
});

Deno.test("without a domain an endpoint's own name is its SNI, and an address has none", async () => {
  await using all = await scene({ served: ["imaps"] });
  const bin = await all.program("getent", "echo 127.0.0.1 STREAM");
  const port = all.services.ports.imaps;
  const args = ["verify", "--json", "--endpoint", `imaps://${NAME}:${port}`];
  const named = (await certsync(args, { path: bin })).json();
  deepEqual(named.legs.map(({ sni }: { sni?: string }) => sni), [NAME, undefined]);
  const plain = (await certsync(["verify", "--json", "--endpoint", all.services.url("imaps")]))
    .json();
  deepEqual(plain.legs.map(({ sni }: { sni?: string }) => sni), [undefined]);
});

Deno.test("with a domain alone, imaps at that name is what is looked at", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/getent`, "#!/bin/sh\nexit 2\n", { mode: 0o755 });
  const { code, json } = await certsync(["verify", "--json", "--domain", NAME], { path: dir.path });
  const { status, legs, error } = json();
  deepEqual([code, status], [3, "unknown"]);
  deepEqual(legs.map(({ where }: { where: string }) => where), [`imaps://${NAME}:993`]);
  match(error, /^nothing could be compared/);
  // Of two that cannot be read, the one is told for which there is a hint.
  const args = ["verify", "--json", "--domain", NAME, "--source", "/nonexistent.pem"];
  const both = (await certsync(args, { path: dir.path })).json();
  match(both.error, /^nothing could be compared: imaps:\S+: \S+ has no address, and 1 more$/);
  match(both.hint, /^correct the name of the endpoint/);
});

Deno.test("where nothing can be compared the status is unknown and the exit code 3", async () => {
  const nothing = await certsync(["verify"]);
  equal(nothing.code, 3);
  equal(nothing.stdout, "");
  match(nothing.stderr, /^ERROR: nothing could be compared: .*\nhint: .*--domain.*\n$/);

  const unreadable = await certsync(["verify", "--source", "/nonexistent/fullchain.pem"]);
  equal(unreadable.code, 3);
  match(unreadable.stdout, /^source +\/nonexistent\/fullchain\.pem +- +- +cannot be read$/m);
  match(unreadable.stdout, /^ {2}\/nonexistent\/fullchain\.pem: does not exist$/m);
  // Once for all: it is no result, and whoever watches the journal looks for an ERROR.
  doesNotMatch(unreadable.stdout, /nothing could be compared/);
  match(
    unreadable.stderr,
    /^ERROR: nothing could be compared: \/nonexistent\/fullchain\.pem: does not exist\n$/,
  );
});

Deno.test("a leg that should be there and cannot be read is critical, with the reason", async (t) => {
  await using all = await scene({ served: ["imaps"] });
  const certFile = all.mailcow.certFile;
  const staged = `${all.incoming}/fullchain.pem`;
  const cases: [name: string, leg: string, error: RegExp, spoil: () => Promise<unknown>][] = [
    ["a deployed directory", "deployed", /^is a directory$/, async () => {
      await Deno.remove(certFile);
      await Deno.mkdir(certFile);
    }],
    ["a deployed FIFO", "deployed", /^is not a regular file$/, async () => {
      await Deno.remove(certFile);
      await run("/usr/bin/mkfifo", [certFile]);
    }],
    [
      "deployed garbage",
      "deployed",
      /^not a certificate: "/,
      () => write(certFile, "garbage\0\xff"),
    ],
    [
      "a deployed key",
      "deployed",
      /^not a certificate: "/,
      () => write(certFile, all.current.keyPem),
    ],
    ["1 GB deployed", "deployed", /^is larger than 1 MiB$/, () => Deno.truncate(certFile, 1e9)],
    ["no deployed file", "deployed", /^does not exist$/, () => Deno.remove(certFile)],
    ["a staged link", "staged", /^no staged cert: ".*" is a symbolic link$/, async () => {
      await Deno.remove(staged);
      await Deno.symlink(all.mailcow.confFile, staged);
    }],
    [
      "nothing staged",
      "staged",
      /^no staged cert: ".*" does not exist$/,
      () => Deno.remove(staged),
    ],
    [
      "a dangling lineage",
      "source",
      /^no certificate for "mail\.example\.org" there$/,
      () => Deno.remove(all.npm.archive, { recursive: true }),
    ],
    [
      "no live directory",
      "source",
      /^there is no live directory: ".*\/live"$/,
      () => Deno.remove(all.npm.live, { recursive: true }),
    ],
    [
      "no mailcow.conf",
      "deployed",
      /mailcow\.conf" does not exist$/,
      () => Deno.remove(all.mailcow.confFile),
    ],
  ];
  for (const [name, leg, error, spoil] of cases) {
    await t.step(name, async () => {
      await spoil();
      const url = all.services.url("imaps");
      const report = await all.look("--endpoint", url);
      equal(report.status, "critical");
      const [found, ...others] = report.legs.filter((each) => each.leg === leg);
      deepEqual(others, []);
      match(found?.error ?? "", error);
      const isKnown = leg !== "source" && name !== "no mailcow.conf"; // not to be the right one
      deepEqual([found?.fingerprint, found?.match], [null, isKnown ? false : null]);
      const text = verifyLines(report).join("\n");
      doesNotMatch(text, /^all \d+ match/m);
      equal(tableOf(text).every((line) => line.length <= 80), true, text);
      deepEqual([report.warnings, report.error], [[], undefined]);
      await all.everywhere(all.current);
    });
  }
});

Deno.test("where nothing was pushed or staged yet the chain is stuck, which is not left out", async () => {
  await using all = await scene({ served: ["imaps"] });
  await Deno.remove(`${all.pushState}/last_fp`);
  const { code, stdout } = await all.verify();
  equal(code, 2);
  match(stdout, /^> {2}pushed .* nothing there yet$/m);
  match(stdout, /, stale at pushed: run on the NPM host: certsync push --config "[^"]+"$/m);

  await all.push(all.current);
  for (const name of ["fullchain.pem", "privkey.pem"]) await Deno.remove(`${all.incoming}/${name}`);
  const [empty, json] = await Promise.all([all.verify(), all.verify("--json")]);
  deepEqual([empty.code, json.json().staleAt], [2, "staged"]);
  match(empty.stdout, /^> {2}staged .* nothing there yet$/m);
  match(
    empty.stdout,
    /^6 of 7 match, stale at staged: run on the NPM host: certsync push --config "[^"]+" --force$/m,
  );
});

Deno.test("what the shell script before noted counts as pushed", async () => {
  await using all = await scene({ served: ["imaps"] });
  const bare = all.current.fingerprint.toLowerCase();
  await write(`${all.pushState}/last_fp`, `sha256 Fingerprint=${bare}\n`);
  match((await all.verify()).stdout, /^all 7 match$/m);
});

Deno.test("an SNI directory of another name is watched for its own dates alone", async () => {
  await using all = await scene({ served: ["imaps"] });
  const directory = await all.mailcow.putSni("other.example.org", all.current);
  const well = await all.verify();
  equal(well.code, 0);
  match(well.stdout, /^all 7 match$/m);

  await all.mailcow.putSni("other.example.org", all.old); // which ends in a day
  const { code, stdout } = await all.verify();
  equal(code, 1);
  match(stdout, /^sni +\S+her\.example\.org\/cert\.pem +\S+ +\S+ +expires in hours$/m);
  match(stdout, /^7 of 7 match; .*: nobody renews it since SKIP_LETS_ENCRYPT=y: name other\./m);
  const { legs } = (await all.verify("--json")).json();
  const [leg] = legs.filter(({ where }: { where: string }) => where === `${directory}/cert.pem`);
  deepEqual([leg.match, leg.sni, leg.status], [null, undefined, "warning"]);
});

Deno.test("three legs are compared over ssh from a host that has neither side's files", async (t) => {
  await using all = await scene({ served: ["imaps"] });
  await using server = await sshServer({ env: { SHLVL: "1" } }); // bash then reads no .bashrc
  const bin = await all.program(
    "ssh",
    `exec ${need("ssh")} -F ${await sshConfig(all.dir, server)} "$@"`,
  );
  const verify = (source: string, deployed: string, ...args: string[]) =>
    certsync([
      ...["verify", NAME, "--config", trusting, "--source", source, "--deployed", deployed],
      ...["--endpoint", all.services.url("imaps"), ...args],
    ], { path: bin });
  const trusting = await all.write("trust.yaml", { verify: { trust: all.ca.rootFile } });
  const source = `npm-host:${all.npm.dir(5)}/fullchain.pem`;
  const deployed = `${server.user}@mail-host:${all.mailcow.certFile}`;

  await t.step("all match", async () => {
    const result = await verify(source, deployed);
    equal(result.code, 0, result.stdout + result.stderr);
    match(result.stdout, /^all 4 match$/m);
    const { legs } = (await verify(source, deployed, "--json")).json();
    deepEqual(
      legs.map(({ leg, where }: Record<string, string>) => [leg, where]).slice(0, 2),
      [["source", source], ["deployed", deployed]],
    );
    equal(legs[0].notAfter, all.current.notAfter.toISOString().replace(".000Z", "Z"));
  });
  await t.step("one is stale", async () => {
    await all.mailcow.put(all.old);
    const result = await verify(source, deployed);
    equal(result.code, 2);
    match(
      result.stdout,
      /^3 of 4 match, stale at deployed: run on the mail host: certsync deploy$/m,
    );
    await all.mailcow.put(all.current);
  });
  const unreadable: [name: string, location: string, error: RegExp, hint: RegExp | null][] = [
    ["a missing file", "npm-host:/nonexistent.pem", /^does not exist$/, null],
    ["no certificate", `npm-host:${all.mailcow.confFile}`, /^is not a certificate$/, null],
    ["a key", `npm-host:${all.mailcow.keyFile}`, /^is not a certificate$/, null],
    [
      "an unknown host key",
      "unknown-host:/c.pem",
      /^the host key is unknown: ./,
      /^.*: ssh unknown-host true$/,
    ],
    [
      "a changed host key",
      "changed-host:/c.pem",
      /^the host key has changed: ./,
      /ssh changed-host true$/,
    ],
    ["a wrong key", "stranger-host:/c.pem", /^permission denied.*: ./, /ssh stranger-host true$/],
    [
      "a closed port",
      "closed-host:/c.pem",
      /^the connection was refused: ./,
      /ssh closed-host true$/,
    ],
  ];
  await Promise.all(unreadable.map(async ([name, location, error, hint]) => {
    const { code, json } = await verify(location, all.mailcow.certFile, "--json");
    equal(code, 2, name);
    const [leg] = json().legs;
    match(leg.error, error, name);
    if (hint !== null) match(leg.hint, hint, name);
  }));
  await t.step("a file that the user over there may not read", async () => {
    const drop = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    await Deno.chmod(all.mailcow.keyFile, Deno.uid() === 0 ? 0o600 : 0);
    await server.force(`${Deno.uid() === 0 ? drop : ""} sh -c "$SSH_ORIGINAL_COMMAND"`);
    const location = `npm-host:${all.mailcow.keyFile}`;
    const { code, json } = await verify(location, all.mailcow.certFile, "--json");
    const [{ error, hint }] = json().legs;
    deepEqual([code, error], [2, "may not be read by that user"]);
    match(hint, /name one who may: root@host:\/path/);
    await server.force();
  });
  await t.step("a command over there that ends as ssh does, without a word", async () => {
    await server.force("exit 255");
    const { json } = await verify(source, all.mailcow.certFile, "--json");
    equal(json().legs[0].error, "ssh ended with code 255");
    await server.force();
  });
  await t.step("the reason fits its place", async () => {
    const { stdout } = await verify("unknown-host:/c.pem", all.mailcow.certFile);
    match(stdout, /^ {2}unknown-host:\/c\.pem: the host key is unknown: No /m);
    match(stdout, /^ {2}hint: this must work first, and ask nothing: ssh unknown-host true$/m);
    match(stdout, /^3 of 4 match; .*: cannot be read: .*ssh unknown-host true$/m);
    equal(tableOf(stdout).every((line) => line.length <= 80), true, stdout);
  });
});

Deno.test("relative paths on the command line mean where the operator stands", async () => {
  await using all = await scene({ served: [] });
  const { code, stdout, stderr } = await certsync(
    ["verify", "--source", `./live/npm-5/fullchain.pem`, "--deployed", "./cert.pem"],
    { cwd: (await all.link("cert.pem", all.mailcow.certFile), all.npm.root) },
  );
  equal(code, 0, stdout + stderr);
  match(stdout, /^all 2 match$/m);
});

Deno.test("the table fits 80 columns and its columns line up, however long the paths", async () => {
  await using all = await scene({ below: "a/long/way/down/".repeat(6) });
  await all.services.behave("smtp", "refuses-starttls");
  await all.everywhere(all.current, all.old);
  const { stdout } = await all.verify("--all");
  const lines = tableOf(stdout);
  equal(lines.every((line) => line.length <= 80), true, stdout);
  const column = lines[0]?.indexOf("fingerprint") ?? 0;
  const rows = lines.filter((line) =>
    /^[>| ] {2}(source|pushed|staged|deployed|sni|served) /.test(line)
  );
  equal(rows.length, 23);
  for (const row of rows) match(row.slice(column - 2), /^ {2}([0-9A-F:]{11}|- {10}) {2}\S/, row);
  doesNotMatch(stdout, /[^ -~\n]/); // a console may know ASCII alone
});

Deno.test("colour is for terminals alone, and not with NO_COLOR", async () => {
  await using all = await scene({ served: ["imaps"] });
  await all.services.behave("imaps", "closed");
  const terminal = await onTerminal(all.args());
  equal(terminal.includes("\x1b[32mok\x1b[0m"), true, terminal);
  equal(terminal.includes("\x1b[31mno certificate\x1b[0m"), true, terminal);
  equal(terminal.includes("\x1b[31m5 of 7 match; "), true, terminal);
  const plain = await onTerminal(all.args(), { NO_COLOR: "1" });
  equal(plain.includes("\x1b"), false);
  match(plain, /5 of 7 match/);
  const piped = await all.verify();
  equal(piped.stdout.includes("\x1b"), false);
  deepEqual(plain.replaceAll("\r", ""), piped.stdout);
});

Deno.test("a certificate that holds terminal escapes cannot use them", async () => {
  await using all = await scene({ served: ["imaps"] });
  const evil = "\u202e\x1b[2J\nall 99 match";
  const hostile = await all.ca.issue({ names: [NAME], subject: `/CN=${evil}` });
  await all.everywhere(hostile);
  await Deno.mkdir(`${all.dir}/\x1b[2J\u202e`);
  await Deno.copyFile(all.mailcow.certFile, `${all.dir}/\x1b[2J\u202e/c.pem`);
  const location = await all.write("evil.yaml", {
    verify: { source: `${all.dir}/nowhere \u202e/c.pem` },
  });
  for (const args of [all.args(), ["verify", "--config", location]]) {
    for (const more of [[], ["--json"]]) {
      const { stdout, stderr } = await certsync([...args, ...more]);
      doesNotMatch((stdout + stderr).replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      doesNotMatch(stdout, /^all 99 match/m);
    }
  }
  const { legs } = (await all.verify("--json")).json();
  match(legs[0].subject, /^CN=.*\\1B\[2J\\0Aall 99 match$/);
});

Deno.test("the timers and path units of the chain are listed where systemd runs", async () => {
  await using all = await scene({ served: ["imaps"] });
  const bin = await all.program(
    "systemctl",
    `
    case "$*" in
    *list-unit-files*) for one in push.timer push.path deploy.timer deploy.path; do echo "mailcow-cert-$one enabled enabled"; done ;;
    *show*)
      printf 'Id=mailcow-cert-push.timer\\nActiveState=active\\nNextElapseUSecRealtime=Sun 2026-11-22 15:04:05 UTC\\n\\n'
      printf 'Id=mailcow-cert-push.path\\nActiveState=active\\nUnitFileState=enabled\\n\\n'
      printf 'Id=mailcow-cert-deploy.timer\\nActiveState=inactive\\nNextElapseUSecRealtime=\\n\\n'
      printf 'Id=mailcow-cert-deploy.path\\nActiveState=failed\\nUnitFileState=enabled\\n' ;;
    esac`,
  );
  const text = await all.verifyWith({ path: bin });
  equal(text.code, 0);
  match(text.stdout, /^mailcow-cert-push\.timer: active, next run 2026-11-22T15:04:05Z$/m);
  match(text.stdout, /^mailcow-cert-push\.path: active$/m);
  match(text.stdout, /^mailcow-cert-deploy\.timer: NOT ACTIVE$/m);
  match(text.stdout, /^mailcow-cert-deploy\.path: NOT ACTIVE$/m);
  match(text.stdout, /\nall 7 match\n$/);
  deepEqual((await all.verifyWith({ path: bin }, "--json")).json().timers, [
    { unit: "mailcow-cert-push.timer", active: true, next: "2026-11-22T15:04:05Z" },
    { unit: "mailcow-cert-push.path", active: true, next: null },
    { unit: "mailcow-cert-deploy.timer", active: false, next: null },
    { unit: "mailcow-cert-deploy.path", active: false, next: null },
  ]);

  const offline = await all.program(
    "systemctl",
    `
    case "$*" in *list-unit-files*) echo 'mailcow-cert-push.timer enabled' ;; *) echo no >&2; exit 1 ;; esac`,
  );
  const without = await all.verifyWith({ path: offline }, "--json");
  deepEqual([without.code, without.json().timers], [0, []]);
});

Deno.test("a timer of the other host's role is nobody's business here", async () => {
  await using all = await scene({ served: ["imaps"] });
  // As the package leaves them: all are installed, and each host enables its own.
  const bin = await all.program(
    "systemctl",
    `
    case "$*" in
    *list-unit-files*) for one in push deploy verify; do echo "mailcow-cert-$one.timer disabled"; done ;;
    *show*)
      for one in push deploy verify; do
        state=disabled; [ $one != verify ] || state=enabled
        printf 'Id=mailcow-cert-%s.timer\\nActiveState=inactive\\nUnitFileState=%s\\n\\n' $one $state
      done ;;
    esac`,
  );
  const hosts: [name: string, sections: Record<string, unknown>, timers: string[]][] = [
    ["npm", { push: all.pushSection }, ["push", "verify"]],
    ["mail", { deploy: all.deploySection }, ["deploy", "verify"]],
    ["laptop", {}, ["verify"]],
  ];
  for (const [name, sections, timers] of hosts) {
    const config = await all.write(`${name}.yaml`, {
      ...{ domain: NAME, ...sections, verify: { trust: all.ca.rootFile } },
    });
    const { json } = await certsync([
      ...["verify", "--json", "--config", config, "--endpoint", all.services.url("imaps")],
    ], { path: bin });
    deepEqual(
      json().timers.map(({ unit }: { unit: string }) => unit),
      timers.map((timer) => `mailcow-cert-${timer}.timer`),
    );
  }
});

Deno.test("the name may stand alone, and a directory for the fullchain.pem in it", async () => {
  await using all = await scene({ served: ["imaps"] });
  const trust = await all.write("trust.yaml", { verify: { trust: all.ca.rootFile } });
  const { code, stdout } = await certsync([
    ...["verify", NAME, "--config", trust, "--source", all.npm.dir(5)],
    ...["--endpoint", all.services.url("imaps")],
  ]);
  equal(code, 0, stdout);
  match(stdout, /^source +\S+npm-5\/fullchain\.pem /m);
  match(stdout, /^all 3 match$/m);
});

Deno.test("legs that are named are looked at alone, and compared with the first of them", async (t) => {
  await using all = await scene({ served: ["imaps"] });
  await all.mailcow.put(all.old);
  await all.mailcow.putSni(NAME, all.old);
  const legs = (report: { legs: { leg: string; match: boolean | null }[] }) =>
    report.legs.map(({ leg, match }) => [leg, match]);
  await t.step("in their order", async () => {
    const { code, json } = await all.verify("--json", "--leg", "deployed", "--leg", "source");
    deepEqual(legs(json()), [["deployed", true], ["source", false]]);
    deepEqual([code, json().staleAt], [2, "source"]);
  });
  await t.step("one alone is not compared, which is not unknown", async () => {
    const { code, stdout, json } = await all.verify("--json", "--leg", "served");
    deepEqual(legs(json()), [["served", null], ["served", null]], stdout);
    equal(code, 0);
    match((await all.verify("--leg", "served")).stdout, /\nnot compared\n$/);
    const nagios = (await all.verify("--leg", "served", "--format", "nagios")).stdout;
    match(nagios, /^CERTSYNC OK - not compared \| .* mismatched=0;;;0$/m);
  });
  await t.step("one that this host does not have is unknown", async () => {
    for (const name of ["source", "pushed", "staged", "deployed", "sni", "served", "tlsa"]) {
      const { code, stdout, stderr } = await certsync(["verify", "--leg", name, "--json"]);
      deepEqual([code, JSON.parse(stdout).status], [3, "unknown"], name);
      match(
        stderr,
        new RegExp(`^ERROR: there is nothing to look at for --leg ${name}: .*\nhint: `),
      );
    }
  });
  await t.step("but judged", async () => {
    const { code, stdout } = await all.verify("--leg", "deployed"); // which ends in a day
    equal(code, 2);
    match(stdout, /^not compared; .*: expires in hours: in Nginx Proxy Manager: renew /m);
  });
});

Deno.test("where another kind of key is served beside the new one, the new one is asked for", async () => {
  await using all = await scene({ served: [] });
  const [rsa, ecdsa] = await Promise.all([
    all.ca.issue({ names: [NAME], algorithm: "rsa" }),
    all.ca.issue({ names: [NAME], algorithm: "ecdsa-p256" }),
  ]);
  for (const [name, { certPem, keyPem }] of Object.entries({ rsa, ecdsa })) {
    await write(`${all.dir}/${name}.pem`, certPem + keyPem);
  }
  await write(`${all.dir}/chain.pem`, rsa.chainPem);
  const port = all.services.ports.imaps;
  await using _server = await both(all.dir, port);
  const trust = await all.write("trust.yaml", { verify: { trust: all.ca.rootFile } });
  for (const source of ["rsa", "ecdsa"]) {
    const { code, stdout, json } = await certsync([
      ...["verify", NAME, "--json", "--config", trust, "--source", `${all.dir}/${source}.pem`],
      ...["--endpoint", `imaps://127.0.0.1:${port}`],
    ]);
    deepEqual([code, json().legs.map(({ match }: { match: boolean }) => match)], [
      0,
      [true, true, true],
    ], stdout);
  }
  const other = await certsync([
    ...["verify", NAME, "--json", "--config", trust, "--source", all.mailcow.certFile],
    ...["--endpoint", `imaps://127.0.0.1:${port}`],
  ]);
  equal(other.json().staleAt, "served");
});

/** One server with two keys: what it serves is for the client to choose. */
async function both(dir: string, port: number): Promise<AsyncDisposable> {
  const child = new Deno.Command(need("openssl"), {
    args: [
      ...["s_server", "-quiet", "-accept", `127.0.0.1:${port}`, "-no-CAfile", "-no-CApath"],
      ...["-cert", `${dir}/rsa.pem`, "-dcert", `${dir}/ecdsa.pem`],
      ...["-cert_chain", `${dir}/chain.pem`, "-dcert_chain", `${dir}/chain.pem`],
    ],
    ...{ stdin: "piped", stdout: "null", stderr: "null" },
  }).spawn();
  await until(async () => {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return true;
    } catch {
      return false; // it does not listen yet
    }
  });
  return {
    [Symbol.asyncDispose]: async () => {
      await child.stdin.close();
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

Deno.test("SIGTERM ends it at once, cleanly, and leaves no process behind", async () => {
  await using all = await scene({ served: ["imaps"], verify: { timeout: "60s" } });
  await all.services.behave("imaps", "silent");
  const started = startCertsync([...all.args(), "--json"]);
  await until(() => all.services.connections("imaps") > 0);
  const start = performance.now();
  started.kill("SIGTERM");
  const { code, signal, json, stderr } = await started.result;
  equal(performance.now() - start < 5_000, true);
  deepEqual([code, signal], [3, null]);
  equal(json().error, "stopped by SIGTERM");
  match(stderr, /^ERROR: stopped by SIGTERM\n$/);
});

Deno.test("without openssl the files are compared all the same, and the package is named", async () => {
  await using all = await scene({ served: ["imaps"] });
  const { code, stdout } = await all.verifyWith({ env: { PATH: "/nonexistent" } });
  equal(code, 2);
  match(stdout, /: openssl is not installed on this host$/m);
  match(stdout, /hint: install the package openssl$/m);
  match(stdout, /^5 of 7 match; /m);
  // Worse than what is known without it, and said of this host.
  const alone = ["--leg", "deployed", "--format", "nagios"];
  const files = await all.verifyWith({ env: { PATH: "/nonexistent" } }, ...alone);
  equal(files.code, 3);
  match(files.stdout, /^CERTSYNC UNKNOWN - no chain could be verified here: openssl is not /);
});

// The whole chain on one host

interface SceneOptions {
  /** Endpoints that verify looks at; default all that mailcow.conf publishes, as on the mail host. */
  served?: (typeof ENDPOINT_NAMES[number])[];
  addresses?: string[];
  verify?: Record<string, unknown>;
  /** Where in the temporary directory everything lies. */
  below?: string;
}

interface Scene extends AsyncDisposable {
  dir: string;
  ca: Authority;
  npm: NpmTree;
  mailcow: MailcowTree;
  services: MailServices;
  incoming: string;
  pushState: string;
  /** A month old, and in every place of the chain. */
  current: Leaf;
  /** Three months old. */
  old: Leaf;
  pushSection: Record<string, unknown>;
  deploySection: Record<string, unknown>;
  configure(sections: Record<string, unknown>): Promise<void>;
  write(name: string, config: unknown): Promise<string>;
  link(name: string, to: string): Promise<void>;
  /** An executable to put first on PATH; gives its directory. */
  program(name: string, script: string): Promise<string>;
  args(): string[];
  verify(...flags: string[]): Promise<CertsyncResult>;
  /** The report alone, without the binary. */
  look(...flags: string[]): Promise<VerifyReport>;
  verifyWith(options: Parameters<typeof certsync>[1], ...flags: string[]): Promise<CertsyncResult>;
  push(leaf: Leaf): Promise<void>;
  stage(leaf: Leaf): Promise<void>;
  /** Top-level pair and SNI directory. */
  deploy(leaf: Leaf): Promise<void>;
  /** What the services serve, whatever is deployed. */
  load(leaf: Leaf): Promise<void>;
  everywhere(leaf: Leaf, butSource?: Leaf): Promise<void>;
}

async function scene(options: SceneOptions = {}): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const dir = `${stack.use(await tempDir()).path}/${options.below ?? ""}`.replace(/\/$/, "");
  const npm = await npmTree(`${dir}/letsencrypt`);
  const mailcow = await mailcowTree(`${dir}/mailcow`);
  const [incoming, pushState] = [`${dir}/incoming`, `${dir}/push-state`];
  for (const path of [incoming, pushState]) await Deno.mkdir(path, { recursive: true });
  const services = stack.use(
    await mailServices(mailcow, {
      up: [],
      ...(options.addresses && { addresses: options.addresses }),
    }),
  );
  await mailcow.configure(services.conf);

  const pushSection = { live: npm.live, state: pushState, to: TARGET };
  const deploySection = { mailcow: mailcow.root, staging: incoming };
  const configure = async (sections: Record<string, unknown>) => {
    await write(
      `${dir}/config.yaml`,
      JSON.stringify({
        ...{ domain: NAME, push: pushSection, deploy: deploySection },
        ...sections,
        verify: { trust: ca.rootFile, ...sections.verify as Record<string, unknown> },
      }),
    );
  };
  const used = ENDPOINT_NAMES.filter((name) => options.served?.includes(name) ?? true);
  const restarted = [...new Set(used.map((name) => ENDPOINTS[name].service))];
  await configure({
    verify: {
      ...(options.served?.length &&
        { endpoints: options.served.map((name) => services.url(name)) }),
      ...options.verify,
    },
  });

  let programs = 0;
  const args = () => ["verify", "--config", `${dir}/config.yaml`];
  const push = (leaf: Leaf) => write(`${pushState}/last_fp`, `${leaf.fingerprint} ${TARGET}\n`);
  const stage = async (leaf: Leaf) => {
    await Deno.remove(`${incoming}/fullchain.pem`).catch(() => {});
    await write(`${incoming}/fullchain.pem`, leaf.fullchainPem);
    await write(`${incoming}/privkey.pem`, leaf.keyPem);
  };
  const deploy = async (leaf: Leaf) => {
    await Deno.remove(mailcow.certFile, { recursive: true }).catch(() => {});
    await mailcow.configure({});
    await mailcow.put(leaf);
    await mailcow.putSni(NAME, leaf);
  };
  const load = async (leaf: Leaf) => {
    const before = await Promise.all(
      [mailcow.certFile, mailcow.keyFile].map((file) => Deno.readTextFile(file)),
    );
    const sni = await Promise.all(
      ["cert.pem", "key.pem"].map((file) => Deno.readTextFile(`${mailcow.ssl}/${NAME}/${file}`)),
    );
    await deploy(leaf);
    await Promise.all(restarted.map((service) => services.restart(service)));
    const pair = ([fullchainPem = "", keyPem = ""]: string[]) => ({ fullchainPem, keyPem });
    await mailcow.put(pair(before));
    await mailcow.putSni(NAME, pair(sni));
  };
  let version = 0;
  const everywhere = async (leaf: Leaf, butSource = leaf) => {
    if (version++ > 0) {
      await Deno.remove(npm.root, { recursive: true });
      await npmTree(npm.root);
    }
    await npm.add(5, butSource);
    await Promise.all([push(leaf), stage(leaf), deploy(leaf)]);
    await Promise.all(restarted.map((service) => services.restart(service)));
  };
  await everywhere(current);

  const owned = stack.move();
  return {
    ...{ dir, ca, npm, mailcow, services, incoming, pushState, current, old },
    ...{ pushSection, deploySection, configure, args, push, stage, deploy, load, everywhere },
    write: async (name, config) => {
      await write(`${dir}/${name}`, JSON.stringify(config));
      return `${dir}/${name}`;
    },
    link: (name, to) => Deno.symlink(to, `${npm.root}/${name}`),
    program: async (name, script) => {
      const bin = `${dir}/bin${++programs}`;
      await Deno.mkdir(bin);
      await Deno.writeTextFile(`${bin}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      return bin;
    },
    verify: (...flags) => certsync([...args(), ...flags]),
    look: (...flags) => verifyHere([...args().slice(1), ...flags]),
    verifyWith: (options, ...flags) => certsync([...args(), ...flags], options),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function noChange(): Promise<void> {}

/** The messages below it are never broken. */
function tableOf(stdout: string): string[] {
  return stdout.split("\n").filter((line) =>
    /^([>| ] {2})?(leg|source|pushed|staged|deployed|sni|served) /.test(line)
  );
}

function write(path: string, text: string): Promise<void> {
  return Deno.writeTextFile(path, text);
}

/** What `openssl s_client | openssl x509` says: fingerprint, dates, subject, issuer. */
async function askOpenssl(
  { services }: Scene,
  name: typeof ENDPOINT_NAMES[number],
  sni: string | undefined,
): Promise<string[]> {
  const { starttls } = ENDPOINTS[name];
  const { stdout } = await tryRun(need("openssl"), [
    ...["s_client", "-connect", `127.0.0.1:${services.ports[name]}`],
    ...(starttls === undefined ? [] : ["-starttls", starttls]),
    ...(sni === undefined ? ["-noservername"] : ["-servername", sni]),
  ]);
  const shown = await run(need("openssl"), [
    ...["x509", "-noout", "-fingerprint", "-sha256", "-startdate", "-enddate"],
    ...["-subject", "-issuer", "-nameopt", "RFC2253"],
  ], { stdin: stdout });
  const field = (name: string) => new RegExp(`^${name}= ?(.*)$`, "im").exec(shown)?.[1] ?? "";
  const time = (name: string) => new Date(field(name)).toISOString().replace(".000Z", "Z");
  return [
    ...[field("sha256 Fingerprint"), time("notBefore"), time("notAfter")],
    ...[field("subject"), field("issuer")],
  ];
}

/** LOCATION has no port and no user's key: they belong into ssh's own configuration. */
async function sshConfig(dir: string, server: SshServer): Promise<string> {
  const hosts: [name: string, knownHosts: string, identity: string, port: number][] = [
    ["npm-host mail-host", server.knownHosts, server.identity, server.port],
    ["unknown-host", server.emptyKnownHosts, server.identity, server.port],
    ["changed-host", server.wrongKnownHosts, server.identity, server.port],
    ["stranger-host", server.knownHosts, server.strangerIdentity, server.port],
    ["closed-host", server.knownHosts, server.identity, 9],
  ];
  const text = hosts.map(([name, knownHosts, identity, port]) =>
    [
      `Host ${name}`,
      `  HostName ${server.address}`,
      `  Port ${port}`,
      `  User ${server.user}`,
      `  IdentityFile ${identity}`,
      `  IdentitiesOnly yes`,
      `  UserKnownHostsFile ${knownHosts}\n`,
    ].join("\n")
  ).join("");
  await write(`${dir}/ssh_config`, text);
  return `${dir}/ssh_config`;
}

const BINARY = fileURLToPath(new URL("../dist/certsync", import.meta.url));

/** What it prints on a terminal. script(1) */
/** What it prints there, without what is told of waits. */
async function onTerminal(args: string[], env: Record<string, string> = {}): Promise<string> {
  const command = `${[BINARY, ...args].map((word) => `'${word}'`).join(" ")} 2>/dev/null`;
  const { stdout } = await new Deno.Command("script", {
    args: ["-qec", command, "/dev/null"],
    clearEnv: true,
    env: { PATH: searchPath(), TERM: "xterm", ...env },
    stdin: "null",
  }).output();
  return new TextDecoder().decode(stdout);
}
