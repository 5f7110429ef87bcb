// A docker that fails or hangs for one service: its trouble alone, and never mistaken for the leaf's.

import { deepEqual, equal, match } from "node:assert/strict";
import { noFlags } from "../lib/cli/command_line.ts";
import { deployConfig } from "../lib/config/deploy_config.ts";
import { readConfigFile } from "../lib/config/config_file.ts";
import { deploy } from "../lib/deploy/deploy.ts";
import type { DeployReport } from "../lib/deploy/report.ts";
import { authority } from "./kit/authority.ts";
import { heldTimers } from "./kit/held_timers.ts";
import { allLoaded, type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import { textOf } from "./kit/text_of.ts";
import { until } from "./kit/until.ts";
import { runContext } from "./kit/run_context.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [old, fresh] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: new Date(Date.now() - 60 * DAY_MS) }),
  ca.issue({ names: [NAME] }),
]);

/** A host on which `old` is deployed and served, and `fresh` is staged. */
function renewal(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  return mailHost({
    trust: ca.rootFile,
    deployed: old,
    staged: fresh,
    endpoints: ["smtps", "imaps", "https"],
    deploy: { settle: "0.5s", restart_timeout: "1s" },
    ...options,
  });
}

const loadedBut = (service: string) =>
  allLoaded(fresh).filter((line) => !line.startsWith(`${service}-mailcow `));
const isReload = (argv: string[], service: string) =>
  argv.includes(`${service}-mailcow`) && argv.includes("reload");
const isRestart = (argv: string[], service: string) =>
  argv.includes(`${service}-mailcow`) && argv.includes("restart");
const actions = ({ services }: Pick<DeployReport, "services">) =>
  services.map(({ action }) => action);

Deno.test("a service that could not be told has loaded nothing, though none of its ports says so", async () => {
  const unseen: Record<string, Partial<MailHostOptions>> = {
    "it answers nowhere": {},
    "it is not asked": { endpoints: ["smtps", "imaps"] },
  };
  await Promise.all(
    Object.entries(unseen).map(async ([what, options]) => {
      await using host = await renewal(options);
      await host.services.behave("https", "closed");
      host.docker.intercept = ({ argv }) =>
        isReload(argv, "nginx") || isRestart(argv, "nginx")
          ? { code: 1, stderr: "Error response from daemon: no space left on device\n" }
          : undefined;
      const result = await host.deploy(["--json"]);
      deepEqual([result.code, result.json().outcome], [1, "failed"], what);
      match(result.json().error, /nginx-mailcow: .*no space left/, what);
      deepEqual(await host.loaded(), loadedBut("nginx"), what);

      host.docker.intercept = () => undefined;
      host.docker.forget();
      await host.deploy();
      equal(host.calls().includes("exec -T nginx-mailcow nginx -s reload"), true, what);
    }),
  );
});

Deno.test("a container of which docker does not say why it is down is not taken for one that ends by itself", async () => {
  await using host = await renewal();
  await host.services.stop("nginx");
  host.docker.intercept = ({ argv }) => {
    if (!argv.includes("nginx-mailcow")) return undefined;
    if (argv.includes("ps")) return { code: 1, stderr: "context deadline exceeded\n" };
    return { code: 1, stderr: 'service "nginx-mailcow" is not running\n' };
  };
  const result = await host.deploy(["--json"]);
  const words = "nginx-mailcow is not running; it reads the certificate when it starts";
  deepEqual([result.code, result.json().warnings], [0, [words]], result.stderr);
  deepEqual(await host.loaded(), loadedBut("nginx"));
  equal(host.calls().some((call) => call.startsWith("restart nginx")), false);
});

Deno.test("a port that fell silent is not laid at the leaf's door where the restart failed", async () => {
  await using host = await renewal();
  host.docker.intercept = ({ argv }) => {
    if (isReload(argv, "dovecot")) void host.services.behave("imaps", "closed");
    return isRestart(argv, "dovecot")
      ? { code: 1, stderr: "Error response from daemon: driver failed programming\n" }
      : undefined;
  };
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "failed"], result.stderr);
  match(result.json().error, /dovecot-mailcow: .*driver failed/);
  await host.assertInstalled(fresh);
  equal(await textOf(`${host.state}/rejected`), "");
  deepEqual(await host.loaded(), loadedBut("dovecot"));
});

/** In this process, whose timers are at hand. */
async function deployHere(host: MailHost): Promise<DeployReport> {
  const config = deployConfig(await readConfigFile(host.config), noFlags);
  return await deploy(config, runContext({ bin: host.docker.bin }));
}

function reloads(host: MailHost): string[] {
  return host.calls().filter((call) => call.endsWith("reload"));
}

Deno.test("a reload that never ends costs the others nothing, and its service a restart", async () => {
  await using host = await renewal();
  using minutes = heldTimers(60_000);
  host.docker.intercept = ({ argv }) => isReload(argv, "dovecot") ? "hang" : undefined;
  const deploying = deployHere(host);
  await until(() => reloads(host).length === 3 && minutes.running() === 1);
  minutes.pass();
  const report = await deploying;
  deepEqual([report.outcome, report.error], ["deployed", undefined]);
  deepEqual(actions(report), ["reloaded", "restarted", "reloaded"]);
  deepEqual(await host.loaded(), allLoaded(fresh));
});

Deno.test("an engine too busy to say how a silent service is costs the others nothing, and no rollback", async () => {
  await using host = await renewal();
  using halves = heldTimers(30_000);
  let isSilent = false;
  let looks = 0;
  host.docker.intercept = ({ argv }) => {
    if (isReload(argv, "dovecot")) {
      isSilent = true;
      void host.services.behave("imaps", "closed");
    }
    if (!isSilent || !argv.includes("ps")) return undefined;
    looks++;
    return "hang";
  };
  const deploying = deployHere(host);
  for (const look of [1, 2]) { // before the restart, and after it
    await until(() => looks === look && halves.running() === 1);
    equal(host.calls().includes("restart dovecot-mailcow"), look === 2);
    halves.pass();
  }
  const report = await deploying;
  equal(report.outcome, "stale", report.error);
  match(report.error ?? "", /^not serving the new certificate: imaps:[^;]*$/);
  deepEqual(actions(report), ["reloaded", "restarted", "reloaded"]);
  await host.assertInstalled(fresh);
  equal(await textOf(`${host.state}/rejected`), "");
  deepEqual(await host.loaded(), loadedBut("dovecot"));
});

Deno.test("of an engine that does not answer it is said what to look at and restart, which ends it", async () => {
  await using host = await renewal();
  using halves = heldTimers(30_000);
  host.docker.trouble = "hang";
  const deploying = (async () => {
    using minutes = heldTimers(60_000);
    const running = deployHere(host);
    await until(() => halves.running() === 1); // ps
    halves.pass();
    await until(() => minutes.running() === 3); // the reloads
    minutes.pass();
    return await running;
  })();
  const report = await deploying;
  deepEqual([report.outcome, actions(report)], ["failed", ["none", "none", "none"]]);
  match(
    report.error ?? "",
    /^docker compose could not reload or restart .*did not finish within 1 s$/,
  );
  const steps =
    /timeout 10 docker ps; .*: systemctl restart docker; then run certsync deploy again$/;
  match(report.hint ?? "", steps);
  await host.assertInstalled(fresh);
  equal(await textOf(`${host.state}/rejected`), "");
  deepEqual(await host.loaded(), []);

  host.docker.trouble = "none"; // who restarts docker has its containers start anew
  await host.restartAll();
  const next = await deployHere(host);
  deepEqual([next.outcome, next.error], ["repaired", undefined]);
  deepEqual(await host.loaded(), allLoaded(fresh));
});
