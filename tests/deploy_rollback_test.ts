// deploy goes back to what was served before, of itself where it must, and when it is told to.

import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { parseRejected } from "../lib/chain/deploy_memory.ts";
import { authority, type Leaf } from "./kit/authority.ts";
import { historyIn } from "./kit/history.ts";
import { type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";
import { textOf } from "./kit/text_of.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const SERVICES = ["dovecot-mailcow", "nginx-mailcow", "postfix-mailcow"];

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const issue = (from: number, to = 90, names = [NAME]): Promise<Leaf> =>
  ca.issue({
    names,
    notBefore: new Date(Date.now() + from * DAY_MS),
    notAfter: new Date(Date.now() + to * DAY_MS),
  });
const [old, fresh, newer] = await Promise.all([issue(-60, 30), issue(-1), issue(-0.5)]);

const allLoaded = ({ fingerprint }: Leaf) => SERVICES.map((service) => `${service} ${fingerprint}`);

/** One of each service: where it is about what deploy makes of their answers. */
const THREE = { endpoints: ["smtps", "imaps", "https"] } as const;

/** deploy asks one endpoint: what is served at the others, `assertServed` sees. */
function renewal(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  return mailHost({
    trust: ca.rootFile,
    deployed: old,
    staged: fresh,
    endpoints: ["imaps"],
    ...options,
    deploy: { settle: "0.5s", restart_timeout: "1s", ...options.deploy },
  });
}

function assertServed(host: MailHost, { fingerprint }: Leaf): void {
  for (const endpoint of ["smtps", "imaps", "https"] as const) {
    for (const sni of [NAME, undefined]) equal(host.services.serves(endpoint, sni), fingerprint);
  }
}

const rejected = async (
  host: MailHost,
) => [...parseRejected(await textOf(`${host.state}/rejected`)).keys()];

Deno.test("a pair that a service cannot load is rolled back, and the old one served again", async () => {
  await using host = await renewal(THREE);
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  const report = result.json();
  equal(report.outcome, "rolled-back");
  match(report.error, /no certificate any more with the new one: imaps:.*; rolled back to /);
  match(report.hint, /^see why with: cd \S+ && docker compose logs --tail=50 dovecot-mailcow; /);
  match(report.notes[0], /^rolled back mail\.example\.org to [0-9A-F:]{11}, valid until \d{4}-/);
  deepEqual([report.fingerprint, report.replaces], [fresh.fingerprint, old.fingerprint]);
  match(report.error, new RegExp(old.fingerprint));
  await host.assertInstalled(old);
  assertServed(host, old);
  deepEqual(await rejected(host), [fresh.fingerprint]);
  deepEqual(await host.loaded(), allLoaded(old));
  equal(report.served.every(({ ok }: { ok: boolean }) => ok), true);
});

Deno.test("a pair that was rolled back is not tried again until another one comes", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  await host.deploy();
  host.docker.forget();
  const again = await host.assertUntouched(() => host.deploy(["--json"]));
  equal(again.code, 1);
  equal(again.json().outcome, "refused");
  match(again.json().error, /rolled back before/);
  match(again.json().hint, /--force/);

  await host.stage(newer);
  const other = await host.deploy(["--json"]);
  equal(other.code, 0, other.stderr);
  equal(other.json().outcome, "deployed");
  assertServed(host, newer);
});

Deno.test("--force tries a pair again that was rolled back, and success clears its name", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  await host.deploy();
  host.services.temper("dovecot", {});
  const result = await host.deploy(["--force", "--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  assertServed(host, fresh);
  deepEqual(await rejected(host), []);
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("a container that ends whenever it starts with the new pair is rolled back", async () => {
  await using host = await renewal(THREE);
  host.services.temper("nginx", { cannotLoad: [fresh.fingerprint] });
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("restart") && argv.includes("nginx-mailcow")) {
      host.docker.containers.nginx = "restarting";
    }
    return undefined;
  };
  // It stays up again as soon as its pair can be loaded.
  const run = host.start(["--json"]);
  await until(async () => (await rejected(host)).length > 0);
  host.docker.intercept = () => undefined;
  host.docker.containers.nginx = undefined;
  const result = await run.result;
  equal(result.json().outcome, "rolled-back", result.stderr);
  assertServed(host, old);
});

Deno.test("a service that is still starting at its deadline is not rolled back", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  host.docker.health.dovecot = "starting";
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "stale");
  await host.assertInstalled(fresh);
  deepEqual(await rejected(host), []);
});

Deno.test("a container whose program is not up at the deadline is still starting: no rollback", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { ignores: "reload", startDelayMs: 2_000 });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "stale", result.stderr);
  await host.assertInstalled(fresh);
  deepEqual(await rejected(host), []);
});

Deno.test("an endpoint that fell silent is remembered over a run that ended in between", async () => {
  await using host = await renewal({ deploy: { restart_timeout: "30s" } });
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const run = host.start();
  await until(() => host.calls().includes("restart dovecot-mailcow"));
  await new Promise((resolve) => setTimeout(resolve, 300));
  run.kill("SIGKILL");
  await run.result;
  await host.configure({ settle: "0.5s", restart_timeout: "1s" });
  const next = await host.deploy(["--json"]);
  equal(next.json().outcome, "rolled-back", next.stderr);
  assertServed(host, old);
});

Deno.test("an expired certificate is never put back", async () => {
  const expired = await issue(-100, -1);
  await using host = await renewal({ deployed: expired });
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "stale");
  await host.assertInstalled(fresh);
});

Deno.test("SNI directories go back with the pair", async () => {
  await using host = await renewal({
    prepare: async (mailcow) => {
      await mailcow.putSni(NAME, old, [NAME]);
    },
  });
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const result = await host.deploy(["--json"]);
  equal(result.json().outcome, "rolled-back", result.stderr);
  await host.assertInstalled(old);
  await host.assertInstalled(old, `${host.mailcow.ssl}/${NAME}`);
  assertServed(host, old);
});

Deno.test("--rollback puts the previous pair back, and the timer does not undo it", async () => {
  await using host = await renewal(THREE);
  equal((await host.deploy()).code, 0);
  const result = await host.deploy(["--rollback", "--json"]);
  equal(result.code, 0, result.stderr);
  equal(result.json().outcome, "deployed");
  equal(result.json().fingerprint, old.fingerprint);
  equal(result.json().replaces, fresh.fingerprint);
  await host.assertInstalled(old);
  assertServed(host, old);
  deepEqual(await host.loaded(), allLoaded(old));

  const timer = await host.assertUntouched(() => host.deploy(["--json"]));
  equal(timer.json().outcome, "refused");
  match(timer.json().error, /rolled back before/);
  match(
    timer.json().hint,
    /^see whether certsync did that or somebody by --rollback, .*: certsync status --config \S+;/,
  );
  assertServed(host, old);
  const outcomes = (await historyIn(host.state)).map(({ outcome, error }) => [outcome, error]);
  deepEqual(outcomes.slice(0, 2), [["deployed", undefined], ["rolled-back", undefined]]);
});

Deno.test("--rollback twice is back where it began", async () => {
  await using host = await renewal();
  await host.deploy();
  match(
    (await host.deploy(["--rollback"])).stdout,
    /^rolled back mail\.example\.org to [0-9A-F:]{11} \(was /,
  );
  const result = await host.deploy(["--rollback", "--json"]);
  equal(result.code, 0, result.stderr);
  assertServed(host, fresh);
  const { outcome, replaces } = (await host.deploy(["--json"])).json();
  deepEqual([outcome, replaces], ["unchanged", null]);
  // It is deployed well: whatever it was rejected for is over.
  await Deno.writeTextFile(`${host.state}/rejected`, `${fresh.fingerprint} 2026-01-01T00:00:00Z\n`);
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
  equal(await textOf(`${host.state}/rejected`), "");
});

Deno.test("--rollback refuses what is not there, and what has expired", async () => {
  await using host = await renewal({ deployed: await issue(-100, -1) });
  const none = await host.assertUntouched(() => host.deploy(["--rollback", "--json"]));
  equal(none.code, 1);
  match(none.json().error, /there is no previous certificate/);

  await host.deploy();
  notEqual(await host.previous(), null);
  const expired = await host.assertUntouched(() => host.deploy(["--rollback", "--json"]));
  equal(expired.json().outcome, "refused");
  match(expired.json().error, /certificate expired/);
  match(expired.json().hint, /^there is no good pair to go back to: what is deployed stays/);
});

Deno.test("--rollback --dry-run says what would happen and changes nothing", async () => {
  await using host = await renewal();
  await host.deploy();
  const result = await host.assertUntouched(() => host.deploy(["--rollback", "--dry-run"]));
  equal(result.code, 0, result.stderr);
  match(
    result.stdout,
    new RegExp(`would roll back mail\\.example\\.org to ${old.fingerprint.slice(0, 11)}`),
  );
});

/** What a crash between the renames leaves: the new key with the old certificate. */
async function mix(host: MailHost, directory = host.mailcow.ssl): Promise<void> {
  await Deno.writeTextFile(`${directory}/key.pem`, newer.keyPem);
  await Deno.writeTextFile(`${directory}/.certsync-cert.pem`, newer.fullchainPem);
}

Deno.test("a mixture of two pairs is healed from staging", async () => {
  await using host = await renewal();
  await host.deploy();
  await host.stage(newer);
  await mix(host);
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  await host.assertInstalled(newer);
  deepEqual((await readdir(host.mailcow.ssl)).filter((name) => name.startsWith(".certsync-")), []);
});

Deno.test("a mixture is healed from the previous pair where staging is bad or empty", async () => {
  await using host = await renewal();
  await host.deploy(); // keeps old as the previous pair
  const other = await issue(-1, 90, ["www.example.net"]);
  for (
    const spoil of [() => host.stage(other), () => Deno.remove(host.staging, { recursive: true })]
  ) {
    await spoil();
    await mix(host);
    const result = await host.deploy(["--json"]);
    equal(result.code, 1);
    const report = result.json();
    equal(report.outcome, "refused");
    match(report.error, /does not cover|no staged cert/);
    match(report.warnings.join(), /did not match in .*: put /);
    await host.assertInstalled(old);
    assertServed(host, old);
  }
});

Deno.test("a mixture in an SNI directory alone is healed from the top-level pair", async () => {
  await using host = await renewal({
    prepare: async (mailcow) => {
      await mailcow.putSni(NAME, old, [NAME]);
    },
  });
  await host.deploy();
  await Deno.remove(host.staging, { recursive: true });
  await mix(host, `${host.mailcow.ssl}/${NAME}`);
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  await host.assertInstalled(fresh);
  await host.assertInstalled(fresh, `${host.mailcow.ssl}/${NAME}`);
});

Deno.test("a dry run says of a mixture what would be put back, and leaves it", async () => {
  await using host = await renewal();
  await host.deploy();
  await Deno.writeTextFile(`${host.staging}/privkey.pem`, "x");
  await mix(host);
  const result = await host.assertUntouched(() => host.deploy(["--dry-run", "--json"]));
  match(result.json().warnings.join(), /did not match in .*: would put /);
});

Deno.test("where nothing fits together and nothing is kept, deploy only says what is wrong", async () => {
  await using host = await renewal();
  await Deno.remove(host.staging, { recursive: true });
  await mix(host);
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "refused");
  match(
    result.json().error,
    /^no staged cert: .*; and ".*\/ssl" holds no pair.*its key does not match/,
  );
  // With the file that this run was given: what is typed here means what it meant.
  const { hint } = result.json();
  match(hint, /on the NPM host: certsync push --force; then here: certsync deploy --config \S+$/);
  equal(hint.endsWith(` --config "${host.config}"`), true);
  equal(await Deno.readTextFile(host.mailcow.keyFile), newer.keyPem);
});

const wide = await issue(-0.5, 90, [NAME, "www.example.org"]);
const wideOwn = await issue(-30, 60, [NAME, "www.example.org"]);

function withWideDirectory(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  return renewal({
    staged: wide,
    prepare: async (mailcow) => {
      await mailcow.putSni("x", wideOwn, [NAME, "www.example.org"]);
    },
    ...options,
  });
}

Deno.test("--rollback gives an SNI directory back what it held itself", async () => {
  await using host = await withWideDirectory();
  equal((await host.deploy()).code, 0);
  await host.assertInstalled(wide, `${host.mailcow.ssl}/x`);
  const result = await host.deploy(["--rollback", "--json"]);
  equal(result.code, 0, result.stderr);
  await host.assertInstalled(old);
  await host.assertInstalled(wideOwn, `${host.mailcow.ssl}/x`);
  equal(host.services.serves("imaps", NAME), wideOwn.fingerprint);
  equal(host.services.serves("imaps"), old.fingerprint);
});

Deno.test("a rollback after a run that was cut off gives SNI directories back what they held", async () => {
  await using host = await withWideDirectory({ deploy: { restart_timeout: "30s" } });
  host.services.temper("dovecot", { cannotLoad: [wide.fingerprint] });
  const run = host.start();
  await until(() => host.calls().includes("restart dovecot-mailcow"));
  run.kill("SIGKILL");
  await run.result;
  await host.configure({ settle: "0.5s", restart_timeout: "1s" });
  const next = await host.deploy(["--json"]);
  equal(next.json().outcome, "rolled-back", next.stderr);
  await host.assertInstalled(wideOwn, `${host.mailcow.ssl}/x`);
  equal(host.services.serves("imaps", NAME), wideOwn.fingerprint);
});

Deno.test("a rollback that is cut off is completed by the next run", async (t) => {
  const cutOff = {
    "before anything is put back": (host: MailHost) =>
      rejected(host).then(({ length }) => length > 0),
    "while a service restarts with it": (host: MailHost) =>
      Promise.resolve(host.calls().filter((call) => call === "restart dovecot-mailcow").length > 1),
  };
  for (const [moment, hasCome] of Object.entries(cutOff)) {
    for (const signal of ["SIGKILL", "SIGTERM"] as const) {
      await t.step(`${moment}, by ${signal}`, async () => {
        await using host = await renewal();
        host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
        const run = host.start();
        await until(() => hasCome(host));
        run.kill(signal);
        const { stderr } = await run.result;
        equal(/it is installed/.test(stderr), false, stderr);
        if (signal === "SIGTERM") {
          match(stderr, /; what was there before is put back, and not seen .*: stopped by SIGTERM/);
          match(stderr, /^hint: run certsync deploy .*again$/m);
        }
        const next = await host.deploy(["--json"]);
        equal(next.code, 1);
        equal(next.json().outcome, "refused");
        await host.assertInstalled(old);
        assertServed(host, old);
        host.docker.forget();
        await host.assertUntouched(() => host.deploy());
      });
    }
  }
});

Deno.test("a service that kept the rejected leaf on the way back is told again by the next run", async () => {
  await using host = await renewal(THREE);
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const run = host.start(["--json"]);
  await until(async () => (await rejected(host)).length > 0);
  host.services.temper("postfix", { ignores: "restart" });
  match((await run.result).json().error, /rolled back to .*, but: not serving/);
  equal(host.services.serves("smtps"), fresh.fingerprint);

  host.services.temper("postfix", {});
  equal((await host.deploy()).code, 1);
  assertServed(host, old);
});

Deno.test("--rollback that cannot install loses nothing, and the next run completes it", async () => {
  await using host = await renewal({
    prepare: async (mailcow) => {
      await mailcow.putSni(NAME, old, [NAME]);
    },
  });
  await host.deploy();
  const obstacle = `${host.mailcow.ssl}/${NAME}/key.pem`;
  await Deno.remove(obstacle);
  await Deno.mkdir(obstacle);
  const failed = await host.deploy(["--rollback", "--json"]);
  equal(failed.code, 1);
  equal(failed.json().outcome, "failed");
  equal(failed.json().fingerprint, old.fingerprint);
  match(failed.json().error, /there is a directory where a file belongs/);
  equal((await host.previous())?.keyPem, old.keyPem);
  await host.assertInstalled(fresh);

  await Deno.remove(obstacle);
  await Deno.writeTextFile(obstacle, fresh.keyPem, { mode: 0o600 });
  await host.deploy();
  await host.assertInstalled(old);
  assertServed(host, old);
});

Deno.test("a healed refusal says its error once", async () => {
  await using host = await renewal();
  await host.deploy();
  await Deno.remove(host.staging, { recursive: true });
  await mix(host);
  const { stderr } = await host.deploy();
  equal(stderr.split("no staged cert").length, 2, stderr);
});

Deno.test("a container that somebody stops or pauses meanwhile is not started again", async () => {
  for (const state of ["exited", "paused"] as const) {
    await using host = await renewal();
    host.services.temper("dovecot", { ignores: "reload" });
    const run = host.start(["--json"]);
    await until(() => host.calls().some((call) => call.includes("dovecot reload")));
    if (state === "exited") await host.services.stop("dovecot");
    else await host.services.behave("imaps", "closed");
    host.docker.containers.dovecot = state;
    const { code, json } = await run.result;
    equal(code, 0);
    match(json().warnings.join(), /dovecot-mailcow is (not running|paused)/);
    equal(host.calls().includes("restart dovecot-mailcow"), false);
    equal(host.services.isRunning("dovecot"), state === "paused");
  }
});

Deno.test("a container that is paused between two looks at it is not gone on with", async () => {
  await using host = await renewal();
  const run = host.start(["--json"]);
  await until(() => host.services.connections("imaps") === 3); // the first one after the reload
  await host.services.behave("imaps", "hangs-up");
  host.docker.containers.dovecot = "paused";
  const { code, json } = await run.result;
  equal(code, 0);
  match(json().warnings.join(), /dovecot-mailcow is paused/);
  equal(host.calls().includes("restart dovecot-mailcow"), false);
});

/** Its container ends whenever it starts, from the next restart on. */
function crashesAtRestart(host: MailHost): void {
  host.services.temper("nginx", { cannotLoad: [fresh.fingerprint] });
  host.docker.intercept = ({ argv }) => {
    const isRestart = argv.includes("restart") && argv.includes("nginx-mailcow");
    if (isRestart) host.docker.containers.nginx = "restarting";
    return undefined;
  };
}

Deno.test("a container that goes on crashing with nothing to go back to stays an error", async () => {
  await using host = await renewal({ ...THREE, deployed: await issue(-100, -1) });
  crashesAtRestart(host);
  for (let run = 0; run < 3; run++) {
    const result = await host.deploy(["--json"]);
    deepEqual([result.code, result.json().outcome], [1, "stale"]);
    match(result.json().error, /not serving the new certificate: https:/);
  }
  equal(host.calls().filter((call) => call.startsWith("restart")).length, 1);
});

Deno.test("a crash loop is rolled back also by the run after one that was killed in it", async () => {
  await using host = await renewal({ ...THREE, deploy: { restart_timeout: "30s" } });
  crashesAtRestart(host);
  const killed = host.start();
  await until(() => host.calls().includes("restart nginx-mailcow"));
  killed.kill("SIGKILL");
  await killed.result;
  await host.configure({ settle: "0.5s", restart_timeout: "1s" });
  host.docker.containers.nginx = "restarting";
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "rolled-back"]);
  await host.assertInstalled(old);
});

Deno.test("what a --rollback of itself goes back to is not rejected", async () => {
  await using host = await renewal();
  equal((await host.deploy()).code, 0);
  host.services.temper("dovecot", { cannotLoad: [old.fingerprint] });
  equal((await host.deploy(["--rollback", "--json"])).json().outcome, "rolled-back");
  deepEqual(await rejected(host), [old.fingerprint]);
  const next = await host.deploy(["--json"]);
  deepEqual([next.code, next.json().outcome], [0, "unchanged"]);
});

Deno.test("an SNI directory never gets an expired certificate back", async () => {
  const domains = [NAME, "www.example.org"];
  const expired = await issue(-100, -1, domains);
  await using host = await renewal({ prepare: (mailcow) => mailcow.putSni("x", expired, domains) });
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  equal((await host.deploy(["--json"])).json().outcome, "rolled-back");
  assertServed(host, old);
  equal(await Deno.readTextFile(`${host.mailcow.ssl}/x/cert.pem`), old.fullchainPem);
  host.docker.forget();
  equal((await host.deploy(["--json"])).json().outcome, "refused");
  deepEqual(host.calls(), []);
});

Deno.test("an SNI directory that holds a rejected leaf again is given back, and services are told", async () => {
  await using host = await renewal({
    prepare: (mailcow) => mailcow.putSni("x", old, ["www.example.net", NAME]),
  });
  equal((await host.deploy()).code, 0);
  const time = "2026-06-01T00:00:00Z";
  await Deno.writeTextFile(`${host.state}/rejected`, `${old.fingerprint} ${time}\n`);
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "repaired"]);
  equal(result.json().services.length, 3);
  assertServed(host, fresh);
});

Deno.test("a rollback that cannot install says what fell silent, and what was done", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  const started = host.start(["--json"]);
  await until(() => host.calls().includes("restart dovecot-mailcow"));
  await Deno.remove(`${host.mailcow.ssl}/key.pem`);
  await Deno.mkdir(`${host.mailcow.ssl}/key.pem`);
  const { code, json } = await started.result;
  deepEqual([code, json().outcome], [1, "failed"]);
  match(json().error, /imaps:.*connection refused; there is a directory where a file belongs/);
  deepEqual(json().services.map(({ service }: { service: string }) => service).sort(), SERVICES);
});

Deno.test("a deployed pair with text around its blocks is neither replaced by an older one nor lost", async () => {
  await using host = await renewal();
  equal((await host.deploy()).code, 0);
  const [certificate, key] = [`Bag Attributes\n${newer.fullchainPem}`, `Bag\n${newer.keyPem}`];
  await Deno.writeTextFile(`${host.mailcow.ssl}/cert.pem`, certificate);
  await Deno.writeTextFile(`${host.mailcow.ssl}/key.pem`, key);
  await Deno.remove(host.staging, { recursive: true });
  const refused = await host.deploy(["--json"]);
  deepEqual([refused.json().outcome, refused.json().warnings], ["refused", []]);
  equal(await Deno.readTextFile(`${host.mailcow.ssl}/cert.pem`), certificate);

  await host.stage(await issue(-0.1));
  equal((await host.deploy(["--json"])).json().outcome, "deployed");
  deepEqual(await host.previous(), { fullchainPem: newer.fullchainPem, keyPem: newer.keyPem });
});

Deno.test("a key with the parameters of its curve is kept without them, and found in order", async () => {
  const keyPem = await sec1(fresh.keyPem);
  await using host = await renewal({ staged: { ...fresh, keyPem } });
  equal((await host.deploy(["--json"])).json().outcome, "deployed");
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
  await host.stage(newer);
  equal((await host.deploy(["--json"])).json().outcome, "deployed");
  equal((await host.previous())?.keyPem, keyPem.slice(keyPem.indexOf("-----BEGIN EC PRIVATE KEY")));
});

Deno.test("a file where the previous certificate belongs is said to be in the way", async () => {
  await using host = await renewal();
  await Deno.mkdir(host.state, { recursive: true });
  await Deno.writeTextFile(`${host.state}/previous`, "");
  const { code, stderr } = await host.deploy();
  equal(code, 1);
  match(stderr, /^ERROR: there is something else where .*: ".*\/previous"\nhint: remove it/m);
  await host.assertInstalled(old);
});

/** As `openssl ecparam -genkey` writes a key. */
async function sec1(keyPem: string): Promise<string> {
  const parameters = await run(need("openssl"), ["ecparam", "-name", "prime256v1"]);
  return parameters + await run(need("openssl"), ["ec"], { stdin: keyPem });
}

Deno.test("a service that broke with the new pair is rolled back also after it was stopped or frozen", async () => {
  await Promise.all((["exited", "paused"] as const).map(async (state) => {
    await using host = await renewal();
    host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
    host.docker.health.dovecot = "starting";
    equal((await host.deploy(["--json"])).json().outcome, "stale", state);
    host.docker.containers.dovecot = state;
    equal((await host.deploy(["--json"])).json().services[0].action, "none", state);
    host.docker.containers.dovecot = undefined;
    host.docker.health.dovecot = "";
    const result = await host.deploy(["--json"]);
    deepEqual([result.code, result.json().outcome], [1, "rolled-back"], state);
    await host.assertInstalled(old);
    assertServed(host, old);
  }));
});

Deno.test("a pair that was served before is not blamed for what befalls its service later", async () => {
  await using host = await renewal();
  equal((await host.deploy()).code, 0);
  await Deno.chmod(host.mailcow.keyFile, 0o640); // something to repair
  host.docker.intercept = ({ argv }) => {
    const isReload = argv.includes("dovecot-mailcow") && argv.includes("reload");
    if (isReload) void host.services.behave("imaps", "closed");
    return undefined;
  };
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "stale"], result.stderr);
  await host.assertInstalled(fresh);
  deepEqual(await rejected(host), []);

  host.docker.intercept = () => undefined;
  await host.services.behave("imaps", "normal");
  equal((await host.deploy(["--json"])).json().outcome, "repaired");
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("a rollback is called one also where the staging is empty by then", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  host.docker.health.dovecot = "starting";
  equal((await host.deploy(["--json"])).json().outcome, "stale");
  host.docker.health.dovecot = "";
  await Deno.remove(host.staging, { recursive: true });
  const { code, json } = await host.deploy(["--json"]);
  const report = json();
  deepEqual([code, report.outcome], [1, "rolled-back"]);
  match(report.error, /^no staged cert: .*; no certificate any more .*; rolled back to /);
  match(report.hint, /^see why with: cd \S+ && docker compose logs /);
  await host.assertInstalled(old);
});

Deno.test("a service without a pidof that can be asked is not taken for one that still starts", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  host.docker.intercept = ({ argv }) =>
    argv.includes("pidof")
      ? { code: 127, stderr: 'OCI runtime exec failed: exec: "pidof": executable file not found' }
      : undefined;
  equal((await host.deploy(["--json"])).json().outcome, "rolled-back");
});

Deno.test("a service of which docker tells nothing any more is not rolled back for its silence", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  let hasRestarted = false;
  host.docker.intercept = ({ argv }) => {
    if (hasRestarted) host.docker.trouble = "engine-down";
    hasRestarted ||= argv.includes("restart");
    return undefined;
  };
  equal((await host.deploy(["--json"])).json().outcome, "stale");
  await host.assertInstalled(fresh);
  deepEqual(await rejected(host), []);
});

Deno.test("what was rolled back stays so where that cannot be read, and nothing is touched", async () => {
  await using host = await renewal();
  host.services.temper("dovecot", { cannotLoad: [fresh.fingerprint] });
  await host.deploy();
  const file = `${host.state}/rejected`;
  await Deno.writeTextFile(file, "#".repeat(2 * 1024 * 1024), { append: true });
  host.docker.forget();
  const { code, stderr } = await host.assertUntouched(() => host.deploy());
  equal(code, 1);
  match(
    stderr,
    /^ERROR: what certsync remembers, ".*rejected", .*\nhint: remove that file, which is damaged\n$/,
  );
});

Deno.test("an endpoint that goes away for good stands in the way of no later certificate", async () => {
  await using host = await renewal({ endpoints: ["imaps", "pop3s"] });
  host.docker.intercept = ({ argv }) => {
    const isReload = argv.includes("dovecot-mailcow") && argv.includes("reload");
    if (isReload) void host.services.behave("pop3s", "closed");
    return undefined;
  };
  const first = await host.deploy(["--json"]);
  deepEqual([first.code, first.json().outcome], [0, "deployed"], first.stderr);
  match(first.json().warnings.join(), /pop3s:.*connection refused/);
  deepEqual(await rejected(host), []);

  await host.stage(newer);
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "deployed"], result.stderr);
  match(result.json().warnings.join(), /no certificate, before or after, from pop3s:/);
  equal(host.services.serves("imaps", NAME), newer.fingerprint);
  equal(host.calls().some((call) => call.startsWith("restart")), false);
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("what is as silent with the former pair is held against no later one", async () => {
  await using host = await renewal({ endpoints: ["imaps", "https"] });
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("dovecot-mailcow")) void host.services.behave("imaps", "closed");
    return undefined;
  };
  equal((await host.deploy(["--json"])).json().outcome, "rolled-back");
  await host.stage(newer);
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "deployed"], result.stderr);
  deepEqual(await rejected(host), [fresh.fingerprint]);
});

Deno.test("what an earlier run left silent is not held against a pair that its service serves", async () => {
  await using host = await renewal({ endpoints: ["imaps", "pop3s"] });
  host.services.temper("dovecot", { ignores: "restart" });
  equal((await host.deploy(["--json"])).json().outcome, "stale");
  host.services.temper("dovecot", {});
  await host.services.behave("pop3s", "closed");
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "repaired"], result.stderr);
  deepEqual(await rejected(host), []);
});

Deno.test("nothing is touched where mailcow's own ACME client may be at work", async () => {
  await using host = await renewal();
  equal((await host.deploy()).code, 0);
  await Deno.writeTextFile(host.mailcow.keyFile, newer.keyPem); // it writes one, then the other
  await host.mailcow.configure({ SKIP_LETS_ENCRYPT: "n" });
  host.docker.forget();
  const { code, json } = await host.assertUntouched(() => host.deploy(["--json"]));
  deepEqual([code, json().outcome], [1, "refused"]);
  deepEqual(host.calls(), []);
});
