// The Debian package on a host with a real systemd: installed, upgraded, removed, purged.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { type Booted, bootFresh } from "./booted.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
const TIMER = "mailcow-cert-deploy.timer";
const PATH = "mailcow-cert-deploy.path";
const PUSH_PATH = "mailcow-cert-push.path";
const SERVICES = ["mailcow-cert-deploy.service", "mailcow-cert-push.service"];

Deno.test("the package is installed, upgraded, removed and purged, and no certificate with it", async (t) => {
  await using dir = await tempDir();
  const { older, deb, newer } = await makePackages(dir.path);
  await using host = await bootFresh("deb-host", [`${dir.path}:/packages:ro`]);
  const dpkg = (...args: string[]) => host.run("dpkg", ...args);
  const enabled = async () => (await host.tryRun("systemctl", "is-enabled", TIMER)).stdout.trim();

  // What a deployed certificate and a staged one are here.
  const precious = [
    "/opt/mailcow-dockerized/data/assets/ssl/key.pem",
    "/home/certsync/incoming/privkey.pem",
  ];
  for (const path of precious) await host.write(path, "precious\n");

  await t.step("installed, nothing is enabled and nothing runs", async () => {
    await dpkg("--install", deb);
    equal(await enabled(), "disabled");
    equal(await host.state(TIMER), "inactive");
    match(await host.run("/usr/bin/certsync", "--version"), /^certsync \d/);
    await host.run("test", "-s", "/usr/share/man/man1/certsync.1.gz");
  });

  await t.step(
    "setup takes the package's units, and removes older ones that hide them",
    async () => {
      const unit = "mailcow-cert-deploy.service";
      await host.write(`/etc/systemd/system/${unit}`, "[Service]\nExecStart=/bin/true\n", "644");
      const key =
        (await host.run("cut", "-d", " ", "-f", "1,2", "/etc/ssh/ssh_host_ed25519_key.pub")).trim();
      const line =
        `command="rsync --server -logDtprze.iLsfxCIvu . /home/certsync/incoming/",restrict ${key}`;
      const said = await host.run(
        "sh",
        "-c",
        `certsync setup deploy --authorized-key '${line}' | sh`,
      );
      match(said, new RegExp(`^setup: removed: /etc/systemd/system/${unit}, which hid`, "m"));
      match(said, new RegExp(`^setup: unchanged: /usr/lib/systemd/system/${TIMER}$`, "m"));
      equal(await enabled(), "enabled");
      equal(await host.state(TIMER), "active");
    },
  );

  await t.step("upgraded, what was enabled stays so, and still runs", async () => {
    await dpkg("--install", newer);
    equal(await host.run("dpkg-query", "--show", "--showformat=${Version}", "certsync"), "99");
    deepEqual([await enabled(), await host.state(TIMER)], ["enabled", "active"]);
  });

  await t.step(
    "removed, the timer ends and the config stays; installed again, it is enabled",
    async () => {
      await dpkg("--remove", "certsync");
      equal(await host.state(TIMER), "inactive");
      equal((await host.tryRun("test", "-e", "/usr/bin/certsync")).code, 1);
      await host.run("test", "-s", "/etc/certsync/config.yaml");
      await dpkg("--install", newer);
      equal(await enabled(), "enabled");
    },
  );

  await t.step(
    "purged, config and memory are gone, certificates and the alert are not",
    async () => {
      await host.write("/var/lib/mailcow-cert-deploy/previous/key.pem", "old\n");
      await host.write("/etc/certsync/alert", "#!/bin/sh\n", "755");
      await dpkg("--purge", "certsync");
      const gone = [
        "/etc/certsync/config.yaml",
        "/var/lib/mailcow-cert-deploy",
        `/etc/systemd/system/timers.target.wants/${TIMER}`,
        `/usr/lib/systemd/system/${TIMER}`,
      ];
      for (const path of gone) equal(await isThere(host, path), false, path);
      for (const path of [...precious, "/etc/certsync/alert"]) {
        equal(
          await isThere(host, path),
          true,
          path,
        );
      }
      equal(await host.run("cat", precious[0] ?? ""), "precious\n");
      equal(await host.run("systemctl", "is-system-running"), "running\n");
    },
  );

  await t.step("upgraded from 0.1, what a timer starts is started by a path unit too", async () => {
    await dpkg("--install", older);
    const timers = [TIMER, "mailcow-cert-push.timer"];
    await host.run("systemctl", "--quiet", "enable", "--now", ...timers);
    const runs = () => Promise.all(SERVICES.map(host.lastRun));
    const before = await runs();
    const said = await dpkg("--install", deb);
    for (const unit of [PATH, PUSH_PATH]) {
      match(said, new RegExp(`^certsync: enabled ${RegExp.escape(unit)}`, "m"));
      const { stdout } = await host.tryRun("systemctl", "is-enabled", unit);
      equal(`${unit} ${stdout.trim()} ${await host.state(unit)}`, `${unit} enabled active`);
    }
    for (const timer of timers) equal(await host.state(timer), "active");
    deepEqual(await runs(), before);
    // Whoever does not want it is not asked again.
    await host.run("systemctl", "--quiet", "disable", "--now", PATH);
    equal(/^certsync: /m.test(await dpkg("--install", newer)), false);
    equal(await host.state(PATH), "inactive");
  });
});

async function isThere(host: Booted, path: string): Promise<boolean> {
  return (await host.tryRun("test", "-L", path)).code === 0 ||
    (await host.tryRun("test", "-e", path)).code === 0;
}

/** The package, one from before path units, and one of a later version; their paths on the host. */
async function makePackages(dir: string): Promise<Record<"older" | "deb" | "newer", string>> {
  await run(`${top}/tools/extras`, [`${dir}/extras`]);
  const arch = (await run("dpkg", ["--print-architecture"])).trim();
  await run(`${top}/tools/deb`, [dir, `${dir}/extras`, `${top}/dist/certsync`, arch], {
    env: { DEB_COMPRESSION: "none" },
  });
  const [name = ""] = Array.from(Deno.readDirSync(dir), ({ name }) => name)
    .filter((name) => name.endsWith(".deb"));
  const tree = `${dir}/tree`;
  await run("dpkg-deb", ["--raw-extract", `${dir}/${name}`, tree]);
  const control = await Deno.readTextFile(`${tree}/DEBIAN/control`);
  const build = async (version: string, deb: string) => {
    await Deno.writeTextFile(
      `${tree}/DEBIAN/control`,
      control.replace(/^Version: .*$/m, `Version: ${version}`),
    );
    await run("dpkg-deb", ["--root-owner-group", "-Znone", "--build", tree, `${dir}/${deb}`]);
    return `/packages/${deb}`;
  };
  const newer = await build("99", "newer.deb");
  // With the units that 0.1 had.
  const units = `${tree}/usr/lib/systemd/system`;
  for (const unit of [PATH, PUSH_PATH]) await Deno.remove(`${units}/${unit}`);
  for (const unit of [...SERVICES, TIMER, "mailcow-cert-push.timer"]) {
    await Deno.copyFile(`${top}/tests/upgrade/${unit}`, `${units}/${unit}`);
  }
  return { older: await build("0.1.0", "older.deb"), deb: `/packages/${name}`, newer };
}
