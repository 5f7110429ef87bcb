// certsync setup: what its scripts hold, and what is refused before one is printed.

import { deepEqual, doesNotMatch, equal, match, ok, rejects } from "node:assert/strict";
import { parse } from "@std/yaml/parse";
import { fileURLToPath } from "node:url";
import { parseCommandLine } from "../lib/cli/command_line.ts";
import { schema } from "../lib/config/schema.ts";
import { deployConfig } from "../lib/config/deploy_config.ts";
import { pushConfig } from "../lib/config/push_config.ts";
import { verifyConfig } from "../lib/config/verify_config.ts";
import { readConfigDocument } from "../lib/config/config_file.ts";
import { parseServerCommand } from "../lib/programs/rsync.ts";
import { certsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { setup, type SetupScript } from "./kit/setup_script.ts";
import { overSsh } from "./kit/ssh_target.ts";
import { tempDir } from "./kit/temp_dir.ts";

const TARGET = "certsync@mail.example.org:/home/certsync/incoming/";
const PUSH = ["push", "--domain", "mail.example.org", "--to", TARGET];
const FORCED = "rsync --server -logDtprze.iLsfxCIvu . /home/certsync/incoming/";

const KEY = publicKey("ssh-ed25519", 32, 1);
const OTHER_KEY = publicKey("ssh-ed25519", 32, 2);
const LINE = `command="${FORCED}",restrict ${KEY} certsync-push@npm`;
const DEPLOY = ["deploy", "--authorized-key", LINE];
const MONITOR = ["monitor", "--domain", "mail.example.org"];

/** One of the right form, which is all that setup can see. */
function publicKey(type: string, length: number, filling: number): string {
  const field = (bytes: Uint8Array) => [0, 0, 0, bytes.length, ...bytes];
  const blob = [
    ...field(new TextEncoder().encode(type)),
    ...field(new Uint8Array(length).fill(filling)),
  ];
  return `${type} ${btoa(String.fromCharCode(...blob))}`;
}

/** Run as an empty config file has it, whatever this host has in /etc. */
async function withConfig<T>(text: string, use: (args: string[], path: string) => Promise<T>) {
  await using dir = await tempDir();
  const path = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(path, text);
  return await use(["--config", path], path);
}

/** Every kind of script, as far as they differ. */
async function allScripts(print: (args: string[]) => Promise<SetupScript> = setup) {
  await using mailcow = await tempDir();
  await Deno.writeTextFile(`${mailcow.path}/mailcow.conf`, "");
  const config = `domain: mail.example.org
push: {state: /data/push, port: 2222, to: ["a@b.example:/in/", "c@[2001:db8::1]:/in/"]}
deploy: {state: /data/deploy, mailcow: /srv/mailcow}
`;
  const onMailHost = await withConfig(
    `deploy: {mailcow: ${mailcow.path}}\n`,
    (file) => print(["monitor", ...file]),
  );
  const others = await withConfig(config, (file) =>
    Promise.all([
      print(PUSH),
      print([...PUSH, "--host-key", KEY, "--also", "shop.example.net"]),
      print(["push", ...file]),
      print(DEPLOY),
      print([...DEPLOY, "--authorized-key", LINE, "--mailcow", "/srv/mail-cow"]),
      print([...DEPLOY, ...file]),
      print(["monitor", "--domain", "mail.example.org", ...file]),
      print(["local", "--domain", "mail.example.org"]),
      print(["local", "--timers-only", ...file]),
      print([...PUSH, "--timers-only"]),
    ]));
  return [...others, onMailHost];
}

Deno.test("the binary prints every kind of script as its sources have it", async () => {
  const scripts = await allScripts(async (args) => {
    const script = await setup(args);
    const { code, stdout, stderr } = await certsync(["setup", ...args]);
    deepEqual([code, stdout, stderr], [0, script.text, ""], args.join(" "));
    return script;
  });
  equal(scripts.length, 11);
});

Deno.test("shellcheck finds nothing in the scripts, and dash takes them", async () => {
  await using dir = await tempDir();
  const paths = (await allScripts()).map(({ text }, index) => {
    const path = `${dir.path}/${index}.sh`;
    Deno.writeTextFileSync(path, text);
    return path;
  });
  const { code, stdout } = await tryRun(need("shellcheck"), ["--shell=sh", ...paths]);
  deepEqual([code, stdout], [0, ""]);
  for (const path of paths) await run(need("dash"), ["-n", path]);
});

Deno.test("shellcheck finds nothing in tools/, and in the shell of setup as it lies in lib/", async () => {
  const top = fileURLToPath(new URL("..", import.meta.url));
  const scripts = (dir: string, pattern: RegExp) =>
    Array.from(Deno.readDirSync(top + dir))
      .filter(({ name, isFile }) => isFile && pattern.test(name))
      .map(({ name }) => `${dir}/${name}`).sort();
  const setupFiles = scripts("lib/setup", /\.sh$/);
  equal(setupFiles.length, 9);
  const { stdout } = await tryRun(
    need("shellcheck"),
    ["--external-sources", ...scripts("tools", /^[^.]+$/), ...setupFiles],
    { cwd: top },
  );
  equal(stdout, "");
});

Deno.test("a script that was cut off does nothing", async () => {
  for (const { text } of await allScripts()) {
    equal(text.endsWith("\n}\n\nmain </dev/null\n"), true);
    const cut = text.slice(0, text.lastIndexOf("main"));
    deepEqual(await tryRun(need("dash"), ["-s"], { stdin: cut }), {
      code: 0,
      stdout: "",
      stderr: "",
    });
  }
});

Deno.test("a script that is not run by root says so, and does nothing", async () => {
  for (const { text } of await allScripts()) {
    const { code, stdout, stderr } = await tryRun(need("dash"), ["-s"], {
      stdin: text.replace("(id -u)", "(echo 1000)"),
    });
    deepEqual([code, stdout], [1, ""]);
    match(stderr, /^ERROR: this is not root\nhint: .*sudo sh\n$/);
  }
});

Deno.test("the units in the scripts are the files in systemd/, and each role has its own", async () => {
  const both = ["service", "timer", "path"];
  const expected: [args: string[], commands: string[], kinds: string[]][] = [
    [PUSH, ["push"], both],
    [DEPLOY, ["deploy"], both],
    [MONITOR, ["verify"], ["service", "timer"]],
    [["local", "--domain", "mail.example.org"], ["push", "deploy"], both],
    [[...PUSH, "--timers-only"], ["push"], ["service", "timer"]],
  ];
  for (const [args, commands, kinds] of expected) {
    const script = await setup(args);
    const units = [
      "mailcow-cert-alert@.service",
      ...commands.flatMap((name) => kinds.map((kind) => `mailcow-cert-${name}.${kind}`)),
    ];
    deepEqual(Array.from(script.text.matchAll(/^ *unit (\S+) </gm), ([, unit]) => unit), units);
    for (const unit of units) {
      const file = await Deno.readTextFile(new URL(`../systemd/${unit}`, import.meta.url));
      equal(script.fed(`unit ${unit}`), file);
    }
    equal(
      script.fed("tell_alert"),
      await Deno.readTextFile(new URL("../systemd/tell-alert", import.meta.url)),
    );
    for (const kind of ["timer", "path"]) {
      const started = Array.from(
        script.text.matchAll(new RegExp(`^ *start (\\S+\\.${kind})$`, "gm")),
        ([, unit]) => unit,
      );
      deepEqual(
        started,
        kinds.includes(kind) ? commands.map((name) => `mailcow-cert-${name}.${kind}`) : [],
      );
    }
  }
});

Deno.test("setup itself changes nothing and runs nothing", async () => {
  await using dir = await tempDir();
  const { code, stderr } = await certsync(["setup", ...PUSH], {
    cwd: dir.path,
    env: { PATH: dir.path, HOME: dir.path },
  });
  deepEqual([code, stderr], [0, ""]);
  deepEqual([...Deno.readDirSync(dir.path)], []);
});

Deno.test("the forced command in the printed line is what this host's rsync asks for", async () => {
  const script = await setup(PUSH);
  for (const directory of ["/home/certsync/incoming/", "/in+com@ing/a_b-c.d"]) {
    for (const host of ["mail.example.org", "[2001:db8::1]"]) {
      const target = `certsync@${host}:${directory}`;
      const asked = await script.call(`server_command '${target}'`);
      const { stdout, stderr } = await tryRun(need("rsync"), [
        ...["-azL", "--debug=CMD", "-e", "/bin/false", "--", "/dev/null", target],
      ]);
      equal(asked.trim(), parseServerCommand(stdout + stderr));
      match(asked, new RegExp(`^rsync --server -\\S+z\\S+ \\. ${RegExp.escape(directory)}\n$`));
    }
  }
});

Deno.test("rsync settings of whoever runs the script do not change the forced command", async () => {
  const script = await setup(PUSH);
  const plain = await script.call(`server_command '${TARGET}'`);
  const settings = "RSYNC_PROTECT_ARGS=1 RSYNC_OLD_ARGS=1 RSYNC_RSH=rsh; export RSYNC_PROTECT_ARGS";
  equal(await script.call(`${settings}\nserver_command '${TARGET}'`), plain);
});

Deno.test("the line that setup push prints is one that setup deploy takes", async () => {
  for (const directory of ["/home/certsync/incoming/", "/srv/in/"]) {
    const config = `deploy: {staging: ${directory}}\n`;
    const script = await setup(["push", "--domain", "a.b", "--to", `certsync@a.b:${directory}`]);
    const asked = await script.call(`server_command 'certsync@a.b:${directory}'`);
    const line = `command="${asked.trim()}",restrict ${KEY} certsync-push@npm`;
    await withConfig(config, async (file) => {
      const deploy = await setup(["deploy", "--authorized-key", line, ...file]);
      equal(deploy.fed("authorize /home/certsync/.ssh/authorized_keys"), `${line}\n`);
    });
  }
});

Deno.test("the config files that the scripts write say what setup was told", async () => {
  const read = (text: string | undefined) =>
    readConfigDocument(
      parse(text ?? "", { schema: "failsafe" }) ?? {},
      "/etc/certsync/config.yaml",
    );
  const flags = (command: string) => {
    const line = parseCommandLine([command]);
    if (line.kind !== "run") throw new Error(command);
    return line.flags;
  };
  const config = (args: string[]) =>
    setup(args).then((script) => read(script.fed("config /etc/certsync/config.yaml")));

  const push = pushConfig(await config(PUSH), flags("push"));
  deepEqual(
    [
      push.domain,
      push.to.map(({ text }) => text),
      overSsh(push.to)[0]?.ssh.identity,
      overSsh(push.to)[0]?.ssh.knownHosts,
    ],
    ["mail.example.org", [TARGET], "/root/.ssh/mailcow_certsync", ["/etc/certsync/known_hosts"]],
  );
  deepEqual([overSsh(push.to)[0]?.ssh.port, push.state], [null, "/var/lib/mailcow-cert-push"]);
  const to = ["a@b.example:/in/", "[2001:db8::1]:/in/", "1.2.3.4:/in/", "a@null:/in/"];
  for (const domain of ["mail.example.org", "1.5", "1e3", "null", "yes", "2027-01-01"]) {
    const args = ["push", "--domain", domain, ...to.flatMap((target) => ["--to", target])];
    const many = pushConfig(await config(args), flags("push"));
    deepEqual([many.domain, many.to.map(({ text }) => text)], [domain, to]);
  }

  const deploy = deployConfig(await config(DEPLOY), flags("deploy"));
  deepEqual(deploy, deployConfig({}, flags("deploy")));
  const other = deployConfig(
    await config([...DEPLOY, "--mailcow", "/srv/mailcow"]),
    flags("deploy"),
  );
  equal(other.mailcow, "/srv/mailcow");

  const monitor = await config(MONITOR);
  equal(verifyConfig(monitor, flags("verify")).domain, "mail.example.org");
});

Deno.test("every key that a config file can have is in the comments, and right once they are taken away", async () => {
  const uncommented = async (args: string[]) => {
    const text = (await setup(args)).fed("config /etc/certsync/config.yaml") ?? "";
    return readConfigDocument(
      parse(text.replace(/^( *)# (?=[a-z_]+: )/gm, "$1"), { schema: "failsafe" }),
      "/etc/certsync/config.yaml",
    );
  };
  const keysOf = (section: object | undefined) => Object.keys(section ?? {}).sort();
  deepEqual(keysOf((await uncommented(PUSH)).push), keysOf(schema.push));
  deepEqual(keysOf((await uncommented(DEPLOY)).deploy), keysOf(schema.deploy));
  const monitor = await uncommented(["monitor", "--domain", "a.b"]);
  deepEqual(keysOf(monitor.verify), keysOf(schema.verify));
});

Deno.test("paths other than the defaults become drop-ins", async () => {
  const dropIn = async (args: string[], unit: string) =>
    (await setup(args)).fed(`drop_in mailcow-cert-${unit}.service`);
  equal(await dropIn(PUSH, "push"), "");
  equal(await dropIn(DEPLOY, "deploy"), "");
  equal(await dropIn(MONITOR, "verify"), "");
  equal(
    await dropIn([...DEPLOY, "--mailcow", "/srv/mailcow"], "deploy"),
    "# What differs from the standard on this host.\n[Service]\n" +
      "ReadWritePaths=-/srv/mailcow/data/assets/ssl\n",
  );
  const text = `domain: a.b\npush: {state: /data/p}\ndeploy: {state: /data/d, mailcow: /srv/m}\n`;
  await withConfig(text, async (file, path) => {
    match(
      await dropIn(["push", "--to", TARGET, ...file], "push") ?? "",
      new RegExp(
        `^ExecStart=\nExecStart=certsync push --started --config ${path}\nReadWritePaths=/data/p$`,
        "m",
      ),
    );
    match(
      await dropIn([...DEPLOY, ...file], "deploy") ?? "",
      /^ReadWritePaths=-\/srv\/m\/data\/assets\/ssl\nReadWritePaths=\/data\/d$/m,
    );
    match(
      await dropIn(["monitor", ...file], "verify") ?? "",
      new RegExp(`^ExecStart=certsync verify --config ${path}$`, "m"),
    );
  });
});

Deno.test("what a config file that is kept lacks is left to a person", async () => {
  await withConfig("domain: a.b\npush: {identity: /root/key}\n", async (file) => {
    const { text } = await setup([...PUSH, ...file]);
    match(
      text,
      /^ *tell_missing 'domain: mail.example.org' push: ' {2}to: \S+'$/m,
    );
  });
  await withConfig(
    `domain: a.b\npush: {identity: /root/key, to: "${TARGET}"}\n`,
    async (file) => {
      doesNotMatch((await setup(["push", ...file])).text, /^ *tell_missing /m);
    },
  );
  // ssh would use another key than the one that the script makes and prints.
  await withConfig(`domain: a.b\npush: {to: "${TARGET}"}\n`, async (file) => {
    match(
      (await setup(["push", ...file])).text,
      /^ *tell_missing push: ' {2}identity: \/root\/.ssh\/mailcow_certsync'$/m,
    );
  });
});

Deno.test("what a config file lacks is told last, only where it was kept, and ends the script with 1", async () => {
  const told = async (before: string) => {
    const script = (await setup([...PUSH, "--also", "shop.example.net"])).text;
    const functions = script.slice(0, script.indexOf("\nmain() {\n"));
    const [tellMissing = ""] = /^ *tell_missing .*$/m.exec(script) ?? [];
    return await tryRun(need("dash"), ["-s"], {
      stdin: `${functions}\n${before}\n${tellMissing}\n`,
    });
  };
  deepEqual(await told(""), { code: 0, stdout: "", stderr: "" });
  const { code, stdout } = await told("kept=/etc/certsync/config.yaml");
  equal(code, 1);
  match(
    stdout,
    /see that \/etc\/certsync\/config\.yaml says:\n +domain: mail\.example\.org\n +also: \[shop\.example\.net\]\n +push:\n +to: \S+\n +identity: \S+\n$/,
  );
});

Deno.test("further names are written into the config file, and into the line for the other host", async () => {
  const also = ["--also", "Shop.example.net.", "--also", "mail.example.com"];
  const flags = " --also shop.example.net --also mail.example.com";
  const line = "\nalso: [shop.example.net, mail.example.com]\n";
  const file = async (args: string[]) =>
    (await setup(args)).fed("config /etc/certsync/config.yaml") ?? "";
  for (const args of [PUSH, DEPLOY, MONITOR]) {
    equal((await file([...args, ...also])).includes(line), true, args[0]);
    match(await file(args), /^# also: \[mail\.example\.com\]$/m);
  }
  const [push, deploy] = await Promise.all([
    setup([...PUSH, ...also]),
    setup([...DEPLOY, ...also]),
  ]);
  match(push.text, new RegExp(`^also_flags='${flags}'$`, "m"));
  match(push.text, /certsync setup deploy --authorized-key '\$line'\$also_flags \| sh"/);
  match(
    push.text,
    /^ *find_certificates \S+ mail\.example\.org shop\.example\.net mail\.example\.com$/m,
  );
  match(deploy.text, new RegExp(`^also_flags='${flags}'$`, "m"));
  match(deploy.text, /certsync setup push --host-key '\$key'\$also_flags \| sh"/);

  // Run again with the file that it wrote, it lacks nothing, and writes the same.
  const settings = `push: {to: "${TARGET}", identity: /root/.ssh/mailcow_certsync}\n`;
  await withConfig(`domain: mail.example.org${line}${settings}`, async (file, path) => {
    for (const more of [[], also, ["--also", "mail.example.com"]]) {
      const { text, fed } = await setup(["push", ...file, ...more]);
      doesNotMatch(text, /^ *tell_missing /m);
      equal(fed(`config ${path}`)?.includes(line), true);
    }
    match(
      (await setup(["push", ...file, "--also", "a.example.net"])).text,
      /^ *tell_missing 'also: \[shop\.example\.net, mail\.example\.com, a\.example\.net\]'$/m,
    );
  });
  for (
    const [given, message] of [
      [["--also", "mail.example.org"], /also names the domain itself/],
      [["--also", "a.b", "--also", "a.b"], /also names a host name twice: "a\.b"/],
      [["--also", "../x"], /--also is not a host name/],
      [["--also", "$(id)"], /--also is not a host name/],
    ] as const
  ) {
    const { code, stdout, stderr } = await certsync(["setup", ...PUSH, ...given]);
    deepEqual([code, stdout], [2, ""]);
    match(stderr, message);
  }
});

Deno.test("what is needed and lacks is named", async () => {
  const cases: [argv: string[], message: RegExp][] = [
    [[], /what for/],
    [["pull"], /knows no "pull"/],
    [["push"], /--domain NAME and --to TARGET$/m],
    [["push", "--domain", "a.b"], /needs --to TARGET$/m],
    [["push", "--to", TARGET], /needs --domain NAME$/m],
    // Where neither a config file nor mailcow.conf names it, nothing could ever be verified.
    [["monitor"], /setup monitor needs --domain NAME\nhint: .*--domain /],
    [["deploy", "--replace"], /needs --authorized-key LINE$/m],
    [["deploy", "--authorized-key", LINE, "--to", TARGET], /has no --to\n.*setup push/],
    [["push", "--mailcow", "/srv/m"], /has no --mailcow\n.*setup deploy/],
    [["monitor", "--authorized-key", LINE], /has no --authorized-key\n.*setup deploy/],
  ];
  await Promise.all(cases.map(async ([argv, message]) => {
    const { code, stdout, stderr } = await certsync(["setup", ...argv]);
    deepEqual([code, stdout], [2, ""], argv.join(" "));
    match(stderr, message);
    match(stderr, /^ERROR: [^\n]+\nhint: [^\n]+\n$/);
  }));
});

Deno.test("the script of deploy names what comes after it on either host, in that order", async () => {
  await withConfig("", async (file, path) => {
    for (
      const [args, flag] of [[DEPLOY, ""], [[...DEPLOY, ...file], ` --config ${path}`]] as const
    ) {
      const { text, call } = await setup([...args]);
      const [steps = ""] =
        /^ *key=\$\(host_key\)\n[^]*?certsync verify\$config_flag"\n/m.exec(text) ?? [];
      const said = await call(`host_key() { echo '${KEY}'; }\n${steps}`);
      deepEqual(said.match(/(?<=^ +)certsync .*/gm), [
        `certsync setup push --host-key '${KEY}' | sh`,
        "certsync push --force",
        `certsync deploy${flag}`,
        `certsync verify${flag}`,
      ]);
    }
  });
});

Deno.test("what is to be typed for mailcow names its directory", async () => {
  await using mailcow = await tempDir();
  await Deno.writeTextFile(`${mailcow.path}/mailcow.conf`, "SKIP_LETS_ENCRYPT=n\n");
  const { call } = await setup(DEPLOY);
  const look = `look_at_mailcow deploy ${mailcow.path}`;
  match(
    await call(look),
    new RegExp(`^ +SKIP_LETS_ENCRYPT=y\n +then: cd ${mailcow.path} && docker compose up -d$`, "m"),
  );
  const standalone = "SKIP_LETS_ENCRYPT=n\nDOCKER_COMPOSE_VERSION=standalone\n";
  await Deno.writeTextFile(`${mailcow.path}/mailcow.conf`, standalone);
  match(await call(look), /then: cd \S+ && docker-compose up -d$/m);
  await Deno.writeTextFile(`${mailcow.path}/mailcow.conf`, "SKIP_LETS_ENCRYPT=y\n");
  equal(await call(look), "");
});

Deno.test("the config files say that deploy looks at what docker publishes", async () => {
  for (const args of [DEPLOY, ["local", "--domain", "mail.example.org"]]) {
    const file = (await setup(args)).fed("config /etc/certsync/config.yaml") ?? "";
    match(
      file,
      /Default: all that docker publishes of the three services\.\n {2}# endpoints: /,
    );
  }
});

Deno.test("that certsync finds no certificate is left to a person, once for all names, and is no error", async () => {
  await using dir = await tempDir();
  const { call } = await setup([...PUSH, "--also", "shop.example.net"]);
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(config, `push: {live: ${dir.path}/live}\n`);
  const binary = fileURLToPath(new URL("../dist/certsync", import.meta.url));
  const lines = `certsync='${binary}'\nexec 2>&1\nfind_certificates ${config} a.example b.example`;
  const places = "say where this host sees NPM's certificates, and run this again, which has it " +
    `watched:\n        ${config}: push.live\n`;
  equal(
    await call(lines),
    "setup: still to be done by hand:\n" +
      `  - there is no live directory: "${dir.path}/live"; ${places}`,
  );
  await Deno.mkdir(`${dir.path}/live/npm-1`, { recursive: true });
  const said = await call(lines);
  match(said, /^WARNING: skipped: .*\nsetup: still to be done by hand:\n/);
  ok(
    said.endsWith(
      `  - no certificate for "a.example", "b.example" among 1 directories; have NPM make one, or ` +
        places,
    ),
    said,
  );
});

Deno.test("what has no place in a script that root runs is refused", async () => {
  const target = (directory: string) => [
    ...["push", "--domain", "a.b", "--to", `certsync@a.b:${directory}`],
  ];
  const authorized = (line: string) => ["deploy", "--authorized-key", line];
  const hostKey = (line: string) => [...PUSH, "--host-key", line];
  const cases = [
    ["push", "--domain", "a.b'; id; '", "--to", TARGET],
    ["push", "--domain", "$(id).b", "--to", TARGET],
    ["push", "--domain", 'a".b', "--to", TARGET],
    ["push", "--domain", "a.b", "--to", "a'b@c.d:/in/"],
    ["push", "--domain", "a.b", "--to", "-oProxyCommand=id:/in/"],
    ["push", "--domain", "a.b", "--to", "$(id)@c.d:/in/"],
    ...["/in'/", '/in"/', "/$(id)/", "/`id`/", "/in;id/", "/in dir/", "/in\\/", "/in%h/", "in/"]
      .map(target),
    ["push", "--domain", "a.b", "--to", "c.d:/in\n/"],
    ["deploy", "--authorized-key", LINE, "--mailcow", "/srv/$(id)"],
    ["deploy", "--authorized-key", LINE, "--mailcow", "/srv/it's"],
    ["deploy", "--authorized-key", LINE, "--domain", "a.b;id"],
    ["monitor", "--domain", "`id`"],
    authorized(KEY.slice(0, -4)),
    // Each lets the key write elsewhere, or gives the account what is not its own.
    ...[
      "-slogDtprze.iLsfxCIvu",
      "-logDtprsze.iLsfxCIvu",
      "-logDtprKze.iLsfxCIvu",
      "-KlogDtpre.iLsf",
    ]
      .map((letters) => authorized(LINE.replace("-logDtprze.iLsfxCIvu", letters))),
    ...["-logDtprz", "-logDtpR", "-logDtprze.iLsfxCIvu --delete", "-vlogDtprze.iLsfxC", "-e.iLsf"]
      .map((letters) => authorized(LINE.replace("-logDtprze.iLsfxCIvu", letters))),
    ...[
      "/",
      "/usr/local/bin/",
      "/root/.ssh/",
      "/home/certsync/",
      "/home/certsync/incoming/../",
      "/srv/in/",
    ]
      .map((directory) => authorized(LINE.replace("/home/certsync/incoming/", directory))),
    authorized(`environment="PATH=/tmp",${LINE}`),
    authorized(`from="$(id)",${LINE}`),
    authorized(`no-pty,${LINE}`),
    authorized(`restrict ${KEY}`),
    authorized(`command="${FORCED}" ${KEY}`),
    authorized(`command="${FORCED}",restrict,pty ${KEY}`),
    authorized(`command="/bin/sh",restrict ${KEY}`),
    authorized(`command="rsync --server --sender -logDtpre.iLsfxCIvu . /etc/",restrict ${KEY}`),
    authorized(`command="rsync --server -logDtpr --rsync-path=x . /in/",restrict ${KEY}`),
    authorized(`command="rsync --server -logDtpr . /in/;id",restrict ${KEY}`),
    authorized(`command="rsync --server -logDtpr . /in/ /etc/",restrict ${KEY}`),
    authorized(`command="rsync --server -logDtpr . /$(id)/",restrict ${KEY}`),
    authorized(`command="${FORCED}",restrict ${KEY} it's`),
    authorized(`${LINE}\n${KEY}`),
    authorized(LINE.slice(0, -30)),
    authorized(LINE.replace("ssh-ed25519", "ssh-rsa")),
    hostKey("mail.example.org"),
    hostKey("ssh-ed25519 AAAA"),
    hostKey(KEY.slice(0, -4)),
    hostKey(`${KEY}\n${KEY}`),
    hostKey(`other.example.org ${KEY}`),
    hostKey(`@cert-authority * ${KEY}`),
    hostKey(`$(id) ${KEY}`),
  ];
  await Promise.all(cases.map(async (argv) => {
    const { code, stdout, stderr } = await certsync(["setup", ...argv]);
    deepEqual([code, stdout], [2, ""], argv.join(" "));
    match(stderr, /^ERROR: [^\n]+\n(hint: [^\n]+\n)?$/);
  }));
});

Deno.test("paths of the config file are checked like those of the command line", async () => {
  const push = `domain: a.b\npush:\n  to: ${TARGET}\n`;
  const cases: [argv: string[], config: string][] = [
    ...["state: /a b", "identity: /it's", "known_hosts: /$(id)"]
      .map((line): [string[], string] => [["push"], `${push}  ${line}\n`]),
    ...["state: /a b", "mailcow: /it's", "staging: /$(id)"]
      .map((line): [string[], string] => [DEPLOY, `deploy:\n  ${line}\n`]),
  ];
  await Promise.all(cases.map(([argv, config]) =>
    withConfig(config, async (file) => {
      const { code, stdout, stderr } = await certsync(["setup", ...argv, ...file]);
      deepEqual([code, stdout], [2, ""], config);
      match(stderr, /^ERROR: (setup takes plain absolute paths only|--authorized-key writes to)/);
    })
  ));
});

Deno.test("a key that writes elsewhere than into staging is refused", async () => {
  await withConfig("deploy: {staging: /srv/in}\n", async (file) => {
    const { code, stderr } = await certsync(["setup", ...DEPLOY, ...file]);
    equal(code, 2);
    match(stderr, /writes to "\/home\/certsync\/incoming\/", but staging is "\/srv\/in"/);
  });
});

Deno.test("a private key that was pasted by mistake is not repeated", async () => {
  const secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk";
  for (
    const argv of [[...PUSH, `--host-key=${secret}`], ["deploy", `--authorized-key=${secret}`]]
  ) {
    const { code, stdout, stderr } = await certsync(["setup", ...argv]);
    equal(code, 2);
    doesNotMatch(stdout + stderr, /PRIVATE KEY|b3Blb/);
  }
});

Deno.test("a host key may come with its host's name and a comment", async () => {
  for (
    const line of [
      KEY,
      `${KEY} root@mail`,
      `mail.example.org ${KEY}`,
      `10.0.0.1,mail.example.org ${KEY} x`,
    ]
  ) {
    const { text } = await setup([...PUSH, "--host-key", line]);
    match(text, new RegExp(`^ *known_host mail.example.org '${RegExp.escape(KEY)}' `, "m"));
  }
});

Deno.test("a target's own port is in the name under which its host key is sought and written", async () => {
  const config = 'push: {to: [{to: "u@mail.example.org:/in/", port: 2222}]}\n';
  const args = ["push", "--domain", "a.b", "--host-key", KEY];
  const { text } = await withConfig(config, (file) => setup([...args, ...file]));
  deepEqual(
    new Set(text.match(/\[mail\.example\.org\]:\d+/g)),
    new Set(["[mail.example.org]:2222"]),
  );
  match(text, /^ *known_host '\[mail\.example\.org\]:2222' /m);
  match(text, /tell_mail_hosts .*'\[mail\.example\.org\]:2222'/);
});

Deno.test("a host key is for the name that ssh looks for, with a port in brackets", async () => {
  const known = async (port: string, to: string, line: string) => {
    const config = `push: {port: ${port}}\n`;
    const args = ["push", "--domain", "a.b", "--to", to, "--host-key", line];
    const { text } = await withConfig(config, (file) => setup([...args, ...file]));
    return /^ *known_host (\S+) /m.exec(text)?.[1];
  };
  deepEqual(
    await Promise.all([
      known("22", TARGET, KEY),
      known("2222", TARGET, KEY),
      known("2222", TARGET, `[mail.example.org]:2222 ${KEY}`),
      known("2222", "certsync@[2001:db8::1]:/in/", KEY),
    ]),
    [
      "mail.example.org",
      "'[mail.example.org]:2222'",
      "'[mail.example.org]:2222'",
      "'[2001:db8::1]:2222'",
    ],
  );
});

Deno.test("a host key is for the name that ssh's own config has for the target", async () => {
  await using dir = await tempDir();
  const config = "Host mail\n HostName mail.example.org\n Port 2222\nHost b\n HostKeyAlias mx\n";
  await Deno.writeTextFile(`${dir.path}/config`, config);
  const ssh = `#!/bin/sh\nexec ${need("ssh")} -F ${dir.path}/config "$@"\n`;
  await Deno.writeTextFile(`${dir.path}/ssh`, ssh, { mode: 0o755 });
  const known = async (...args: string[]) => {
    const targets = ["--to", "certsync@mail:/in/", "--to", "b:/in/"].slice(
      0,
      args.length > 1 ? 4 : 2,
    );
    const all = ["push", "--domain", "a.b", ...targets, "--host-key", args.join(" ")];
    const { text } = await setup(all, { path: dir.path });
    match(text, /tell_mail_hosts certsync@mail:\/in\/ '\[mail\.example\.org\]:2222'/);
    return /^ *known_host (\S+) /m.exec(text)?.[1];
  };
  equal(await known(KEY), "'[mail.example.org]:2222'");
  equal(await known("mx", KEY), "mx");
  equal(await known("b", KEY), "mx");
});

Deno.test("of several targets the host key's name tells which it is of", async () => {
  const args = [...PUSH, "--to", "certsync@second.example.org:/in/"];
  const { code, stderr } = await certsync(["setup", ...args, "--host-key", KEY]);
  equal(code, 2);
  match(stderr, /which of the targets/);
  const { text } = await setup([...args, "--host-key", `second.example.org ${KEY}`]);
  match(text, /^ *known_host second.example.org /m);
});

/** The file after the script gave a host this key; `put` as far as it does not need root. */
async function knownHosts(before: string | null, name = "mail.example.org", key = KEY) {
  await using dir = await tempDir();
  const path = `${dir.path}/known_hosts`;
  if (before !== null) await Deno.writeTextFile(path, before);
  const script = await setup([...PUSH, "--host-key", KEY]);
  await script.call(`put() { cat >"$2"; }\nknown_host '${name}' '${key}' '${path}'`);
  return await Deno.readTextFile(path);
}

Deno.test("the key of the push has no passphrase, is root's alone, and stays once it is there", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/ssh/key`;
  const script = await setup(PUSH);
  const ensure = () => script.call(`ensure_key ${path}; printf '%s\\n' "$key"`);
  const modeOf = (file: string) => (Deno.statSync(file).mode ?? 0) & 0o777;
  match(await ensure(), /^setup: created: .*\/ssh\/key\nssh-ed25519 AAAA\S+$/m);
  deepEqual([modeOf(`${dir.path}/ssh`), modeOf(path)], [0o700, 0o600]);
  const key = await Deno.readTextFile(path);
  for (const spoil of [() => Deno.chmod(path, 0o640), () => Deno.chown(path, 65533, 65533)]) {
    await spoil();
    match(await ensure(), /^setup: now of root alone: /);
    deepEqual([modeOf(path), Deno.statSync(path).uid], [0o600, 0]);
  }
  match(await ensure(), /^setup: unchanged: /);
  equal(await Deno.readTextFile(path), key);
  await run(need("ssh-keygen"), ["-q", "-p", "-P", "", "-N", "a secret", "-f", path]);
  await rejects(ensure(), /is no key that push can use\nhint: it must be .* without a passphrase/);
});

Deno.test("the file of host keys is for all to read where it is new, and stays as it was where not", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/known_hosts`;
  const script = await setup([...PUSH, "--host-key", KEY]);
  const put =
    `put() { echo "mode $1"; cat >"$2"; }\nknown_host mail.example.org '${KEY}' '${path}'`;
  equal(await script.call(put), "mode 644\n");
  await Deno.chmod(path, 0o600);
  equal(await script.call(put), "mode 600\n");
});

Deno.test("a host key replaces that host's entry, and no other", async () => {
  const entry = `mail.example.org ${KEY}\n`;
  const others = `# a comment
mail.example.org.evil ${OTHER_KEY}
notmail.example.org ${OTHER_KEY}
[mail.example.org]:2222 ${OTHER_KEY}
*.example.org ${OTHER_KEY}
@cert-authority mail.example.org ${OTHER_KEY}
`;
  equal(await knownHosts(null), entry);
  equal(await knownHosts(""), entry);
  equal(await knownHosts(others), others + entry);
  equal(await knownHosts(`mail.example.org ${OTHER_KEY}\n${others}`), entry + others);
  equal(
    await knownHosts(`mail.example.org ${OTHER_KEY}\nmail.example.org ${OTHER_KEY} x\n${others}`),
    entry + others,
  );
  equal(
    await knownHosts(`10.0.0.1,mail.example.org ${OTHER_KEY} a comment\n`),
    `${entry}10.0.0.1 ${OTHER_KEY} a comment\n`,
  );
  equal(
    await knownHosts(others, "[mail.example.org]:2222"),
    others.replace(/^\[mail.*$/m, `[mail.example.org]:2222 ${KEY}`),
  );
  equal(await knownHosts(entry + others), entry + others);
});

Deno.test("a host key replaces that host's entry where its name is hashed", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/known_hosts`;
  await Deno.writeTextFile(path, `mail.example.org ${OTHER_KEY}\nother.example.org ${OTHER_KEY}\n`);
  await run(need("ssh-keygen"), ["-H", "-f", path]);
  const hashed = await Deno.readTextFile(path);
  equal(await knownHosts(hashed), `mail.example.org ${KEY}\n${hashed.split("\n")[1]}\n`);
});

Deno.test("where and until when a key may be used is kept, and a bare key gets what all can talk to", async () => {
  const limits = 'from="192.0.2.1,2001:db8::/32",expiry-time="20270101",';
  const authorized = async (line: string) =>
    (await setup(["deploy", "--authorized-key", line]))
      .fed("authorize /home/certsync/.ssh/authorized_keys");
  equal(await authorized(`${limits}${LINE}`), `${limits}${LINE}\n`);
  equal(
    await authorized(`${KEY} root@npm`),
    'command="rsync --server -logDtprze.iLsfxC . /home/certsync/incoming/",restrict ' +
      `${KEY} root@npm\n`,
  );
  const none = await certsync(["setup", "push", "--replace"]);
  deepEqual([none.code, none.stdout], [2, ""]);
  match(none.stderr, /has no --replace\n.*setup deploy/);
});

Deno.test("without a key those that are let in stay, and a host that lets none in is left as it is", async () => {
  const script = await setup(["deploy"]);
  equal(script.fed("authorize /home/certsync/.ssh/authorized_keys"), "");
  await using dir = await tempDir();
  const file = `${dir.path}/authorized_keys`;
  const check = async (keys: string | null) => {
    if (keys !== null) await Deno.writeTextFile(file, keys);
    const [, condition = ""] =
      /^ {4}(\[ -n "\$is_given_keys" \][^]*?this one')$/m.exec(script.text) ?? [];
    return await script.call(condition.replace("/home/certsync/.ssh/authorized_keys", file))
      .then(() => null, ({ message }) => message);
  };
  match(await check(null) ?? "", /no key is let in here that could push\nhint: .*setup push/);
  match(await check(`${OTHER_KEY}\n`) ?? "", /no key is let in here/);
  equal(await check(`# mine\n${LINE}\n`), null);
  await script.call(`authorize ${file} <<'END'\nEND`);
  equal(await Deno.readTextFile(file), `${LINE}\n`);
});

Deno.test("another host's key stays if it can do no more, and is set aside if it can, or with --replace", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/authorized_keys`;
  const second = `${LINE.replace(KEY, OTHER_KEY)}-2`;
  const wide = [
    second.replace("-logDtprze", "-slogDtprze"),
    second.replace("/home/certsync/incoming/", "/root/.ssh/"),
    second.replace("incoming/", "incomingX/"),
    second.replace(",restrict", ""),
    `environment="A=b",${second}`,
    `${second.slice(0, 120)}`,
    `ssh-ed25519 AAAA/(.)`,
    OTHER_KEY,
    "stale",
  ];
  const lineOf = (script: Awaited<ReturnType<typeof setup>>) =>
    script.fed("authorize /home/certsync/.ssh/authorized_keys") ?? "";
  const authorize = async (args: string[], before: string) => {
    await Deno.writeTextFile(file, before);
    await Deno.remove(`${file}.disabled`).catch(() => {});
    const script = await setup([...DEPLOY, ...args]);
    const said = await script.call(`authorize ${file} <<'END'\n${lineOf(script)}END`);
    const disabled = await Deno.readTextFile(`${file}.disabled`).catch(() => "");
    return { said, keys: await Deno.readTextFile(file), disabled };
  };

  const kept = await authorize([], `# a comment\n${second}\n${LINE}\n`);
  deepEqual([kept.keys, kept.disabled], [`${LINE}\n${second}\n`, ""]);
  match(kept.said, /stays in .*: 256 SHA256:\S+ certsync-push@npm-2 \(ED25519\)/);
  const [, remove = ""] = /to remove it: (.*)$/m.exec(kept.said) ?? [];
  await run("/bin/sh", ["-c", remove]);
  equal(await Deno.readTextFile(file), `${LINE}\n`);

  for (const line of wide) {
    const { keys, disabled, said } = await authorize([], `${line}\n`);
    deepEqual([keys, disabled], [`${LINE}\n`, `${line}\n`]);
    match(said, /^setup: set aside in .*\.disabled: 1 of the lines/m);
  }
  const replaced = await authorize(["--replace"], `${second}\n`);
  deepEqual([replaced.keys, replaced.disabled], [`${LINE}\n`, `${second}\n`]);
  equal((await Deno.stat(`${file}.disabled`)).mode! & 0o777, 0o600); // it is there: it was just read
});

Deno.test("a key that was let in from some places alone, or for a time, stays so", async () => {
  const script = await setup(DEPLOY);
  await using dir = await tempDir();
  const limits = 'from="192.0.2.0/24",expiry-time="20300101"';
  const cases: [before: string, given: string, after: string][] = [
    [`${limits},${LINE}`, LINE, `${limits},${LINE}`],
    [`restrict,${limits},command="x" ${KEY}`, LINE, `${limits},${LINE}`],
    [`${limits},${LINE}`, `from="192.0.2.1",${LINE}`, `from="192.0.2.1",${LINE}`],
    [LINE, LINE, LINE],
    [`from="*",${LINE}`.replace(KEY, OTHER_KEY), LINE, LINE],
  ];
  for (const [before, given, after] of cases) {
    await Deno.writeTextFile(`${dir.path}/keys`, `${before}\n`);
    await script.call(
      `kept_lines='^$'\nput() { cat >"$2"; }\nauthorize ${dir.path}/keys <<'E'\n${given}\nE`,
    );
    equal(await Deno.readTextFile(`${dir.path}/keys`), `${after}\n`);
  }
});

Deno.test("setup puts no file into a directory that is in its way", async () => {
  const script = await setup(DEPLOY);
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/unit`);
  await Deno.symlink("unit", `${dir.path}/link`);
  for (const name of ["unit", "link"]) {
    const said = await script.call(
      `(put 644 ${dir.path}/${name} </dev/null) 2>&1 || echo "code $?"`,
    );
    match(
      said,
      new RegExp(`^ERROR: a directory is where .*/${name}\nhint: see what.*\ncode 1$`, "m"),
    );
  }
  deepEqual([...Deno.readDirSync(`${dir.path}/unit`)], []);
});
