// The unit files are what systemd takes them for, and run when they should.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { schema } from "../lib/config/schema.ts";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const units = fileURLToPath(new URL("../systemd", import.meta.url));
const binary = fileURLToPath(new URL("../dist/certsync", import.meta.url));

function unitFiles(): string[] {
  return Array.from(Deno.readDirSync(units), ({ name }) => name)
    .filter((name) => /\.(service|timer|path)$/.test(name)).sort();
}

function read(name: string): string {
  return Deno.readTextFileSync(`${units}/${name}`);
}

Deno.test("systemd finds nothing wrong with the units", async () => {
  await using dir = await tempDir();
  for (const name of unitFiles()) {
    // On a host certsync is found where systemd looks; here it is not installed.
    const text = read(name).replace("ExecStart=certsync", `ExecStart=${binary}`);
    await Deno.writeTextFile(`${dir.path}/${name}`, text);
  }
  const paths = unitFiles().map((name) => `${dir.path}/${name.replace("@.", "@test.")}`);
  await Deno.rename(
    `${dir.path}/mailcow-cert-alert@.service`,
    `${dir.path}/mailcow-cert-alert@test.service`,
  );
  // The man pages are not installed here; what Documentation= names is looked at below.
  const args = ["verify", "--man=no", ...paths];
  const { code, stdout, stderr } = await tryRun(need("systemd-analyze"), args, {
    env: { SYSTEMD_UNIT_PATH: `${dir.path}:` },
  });
  equal(stdout + stderr, "");
  equal(code, 0);
});

Deno.test("every unit names the man pages", () => {
  for (const name of unitFiles()) {
    match(read(name), /^Documentation=man:certsync\(1\) man:certsync\.yaml\(5\)$/m, name);
  }
});

Deno.test("the config tells after how long deploy's unit ends", () => {
  const [, minutes = ""] =
    /^TimeoutStartSec=(\d+)min$/m.exec(read("mailcow-cert-deploy.service")) ??
      [];
  match(schema.deploy.restart_timeout.help, new RegExp(`the unit ends after ${minutes} minutes`));
});

Deno.test("the timers elapse when the documentation says", async () => {
  const calendars = {
    "mailcow-cert-push.timer": ["*-*-* 03,15:00:00", "03:00:00", "15:00:00"],
    "mailcow-cert-deploy.timer": ["*-*-* 03,15:15:00", "03:15:00", "15:15:00"],
  };
  for (const [name, [calendar, ...times]] of Object.entries(calendars)) {
    const text = read(name);
    equal(/^OnCalendar=(.*)$/m.exec(text)?.[1], calendar);
    const { stdout } = await tryRun(need("systemd-analyze"), [
      "calendar",
      "--iterations=2",
      calendar ?? "",
    ]);
    const elapses = Array.from(stdout.matchAll(/\d\d:\d\d:\d\d(?= \w+$)/gm), ([time]) => time);
    deepEqual(elapses.filter((time) => times.includes(time)).sort(), times, stdout);
  }
});

Deno.test("every timer catches up after a host was off, and has its delay", () => {
  const delays = { push: "300", deploy: "180", verify: "300" };
  for (const [name, delay] of Object.entries(delays)) {
    const text = read(`mailcow-cert-${name}.timer`);
    match(text, /^Persistent=true$/m);
    match(text, new RegExp(`^RandomizedDelaySec=${delay}$`, "m"));
  }
  for (const name of ["push", "deploy"]) {
    match(read(`mailcow-cert-${name}.timer`), /^OnBootSec=2min$/m);
  }
});

Deno.test("the path units watch where a renewal, and a push, is written, and alert when they end", () => {
  const watched = {
    push: ["/etc/nginx/letsencrypt/renewal", "/etc/letsencrypt/renewal"],
    deploy: ["/home/certsync/incoming"],
  };
  for (const [name, places] of Object.entries(watched)) {
    const text = read(`mailcow-cert-${name}.path`);
    const found = Array.from(text.matchAll(/^Path\w+=.*$/gm), ([line]) => line);
    deepEqual(found, places.map((place) => `PathChanged=${place}`));
    match(text, /^OnFailure=mailcow-cert-alert@%n\.service$/m);
    match(text, /^WantedBy=multi-user\.target$/m);
    // Whoever starts the service often would else end the path unit for good.
    match(read(`mailcow-cert-${name}.service`), /^StartLimitIntervalSec=0$/m);
  }
});

Deno.test("every service runs once, waits for network and clock, and alerts when it fails", () => {
  for (const name of ["push", "deploy", "verify"]) {
    const text = read(`mailcow-cert-${name}.service`);
    match(text, /^Type=oneshot$/m);
    const started = name === "verify" ? "" : " --started";
    match(text, new RegExp(`^ExecStart=certsync ${name}${started}$`, "m"));
    match(text, /^After=network-online\.target time-sync\.target/m);
    match(text, /^OnFailure=mailcow-cert-alert@%n\.service$/m);
    match(text, /^ProtectHome=read-only$/m);
    equal(/^MemoryDenyWriteExecute=/m.test(text), false);
  }
  match(read("mailcow-cert-deploy.service"), /^After=.*docker\.service$/m);
});

Deno.test("the services are as strict as their job allows", async () => {
  for (const name of ["push", "deploy", "verify"]) {
    const { stdout } = await tryRun(need("systemd-analyze"), [
      "security",
      "--offline=yes",
      "--no-pager",
      `${units}/mailcow-cert-${name}.service`,
    ]);
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
    equal(exposure <= 2.0, true, stdout);
  }
});
