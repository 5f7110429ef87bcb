// The Debian package: what it holds, and what its scripts leave alone.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { certsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const top = fileURLToPath(new URL("..", import.meta.url));

/** Makes the package, unpacked; not compressed, which would take most of the time. */
async function withPackage(use: (root: string, deb: string) => Promise<void>): Promise<void> {
  await using dir = await tempDir();
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  const extras = `${dir.path}/extras`;
  await run(`${top}/tools/extras`, [extras]);
  const arch = (await run("dpkg", ["--print-architecture"])).trim();
  const binary = `${top}/dist/certsync`;
  const said = await run(`${top}/tools/deb`, [dir.path, extras, binary, arch], {
    env: { DEB_COMPRESSION: "none" },
  });
  match(said, /^packing \d+M into \S+\.deb: this takes some seconds\n/);
  const [deb = ""] = Array.from(Deno.readDirSync(dir.path), ({ name }) => name)
    .filter((name) => name.endsWith(".deb"));
  match(deb, new RegExp(`^certsync_${RegExp.escape(version)}_(amd64|arm64)\\.deb$`));
  await run(need("dpkg-deb"), ["--raw-extract", `${dir.path}/${deb}`, `${dir.path}/root`]);
  await use(`${dir.path}/root`, `${dir.path}/${deb}`);
}

Deno.test("the package holds the binary, units, man pages, completions and an example config", () =>
  withPackage(async (root, deb) => {
    const listing = await run(need("dpkg-deb"), ["--contents", deb]);
    const files = Array.from(
      listing.matchAll(/^(-\S+) (\S+) .* \.\/(\S+)$/gm),
      ([, mode, owner, path]) => `${mode} ${owner} ${path}`,
    );
    const units = ["alert@.service"].concat(
      ["push", "deploy", "verify"].flatMap((name) => [`${name}.service`, `${name}.timer`]),
      ["push.path", "deploy.path"],
    );
    const completions = {
      bash: "usr/share/bash-completion/completions/certsync",
      zsh: "usr/share/zsh/vendor-completions/_certsync",
    };
    const expected = [
      ...units.map((unit) => `usr/lib/systemd/system/mailcow-cert-${unit}`),
      "usr/share/man/man1/certsync.1.gz",
      "usr/share/man/man5/certsync.yaml.5.gz",
      ...Object.values(completions),
      "usr/share/doc/certsync/examples/config.yaml",
      "usr/share/doc/certsync/README.md",
      "usr/share/doc/certsync/CHANGELOG.md",
      "usr/share/doc/certsync/copyright",
      "usr/share/doc/certsync/changelog.gz",
    ];
    for (const path of expected) equal(files.includes(`-rw-r--r-- root/root ${path}`), true, path);
    for (const program of ["usr/bin/certsync", "usr/lib/certsync/tell-alert"]) {
      equal(files.includes(`-rwxr-xr-x root/root ${program}`), true);
    }
    equal(files.some((line) => / etc\//.test(line)), false);

    const version = (path: string) => run(path, ["--version"], { env: { HOME: root } });
    equal(await version(`${root}/usr/bin/certsync`), await version(`${top}/dist/certsync`));
    for (const [shell, path] of Object.entries(completions)) {
      const { stdout } = await certsync(["completion", shell]);
      equal(await Deno.readTextFile(`${root}/${path}`), stdout);
    }
    await run("md5sum", ["--check", "--quiet", "DEBIAN/md5sums"], { cwd: root });
  }));

Deno.test("the package's scripts start no service, and purge no deployed certificate", async () => {
  for (const name of ["postinst", "prerm", "postrm"]) {
    const path = `${top}/tools/packaging/${name}`;
    const text = await Deno.readTextFile(path);
    equal(/(systemctl|invoke) .*(enable|start) .*(service|timer)/.test(text), false, name);
    equal(/mailcow-dockerized|\/home|\/root|userdel/.test(text), false, name);
    const { code, stdout } = await tryRun(need("shellcheck"), [path]);
    deepEqual([code, stdout], [0, ""]);
  }
});

interface Upgrade {
  from: string;
  timers: string[];
  /** Below /etc/systemd/system. */
  files?: Record<string, string>;
  enabled: string[];
  told?: RegExp;
}

Deno.test("an upgrade from before 0.2 enables the path unit of an enabled timer, and none that would end for good", async () => {
  const old = "[Service]\nExecStart=certsync deploy\n";
  const cases: Upgrade[] = [
    { from: "", timers: ["push"], enabled: [] },
    { from: "0.1.0", timers: [], enabled: [] },
    { from: "0.1.9", timers: ["push"], enabled: ["push"] },
    { from: "0.1.0", timers: ["push", "deploy"], enabled: ["push", "deploy"] },
    // Whoever wants none has none again.
    { from: "0.2.0", timers: ["push", "deploy"], enabled: [] },
    {
      from: "0.1.0",
      timers: ["push", "deploy"],
      files: { "mailcow-cert-deploy.service": old },
      enabled: ["push"],
      told: /certsync setup deploy \| sh$/m,
    },
    {
      from: "0.1.0",
      timers: ["deploy"],
      files: { "mailcow-cert-deploy.service": `[Unit]\nStartLimitIntervalSec=0\n${old}` },
      enabled: ["deploy"],
    },
    {
      from: "0.1.0",
      timers: ["push"],
      files: {
        "mailcow-cert-push.service.d/certsync-setup.conf":
          "[Service]\nExecStart=\nExecStart=certsync push --config /srv/c.yaml\n",
      },
      enabled: [],
      told: /certsync setup push \| sh$/m,
    },
  ];
  for (const { from, timers, files = {}, enabled, told } of cases) {
    await using dir = await tempDir();
    const etc = `${dir.path}/etc`;
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(`${etc}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${etc}/${name}`, text);
    }
    const program = (name: string, text: string) =>
      Deno.writeTextFile(`${dir.path}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    const isOne = timers.map((name) => `*is-enabled*${name}.timer) exit 0 ;;`).join(" ");
    await program("systemctl", `case $* in ${isOne} esac; exit 1`);
    await program("deb-systemd-invoke", "exit 0");
    await program(
      "deb-systemd-helper",
      `case $1 in enable) echo "$2" >>${dir.path}/enabled ;; *) exit 1 ;; esac`,
    );
    const postinst = await Deno.readTextFile(`${top}/tools/packaging/postinst`);
    await Deno.writeTextFile(
      `${dir.path}/postinst`,
      postinst.replaceAll("/etc/systemd/system", etc),
    );
    const { code, stdout } = await tryRun(
      need("dash"),
      [`${dir.path}/postinst`, "configure", from],
      { env: { PATH: `${dir.path}:${Deno.env.get("PATH")}` } },
    );
    const text = await Deno.readTextFile(`${dir.path}/enabled`).catch(() => "");
    deepEqual(
      [code, text],
      [0, enabled.map((name) => `mailcow-cert-${name}.path\n`).join("")],
      JSON.stringify({ from, timers, files }),
    );
    if (told) match(stdout, told);
    else equal(/\| sh$/m.test(stdout), false);
  }
});
