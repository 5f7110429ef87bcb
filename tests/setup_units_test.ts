// certsync setup: one machine, containers, and what starts the services.

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { parse } from "@std/yaml/parse";
import { formatSteps, type Step } from "../lib/verify/next_step.ts";
import { hasNoOtherHost, isOneMachine, ofOneMachine } from "../lib/config/one_machine.ts";
import { readConfigDocument } from "../lib/config/config_file.ts";
import { certsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { setup } from "./kit/setup_script.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const PUSH = ["push", "--domain", NAME, "--to", `certsync@${NAME}:/home/certsync/incoming/`];
const LOCAL = ["local", "--domain", NAME];
const CONFIG = "/etc/certsync/config.yaml";

Deno.test("setup local puts one directory of root's between push and deploy, and neither ssh nor a user", async () => {
  const script = await setup([...LOCAL, "--also", "shop.example.net"]);
  deepEqual(parse(script.fed(`config ${CONFIG}`) ?? "", { schema: "failsafe" }), {
    domain: NAME,
    also: ["shop.example.net"],
    push: { to: "/var/lib/mailcow-cert-incoming/" },
    deploy: { staging: "/var/lib/mailcow-cert-incoming" },
  });
  const main = script.text.slice(script.text.indexOf("\nmain() {\n"));
  doesNotMatch(main, /ssh-keygen|useradd|ensure_user|authorize|ssh_config/);
  match(main, /directory 700 root:root "\$dir"/);
  // push writes there, and the service of push must be let.
  match(
    script.fed("drop_in mailcow-cert-push.service") ?? "",
    /^ReadWritePaths=\/var\/lib\/mailcow-cert-incoming$/m,
  );
  match(
    script.text,
    /^ *watch_staging mailcow-cert-deploy\.path \/var\/lib\/mailcow-cert-incoming$/m,
  );
});

Deno.test("setup local names what a kept config lacks, and what it does not know", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(file, `domain: ${NAME}\npush: {to: "a@b.example:/in/"}\n`);
  const { text } = await setup(["local", "--config", file]);
  match(
    text,
    /^ *tell_missing push: ' {2}to: \/var\S+incoming\/' deploy: ' {2}staging: \/var\S+incoming'$/m,
  );
  for (
    const [args, message] of [
      [["local"], /needs --domain NAME\nhint: certsync setup local --domain/],
      [[...LOCAL, "--to", "a@b.c:/in/"], /has no --to\nhint: .*setup push/],
      [["monitor", "--timers-only"], /has no --timers-only\n.*setup push, deploy, local/],
    ] as const
  ) {
    const { code, stderr } = await certsync(["setup", ...args]);
    equal(code, 2);
    match(stderr, message);
  }
});

/** With a config file that is kept. */
async function kept(args: string[], config: string) {
  await using dir = await tempDir();
  const file = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(file, config);
  const argv = [...args, "--config", file];
  const { code, stderr } = await certsync(["setup", ...argv]);
  return { code, stderr, ...(code === 0 && await setup(argv)) };
}

Deno.test("push is let write into every local target that the config names", async () => {
  const remote = `certsync@${NAME}:/home/certsync/incoming/`;
  const both = `domain: ${NAME}\npush: {to: [/srv/in/, "${remote}"]}\n`;
  const cases: [args: string[], config: string, writes: string[]][] = [
    // A list of both kinds, and a second host for who pushes here already.
    [["push"], both, ["-/srv/in"]],
    [PUSH, `push: {to: /srv/in/}\ndeploy: {staging: /srv/in}\n`, ["-/srv/in"]],
    [["local"], `${both}deploy: {staging: /srv/in}\n`, ["/srv/in"]],
    [["local"], `domain: ${NAME}\npush: {to: [/a/, /b/]}\ndeploy: {staging: /a}\n`, ["/a", "-/b"]],
  ];
  for (const [args, config, writes] of cases) {
    const { fed, text = "" } = await kept(args, config);
    const dropIn = fed?.("drop_in mailcow-cert-push.service") ?? "";
    const found = Array.from(dropIn.matchAll(/^ReadWritePaths=(.*)$/gm), ([, path]) => path);
    deepEqual(found, writes, config);
    const [told = ""] = /^ *tell_mail_hosts .*$/m.exec(text) ?? [];
    doesNotMatch(told, /\/srv/);
    // Nobody is told to take out what the list has besides.
    if (args.length === 1) doesNotMatch(/^ *tell_missing.*$/m.exec(text)?.[0] ?? "", / to: /);
  }
  const alone = await kept(["push"], `domain: ${NAME}\npush: {to: [/srv/in/]}\n`);
  match(alone.stderr, /^ERROR: certsync setup push is for a mail host, not "\/srv\/in\/"\nhint: /);
});

Deno.test("what is one machine already stays as it is: setup local keeps its staging, setup deploy takes it from nobody", async () => {
  const config = `domain: ${NAME}\npush: {to: /home/certsync/incoming/}\n`;
  const { text = "", fed } = await kept(["local"], config);
  doesNotMatch(text, /^ *tell_missing \S/m);
  match(text, /^staging=\/home\/certsync\/incoming$/m);
  equal(fed?.("drop_in mailcow-cert-push.service")?.includes("=/home/certsync/incoming"), true);
  const { code, stderr } = await kept(["deploy"], config);
  equal(code, 2);
  match(
    stderr,
    /^ERROR: certsync setup deploy is for what another host pushes: .*\/incoming"\nhint: /,
  );
  match(stderr, /hint: certsync setup local .*push\.to in the config file$/m);
});

Deno.test("a source that the unit of push could not see is refused", async () => {
  await using dir = await tempDir();
  for (const line of ["live: /tmp/le/live", "live: /var/tmp/live", "source: /tmp/npm-5"]) {
    const file = `${dir.path}/config.yaml`;
    await Deno.writeTextFile(file, `push:\n  ${line}\n`);
    for (const args of [PUSH, LOCAL]) {
      const { code, stderr } = await certsync(["setup", ...args, "--config", file]);
      equal(code, 2);
      match(
        stderr,
        /^ERROR: push cannot read what lies in "\/(var\/)?tmp\/\S+"\nhint: its unit has/,
      );
    }
  }
  await Deno.mkdir(`${dir.path}/live`);
  for (const args of [PUSH, LOCAL]) {
    const script = await setup(args);
    for (const call of ["watch_source x.path", "see_source"]) {
      const said = await script.call(`(${call} ${dir.path}/live) 2>&1 || echo "code $?"`);
      match(said, /^ERROR: push cannot read what lies in .*\nhint: .*\ncode 1$/m);
    }
    // Before anything is made, and where there is no path unit too.
    for (const text of [script.text, (await setup([...args, "--timers-only"])).text]) {
      const main = text.slice(text.indexOf("\nmain() {\n"));
      const [seen, made] = [main.indexOf("\n    see_source /"), main.indexOf("\n    directory ")];
      ok(seen !== -1 && seen < made, main);
    }
  }
});

Deno.test("what the services could not see of their own places is left to a person", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/config.yaml`;
  const cases: [args: string[], config: string][] = [
    [[...LOCAL, "--mailcow", "/tmp/mailcow"], ""],
    [["deploy", "--mailcow", "/var/tmp/mailcow"], ""],
    [LOCAL, "push: {state: /tmp/state}\n"],
    [PUSH, "push: {state: /tmp/state}\n"],
    [["deploy"], "deploy: {staging: /tmp/incoming}\n"],
    [LOCAL, "deploy: {state: /var/tmp/state}\n"],
    [["push"], `domain: ${NAME}\npush: {to: ["a@b.example:/in/", /tmp/in/]}\n`],
  ];
  for (const [args, config] of cases) {
    await Deno.writeTextFile(file, config);
    const { text, call } = await setup([...args, "--config", file]);
    const [told = ""] = /^ *tell_unseen \S.*$/m.exec(text) ?? [];
    match(
      await call(told.trim()),
      /by hand:\n {2}- the services cannot see these, .* name others in .*config\.yaml, .*:\n {8}\/(var\/)?tmp\/\S+\n$/,
      config,
    );
    // And with others named there, and no --mailcow, nothing is told any more.
    await Deno.writeTextFile(file, config.replaceAll(/\/(var\/)?tmp\//g, "/srv/"));
    const named = args.filter((word) => word !== "--mailcow" && !word.endsWith("tmp/mailcow"));
    const again = await setup([...named, "--config", file]);
    doesNotMatch(again.text, /^ *tell_unseen \S/m);
  }
});

Deno.test("where a link or a file lies in a directory's place, setup says so, and the way out is one", async () => {
  await using dir = await tempDir();
  const { call } = await setup(LOCAL);
  const place = `${dir.path}/state`;
  const make = `(directory 700 root:root ${place}) 2>&1 || echo "code $?"`;
  for (const arrange of [`ln -s ${dir.path} ${place}`, `ln -s /nowhere ${place}`, `: >${place}`]) {
    await call(arrange);
    const said = await call(make);
    match(said, /^ERROR: a directory of its own belongs here, .*state\nhint: .*\ncode 1\n$/);
    await call(/run this again: (mv .*?);/.exec(said)?.[1] ?? "false");
    match(await call(make), /^setup: created: .*state\/\n$/);
    await call(`rm -r ${place} ${place}.old`);
  }
});

/** Runs lines of shell with the functions of a script, on a host whose directories are below `root`. */
function onHost(root: string, text: string, lines: string): Promise<string> {
  const functions = text.slice(0, text.indexOf("\nmain() {\n"))
    .replaceAll(/\/(etc|run|usr\/lib)\/systemd\/system/g, `${root}/$1`);
  return run(need("dash"), ["-s"], { stdin: `${functions}\n${lines}\n` });
}

Deno.test("what changes of a path unit is counted, so that it is started anew", async () => {
  await using dir = await tempDir("/var/lib");
  const { text } = await setup(LOCAL);
  await Deno.mkdir(`${dir.path}/etc`);
  await Deno.writeTextFile(`${dir.path}/etc/x.path`, "[Path]\nPathChanged=/standard\n");
  const said = await onHost(
    dir.path,
    text,
    `watch_staging x.path /srv/in; echo "changes $changes"
    watch_staging x.path /srv/in; echo "changes $changes"
    watch_source x.path /srv/le/live; echo "changes $changes"`,
  );
  // The directory and the file; nothing; the file.
  deepEqual(said.match(/^changes \d+$/gm), ["changes 2", "changes 2", "changes 3"]);
});

/** What the path unit is told to watch by its drop-in; null without one. */
async function watched(lives: string[], directories: string[]): Promise<string[] | null> {
  await using dir = await tempDir("/var/lib"); // no /tmp
  const { text, fed } = await setup(PUSH);
  const unit = "mailcow-cert-push.path";
  await Deno.mkdir(`${dir.path}/etc`);
  const standard = (fed(`unit ${unit}`) ?? "").replaceAll("=/etc/", `=${dir.path}/etc/`);
  await Deno.writeTextFile(`${dir.path}/etc/${unit}`, standard);
  for (const path of directories) await Deno.mkdir(`${dir.path}${path}`, { recursive: true });
  const places = lives.map((live) => `${dir.path}${live}`).join(" ");
  await onHost(dir.path, text, `watch_source ${unit} ${places}`);
  const drop = await Deno.readTextFile(`${dir.path}/etc/${unit}.d/certsync-setup.conf`)
    .catch(() => null);
  if (drop === null) return null;
  match(drop, /^#.*\n\[Path\]\nPathChanged=\nPathChanged=/);
  return Array.from(
    drop.matchAll(/^PathChanged=(.+)$/gm),
    ([, path = ""]) => path.replace(dir.path, ""),
  );
}

Deno.test("what is watched is renewal/ beside live/, and each directory that was uploaded", async () => {
  const tree = ["/le/live/npm-5", "/le/renewal"];
  deepEqual(await watched(["/le/live"], tree), ["/le/renewal"]);
  // A certificate's own directory is where the source is one: as status has it.
  deepEqual(await watched(["/le/live/npm-5"], [...tree, "/le/live/npm-5/fullchain.pem"]), [
    "/le/renewal",
  ]);
  deepEqual(await watched(["/own"], ["/own/fullchain.pem"]), ["/own"]);
  deepEqual(await watched(["/100%/own"], ["/100%/own/fullchain.pem"]), ["/100%%/own"]); // a specifier to systemd
  // Made later, it is watched all the same.
  deepEqual(await watched(["/le/live"], []), ["/le/renewal"]);
  deepEqual(
    await watched(
      ["/le/live", "/data/custom_ssl"],
      [...tree, "/data/custom_ssl/npm-7", "/data/custom_ssl/other"],
    ),
    ["/data/custom_ssl", "/data/custom_ssl/npm-7", "/le/renewal"],
  );
});

Deno.test("what the path unit watches anyway needs no drop-in", async () => {
  const standard = ["/etc/nginx/letsencrypt/live", "/etc/letsencrypt/live"];
  equal(await watched(standard, []), null);
  equal(await watched(standard, ["/etc/letsencrypt/live", "/etc/letsencrypt/renewal"]), null);
  deepEqual(await watched([...standard, "/le/live"], []), [
    ...["/etc/letsencrypt/renewal", "/etc/nginx/letsencrypt/renewal", "/le/renewal"],
  ]);
});

Deno.test("where the machine refuses mounts, every service gets what takes them off", async () => {
  await using dir = await tempDir();
  const { text } = await setup(LOCAL);
  await Deno.mkdir(`${dir.path}/run`);
  await Deno.mkdir(`${dir.path}/etc`);
  const dropIns = async (code: number) => {
    await Deno.writeTextFile(`${dir.path}/systemd-run`, `#!/bin/sh\nexit ${code}\n`, {
      mode: 0o755,
    });
    await onHost(
      dir.path,
      text,
      `PATH=${dir.path}:$PATH
      find_sandbox
      printf '%s\\n' '[Service]' ExecStart= ReadWritePaths=/x | drop_in mailcow-cert-push.service
      drop_in mailcow-cert-deploy.service </dev/null
      printf '[Path]\\n' | drop_in mailcow-cert-push.path`,
    );
    return await Promise.all(
      ["push.service", "deploy.service", "push.path"].map((unit) =>
        Deno.readTextFile(`${dir.path}/etc/mailcow-cert-${unit}.d/certsync-setup.conf`)
          .catch(() => null)
      ),
    );
  };
  const plain = ["[Service]\nExecStart=\nReadWritePaths=/x\n", null, "[Path]\n"];
  deepEqual(await dropIns(0), plain);
  const [push = "", deploy = "", path] = await dropIns(226);
  match(push ?? "", /^\[Service\]\nExecStart=\n#/);
  doesNotMatch(push ?? "", /=\/x/);
  equal(path, "[Path]\n");
  const unit = await Deno.readTextFile(
    new URL("../systemd/mailcow-cert-deploy.service", import.meta.url),
  );
  const off = Array.from((deploy ?? "").matchAll(/^(\w+)=/gm), ([, name]) => name).sort();
  deepEqual(off, [
    ...["PrivateDevices", "PrivateMounts", "PrivateTmp", "ProtectControlGroups", "ProtectHome"],
    ...["ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc"],
    ...["ProtectSystem", "ReadOnlyPaths", "ReadWritePaths"],
  ]);
  for (const name of off) match(unit, new RegExp(`^${name}=`, "m"));
  // Once it does not any more, all is as it was.
  deepEqual(await dropIns(0), plain);
});

Deno.test("where NPM runs in a container, setup writes push.live, and names it to who has a config", async () => {
  await using dir = await tempDir("/var/lib");
  const root = `${dir.path}/npm`;
  for (const name of ["live/npm-5", "archive", "renewal"]) {
    await Deno.mkdir(`${root}/${name}`, { recursive: true });
  }
  const bin = `${dir.path}/bin`;
  await Deno.mkdir(bin);
  await Deno.writeTextFile(
    `${bin}/docker`,
    `#!/bin/sh
case $1 in
ps) echo 0123abcd ;;
inspect) printf '/npm\\tjc21/nginx-proxy-manager:latest\\t/etc/letsencrypt\\t${root}\\n' ;;
esac
`,
    { mode: 0o755 },
  );
  for (const args of [PUSH, LOCAL]) {
    const { text, fed } = await setup(args, { path: bin });
    match(fed(`config ${CONFIG}`) ?? "", new RegExp(`^  live: \\[${root}/live\\]$`, "m"));
    match(text, new RegExp(`^ *watch_source mailcow-cert-push\\.path ${root}/live$`, "m"));
    match(text, new RegExp(`^ *tell_missing.*  live: \\[${root}/live\\]`, "m"));
  }
  const file = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(file, "push: {live: /srv/live}\n");
  const { text } = await setup([...PUSH, "--config", file], { path: bin });
  doesNotMatch(text, new RegExp(root));
  match(text, /^ *watch_source mailcow-cert-push\.path \/srv\/live$/m);
});

Deno.test("with --timers-only there is no path unit, and one that is there goes", async () => {
  const { text } = await setup([...LOCAL, "--timers-only"]);
  for (const name of ["push", "deploy"]) {
    match(text, new RegExp(`^ *stop mailcow-cert-${name}\\.path$`, "m"));
  }
  doesNotMatch(text, /^ *(start|unit|watch\w*) \S+\.path/m);
  doesNotMatch((await setup(LOCAL)).text, /^ *stop \S/m);
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/s.sh`, text);
  deepEqual((await tryRun(need("shellcheck"), ["--shell=sh", `${dir.path}/s.sh`])).stdout, "");
  await run(need("dash"), ["-n", `${dir.path}/s.sh`]);
});

Deno.test("on one machine no report sends anybody to another host", () => {
  const file = (to: string, staging?: string) =>
    readConfigDocument({ push: { to }, ...(staging && { deploy: { staging } }) }, CONFIG);
  const cases: [file: ReturnType<typeof file>, isOne: boolean][] = [
    [file("/var/lib/mailcow-cert-incoming/", "/var/lib/mailcow-cert-incoming"), true],
    [file("/home/certsync/incoming"), true],
    [file("/srv/in/", "/var/lib/mailcow-cert-incoming"), false],
    [file("a@b.example:/home/certsync/incoming/"), false],
    [readConfigDocument({}, CONFIG), false],
  ];
  for (const [config, isOne] of cases) {
    equal(isOneMachine(config), isOne);
    equal(hasNoOtherHost(config), isOne);
  }
  // Another target is another host, whose firewall is not here.
  const both = ["/home/certsync/incoming", "a@b.example:/home/certsync/incoming/"];
  const mixed = readConfigDocument({ push: { to: both } }, CONFIG);
  deepEqual([isOneMachine(mixed), hasNoOtherHost(mixed)], [true, false]);
  deepEqual(
    ofOneMachine("name it in also on the NPM host too, and run there: certsync push --force"),
    "run here: certsync push --force",
  );
  deepEqual(
    ofOneMachine({
      hint: "run on the NPM host: certsync push --force",
      next: [{ host: "mail host", command: "certsync deploy" }],
      when: null,
      count: 3,
    }),
    {
      hint: "run here: certsync push --force",
      next: [{ host: "this machine", command: "certsync deploy" }],
      when: null,
      count: 3,
    },
  );
  const steps: Step[] = [
    { host: "file system of the mail host", command: "create the directory /a" },
    { host: "SSL directory of the mail host", command: "mend the pair in /b" },
    { host: "mail host", command: "certsync deploy" },
  ];
  equal(
    formatSteps(ofOneMachine(steps)),
    "in the file system of this machine: create the directory /a; " +
      "then in the SSL directory of this machine: mend the pair in /b; then here: certsync deploy",
  );
});
