// What deploy does with a good certificate: install it, make the services load it, see it served.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { authority, type Leaf, tlsa } from "./kit/authority.ts";
import { memoriesIn } from "./kit/history.ts";
import { ENDPOINT_NAMES } from "./kit/mail_services.ts";
import { allLoaded, type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";
const DAY_MS = 24 * 3_600_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [old, fresh, snakeOil] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [NAME], signedBy: "self", algorithm: "rsa" }),
]);

const RELOADS = [
  "exec -T dovecot-mailcow dovecot reload",
  "exec -T nginx-mailcow nginx -s reload",
  "exec -T postfix-mailcow postfix reload",
];
/** Docker is asked first for what it publishes and how the containers were made. */
const CALLS = [...RELOADS, "inspect", "ps"];
const RELOADED = ["postfix", "dovecot", "nginx"].map((name) => ({
  service: `${name}-mailcow`,
  action: "reloaded",
}));

/** One of each service: enough where it is about what becomes of each, and not of each endpoint. */
const THREE = { endpoints: ["smtps", "imaps", "https"] } as const;
const ALL = { endpoints: undefined };

/** A host on which `old` is deployed and served, and `fresh` is staged. deploy asks one endpoint. */
function renewal(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  const host = { trust: ca.rootFile, deployed: old, staged: fresh, endpoints: ["imaps"] as const };
  return mailHost({ ...host, ...options });
}

/** The same after a successful deploy of `fresh`. */
async function settled(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  const host = await renewal(options);
  equal((await host.deploy()).code, 0);
  host.docker.forget();
  return host;
}

function assertServed({ services }: MailHost, leaf: Leaf) {
  for (const endpoint of ENDPOINT_NAMES) {
    equal(services.serves(endpoint), leaf.fingerprint, endpoint);
    equal(services.serves(endpoint, NAME), leaf.fingerprint, `${endpoint} with SNI`);
  }
}

Deno.test("deploy installs a renewed certificate and sees it served everywhere", async () => {
  await using host = await renewal(ALL);
  const result = await host.deploy(["--json"]);

  equal(result.code, 0, result.stderr);
  await host.assertInstalled(fresh);
  assertServed(host, fresh);
  deepEqual(host.calls().sort(), CALLS);
  const compose = host.docker.details.filter(({ argv }) => argv[1] === "compose");
  deepEqual(compose.map(({ cwd }) => cwd), Array(4).fill(host.mailcow.root));
  deepEqual(await host.loaded(), allLoaded(fresh));
  deepEqual(await host.previous(), { fullchainPem: old.fullchainPem, keyPem: old.keyPem });
  deepEqual(await memoriesIn(host.state), ["loaded", "lock", "previous", "staged"]);

  const { served, certificates, ...report } = result.json();
  const { name, ...own } = certificates[0];
  deepEqual([certificates.length, name], [1, NAME]);
  for (const key of Object.keys(own)) deepEqual(own[key], report[key], key);
  deepEqual(report, {
    schema: 1,
    command: "deploy",
    outcome: "deployed",
    result: "deployed",
    domain: NAME,
    fingerprint: fresh.fingerprint,
    replaces: old.fingerprint,
    replacesDaysLeft: Math.floor((old.notAfter.getTime() - Date.now()) / 86_400_000),
    notAfter: fresh.notAfter.toISOString().replace(".000Z", "Z"),
    tlsa: await tlsa(fresh),
    installed: [host.mailcow.certFile, host.mailcow.keyFile],
    services: RELOADED,
    unseen: [],
    warnings: [],
    notes: [`TLSA 3 1 1 changed with the key: it is ${await tlsa(fresh)}`],
  });
  deepEqual(
    served,
    ENDPOINT_NAMES.flatMap((endpoint) =>
      [NAME, null].map((sni) => ({
        endpoint: host.services.url(endpoint),
        sni,
        fingerprint: fresh.fingerprint,
        ok: true,
      }))
    ).sort(byServiceOrder(served)),
  );
});

/** The order of the report: it is not part of the contract. */
function byServiceOrder(served: { endpoint: string; sni: string | null }[]) {
  const place = (one: { endpoint: string; sni: string | null }) =>
    served.findIndex(({ endpoint, sni }) => endpoint === one.endpoint && sni === one.sni);
  return (a: typeof served[number], b: typeof served[number]) => place(a) - place(b);
}

Deno.test("deploy calls docker with a clean environment", async () => {
  await using host = await renewal();
  equal((await host.deploy([], { env: { SECRET: "of the operator" } })).code, 0);
  for (const { env } of host.docker.details) {
    equal(env.LC_ALL, "C");
    deepEqual(["SECRET", "HOME", "SSH_AUTH_SOCK"].filter((name) => name in env), []);
  }
});

Deno.test("deploy replaces the self-signed pair of a fresh mailcow", async () => {
  await using host = await renewal({ deployed: snakeOil });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  match(result.stdout, /^deployed mail\.example\.org/m);
  await host.assertInstalled(fresh);
  assertServed(host, fresh);
});

Deno.test("deploy fills an SSL directory that holds no pair", async () => {
  await using host = await mailHost({ trust: ca.rootFile, staged: fresh, ...THREE });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  deepEqual(result.json().notes, [], "there was no key before");
  await host.assertInstalled(fresh);
  assertServed(host, fresh);
  equal(await host.previous(), null);
});

Deno.test("deploy takes RSA, P-384 and Ed25519 pairs, and sees that each is unchanged", async () => {
  await using host = await settled();
  for (const algorithm of ["rsa", "ed25519", "ecdsa-p384", "ecdsa-p256"] as const) {
    const leaf = await ca.issue({ names: [NAME], algorithm, notBefore: new Date() });
    await host.stage(leaf);
    const deployed = await host.deploy(["--json"]);
    equal(deployed.code, 0, deployed.stderr);
    equal(deployed.json().tlsa, await tlsa(leaf));
    await host.assertInstalled(leaf);
    assertServed(host, leaf);
    equal((await host.deploy(["--json"])).json().outcome, "unchanged", algorithm);
  }
});

Deno.test("deploy with nothing to do writes, runs and contacts nothing", async () => {
  await using host = await settled(THREE);
  const before = await snapshot(host.root);
  const result = await host.assertUntouched(() =>
    host.deploy([], { env: { PATH: "/nonexistent" } })
  );
  equal(result.code, 0, result.stderr);
  match(result.stdout, /nothing to do/);
  equal(result.stderr, "");
  assertSame(before, await snapshot(host.root));

  const json = (await host.deploy(["--json"])).json();
  equal(json.outcome, "unchanged");
  equal(json.fingerprint, fresh.fingerprint);
  deepEqual([json.installed, json.services, json.served, json.warnings], [[], [], [], []]);
  deepEqual(host.docker.calls, []);
});

Deno.test("deploy --force reinstalls and reloads what is unchanged", async () => {
  await using host = await settled(THREE);
  const before = await Deno.stat(host.mailcow.certFile);
  const result = await host.deploy(["--force", "--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "repaired");
  deepEqual(host.calls().sort(), CALLS);
  await host.assertInstalled(fresh);
  equal((await Deno.stat(host.mailcow.certFile)).ino === before.ino, false);
  deepEqual(
    await host.previous(),
    { fullchainPem: old.fullchainPem, keyPem: old.keyPem },
    "the same pair must not take its predecessor's place",
  );
});

Deno.test("a key that is a link is there again where the certificate cannot be installed", async () => {
  await using host = await settled();
  const { keyFile } = host.mailcow;
  const elsewhere = `${host.root}/elsewhere.pem`;
  await Deno.rename(keyFile, elsewhere);
  await Deno.symlink(elsewhere, keyFile);
  const newCertificate = `${host.mailcow.ssl}/.certsync-cert.pem`;
  const renames = "?rename,renameat,?renameat2";
  const under = [
    ...[need("strace"), "-f", "-qq", "-o", "/dev/null", "-P", newCertificate],
    ...["-e", `trace=${renames}`, "-e", `inject=${renames}:error=EIO`],
  ];
  const { code, stderr } = await host.deploy([], { under });
  equal(code, 1);
  match(stderr, /^ERROR: cannot install the certificate in .*input\/output error/m);
  equal(await Deno.readLink(keyFile), elsewhere);
  equal((await host.deploy()).code, 0);
  equal((await Deno.lstat(keyFile)).isFile, true);
});

Deno.test("deploy repairs modes, symlinks and a lost file", async () => {
  await using host = await settled(THREE);
  const { certFile, keyFile } = host.mailcow;
  const damages = {
    "a key that others may read": () => Deno.chmod(keyFile, 0o644),
    "a certificate that only root may read": () => Deno.chmod(certFile, 0o600),
    "a symbolic link": async () => {
      await Deno.rename(certFile, `${host.root}/elsewhere.pem`);
      await Deno.symlink(`${host.root}/elsewhere.pem`, certFile);
    },
    "a dangling link": async () => {
      await Deno.remove(keyFile);
      await Deno.symlink("/nonexistent", keyFile);
    },
    "a file that is gone": () => Deno.remove(keyFile),
    "another owner": () => Deno.chown(keyFile, 65534, null),
  };
  for (const [damage, harm] of Object.entries(damages)) {
    await harm();
    const result = await host.deploy(["--json"]);
    equal(result.code, 0, `${damage}: ${result.stderr}`);
    await host.assertInstalled(fresh);
    equal((await host.deploy(["--json"])).json().outcome, "unchanged", damage);
  }
  equal(await Deno.readTextFile(`${host.root}/elsewhere.pem`), fresh.fullchainPem);
});

Deno.test("deploy sets modes whatever the umask is", async () => {
  await using host = await renewal();
  const binary = new URL("../dist/certsync", import.meta.url).pathname;
  const { code } = await new Deno.Command("/bin/sh", {
    args: ["-c", 'umask 077; exec "$@"', "sh", binary, "deploy", "--config", host.config],
    clearEnv: true,
    env: { PATH: `${host.docker.bin}:${Deno.env.get("PATH")}` },
    stdout: "null",
    stderr: "null",
  }).output();
  equal(code, 0);
  await host.assertInstalled(fresh);
  equal(((await Deno.stat(`${host.state}/previous`)).mode ?? 0) & 0o777, 0o700);
  equal(((await Deno.stat(`${host.state}/previous/key.pem`)).mode ?? 0) & 0o777, 0o600);
  equal(((await Deno.stat(host.state)).mode ?? 0) & 0o777, 0o700);
});

Deno.test("deploy keeps the last pair that it replaced, and no broken one", async () => {
  await using host = await settled();
  const next = await ca.issue({ names: [NAME], notBefore: new Date() });
  await Deno.writeTextFile(host.mailcow.keyFile, snakeOil.keyPem);
  await host.stage(next);
  equal((await host.deploy()).code, 0);
  deepEqual(await host.previous(), { fullchainPem: old.fullchainPem, keyPem: old.keyPem });
  deepEqual((await readdir(host.mailcow.ssl)).sort(), ["cert.pem", "dhparams.pem", "key.pem"]);
});

Deno.test("deploy hands keys to openssl by stdin alone", async () => {
  await using host = await renewal();
  const log = `${host.root}/openssl.log`;
  await Deno.writeTextFile(
    `${host.docker.bin}/openssl`,
    `#!/bin/sh\n{ echo "$*"; env; } >>${log}\nexec ${need("openssl")} "$@"\n`,
    { mode: 0o755 },
  );
  equal((await host.deploy()).code, 0);
  const said = await Deno.readTextFile(log);
  match(said, /^pkey -pubout/m);
  equal(/PRIVATE|key\.pem|privkey/.test(said), false, said);
  for (const line of fresh.keyPem.split("\n").slice(1, 3)) equal(said.includes(line), false);
});

Deno.test("deploy restarts the one service that a reload left on the old certificate", async () => {
  await using host = await renewal(THREE);
  host.services.temper("dovecot", { ignores: "reload" });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(host.calls().sort(), [...CALLS, "restart dovecot-mailcow"]);
  deepEqual(
    result.json().services.map(({ action }: { action: string }) => action),
    ["reloaded", "restarted", "reloaded"],
  );
  match(result.stderr, /dovecot-mailcow does not serve the new certificate.*restarting it/);
  assertServed(host, fresh);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy waits for a reload that takes its time", async () => {
  await using host = await renewal({ ...THREE, deploy: { settle: "5s" } });
  host.services.temper("postfix", { reloadDelayMs: 700 });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  deepEqual(host.calls().sort(), CALLS);
  assertServed(host, fresh);
});

Deno.test("what gave the old leaf before the time was over is asked again, whoever else takes longer", async () => {
  await using host = await renewal({ endpoints: ["smtp", "smtps", "imaps"] });
  host.services.temper("postfix", { reloadDelayMs: 400 });
  let isOver = Promise.resolve();
  host.docker.intercept = ({ argv }) => {
    if (!argv.includes("postfix-mailcow")) return undefined;
    host.services.behave("smtps", { dribbleMs: 1 }); // the handshake takes longer than settle
    const back = () => host.services.behave("smtps", "normal");
    isOver = new Promise((resolve) => setTimeout(resolve, 400)).then(back);
    return undefined;
  };
  const result = await host.deploy(["--json"]);
  await isOver;
  equal(result.code, 0, result.stderr);
  deepEqual(host.calls().sort(), CALLS);
  assertServed(host, fresh);
});

Deno.test("what is silent since Dovecot was away is not Postfix's fault when Dovecot is back", async () => {
  await using host = await settled({ endpoints: ["smtps", "imaps"] });
  await host.stage(await ca.issue({ names: [NAME] }));
  await host.services.behave("imaps", "closed");
  let postfixIsBack = Promise.resolve();
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("dovecot-mailcow")) host.services.behave("imaps", "normal");
    if (!argv.includes("postfix-mailcow")) return undefined;
    // Its master starts no server for a while, where one has died.
    host.services.behave("smtps", "hangs-up");
    const back = () => host.services.behave("smtps", "normal");
    postfixIsBack = new Promise((resolve) => setTimeout(resolve, 1_500)).then(back);
    return undefined;
  };
  const result = await host.deploy(["--json"]);
  await postfixIsBack;
  equal(result.code, 0, result.stderr);
  deepEqual(host.calls().sort(), CALLS);
});

Deno.test("deploy looks again, and sees old processes that go on accepting beside the new ones", async () => {
  await using host = await renewal(THREE);
  host.services.temper("dovecot", { lingers: true });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(result.json().services[1], { service: "dovecot-mailcow", action: "restarted" });
  assertServed(host, fresh);
});

Deno.test("deploy waits for a restarted service to answer again", async () => {
  await using host = await renewal(THREE);
  host.services.temper("dovecot", { ignores: "reload", startDelayMs: 900 });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy ends stale where even a restart does not help, and looks again without another", async () => {
  await using host = await renewal({ ...THREE, deploy: { restart_timeout: "1s" } });
  host.services.temper("postfix", { ignores: "restart" });
  const stale = await host.deploy(["--json"]);
  equal(stale.code, 1);
  const report = stale.json();
  equal(report.outcome, "stale");
  const [served] = [old.fingerprint.slice(0, 11)];
  match(
    report.error,
    new RegExp(
      `not serving the new .*: smtps:.*of "CN=${NAME}" by "CN=.*", ${served}, valid until`,
    ),
  );
  match(report.hint, /next run looks again.*log of the service.*postfix-mailcow/);
  equal(/dovecot|nginx|imap|https/.test(report.error + report.hint), false);
  match(stale.stderr, /^ERROR: not serving the new certificate/m);
  deepEqual(
    report.served.filter(({ ok }: { ok: boolean }) => !ok).map((
      { fingerprint }: { fingerprint: string },
    ) => fingerprint),
    Array(2).fill(old.fingerprint),
  );
  await host.assertInstalled(fresh);
  deepEqual(await host.loaded(), allLoaded(fresh).filter((line) => !line.startsWith("postfix")));
  const url = host.services.url("smtps");
  const unhelped = [`SNI ${NAME}`, "no SNI"].map((name) =>
    `postfix-mailcow\t${url} (${name})\t${old.fingerprint}\n`
  );
  equal(await Deno.readTextFile(`${host.state}/unhelped`), unhelped.join(""));

  const RELOAD = ["ps", "inspect", "exec -T postfix-mailcow postfix reload"];
  for (const run of [2, 3]) {
    host.docker.forget();
    const again = await host.deploy(["--json"]);
    deepEqual([again.code, again.json().outcome], [1, "stale"]);
    match(again.json().error, /a restart of postfix-mailcow did not help before/);
    deepEqual(host.calls(), RELOAD, `run ${run}`);
  }
  // Nor for another certificate, while it is the same that is served; but for whoever forces it.
  const next = await ca.issue({ names: [NAME], notBefore: new Date() });
  await host.stage(next);
  host.docker.forget();
  equal((await host.deploy(["--json"])).json().outcome, "stale");
  deepEqual(host.calls().filter((call) => call.startsWith("restart")), []);
  equal((await host.deploy(["--force", "--json"])).json().outcome, "stale");
  deepEqual(host.calls().filter((call) => call.startsWith("restart")), ["restart postfix-mailcow"]);

  host.docker.forget();
  host.services.temper("postfix", {});
  const healed = await host.deploy(["--json"]);
  equal(healed.code, 0, healed.stderr);
  equal(healed.json().outcome, "repaired");
  deepEqual(healed.json().installed, []);
  deepEqual(host.calls(), RELOAD);
  deepEqual(await host.loaded(), allLoaded(next));
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
  deepEqual(await memoriesIn(host.state), ["loaded", "lock", "previous", "staged"]);
});

Deno.test("deploy ends stale where a restarted service is still starting at its deadline", async () => {
  await using host = await renewal({ ...THREE, deploy: { restart_timeout: "1s" } });
  host.services.temper("dovecot", { ignores: "reload", startDelayMs: 2_500 });
  host.docker.health.dovecot = "starting";
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "stale");
  match(result.json().error, /imaps:.*connection refused/);
  deepEqual(await host.loaded(), allLoaded(fresh).filter((line) => !line.startsWith("dovecot")));
});

Deno.test("an endpoint that falls silent while others of its service serve the new one is its own trouble", async () => {
  await using host = await renewal({ ...ALL, deploy: { restart_timeout: "1s" } });
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("dovecot-mailcow")) host.services.behave("sieve", "hangs-up");
    return undefined;
  };
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  match(result.json().warnings.join(), /others of dovecot-mailcow give the new one, from sieve:/);
  deepEqual(host.calls().sort(), CALLS);
  deepEqual(await host.loaded(), allLoaded(fresh));
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("what gives an old leaf is stale, whatever others of its service give", async () => {
  await using host = await renewal({ ...ALL, deploy: { restart_timeout: "1s" } });
  const other = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // another container, say
  const relay = `imaps://127.0.0.1:${other.addr.port}`;
  const keeps = await mailHost({ trust: ca.rootFile, deployed: old });
  const relaying = (async () => {
    for await (const client of other) {
      const server = await Deno.connect({ port: keeps.services.ports.imaps });
      void Promise.allSettled([
        client.readable.pipeTo(server.writable),
        server.readable.pipeTo(client.writable),
      ]);
    }
  })();
  await host.configure({ endpoints: [host.services.url("imap"), relay], restart_timeout: "1s" });
  const result = await host.deploy(["--json"]);
  other.close();
  await relaying;
  await keeps[Symbol.asyncDispose]();
  deepEqual([result.code, result.json().outcome], [1, "stale"]);
  match(result.json().error, new RegExp(`certificate: ${relay}: a certificate`));
  equal(host.calls().filter((call) => call === "restart dovecot-mailcow").length, 1);
});

Deno.test("deploy warns of an endpoint that answered neither before nor after", async () => {
  await using host = await renewal(ALL);
  await host.services.behave("sieve", "closed");
  await host.services.behave("smtp", "refuses-starttls");
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(host.calls().sort(), CALLS);
  const { warnings, services } = result.json();
  equal(warnings.length, 2, "one for each, where SNI makes no difference");
  match(warnings.join("\n"), /sieve:.*connection refused/);
  match(warnings.join("\n"), /smtp:.*STARTTLS is not offered/);
  deepEqual(services, RELOADED);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy leaves a stopped container alone, warns, and does it when it runs", async () => {
  await using host = await renewal({ ...THREE, up: ["postfix", "nginx"] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(result.json().services[1], { service: "dovecot-mailcow", action: "none" });
  match(result.json().warnings.join(), /dovecot-mailcow is not running/);
  equal(host.calls().some((call) => call.startsWith("restart")), false);
  deepEqual(await host.loaded(), allLoaded(fresh).filter((line) => !line.startsWith("dovecot")));

  await host.services.start("dovecot");
  host.docker.forget();
  const next = await host.deploy(["--json"]);
  equal(next.code, 0, next.stderr);
  deepEqual(host.calls(), ["ps", "inspect", "exec -T dovecot-mailcow dovecot reload"]);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy leaves a paused container alone, warns, and the next run heals it", async () => {
  await using host = await renewal(THREE);
  host.docker.containers.nginx = "paused";
  await host.services.behave("https", "closed"); // a frozen process answers nothing
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  match(result.json().warnings.join(), /nginx-mailcow is paused/);
  deepEqual(result.json().services[2], { service: "nginx-mailcow", action: "none" });
  equal(host.calls().includes("restart nginx-mailcow"), false);
  deepEqual(await host.loaded(), allLoaded(fresh).filter((line) => !line.startsWith("nginx")));
  equal((await host.deploy(["--json"])).json().outcome, "unchanged", "and it is paused still");

  host.docker.containers.nginx = undefined;
  await host.services.behave("https", "normal");
  const next = await host.deploy(["--json"]);
  equal(next.code, 0, next.stderr);
  equal(next.json().outcome, "repaired");
  assertServed(host, fresh);
});

Deno.test("deploy restarts a service whose program does not run inside its container", async () => {
  await using host = await renewal(THREE);
  host.docker.intercept = ({ argv }) =>
    argv.join(" ").endsWith("dovecot reload")
      ? { code: 89, stderr: "Fatal: Dovecot is not running (read from /run/dovecot/master.pid)\n" }
      : undefined;
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(result.json().services[1], { service: "dovecot-mailcow", action: "restarted" });
  assertServed(host, fresh);
});

Deno.test("deploy restarts a service that could not be told to reload, and repeats its words harmlessly", async () => {
  await using host = await renewal(THREE);
  host.docker.intercept = ({ argv }) =>
    argv.join(" ").endsWith("nginx -s reload")
      ? { code: 1, stderr: '\x1b[2J\x9bnginx: [error] invalid PID number "" in \u202e"/run"\x07\n' }
      : undefined;
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(result.json().services[2], { service: "nginx-mailcow", action: "restarted" });
  match(result.stderr, /\\u001b\[2J\\u009bnginx: \[error\] invalid PID number/);
  doesNotMatch(result.stderr.replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
});

Deno.test("a failed apply says why, and the next run does it although the files are in place", async (t) => {
  const troubles = {
    "engine-down": [/Cannot connect to the Docker daemon/, /systemctl start docker/],
    "no-compose": [/'compose' is not a docker command/, /docker-compose-plugin/],
  } as const;
  for (const [trouble, [error, hint]] of Object.entries(troubles)) {
    await t.step(trouble, async () => {
      await using host = await renewal(THREE);
      host.docker.trouble = trouble as keyof typeof troubles;
      const failed = await host.deploy(["--json"]);
      equal(failed.code, 1);
      const report = failed.json();
      equal(report.outcome, "failed");
      match(report.error, error);
      equal(report.error.match(new RegExp(error.source, "g")).length, 1, "once is enough");
      doesNotMatch(failed.stderr, /restarting it/);
      deepEqual(host.calls().filter((call) => call.startsWith("restart")), []);
      match(report.hint, hint);
      deepEqual(report.installed, [host.mailcow.certFile, host.mailcow.keyFile]);
      await host.assertInstalled(fresh);
      deepEqual(await host.loaded(), []);

      host.docker.trouble = "none";
      const healed = await host.deploy(["--json"]);
      equal(healed.code, 0, healed.stderr);
      equal(healed.json().outcome, "repaired");
      assertServed(host, fresh);
      deepEqual(await host.loaded(), allLoaded(fresh));
    });
  }
});

Deno.test("deploy says which package is missing where docker is", async () => {
  await using host = await renewal();
  await using bin = await tempDir();
  await Deno.symlink(need("openssl"), `${bin.path}/openssl`);
  const result = await host.deploy(["--json"], { env: { PATH: bin.path } });
  equal(result.code, 1);
  equal(result.json().outcome, "failed");
  match(result.json().error, /docker is not installed on this host/);
  match(result.json().hint, /install the package docker/);
});

Deno.test("deploy calls docker-compose where mailcow.conf says standalone", async () => {
  await using host = await renewal({ ...THREE, conf: { DOCKER_COMPOSE_VERSION: "standalone" } });
  host.docker.acme = "n";
  const { code, stderr } = await host.deploy();
  equal(code, 0);
  match(stderr, /make it anew with: cd \S+ && docker-compose up -d acme-mailcow$/m);
  deepEqual(
    host.docker.calls.filter(([program]) => program !== "docker").map((argv) => argv.join(" "))
      .sort(),
    [...RELOADS, "ps --all --format json"].map((call) => `docker-compose ${call}`),
  );
});

Deno.test("deploy with apply: restart restarts, and leaves a stopped container stopped", async () => {
  await using host = await renewal({ ...THREE, deploy: { apply: "restart" } });
  await host.services.stop("dovecot");
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(
    result.json().services.map(({ action }: { action: string }) => action),
    ["restarted", "none", "restarted"],
  );
  const calls = host.calls();
  deepEqual(calls.filter((call) => call.startsWith("restart")).sort(), [
    "restart nginx-mailcow",
    "restart postfix-mailcow",
  ]);
  equal(calls.some((call) => call.includes("reload")), false);
  equal(host.services.isRunning("dovecot"), false);
});

Deno.test("deploy with apply: restart restarts once for what that does not help", async () => {
  await using host = await renewal({
    ...THREE,
    deploy: { apply: "restart", restart_timeout: "1s" },
  });
  host.services.temper("postfix", { ignores: "restart" });
  for (const restarts of [1, 0, 0]) {
    host.docker.forget();
    equal((await host.deploy(["--json"])).json().outcome, "stale");
    const calls = host.calls().filter((call) => call === "restart postfix-mailcow");
    equal(calls.length, restarts);
  }
});

Deno.test("deploy asks only the endpoints that the config file names", async () => {
  await using host = await renewal(THREE);
  await host.configure({ endpoints: [host.services.url("imaps")] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  deepEqual(
    result.json().served.map(({ endpoint, sni }: { endpoint: string; sni: string }) => [
      endpoint,
      sni,
    ]),
    [NAME, null].map((sni) => [host.services.url("imaps"), sni]),
  );
  equal(host.services.connections("imaps"), host.services.connections());
  deepEqual(host.calls().sort(), CALLS);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy does not ask https behind the PROXY protocol, and reloads nginx", async () => {
  await using host = await renewal({ ...ALL, conf: { NGINX_USE_PROXY_PROTOCOL: "y" } });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  equal(host.services.connections("https"), 0);
  equal(host.services.serves("https"), fresh.fingerprint);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy asks where mailcow.conf binds: IPv6", async () => {
  await using host = await renewal({ ...ALL, addresses: ["::1"] });
  match(host.mailcow.conf().IMAPS_PORT ?? "", /^::1:\d+$/);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().served.length, 18);
  match(result.json().served[0].endpoint, /:\/\/\[::1\]:\d+$/);
  deepEqual(result.json().warnings, []);
});

Deno.test("deploy --dry-run says what would happen and creates nothing", async () => {
  await using host = await renewal();
  const tmp = `${host.root}/tmp`;
  await Deno.mkdir(tmp);
  const dryRun = (...args: string[]) =>
    host.assertUntouched(() => host.deploy(["--dry-run", ...args], { env: { TMPDIR: tmp } }));
  const result = await dryRun();
  equal(result.code, 0, result.stderr);
  match(result.stdout, /^would deploy mail\.example\.org /);
  match(
    result.stdout,
    new RegExp(`^would install cert.pem and key.pem in ${host.mailcow.ssl}$`, "m"),
  );
  match(result.stdout, /^would reload postfix-mailcow$/m);
  deepEqual((await readdir(host.root)).sort(), ["config.yaml", "incoming", "mailcow", "tmp"]);
  deepEqual(await readdir(tmp), []);

  const json = (await dryRun("--json")).json();
  equal(json.outcome, "would-deploy");
  equal(json.fingerprint, fresh.fingerprint);
  deepEqual([json.installed, json.services, json.served], [[], [], []]);

  await host.configure({ apply: "restart" });
  match((await dryRun()).stdout, /^would restart nginx-mailcow$/m);
});

Deno.test("where mailcow.conf does not say which compose there is, the one that is there is called", async () => {
  await using host = await renewal({ conf: { DOCKER_COMPOSE_VERSION: "" } });
  equal((await host.deploy()).code, 0);
  equal(host.docker.calls.some(([program]) => program !== "docker"), false);

  await host.stage(await ca.issue({ names: [NAME], notBefore: new Date() }));
  host.docker.forget();
  host.docker.intercept = ({ argv: [program, ...args] }) =>
    program === "docker" && args[0] === "compose"
      ? { code: 125, stderr: "unknown shorthand flag: 'a' in --all\n" }
      : undefined;
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  equal(host.docker.calls.filter(([program]) => program === "docker-compose").length, 4);
});

Deno.test("two deploys at once: one works, the other waits and finds nothing to do", async () => {
  await using host = await renewal({ deploy: { settle: "5s" } });
  host.services.temper("postfix", { reloadDelayMs: 600 });
  const results = await Promise.all([host.deploy(["--json"]), host.deploy(["--json"])]);
  deepEqual(results.map(({ code }) => code), [0, 0]);
  deepEqual(results.map((result) => result.json().outcome).sort(), ["deployed", "unchanged"]);
  deepEqual(host.calls().sort(), CALLS);
});

Deno.test("SIGTERM while it waits leaves nothing half-written, and the next run completes", async () => {
  await using host = await renewal({ ...THREE, deploy: { settle: "30s" } });
  host.services.temper("dovecot", { ignores: "reload" });
  const others = allLoaded(fresh).filter((line) => !line.startsWith("dovecot"));
  const run = host.start(["--json"]);
  await until(async () => (await host.loaded()).length === others.length);
  run.kill("SIGTERM");
  const result = await run.result;
  equal(result.code, 1);
  equal(result.signal, null);
  const report = result.json();
  equal(report.outcome, "failed");
  equal(report.error, "stopped by SIGTERM");
  match(
    report.hint,
    /^it is installed, but not seen to be served yet: run certsync deploy .*again$/,
  );
  deepEqual(report.installed, [host.mailcow.certFile, host.mailcow.keyFile]);
  await host.assertInstalled(fresh);
  const memories = ["answered", "loaded", "lock", "previous", "staged"];
  deepEqual(await memoriesIn(host.state), memories);
  deepEqual(await host.loaded(), others);

  host.services.temper("dovecot", {});
  host.docker.forget();
  const next = await host.deploy(["--json"]);
  equal(next.code, 0, next.stderr);
  equal(next.json().outcome, "repaired");
  deepEqual(host.calls().filter((call) => call.startsWith("exec ")), [
    "exec -T dovecot-mailcow dovecot reload",
  ]);
  assertServed(host, fresh);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("deploy warns of names that the new certificate lacks", async () => {
  const wide = await ca.issue({
    names: [NAME, "Webmail.example.org", "autodiscover.example.org"],
    notBefore: daysAgo(30),
  });
  const wildcard = await ca.issue({ names: [NAME, "auto*.example.org", "webmail.example.org"] });
  await using host = await renewal({ deployed: wide, staged: wildcard });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  match(result.stderr, /^WARNING: .*lacks names.*"autodiscover\.example\.org"/m);
  equal(/webmail/i.test(result.stderr), false);
});

Deno.test("deploy says what TLSA 3 1 1 is now, only when the key changed", async () => {
  await using host = await renewal();
  const changed = await host.deploy();
  match(changed.stdout, new RegExp(`TLSA 3 1 1.*${await tlsa(fresh)}`));

  const reused = await ca.issue({ names: [NAME], keyPem: fresh.keyPem, notBefore: new Date() });
  await host.stage(reused);
  const kept = await host.deploy(["--json"]);
  equal(kept.json().outcome, "deployed");
  equal(kept.json().tlsa, await tlsa(fresh));
  deepEqual(kept.json().notes, []);
});

Deno.test("deploy takes flags before the config file, and both before mailcow.conf", async () => {
  const both = await ca.issue({ names: [NAME, "mx.example.org"] });
  await using host = await renewal({
    staged: both,
    conf: { MAILCOW_HOSTNAME: "Mail.Example.Org" },
  });
  await host.configure({ mailcow: "/nonexistent", staging: "/nonexistent" });
  const flags = ["--mailcow", host.mailcow.root, "--staging", host.staging];
  const result = await host.deploy([...flags, "--domain", "mx.example.org", "--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().domain, "mx.example.org");
  equal((await host.deploy([...flags, "--json"])).json().domain, NAME);
});
