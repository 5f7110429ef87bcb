// SNI directories: what Postfix and Dovecot serve ahead of the top-level pair.

import { deepEqual, equal, match } from "node:assert/strict";
import { authority } from "./kit/authority.ts";
import { type Endpoint, ENDPOINT_NAMES, ENDPOINTS } from "./kit/mail_services.ts";
import { allLoaded, type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import type { MailcowTree } from "./kit/mailcow_tree.ts";
import { need } from "./kit/programs.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";

const NAME = "mail.example.org";
const DAY_MS = 24 * 3_600_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [old, fresh, own, expired] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME, "*.example.com"] }),
  ca.issue({ names: [NAME, "webmail.example.net"], notBefore: daysAgo(50) }),
  ca.issue({ names: [NAME], notBefore: daysAgo(90), notAfter: daysAgo(1) }),
]);

const POSTMAP = "exec -T postfix-mailcow postmap -F hash:/opt/postfix/conf/sni.map";
const POSTFIX_RELOAD = "exec -T postfix-mailcow postfix reload";

/** A host on which `old` is deployed, `fresh` is staged, and the SSL directory holds more. */
function renewal(
  prepare: (mailcow: MailcowTree) => Promise<unknown>,
  options: Partial<MailHostOptions> = {},
): Promise<MailHost> {
  const endpoints: Endpoint[] = ["smtps", "imaps", "https"];
  return mailHost({
    ...{ trust: ca.rootFile, deployed: old, staged: fresh, endpoints, prepare, ...options },
  });
}

function postfixCalls(host: MailHost): string[] {
  return host.calls().filter((call) => call.includes("postfix"));
}

/** Deploys, and sees that the directory got the new pair and that SNI clients get it everywhere. */
async function assertCarried(host: MailHost, directory: string) {
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  await host.assertInstalled(fresh);
  await host.assertInstalled(fresh, directory);
  const report = result.json();
  deepEqual(
    report.installed,
    [directory, host.mailcow.ssl].flatMap((path) => [`${path}/cert.pem`, `${path}/key.pem`]).sort(),
  );
  deepEqual(report.warnings, []);
  equal(report.served.every(({ ok }: { ok: boolean }) => ok), true);
  for (const endpoint of ENDPOINT_NAMES) {
    equal(host.services.serves(endpoint, NAME), fresh.fingerprint, endpoint);
  }
  deepEqual(postfixCalls(host), [POSTMAP, POSTFIX_RELOAD]);
  deepEqual(await host.loaded(), allLoaded(fresh));
  const again = await host.assertUntouched(() => host.deploy(["--json"]));
  equal(again.json().outcome, "unchanged");
}

Deno.test("deploy installs into an SNI directory all of whose names are covered", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own, [NAME, "shop.example.com"]);
  }, { endpoints: undefined });
  await assertCarried(host, directory);
  equal(await Deno.readTextFile(`${directory}/domains`), `${NAME} shop.example.com\n`);
});

Deno.test("deploy installs where only names that HTTPS uses are not covered", async () => {
  const names = ["autodiscover", "autoconfig", "mta-sts"].map((label) => `${label}.example.org`);
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own, [NAME, ...names]);
  });
  await assertCarried(host, directory);
});

Deno.test("deploy installs for the mail hostname where the directory's own certificate expired", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, expired, [NAME, "webmail.example.net"]);
  });
  await assertCarried(host, directory);
});

Deno.test("a directory that was taken over gets every renewal, also after a crash in between", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, expired, [NAME, "webmail.example.net"]);
  });
  await assertCarried(host, directory);
  const newer = await ca.issue({ names: [NAME], notBefore: daysAgo(0.02) });
  const newest = await ca.issue({ names: [NAME], notBefore: daysAgo(0.01) });
  await host.stage(newer);
  equal((await host.deploy()).code, 0);
  await host.assertInstalled(newer, directory);

  await host.stage(newest);
  await host.mailcow.putSni(NAME, newest, [NAME, "webmail.example.net"]); // it comes first
  equal((await host.deploy()).code, 0);
  await host.assertInstalled(newest);
  await host.assertInstalled(newest, directory);
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("a directory whose leaf is the top level's keeps it where it has names that the new one lacks", async () => {
  const both = await ca.issue({ names: [NAME, "webmail.example.net"], notBefore: daysAgo(40) });
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, both, [NAME, "webmail.example.net"]);
  }, { deployed: both });
  const { code, json } = await host.deploy(["--json"]);
  equal(code, 0);
  await host.assertInstalled(fresh);
  await host.assertInstalled(both, directory);
  match(json().warnings.join(), /keeps its own certificate/);
});

Deno.test("a directory of which nobody can read whom it is for is left as it is, and nothing is restarted", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own, [NAME]);
  });
  const under = [
    ...[need("strace"), "-f", "-qq", "-o", "/dev/null", "-P", `${directory}/domains`],
    ...["-e", "trace=openat", "-e", "inject=openat:error=EIO"],
  ];
  const restarts = () => host.calls().filter((call) => call.startsWith("restart "));
  const { code, stderr } = await host.assertUntouched(() => host.deploy([], { under }));
  equal(code, 1);
  match(stderr, /^ERROR: .*cannot be judged: its file "domains" cannot be read/m);

  await Deno.writeTextFile(`${directory}/domains`, `${NAME} `.repeat(8_000));
  const before = await snapshot(directory);
  const large = await host.deploy(["--json"]);
  equal(large.code, 1);
  equal(large.json().outcome, "stale");
  match(large.json().error, /\/mail.*cannot be judged: its file "domains" is larger than/);
  match(
    large.json().hint,
    /; mend that file, or move the directory out of data\/assets\/ssl, then/,
  );
  deepEqual(restarts(), []);
  assertSame(before, await snapshot(directory));
  await Deno.rename(directory, `${host.mailcow.root}/out`);
  equal((await host.deploy()).code, 0);
  await host.assertInstalled(fresh);
  equal(host.services.serves("imaps", NAME), fresh.fingerprint);
});

Deno.test("an expired pair is not put into a directory again and again", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, expired, [NAME]);
  }, { deployed: expired, staged: expired });
  const before = await Deno.stat(`${directory}/cert.pem`);
  equal((await host.deploy(["--json"])).json().outcome, "refused");
  equal((await Deno.stat(`${directory}/cert.pem`)).ino, before.ino);
  deepEqual(host.calls(), []);
});

Deno.test("deploy installs where the directory's own pair is broken or a symbolic link", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own);
    await Deno.rename(`${directory}/cert.pem`, `${mailcow.root}/elsewhere.pem`);
    await Deno.symlink(`${mailcow.root}/elsewhere.pem`, `${directory}/cert.pem`);
  });
  await assertCarried(host, directory);
  equal(await Deno.readTextFile(`${host.mailcow.root}/elsewhere.pem`), own.fullchainPem);
});

Deno.test("deploy leaves a directory with another name alone, warns, and expects its leaf", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own, [NAME, "webmail.example.net"]);
  }, { endpoints: undefined });
  const before = await snapshot(directory);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  assertSame(before, await snapshot(directory));
  await host.assertInstalled(fresh);

  const { warnings, served } = result.json();
  equal(warnings.length, 1);
  match(warnings[0], new RegExp(`"${directory}" keeps its own certificate`));
  match(warnings[0], /"webmail\.example\.net"/);
  match(warnings[0], /clients that ask for the mail hostname still get its own certificate/);
  for (const { endpoint, sni, fingerprint, ok } of served) {
    const name = endpoint.slice(0, endpoint.indexOf(":")) as Endpoint;
    const keepsOwn = sni === NAME && ENDPOINTS[name].service !== "nginx";
    equal(fingerprint, (keepsOwn ? own : fresh).fingerprint, `${endpoint} ${sni}`);
    equal(ok, true);
  }
  deepEqual(await host.loaded(), allLoaded(fresh));
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("where SNI clients keep their certificate, the question without SNI is asked at both moments", async () => {
  await using host = await renewal((mailcow) =>
    mailcow.putSni(NAME, own, [NAME, "mx.example.net"])
  );
  const asked = () =>
    (["imaps", "https"] as const).map((endpoint) => host.services.connections(endpoint));
  const [imaps = 0, https = 0] = asked();
  equal((await host.deploy()).code, 0);
  // Two before; then with SNI and without, and where SNI tells nothing without it once more.
  deepEqual(asked(), [imaps + 5, https + 4]);
});

Deno.test("a service that does not know such a directory yet serves ours, which is right too", async () => {
  const names = [NAME, "webmail.example.net"];
  await using host = await renewal((mailcow) => mailcow.putSni(NAME, own, names));
  await Deno.remove(`${host.mailcow.ssl}/${NAME}`, { recursive: true });
  await host.services.restart("dovecot"); // gives everybody the top-level pair since
  await host.mailcow.putSni(NAME, own, names);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(
    result.json().services.map(({ action }: { action: string }) => action),
    ["reloaded", "reloaded", "reloaded"],
  );
  equal(host.services.serves("imaps", NAME), fresh.fingerprint);
  equal(host.services.serves("smtps", NAME), own.fingerprint);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy leaves a directory for other names alone; the mail hostname gets the new one", async () => {
  const foreign = await ca.issue({
    names: ["mx.example.net"],
    notBefore: daysAgo(90),
    notAfter: daysAgo(1),
  });
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni("customer", foreign, ["mx.example.net"]);
  });
  const before = await snapshot(directory);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  assertSame(before, await snapshot(directory));
  match(
    result.json().warnings.join(),
    /customer" keeps its own certificate, which expired at .*"mx\.example\.net"; /,
  );
  equal(
    result.json().served.every((one: { fingerprint: string }) =>
      one.fingerprint === fresh.fingerprint
    ),
    true,
  );
  equal(host.services.serves("imaps", "mx.example.net"), foreign.fingerprint);
  deepEqual(postfixCalls(host), [POSTMAP, POSTFIX_RELOAD]);
});

Deno.test("deploy leaves a directory alone that names nobody", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni("nobody", own, []);
  });
  const before = await snapshot(directory);
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  assertSame(before, await snapshot(directory));
  match(
    result.stderr,
    /^WARNING: .*nobody" keeps its own certificate: its file "domains" names none; write/m,
  );

  await Deno.writeTextFile(`${directory}/domains`, "mx.net\n".repeat(10_000));
  const unread = await host.assertUntouched(() => host.deploy(["--json"]));
  deepEqual([unread.code, unread.json().outcome], [0, "unchanged"]);
  match(
    unread.json().warnings.join(),
    /nobody" cannot be judged: its file "domains" is larger than 64 KiB: .*: mend that file, or move/,
  );
});

Deno.test("an SNI directory that is no good is told of by every run, also with nothing to do", async () => {
  await using host = await renewal(async (mailcow) => {
    await mailcow.putSni("mixed", { ...own, keyPem: old.keyPem }, ["mx.net"]);
    await mailcow.putSni("garbage", { ...own, keyPem: "x" }, ["mx.net"]);
    await Deno.remove(`${await mailcow.putSni("half", own, ["mx.net"])}/key.pem`);
  }, { endpoints: ["imaps"], up: ["dovecot"] });
  for (const outcome of ["deployed", "unchanged"]) {
    const report = (await host.deploy(["--json"])).json();
    equal(report.outcome, outcome);
    const said = report.warnings.join("\n");
    match(said, /mixed" holds no pair: its key does not match.*nginx would not start/);
    match(said, /garbage" holds no pair: not a private key.*nginx would not start/);
    match(said, /half" is served for nobody without ".*\/half\/key\.pem": put that there, or/);
  }
});

Deno.test("deploy passes over what is no SNI directory, and calls no postmap for it", async () => {
  await using host = await renewal(async (mailcow) => {
    const backups = await mailcow.putSni("backups", own);
    await Deno.remove(`${backups}/domains`);
    await mailcow.putSni(".hidden", own);
    await mailcow.putSni("certs/deeper", own);
    await Deno.symlink(`${mailcow.ssl}/certs/deeper`, `${mailcow.ssl}/link`); // the host's path
    await Deno.symlink("../../../certs", `${mailcow.ssl}/out`);
    await Deno.symlink("nowhere", `${mailcow.ssl}/dangling`);
    await Deno.writeTextFile(`${mailcow.ssl}/domains`, NAME);
  });
  const places = ["backups", ".hidden", "certs"].map((name) => `${host.mailcow.ssl}/${name}`);
  const before = await Promise.all(places.map(snapshot));
  const result = await host.deploy(["--json"]);
  equal(result.json().warnings.length, 0);
  const after = await Promise.all(places.map(snapshot));
  for (const [index, one] of before.entries()) assertSame(one, after[index] ?? new Map());
  deepEqual(postfixCalls(host), [POSTFIX_RELOAD]);
});

Deno.test("deploy installs through a link that the containers can follow, and once where two lead", async () => {
  for (const target of ["certs/deeper", "/etc/ssl/mail/certs/deeper"]) {
    let real = "";
    await using host = await renewal(async (mailcow) => {
      real = await mailcow.putSni("certs/deeper", own, [NAME]);
      await Deno.symlink(target, `${mailcow.ssl}/link`);
      await Deno.symlink("certs/deeper", `${mailcow.ssl}/second`);
    });
    const result = await host.deploy(["--json"]);
    equal(result.code, 0, result.stderr);
    await host.assertInstalled(fresh, real);
    equal(result.json().installed.length, 4);
    equal(await Deno.readLink(`${host.mailcow.ssl}/link`), target);
    deepEqual(postfixCalls(host), [POSTMAP, POSTFIX_RELOAD]);
    equal((await host.deploy(["--json"])).json().outcome, "unchanged");
  }
});

Deno.test("where a directory is gone what keeps it is restarted without waiting, and nobody who never knew it", async () => {
  const names = [NAME, "webmail.example.net"];
  await using host = await renewal((mailcow) => mailcow.putSni("a", own, names), {
    deploy: { settle: "60s", restart_timeout: "5s" },
  });
  equal((await host.deploy()).code, 0);
  await Deno.remove(`${host.mailcow.ssl}/a`, { recursive: true });
  host.services.temper("dovecot", { ignores: "reload" }); // as it does then
  host.services.temper("nginx", { reloadDelayMs: 500 });
  await host.stage(await ca.issue({ names: [NAME], notBefore: daysAgo(0.01) }));
  const begin = performance.now();
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(performance.now() - begin < 30_000, true);
  deepEqual(result.json().services, [
    { service: "postfix-mailcow", action: "restarted" },
    { service: "dovecot-mailcow", action: "restarted" },
    // It never knew of it: nginx passes over what holds the mail hostname.
    { service: "nginx-mailcow", action: "reloaded" },
  ]);
});

Deno.test("deploy repairs an SNI directory although the top level is in place", async () => {
  let directory = "";
  await using host = await renewal(async (mailcow) => {
    directory = await mailcow.putSni(NAME, own);
  });
  equal((await host.deploy()).code, 0);
  host.docker.forget();
  await Deno.writeTextFile(`${directory}/cert.pem`, own.fullchainPem);
  await Deno.writeTextFile(`${directory}/key.pem`, own.keyPem);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "repaired");
  deepEqual(result.json().installed, [`${directory}/cert.pem`, `${directory}/key.pem`]);
  await host.assertInstalled(fresh, directory);
  equal(host.calls().length, 6);
});

Deno.test("a map that could not be made keeps no reload from Postfix, which is restarted for what needs the map", async () => {
  await using host = await renewal((mailcow) => mailcow.putSni(NAME, own));
  host.docker.intercept = ({ argv }) =>
    argv.includes("postmap") ? { code: 1, stderr: "postmap: fatal: open sni.map\n" } : undefined;
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  const reload = "exec -T postfix-mailcow postfix reload";
  const deeds = postfixCalls(host).filter((call) => !call.startsWith("ps "));
  deepEqual(deeds, [POSTMAP, reload, "restart postfix-mailcow"]);
  match(result.stderr, /postmap: fatal: open sni\.map/);
  equal(host.services.serves("smtps", NAME), fresh.fingerprint);
});

Deno.test("where no restart may be made, the top-level pair is reloaded although postmap fails", async () => {
  const foreign = "foreign.example.net";
  await using host = await renewal((mailcow) => mailcow.putSni(foreign, own, [foreign]));
  await Deno.writeTextFile(`${host.mailcow.ssl}/${foreign}/cert.pem`, "x\n");
  host.docker.intercept = ({ argv }) =>
    argv.includes("postmap") ? { code: 1, stderr: "postmap: fatal: open sni.map\n" } : undefined;
  const result = await host.deploy(["--json"]);
  equal(host.services.serves("smtps"), fresh.fingerprint);
  const postfix = { service: "postfix-mailcow", action: "reloaded" };
  deepEqual(result.json().services[0], postfix);
  match(result.stderr, /postfix-mailcow serves it, but: .*postmap: fatal: open sni\.map/);
});

Deno.test("what postmap warns of is passed on, with the directory", async () => {
  await using host = await renewal((mailcow) => mailcow.putSni(NAME, own));
  const words =
    "postmap: warning: /opt/postfix/conf/sni.map, line 2: open /etc/ssl/mail/x/key.pem: " +
    "No such file or directory: skipping this entry";
  host.docker.intercept = ({ argv }) => {
    if (!argv.includes("postmap")) return undefined;
    void host.services.postmap();
    return { code: 0, stderr: `${words}\n` };
  };
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(result.json().warnings, [`postfix-mailcow: ${words}`]);
});
