// A chain from nothing: two hosts with the binary alone, and what setup prints pasted across.

import { deepEqual, doesNotMatch, equal, match, notEqual } from "node:assert/strict";
import { npmTree } from "../kit/npm_tree.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { type Booted, bootFresh } from "./booted.ts";
import { type Lab, startLab } from "./lab.ts";
import { assertServed, HOSTNAME, until } from "./wire.ts";

const INCOMING = "/home/certsync/incoming";
const IDENTITY = "/root/.ssh/mailcow_certsync";

Deno.test("two fresh hosts become a chain by what setup prints, and a rebuilt one again", async (t) => {
  await using lab = await startLab({ first: {} });
  await using dir = await tempDir();
  const npm = await npmTree(`${dir.path}/npm`);
  let leaf = await lab.issue();
  await npm.add(5, leaf);

  await using npmHost = await bootFresh("npm-host", [`${dir.path}/npm:/etc/letsencrypt`]);
  await trust(npmHost, lab);
  // The hosts share one network, and the port is the mail host's.
  await npmHost.run("systemctl", "stop", "ssh.service");
  // Where a name server would say it.
  await sh(npmHost, `echo "127.0.0.1 ${HOSTNAME}" >>/etc/hosts`);
  const pushSetup =
    `certsync setup push --domain ${HOSTNAME} --to certsync@${HOSTNAME}:${INCOMING}/ | sh`;

  // What a person copies from one terminal into the other.
  let forMailHost = "";
  let oldHostKey = "";
  await (async () => {
    await using mailHost = await bootMailHost(lab);
    await t.step("push prints the line for the mail host, deploy the one back", async () => {
      forMailHost = lineOf(await sh(npmHost, pushSetup), /certsync setup deploy .*/);
      match(forMailHost, /^certsync setup deploy --authorized-key '.*' \| sh$/);
      const forNpmHost = lineOf(await sh(mailHost, forMailHost), /certsync setup push .*/);
      match(forNpmHost, /^certsync setup push --host-key 'ssh-ed25519 \S+' \| sh$/);
      await sh(npmHost, forNpmHost);
      oldHostKey = await sh(npmHost, "cat /etc/certsync/known_hosts");
      match(oldHostKey, new RegExp(`^${HOSTNAME} ssh-ed25519 \\S+\n$`));
      // Nothing else is to be typed.
      match(await sh(npmHost, "certsync push --force"), /pushed/);
    });

    await t.step("both timers are active, and carry a renewal from then on", async () => {
      for (const [host, command] of [[npmHost, "push"], [mailHost, "deploy"]] as const) {
        equal(await host.state(`mailcow-cert-${command}.timer`), "active");
        const { stdout } = await host.tryRun(
          "systemctl",
          "is-enabled",
          `mailcow-cert-${command}.timer`,
        );
        equal(stdout, "enabled\n");
      }
      await npm.renew(5, leaf = await lab.issue());
      await elapse(npmHost, "push");
      await elapse(mailHost, "deploy");
      await assertServed(leaf);
    });

    await t.step("status finds both hosts well, and mends what it finds otherwise", async () => {
      for (const host of [npmHost, mailHost]) deepEqual(await troubles(host), []);
      const units = "/etc/systemd/system";
      await sh(npmHost, "systemctl disable --quiet --now mailcow-cert-push.timer");
      await sh(npmHost, `mkdir -p ${units}/mailcow-cert-push.path.d`);
      await npmHost.write(
        `${units}/mailcow-cert-push.path.d/certsync-setup.conf`,
        "[Path]\nPathChanged=\nPathChanged=/elsewhere\n",
      );
      await sh(npmHost, `mkdir -p ${units}/mailcow-cert-push.service.d`);
      await npmHost.write(
        `${units}/mailcow-cert-push.service.d/certsync-setup.conf`,
        "[Unit]\nStartLimitIntervalSec=10\n[Service]\nStateDirectory=\nStateDirectory=elsewhere\n",
      );
      await sh(npmHost, "systemctl daemon-reload");
      await sh(mailHost, "systemctl stop mailcow-cert-deploy.timer");
      await sh(mailHost, "systemctl disable --quiet --now mailcow-cert-deploy.path");
      await sh(mailHost, `chmod 770 ${INCOMING}`);
      const push = ["timer", "service", "path"].map((kind) => `mailcow-cert-push.${kind}`);
      const expected = [push, [
        ...["staging", "mailcow-cert-deploy.timer", "mailcow-cert-deploy.path"],
      ]];
      for (const [index, host] of [npmHost, mailHost].entries()) {
        const found = await troubles(host);
        deepEqual(found.map(({ point }) => point), expected[index]);
        const [service] = found.filter(({ point }) => point.endsWith(".service"));
        if (service) match(service.words, /^may not write to .*-push"; has a start limit, /);
        for (const { mend } of found) await sh(host, mend);
        deepEqual(await troubles(host), []);
      }
    });

    await t.step("run again, the scripts change nothing and say so", async () => {
      for (
        const [host, script] of [
          [npmHost, pushSetup],
          [npmHost, "certsync setup push | sh"],
          [mailHost, forMailHost],
        ] as const
      ) {
        const before = await everything(host);
        const said = await sh(host, script);
        match(said, /^setup: nothing was changed$/m);
        doesNotMatch(said, /^setup: (created|replaced|started|removed)/m);
        equal(await everything(host), before);
      }
    });

    await t.step("the last lines show the timer and what is left to do", async () => {
      const said = await sh(mailHost, forMailHost);
      match(
        said,
        /nothing was changed\nNEXT .*\n.*mailcow-cert-deploy\.timer[^]*still to be done by hand/,
      );
    });

    await t.step("the account can change nothing of what lets it in", () => assertLocked(mailHost));

    await t.step("the key opens nothing but staging", () => assertRestricted(npmHost, mailHost));

    await t.step("sshd without PAM takes the account too", async () => {
      await sh(mailHost, "echo 'UsePAM no' >/etc/ssh/sshd_config.d/00-lab.conf");
      await mailHost.run("systemctl", "restart", "ssh.service");
      match(await sh(npmHost, "certsync push --force"), /pushed/);
    });

    await t.step("the monitor's unit finds all well, hardened as it is", async () => {
      await sh(mailHost, "certsync setup monitor | sh");
      equal(await mailHost.state("mailcow-cert-verify.timer"), "active");
      const { isSuccess, journal } = await mailHost.start("mailcow-cert-verify.service");
      const said = journal.map(({ message }) => message).join("\n");
      equal(isSuccess, true, said);
      match(said, /all \d+ match/);
    });

    await t.step("the services write nowhere but where they must", async () => {
      const state = (name: string) => `/var/lib/mailcow-cert-${name}`;
      const ssl = "/opt/mailcow-dockerized/data/assets/ssl";
      deepEqual(await writable(npmHost, "push"), [state("push")]);
      deepEqual(await writable(mailHost, "deploy"), [ssl, state("deploy")]);
      deepEqual(await writable(mailHost, "verify"), []);
    });
  })();

  await t.step("a rebuilt mail host with a new ssh key is back with the same lines", async () => {
    await npm.renew(5, leaf = await lab.issue());
    await using rebuilt = await bootMailHost(lab);
    const refused = await npmHost.tryRun("certsync", "push");
    equal(refused.code, 1);
    match(refused.stderr, /host key has changed/);

    const forNpmHost = lineOf(await sh(rebuilt, forMailHost), /certsync setup push .*/);
    match(await sh(npmHost, forNpmHost), /^setup: replaced: \/etc\/certsync\/known_hosts$/m);
    const newHostKey = await sh(npmHost, "cat /etc/certsync/known_hosts");
    match(newHostKey, new RegExp(`^${HOSTNAME} ssh-ed25519 \\S+\n$`));
    notEqual(newHostKey, oldHostKey);
    match(await sh(npmHost, "certsync push --force"), /pushed/);
    await elapse(rebuilt, "deploy");
    await assertServed(leaf);
  });
});

Deno.test("what an older chain left is replaced, what a person wrote is kept", async () => {
  await using host = await bootFresh("old-host");
  const unit = "/etc/systemd/system/mailcow-cert-push.service";
  const config = `domain: old.example.org
push:
  to: certsync@127.0.0.1:/srv/in/
  identity: /srv/key
  state: /srv/state dir
`;
  await host.write(unit, "[Service]\nExecStart=/root/push-mailcow-cert.sh\n", "644");
  await host.write(`${unit}.d/override.conf`, "[Service]\nNice=5\n", "644");
  await host.write("/etc/certsync/config.yaml", config);
  await host.run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", 'it"s', "-f", "/srv/key");
  const key = await host.run("cat", "/srv/key");

  const refused = await host.tryRun("certsync", "setup", "push");
  equal(refused.code, 2);
  match(refused.stderr, /plain absolute paths only, not "\/srv\/state dir"/);

  const plain = config.replace("state dir", "state");
  await host.write("/etc/certsync/config.yaml", plain);
  const { code, stdout: said } = await host.tryRun(
    ...["sh", "-c", `certsync setup push --domain ${HOSTNAME} --also shop.example.net | sh`],
  );
  equal(code, 1); // it wrote less than it was called for
  match(said, new RegExp(`^setup: replaced: ${unit}$`, "m"));
  match(said, new RegExp(`^setup: WARNING: ${unit}\\.d/override\\.conf`, "m"));
  match(said, /^setup: kept as it is: \/etc\/certsync\/config\.yaml$/m);
  match(
    said,
    /see that \/etc\/certsync\/config\.yaml says:\n +domain: mail\.example\.org\n +also: \[shop\.example\.net\]\n$/,
  );
  match(said, /",restrict ecdsa-sha2-nistp256 \S+ certsync-push@old-host$/m);
  equal(await host.run("cat", "/srv/key"), key);
  equal(await host.run("cat", "/etc/certsync/config.yaml"), plain);
  match(
    await host.run("systemctl", "cat", "mailcow-cert-push.service"),
    /^ReadWritePaths=\/srv\/state$/m,
  );
  match(
    await host.run("systemctl", "show", "-p", "ExecStart", "mailcow-cert-push.service"),
    /argv\[\]=certsync push --started ;/,
  );
});

Deno.test("a user that was made by hand is taken over, with all that it could use to get in", async () => {
  await using host = await bootFresh("old-mail-host");
  await sh(
    host,
    `useradd --create-home --shell /bin/bash certsync
    mkdir -p ${INCOMING} /home/certsync/.ssh
    echo stale >/home/certsync/.ssh/authorized_keys
    echo stale >/home/certsync/.ssh/authorized_keys2
    chown -R certsync:certsync /home/certsync`,
  );
  const key = (await host.run("cut", "-d", " ", "-f", "1,2", "/etc/ssh/ssh_host_ed25519_key.pub"))
    .trim();
  const line = `command="rsync --server -logDtprze.iLsfxCIvu . ${INCOMING}/",restrict ${key}`;
  const said = await sh(
    host,
    `certsync setup deploy --authorized-key '${line}' --mailcow /srv/mc | sh`,
  );
  match(said, /^ +- mailcow belongs here[^\n]*\n +\/srv\/mc$/m);
  equal(await host.run("cat", "/home/certsync/.ssh/authorized_keys"), `${line}\n`);
  equal((await host.tryRun("test", "-e", "/home/certsync/.ssh/authorized_keys2")).code, 1);
  await assertLocked(host);
  match(
    await host.run("systemctl", "cat", "mailcow-cert-deploy.service"),
    /^ReadWritePaths=-\/srv\/mc\/data\/assets\/ssl$/m,
  );
});

async function bootMailHost(lab: Lab): Promise<Booted> {
  const host = await bootFresh("mail-host", [
    `${lab.tree.root}:/opt/mailcow-dockerized`,
    "/run/docker.sock:/var/run/docker.sock",
    "/usr/bin/docker:/usr/bin/docker:ro",
    "/usr/local/lib/docker:/usr/local/lib/docker:ro",
  ]);
  await trust(host, lab);
  // As a host that was just installed has them: its own.
  await sh(host, "rm -f /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh.service");
  return host;
}

interface Point {
  point: string;
  state: string;
  words: string;
  mend: string;
}

/** What status says of a host that is not well, or not by its units. */
async function troubles(host: Booted): Promise<Point[]> {
  const { stdout } = await host.tryRun("certsync", "status", "--json");
  const { points }: { points: Point[] } = JSON.parse(stdout);
  return points.filter(({ point, state }) =>
    state === "error" || state === "warning" ||
    (state !== "ok" && point.startsWith("mailcow-cert-"))
  );
}

async function trust(host: Booted, lab: Lab): Promise<void> {
  await host.write("/usr/local/share/ca-certificates/lab.crt", lab.ca.rootPem, "644");
  await host.run("update-ca-certificates");
}

function sh(host: Booted, line: string): Promise<string> {
  return host.run("sh", "-c", line);
}

function lineOf(text: string, pattern: RegExp): string {
  const [line] = new RegExp(`^ *(${pattern.source})$`, "m").exec(text) ?? [];
  if (line === undefined) throw new Error(`no ${pattern} in ${text}`);
  return line.trim();
}

/** All that setup could have touched, to the inode. */
function everything(host: Booted): Promise<string> {
  return sh(
    host,
    "find /etc /home /root /var/lib/mailcow-cert-* -printf '%p %i %m %u:%g %T@ %l\\n' | sort",
  );
}

async function assertLocked(host: Booted): Promise<void> {
  equal(await sh(host, "getent passwd certsync | cut -d : -f 6,7"), "/home/certsync:/bin/sh\n");
  equal(await sh(host, "getent shadow certsync | cut -d : -f 2"), "*\n");
  const stat = (path: string) => host.run("stat", "--format=%a %U:%G", path);
  equal(await stat("/home/certsync"), "755 root:root\n");
  equal(await stat("/home/certsync/.ssh"), "755 root:root\n");
  equal(await stat("/home/certsync/.ssh/authorized_keys"), "644 root:root\n");
  equal(await stat(INCOMING), "700 certsync:certsync\n");
  for (
    const attempt of [
      "echo x >>.ssh/authorized_keys",
      "rm -f .ssh/authorized_keys",
      "echo x >.ssh/authorized_keys2",
      "mv .ssh ssh",
      "mv incoming in",
      "touch x",
    ]
  ) {
    const { code } = await host.tryRun(
      ...["setpriv", "--reuid=certsync", "--regid=certsync", "--clear-groups"],
      ...["sh", "-c", `cd /home/certsync && ${attempt}`],
    );
    notEqual(code, 0, attempt);
  }
}

/** Over the real sshd with its own configuration, by the real key. */
async function assertRestricted(npmHost: Booted, mailHost: Booted): Promise<void> {
  const ssh = `-o BatchMode=yes -o UserKnownHostsFile=/etc/certsync/known_hosts -i ${IDENTITY}`;
  const at = `certsync@${HOSTNAME}`;
  const attempt = (line: string) => npmHost.tryRun("timeout", "10", "sh", "-c", line);

  const shell = await attempt(`ssh ${ssh} ${at} 'id; cat /etc/passwd' </dev/null`);
  doesNotMatch(shell.stdout, /uid=|root:/);
  const pty = await attempt(`ssh ${ssh} -tt ${at} </dev/null`);
  match(pty.stderr, /PTY allocation request failed/);
  const forward = await attempt(`ssh ${ssh} -W 127.0.0.1:22 ${at} </dev/null`);
  doesNotMatch(forward.stdout, /SSH-2\.0/);
  match(forward.stderr, /administratively prohibited|open failed/);
  const back = await attempt(`ssh ${ssh} -N -o ExitOnForwardFailure=yes -R 0:127.0.0.1:22 ${at}`);
  match(back.stderr, /remote port forwarding failed/);
  const sftp = await attempt(`echo 'get /etc/passwd /root/got' | sftp ${ssh} -b - ${at}`);
  const read = await attempt(`rsync -a --timeout=2 -e 'ssh ${ssh}' ${at}:/etc/passwd /root/got`);
  const sender = await attempt(
    `ssh ${ssh} ${at} 'rsync --server --sender -logDtpre.iLsfxCIvu . /etc/passwd' </dev/null`,
  );
  for (const { code, stdout } of [shell, pty, forward, back, sftp, read, sender]) {
    notEqual(code, 0);
    doesNotMatch(stdout, /root:/);
  }
  equal((await npmHost.tryRun("test", "-e", "/root/got")).code, 1);

  const keys = "/home/certsync/.ssh/authorized_keys";
  const before = await mailHost.run("cat", keys);
  await attempt(`cp ${IDENTITY}.pub /tmp/authorized_keys`);
  await attempt(`rsync -azL -e 'ssh ${ssh}' /tmp/authorized_keys ${at}:${keys}`);
  await attempt(`rsync -azL -e 'ssh ${ssh}' /tmp/authorized_keys ${at}:/tmp/`);
  equal(await mailHost.run("cat", keys), before);
  equal((await mailHost.tryRun("test", "-e", "/tmp/authorized_keys")).code, 1);
  // It lands where the forced command says, and is no key there.
  await mailHost.run("rm", `${INCOMING}/authorized_keys`);
}

/** Where the service, hardened as it is, can make a file. */
async function writable(host: Booted, command: string): Promise<string[]> {
  const places = [
    ...["/", "/boot", "/etc", "/etc/certsync", "/etc/ssh", "/etc/systemd/system", "/home"],
    ...["/home/certsync", INCOMING, "/opt", "/opt/mailcow-dockerized"],
    ...["/opt/mailcow-dockerized/data", "/opt/mailcow-dockerized/data/assets/ssl", "/root"],
    ...["/root/.ssh", "/run", "/srv", "/usr", "/usr/local/bin", "/var", "/var/lib", "/var/log"],
    ...["push", "deploy", "verify"].map((name) => `/var/lib/mailcow-cert-${name}`),
  ];
  const unit = `mailcow-cert-${command}.service`;
  const drop = `/etc/systemd/system/${unit}.d/probe.conf`;
  const probe = "/usr/local/share/probe";
  await host.write(
    probe,
    `#!/bin/sh
for place in ${places.join(" ")}; do
    [ ! -d $place ] || ! touch $place/probe 2>/dev/null || { rm $place/probe; echo "writes $place"; }
done
echo probed
`,
    "755",
  );
  // Opened by systemd itself, before it locks the service in.
  const output = "/root/probe";
  const lines = [
    "[Service]",
    "ExecStart=",
    `ExecStart=${probe}`,
    `StandardOutput=truncate:${output}`,
  ];
  await host.write(drop, lines.join("\n"), "644");
  await host.run("systemctl", "daemon-reload");
  const { isSuccess } = await host.start(unit);
  const said = await host.run("cat", output);
  await host.run("rm", drop, probe, output);
  await host.run("systemctl", "daemon-reload");
  equal(isSuccess, true, said);
  match(said, /^probed$/m);
  return Array.from(said.matchAll(/^writes (.*)$/gm), ([, place = ""]) => place);
}

/** Lets the timer that setup started elapse in a moment instead of at its hour. */
async function elapse(host: Booted, command: string): Promise<void> {
  const [timer, service] = [`mailcow-cert-${command}.timer`, `mailcow-cert-${command}.service`];
  const before = await host.lastRun(service);
  const drop = `/run/systemd/system/${timer}.d/soon.conf`;
  await host.write(
    drop,
    "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\nRandomizedDelaySec=0\n",
    "644",
  );
  await host.run("systemctl", "daemon-reload");
  await host.run("systemctl", "restart", timer);
  await until(async () => {
    const last = await host.lastRun(service);
    return last?.invocation !== before?.invocation ? [] : [`${timer} has not elapsed`];
  }, 60_000);
  await host.run("rm", drop);
  await host.run("systemctl", "daemon-reload");
  const last = await host.lastRun(service);
  equal(last?.isSuccess, true, last?.journal.map(({ message }) => message).join("\n"));
}
