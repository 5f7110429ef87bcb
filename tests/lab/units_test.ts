// push and deploy as the units run them: on two hosts with a real systemd, hardening and all.

import { equal, match } from "node:assert/strict";
import { npmTree } from "../kit/npm_tree.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { boot, type Booted, type JournalEntry } from "./booted.ts";
import { type Lab, startLab } from "./lab.ts";
import { assertServed, HOSTNAME, until } from "./wire.ts";

const INCOMING = "/home/certsync/incoming";
const FORCED = `rsync --server -logDtprze.iLsfxCIvu . ${INCOMING}/`;

Deno.test("push and deploy run from their units and timers, and journald holds what they say", async (t) => {
  await using lab = await startLab({ first: {} });
  await using dir = await tempDir();
  const npm = await npmTree(`${dir.path}/npm`);
  await npm.add(5, await lab.issue());

  await using mailHost = await boot("mail-host", [
    // At mailcow's usual place, with the engine that its services run on.
    `${lab.tree.root}:/opt/mailcow-dockerized`,
    "/run/docker.sock:/var/run/docker.sock",
    "/usr/bin/docker:/usr/bin/docker:ro",
    "/usr/local/lib/docker:/usr/local/lib/docker:ro",
  ]);
  await using npmHost = await boot("npm-host", [`${dir.path}/npm:/etc/letsencrypt`]);
  await prepareMailHost(mailHost, lab);
  await prepareNpmHost(npmHost, mailHost, lab);

  await t.step("before the first push there is nothing to do, and nothing to tell", async () => {
    const { isSuccess, journal } = await mailHost.start("mailcow-cert-deploy.service");
    equal(isSuccess, true);
    equal(wordsOf(journal, 3), "");
    match(wordsOf(journal, 6), /^nothing was ever pushed/m);
    equal((await mailHost.tryRun("test", "-e", "/root/alert")).code, 1);
  });

  await t.step("the hardening is in force", async () => {
    const drop = "/etc/systemd/system/mailcow-cert-deploy.service.d/probe.conf";
    const touched = "/opt/mailcow-dockerized/touched";
    await mailHost.write(drop, `[Service]\nExecStartPre=/usr/bin/touch ${touched}\n`, "644");
    try {
      await mailHost.run("systemctl", "daemon-reload");
      const { isSuccess, journal } = await mailHost.start("mailcow-cert-deploy.service");
      equal(isSuccess, false);
      match(wordsOf(journal, 6), /touched.*Read-only file system/);
    } finally {
      await mailHost.run("rm", drop);
      await mailHost.run("systemctl", "daemon-reload");
    }
  });

  let leaf = await lab.issue();
  await t.step("push carries the certificate over ssh, deploy serves it", async () => {
    await npm.renew(5, leaf);
    await assertDone(npmHost, "push");
    await assertDone(mailHost, "deploy");
    await assertServed(leaf);
  });

  await t.step("unchanged runs say that there is nothing to do", async () => {
    match(wordsOf(await assertDone(npmHost, "push"), 6), /nothing to do/);
    match(wordsOf(await assertDone(mailHost, "deploy"), 6), /nothing to do/);
  });

  await t.step("a push that cannot connect fails the unit, with priority err", async () => {
    await mailHost.run("systemctl", "stop", "ssh.service");
    await npm.renew(5, leaf = await lab.issue());
    const { isSuccess, journal } = await npmHost.start("mailcow-cert-push.service");
    equal(isSuccess, false);
    equal(await npmHost.state("mailcow-cert-push.service"), "failed");
    match(wordsOf(journal, 3), /^ERROR: .*refused/m);
    await until(async () => {
      const { code } = await npmHost.tryRun("test", "-s", "/root/alert");
      return code === 0 ? [] : ["no alert"];
    });
    match(
      await npmHost.run("cat", "/root/alert"),
      /^mailcow-cert-push\.service\nERROR: .*refused[^]* hint: /,
    );
    await mailHost.run("systemctl", "start", "ssh.service");
  });

  await t.step("the timers start them", async () => {
    await runByTimer(npmHost, "push");
    await runByTimer(mailHost, "deploy");
    await assertServed(leaf);
  });
});

async function prepareMailHost(host: Booted, lab: Lab): Promise<void> {
  await host.run("useradd", "--shell", "/bin/sh", "--password", "*", "certsync");
  await host.run("install", "-d", "/home/certsync", "/home/certsync/.ssh");
  await host.run("install", "-d", "-m", "700", "-o", "certsync", INCOMING);
  await host.write("/etc/certsync/ca.pem", lab.ca.rootPem, "644");
  await host.write("/etc/certsync/config.yaml", "deploy:\n  trust: /etc/certsync/ca.pem\n");
  await watchAlerts(host);
  await host.run("systemctl", "start", "ssh.service");
}

async function prepareNpmHost(host: Booted, mailHost: Booted, lab: Lab): Promise<void> {
  const key = "/root/.ssh/mailcow_certsync";
  await host.run("mkdir", "-p", "-m", "700", "/root/.ssh");
  await host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key);
  const publicKey = (await host.run("cat", `${key}.pub`)).trim();
  await mailHost.write(
    "/home/certsync/.ssh/authorized_keys",
    `command="${FORCED}",restrict ${publicKey}\n`,
    "644",
  );
  const hostKey = await mailHost.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub");
  await host.write("/etc/certsync/known_hosts", `127.0.0.1 ${hostKey}`, "644");
  await host.write("/etc/certsync/ca.pem", lab.ca.rootPem, "644");
  await host.write(
    "/etc/certsync/config.yaml",
    `domain: ${HOSTNAME}
push:
  to: certsync@127.0.0.1:${INCOMING}/
  identity: ${key}
  trust: /etc/certsync/ca.pem
`,
  );
  await watchAlerts(host);
}

async function watchAlerts(host: Booted): Promise<void> {
  await host.write(
    "/etc/certsync/alert",
    '#!/bin/sh\n{ echo "$1"; cat; } >/root/alert.new && mv /root/alert.new /root/alert\n',
    "755",
  );
}

async function assertDone(host: Booted, command: string): Promise<JournalEntry[]> {
  const { isSuccess, journal } = await host.start(`mailcow-cert-${command}.service`);
  assertClean(isSuccess, journal);
  return journal;
}

function assertClean(isSuccess: boolean, journal: JournalEntry[]): void {
  equal(isSuccess, true, journal.map(({ message }) => message).join("\n"));
  equal(wordsOf(journal, 3), "");
}

/** Lets the timer elapse in a moment instead of at its hour. */
async function runByTimer(host: Booted, command: string): Promise<void> {
  const [timer, service] = [`mailcow-cert-${command}.timer`, `mailcow-cert-${command}.service`];
  const before = await host.lastRun(service);
  await host.write(
    `/etc/systemd/system/${timer}.d/soon.conf`,
    "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\nRandomizedDelaySec=0\n",
    "644",
  );
  await host.run("systemctl", "daemon-reload");
  await host.run("systemctl", "enable", "--now", timer);
  await until(async () => {
    const last = await host.lastRun(service);
    return last?.invocation !== before?.invocation ? [] : [`${timer} has not elapsed`];
  }, 60_000);
  await host.run("systemctl", "disable", "--now", timer);
  const last = await host.lastRun(service);
  assertClean(last?.isSuccess ?? false, last?.journal ?? []);
}

function wordsOf(journal: JournalEntry[], priority: number): string {
  return journal.filter((entry) => entry.priority === priority)
    .map(({ message }) => message).join("\n");
}
