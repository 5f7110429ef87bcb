// The one restart for a directory that is new or gone: owed until it was made, whatever came between.

import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import type { MailHost } from "./kit/mail_host.ts";
import {
  assertGives,
  CLUB,
  NAME,
  namesAuthority,
  restarts,
  SHOP,
  THREE,
} from "./kit/names_host.ts";
import { textOf } from "./kit/text_of.ts";
import { until } from "./kit/until.ts";

const { ca, fresh, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [shop, club] = await Promise.all([issue([SHOP]), issue([CLUB])]);

/** nginx is not asked on the wire, so that a restart alone tells. */
const blindHost = () => namesHost({ [SHOP]: shop }, { endpoints: ["imaps"] });

const FOREIGN = "foreign.example.org";
const isNginxRestart = ({ argv }: { argv: readonly string[] }) =>
  argv.includes("restart") && argv.includes("nginx-mailcow");

Deno.test("the restart for a new directory is owed until it was made, also where nobody asks the service", async (t) => {
  const cases: Record<string, (host: MailHost) => Promise<{ code?: number; by?: string }>> = {
    "docker's restart fails once": async (host) => {
      host.docker.intercept = (call) =>
        isNginxRestart(call) ? { code: 1, stderr: "Error response from daemon: no\n" } : undefined;
      const { code } = await host.deploy();
      return { code };
    },
    "docker's restart hangs once": async (host) => {
      host.docker.intercept = (call) => isNginxRestart(call) ? "hang" : undefined;
      const { code } = await host.deploy();
      return { code };
    },
    "the run is killed before the restart": async (host) => {
      let isThere = false;
      host.docker.intercept = ({ argv }) => {
        isThere ||= argv.includes("restart");
        return argv.includes("restart") ? "hang" : undefined;
      };
      const run = host.start();
      await until(() => Promise.resolve(isThere));
      run.kill("SIGKILL");
      await run.result;
      return {};
    },
    "nginx is paused": async (host) => {
      host.docker.containers.nginx = "paused";
      const { code } = await host.deploy();
      host.docker.containers.nginx = undefined;
      return { code: code + 1 };
    },
    "a foreign directory holds no pair that fits": async (host) => {
      const mixed = { ...club, keyPem: shop.keyPem };
      await host.mailcow.putSni(FOREIGN, mixed, [FOREIGN]);
      const { code } = await host.deploy();
      await host.mailcow.putSni(FOREIGN, club, [FOREIGN]);
      return { code };
    },
  };
  for (const [what, spoil] of Object.entries(cases)) {
    await t.step(what, async () => {
      await using host = await blindHost();
      const { code } = await spoil(host);
      host.docker.intercept = () => undefined;
      if (code !== undefined) equal(code, 1);
      equal(host.services.serves("https", SHOP), fresh.fingerprint);
      host.docker.forget();
      const next = await host.deploy(["--json"]);
      equal(next.code, 0, next.stderr);
      equal(next.json().certificates[1].outcome, "repaired");
      equal(restarts(host).includes("restart nginx-mailcow"), true, next.stderr);
      equal(host.services.serves("https", SHOP), shop.fingerprint);
      equal(await textOf(`${host.state}/owed`), "");
      const last = await host.assertUntouched(() => host.deploy());
      match(last.stdout, /nothing to do/);
    });
  }
});

Deno.test("while a foreign directory holds no pair that fits, each run says so, whatever the services do", async () => {
  for (const container of ["exited", undefined] as const) {
    await using host = await blindHost();
    await host.mailcow.putSni(FOREIGN, { ...club, keyPem: shop.keyPem }, [FOREIGN]);
    for (const service of ["postfix", "dovecot", "nginx"] as const) {
      host.docker.containers[service] = container;
    }
    for (const isFirst of [true, false]) {
      host.docker.forget();
      const result = await host.deploy(["--json"]);
      equal(result.code, 1, result.stderr);
      const { outcome, error, hint } = result.json().certificates[1];
      equal(outcome, "stale");
      match(
        error,
        /was not restarted, for it might not come up: ".*foreign\.example\.org" holds no/,
      );
      match(hint, /mend that pair, or move its directory out of data\/assets\/ssl/);
      equal(/restarting/.test(result.stderr), false, result.stderr);
      deepEqual(restarts(host), []);
      // What a reload can bring, it has brought to those that run.
      const told = host.calls().filter((call) => call.startsWith("exec "));
      if (container === undefined && !isFirst) deepEqual(told, []);
    }
  }
});

Deno.test("SIGTERM ends a run whose services wait for a Dovecot that is only looked at", async () => {
  await using host = await blindHost();
  await host.mailcow.putSni(FOREIGN, { ...club, keyPem: shop.keyPem }, [FOREIGN]);
  host.docker.containers.nginx = "exited";
  equal((await host.deploy()).code, 1);
  host.docker.containers.nginx = undefined;
  await host.services.behave("imaps", { dribbleMs: 1 });
  const asked = host.services.connections("imaps") + 3; // beforehand, once for each name and without one
  const run = host.start();
  await until(() => host.services.connections("imaps") > asked);
  run.kill("SIGTERM");
  const { code, stderr } = await run.result;
  equal(code, 1);
  match(stderr, /stopped by SIGTERM/);
});

/** What docker says of a command whose container ends meanwhile, each heard from a real one. */
const ENDED: readonly { code: number; stderr: string }[] = [
  { code: 1, stderr: "unable to upgrade to tcp, received 409\n" },
  { code: 126, stderr: "cannot exec in a stopped state: unknown\n" },
  {
    code: 126,
    stderr: "OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown\n",
  },
  { code: 137, stderr: "" },
];

Deno.test("a container that ends while docker is to run something in it is known by its state, in whatever words", async (t) => {
  for (const reply of ENDED) {
    await t.step(`${reply.code} ${reply.stderr.trim()}`, async () => {
      await using host = await namesHost({ [SHOP]: shop }, { endpoints: ["imaps", "https"] });
      const isInNginx = ({ argv }: { argv: readonly string[] }) =>
        argv.includes("exec") && argv.includes("nginx-mailcow");
      host.docker.intercept = (call) => isInNginx(call) ? reply : undefined;
      await host.services.stop("nginx");
      host.docker.containers.nginx = "restarting";
      const ending = await host.deploy(["--json"]);
      equal(ending.code, 0, ending.stderr);
      match(ending.json().warnings.join(), /nginx-mailcow ends again and again; see why: cd/);
      deepEqual(restarts(host), ["restart dovecot-mailcow", "restart postfix-mailcow"]);

      // Docker has started it again before its state is asked.
      host.docker.containers.nginx = undefined;
      await host.services.start("nginx");
      await host.stage(club, CLUB);
      await host.configure({}, [SHOP, CLUB]);
      host.docker.forget();
      const back = await host.deploy(["--json"]);
      equal(back.code, 0, back.stderr);
      equal(restarts(host).includes("restart nginx-mailcow"), true);
      equal(host.services.serves("https", CLUB), club.fingerprint);
    });
  }
});

Deno.test("a run that is cut off amid the restarts leaves to the next one those alone that were not made", async (t) => {
  const cases = {
    "the others were seen to serve": { slow: null, signal: "SIGTERM" },
    // It reads of the directory when it starts, whether or not it was seen to serve before the end.
    "the first of them does not answer yet": { slow: "dovecot", signal: "SIGKILL" },
  } as const;
  for (const [what, { slow, signal }] of Object.entries(cases)) {
    await t.step(what, async () => {
      await using host = await namesHost({ [SHOP]: shop }, {
        endpoints: THREE,
        deploy: { restart_timeout: "30s" },
      });
      host.docker.intercept = ({ argv }) =>
        argv.includes("restart") && argv.includes("postfix-mailcow") ? "hang" : undefined;
      if (slow !== null) host.services.temper(slow, { startDelayMs: 600_000 });
      const run = host.start();
      await until(async () => {
        const owed = await textOf(`${host.state}/owed`);
        return /^postfix-mailcow \S+\n$/.test(owed) &&
          restarts(host).length === (slow === null ? 3 : 2);
      });
      run.kill(signal);
      notEqual((await run.result).code, 0);
      host.docker.intercept = () => undefined;
      if (slow !== null) {
        host.services.temper(slow, {});
        await host.services.start(slow); // it is there by now
      }
      host.docker.forget();
      const next = await host.deploy(["--json"]);
      equal(next.code, 0, next.stderr);
      deepEqual(restarts(host), ["restart postfix-mailcow"]);
      match(next.stderr, /^restarting postfix-mailcow once:/m);
      assertGives(host, SHOP, shop);
      await host.assertUntouched(() => host.deploy());
    });
  }
});

Deno.test("a restart that did not help is not made again after a run that was cut off behind it", async () => {
  await using host = await namesHost({}, { endpoints: THREE, deploy: { restart_timeout: "0.5s" } });
  equal((await host.deploy()).code, 0);
  await host.stage(await issue([NAME], 0));
  host.services.temper("nginx", { ignores: "restart" });
  host.docker.intercept = ({ argv }) =>
    argv.includes("exec") && argv.includes("dovecot-mailcow") ? "hang" : undefined;
  const run = host.start();
  await until(async () => /nginx/.test(await textOf(`${host.state}/unhelped`)));
  run.kill("SIGTERM");
  equal((await run.result).code, 1);
  equal(restarts(host).includes("restart nginx-mailcow"), true);

  host.docker.intercept = () => undefined;
  host.docker.forget();
  const next = await host.deploy(["--json"]);
  equal(next.json().outcome, "stale", next.stderr);
  match(
    next.json().error,
    /a restart of nginx-mailcow did not help before, and is not tried again/,
  );
  deepEqual(restarts(host), []);
});

Deno.test("a container that docker restarts by itself is not taken for one that a restart did not help", async () => {
  await using host = await namesHost({}, { endpoints: ["imaps"] });
  equal((await host.deploy()).code, 0);
  const renewed = await issue([NAME], 0);
  await host.stage(renewed);
  host.services.temper("dovecot", { ignores: "reload" });
  host.docker.containers.dovecot = "restarting";
  for (const _ of ["once", "again"]) {
    const ending = (await host.deploy(["--json"])).json();
    equal(ending.outcome, "stale");
    equal(/did not help before/.test(ending.error), false, ending.error);
  }
  deepEqual(restarts(host), []);
  host.docker.containers.dovecot = undefined;
  const next = await host.deploy(["--json"]);
  equal(next.code, 0, next.stderr);
  deepEqual(restarts(host), ["restart dovecot-mailcow"]);
  equal(host.services.serves("imaps"), renewed.fingerprint);
});
