// The README, played to the letter on two hosts with a real systemd: got, set up, upgraded, uninstalled.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { npmTree } from "../kit/npm_tree.ts";
import { run } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { type Booted, bootFresh } from "./booted.ts";
import { type Lab, startLab } from "./lab.ts";
import { assertServed, HOSTNAME, until } from "./wire.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
const readme = Deno.readTextFileSync(`${top}/README.md`);
const FURTHER = "mail.example.com";
const MAILCOW = "/opt/mailcow-dockerized";

type Place = "NPM host" | "mail host";

interface Step {
  readonly host: Place;
  readonly line: string;
}

/** The lines to type of a chapter, each with the host that was named last. */
function steps(title: string): Step[] {
  const [, text = ""] = readme.split(`\n## ${title}\n`);
  let host: Place | undefined;
  return (text.split("\n## ")[0] ?? "").split("\n").flatMap((row) => {
    const [, named] = /\b[Oo]n the (NPM host|mail host)\b/.exec(row) ?? [];
    if (named === "NPM host" || named === "mail host") host = named;
    const [, line] = /^ {4,}(\S.*)$/.exec(row) ?? [];
    if (line === undefined) return [];
    if (host === undefined) throw new Error(`nobody says on which host: ${line}`);
    return [{ host, line: line.replace(/ +# on the .* host$/, "") }];
  });
}

/** Two shells, as a person has them open: each line is typed, or copied from what was printed. */
function atDesk(hosts: Readonly<Record<Place, Booted>>): (step: Step) => Promise<string> {
  const directories: Record<Place, string> = { "NPM host": "/root", "mail host": "/root" };
  let printed = "";
  return async ({ host, line }) => {
    const typed = line.includes("…") ? copied(line, printed) : line;
    const output = await hosts[host].run("sh", "-c", `cd ${directories[host]} && ${typed}`);
    const [, directory = directories[host]] = /^cd (\S+)$/.exec(typed) ?? [];
    directories[host] = directory;
    printed += `\n${output}`;
    return output;
  };
}

/** The newest line that begins and ends as this one does. */
function copied(line: string, printed: string): string {
  const words = line.slice(0, line.indexOf("'") + 1);
  const end = line.slice(line.lastIndexOf("'"));
  const found = printed.split("\n").map((one) => one.trim())
    .findLast((one) => one.startsWith(words) && one.endsWith(end));
  if (found === undefined) throw new Error(`nothing was printed like: ${line}`);
  return found;
}

Deno.test("the README, line by line, leads from two bare hosts to all match, and away again", async (t) => {
  await using lab = await startLab({ conf: { SKIP_LETS_ENCRYPT: "n" } });
  await using dir = await tempDir();
  const npm = await npmTree(`${dir.path}/npm`);
  await Deno.mkdir(`${dir.path}/npm/renewal`);
  let leaf = await lab.issue();
  await npm.add(5, leaf);
  const download = await makeDownload(`${dir.path}/download`);
  // What compose is told on the mail host is what the engine finds: one path on both.
  await using _mount = await mounted(lab.tree.root);

  const shared = [`${download}:/root/download`];
  await using npmHost = await bootFresh(
    "npm",
    [...shared, `${dir.path}/npm:/etc/letsencrypt`],
    { binary: BUILT },
  );
  // The hosts share one network, and the port is the mail host's.
  await npmHost.run("systemctl", "stop", "ssh.service");
  await using mailHost = await bootMailHost(lab, shared);
  await Promise.all([npmHost, mailHost].map((host) => trust(host, lab)));
  await npmHost.run("sh", "-c", `echo "127.0.0.1 ${HOSTNAME}" >>/etc/hosts`);
  const hosts = { "NPM host": npmHost, "mail host": mailHost };
  const type = atDesk(hosts);

  await t.step("Get it: the archive is what it says, and certsync is there", async () => {
    const chapter = readme.slice(readme.indexOf("## Get it"), readme.indexOf("## Quick start"));
    const lines = Array.from(chapter.matchAll(/^ {4}(\S.*)$/gm), ([, line = ""]) => line);
    deepEqual(lines.map((line) => line.split(" ")[0]), ["sha256sum", "apt", "tar", "install"]);
    for (const host of [npmHost, mailHost]) {
      for (const line of lines.filter((line) => !line.startsWith("apt "))) {
        const said = await host.run("sh", "-c", `cd /root/download && ${line}`);
        if (line.startsWith("sha256sum")) match(said, /_linux_\w+\.tar\.gz: OK$/m);
      }
      match(await host.run("certsync", "--version"), /^certsync \d/);
    }
  });

  await t.step("Quick start: the last line is that all match", async () => {
    const lines = steps("Quick start");
    equal(lines.length >= 9, true);
    let last = "";
    for (const step of lines) last = await type(step);
    deepEqual(lines.at(-1), { host: "mail host", line: "certsync verify" });
    match(last.trimEnd().split("\n").at(-1) ?? "", /^all \d+ match$/);
    await assertServed(leaf);
  });

  await t.step("from then on a renewal is served, and nobody types anything", async () => {
    leaf = await lab.issue();
    await npm.renew(5, leaf);
    await Deno.writeTextFile(`${dir.path}/npm/renewal/npm-5.conf`, `# ${leaf.fingerprint}\n`);
    await until(async () => {
      const verified = await mailHost.tryRun("certsync", "verify", "--json");
      const { legs } = JSON.parse(verified.stdout);
      const old = legs.filter((leg: { leg: string; fingerprint: string }) =>
        leg.leg === "served" && leg.fingerprint !== leaf.fingerprint
      );
      return old.length === 0 ? [] : [`${old.length} endpoints serve another one`];
    }, 60_000);
  });

  await t.step(
    "Several names: the other one has a certificate of its own, and all match",
    async () => {
      const other = await lab.issue({ names: [FURTHER] });
      await npm.add(6, other);
      let last = "";
      for (const { host, line } of steps("Several names")) {
        if (!line.endsWith("| sh")) {
          last = await type({ host, line });
          continue;
        }
        // It ends with 1, since the config that is there lacks what it prints.
        last = await type({ host, line: `{ ${line}; } || test $? = 1` });
        const [, key = ""] = /^ +(also: .*)$/m.exec(last) ?? [];
        equal(key, `also: [${FURTHER}]`);
        await type({ host, line: `echo '${key}' >>/etc/certsync/config.yaml` });
      }
      match(last.trimEnd().split("\n").at(-1) ?? "", /^all \d+ match$/);
      match(last, new RegExp(`legs +${RegExp.escape(FURTHER)} `));
      await assertServed(leaf);
    },
  );

  await t.step("Upgrade: the same lines again change nothing", async () => {
    for (const step of steps("Upgrade")) {
      const said = await type(step);
      if (step.line.endsWith("| sh")) match(said, /^setup: nothing was changed$/m);
    }
  });

  await t.step(
    "Uninstall: nothing of certsync is left, and mailcow serves what it has",
    async () => {
      for (const step of steps("Uninstall")) await type(step);
      for (const host of [npmHost, mailHost]) {
        const found = "find /etc /home /root /usr /var -xdev -path /root/download -prune" +
          " -o -path /var/log -prune -o \\( -name '*certsync*' -o -name 'mailcow-cert*' \\) -print";
        equal(await host.run("sh", "-c", found), "");
        equal((await host.tryRun("getent", "passwd", "certsync")).code, 2);
        equal(
          await host.run("systemctl", "list-units", "--failed", "--no-legend", "mailcow-cert-*"),
          "",
        );
      }
      await assertServed(leaf);
    },
  );

  await t.step("Get it: the package is installed, and purged", async () => {
    const [, line = ""] = /^ {4}(apt install .*)$/m.exec(readme) ?? [];
    await npmHost.run("sh", "-c", `cd /root/download && ${line}`);
    match(await npmHost.run("/usr/bin/certsync", "--version"), /^certsync \d/);
    const [, purge = ""] = /`(apt purge \w+)`/.exec(readme) ?? [];
    await npmHost.run("sh", "-c", `yes | ${purge}`);
    equal((await npmHost.tryRun("test", "-e", "/usr/bin/certsync")).code, 1);
  });
});

/** Where the built binary lies on a host: it is not installed by that. */
const BUILT = "/srv/certsync";

/** What a person has downloaded: as make release names it, of this machine's own binary. */
async function makeDownload(path: string): Promise<string> {
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  const arch = (await run("dpkg", ["--print-architecture"])).trim();
  const [archive, deb] = [
    `certsync_${version}_linux_${arch}.tar.gz`,
    `certsync_${version}_${arch}.deb`,
  ];
  await run(`${top}/tools/extras`, [`${path}/extras`]);
  await run("tar", ["-C", `${top}/dist`, "-I", "gzip -1", "-cf", `${path}/${archive}`, "certsync"]);
  await run(`${top}/tools/deb`, [path, `${path}/extras`, `${top}/dist/certsync`, arch], {
    env: { DEB_COMPRESSION: "none" },
  });
  const sums = await run("sha256sum", [archive, deb], { cwd: path });
  const other = `${"0".repeat(64)}  certsync_${version}_linux_other.tar.gz\n`;
  await Deno.writeTextFile(`${path}/SHA256SUMS`, `${sums}${other}`);
  return path;
}

async function mounted(tree: string): Promise<AsyncDisposable> {
  await run("mount", ["-t", "tmpfs", "tmpfs", "/opt"]);
  await Deno.mkdir(MAILCOW);
  await run("mount", ["--bind", tree, MAILCOW]);
  return {
    [Symbol.asyncDispose]: async () => {
      await run("umount", ["--lazy", "--recursive", "/opt"]);
    },
  };
}

async function bootMailHost(lab: Lab, volumes: readonly string[]): Promise<Booted> {
  const host = await bootFresh("mail", [
    ...volumes,
    `${lab.tree.root}:${MAILCOW}`,
    "/run/docker.sock:/var/run/docker.sock",
    "/usr/bin/docker:/usr/bin/docker:ro",
    "/usr/local/lib/docker:/usr/local/lib/docker:ro",
  ], { binary: BUILT });
  await host.run(
    "sh",
    "-c",
    "rm -f /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh.service",
  );
  return host;
}

async function trust(host: Booted, lab: Lab): Promise<void> {
  await host.write("/usr/local/share/ca-certificates/lab.crt", lab.ca.rootPem, "644");
  await host.run("update-ca-certificates");
}
