// How many outside programs a run starts: what made the shell slow must not come back.

import { deepEqual } from "node:assert/strict";
import { programs } from "../lib/programs/run.ts";
import { authority } from "./kit/authority.ts";
import { certsync, type CertsyncResult } from "./kit/certsync.ts";
import { counted } from "./kit/counted.ts";
import { freePort } from "./kit/free_port.ts";
import { mailHost } from "./kit/mail_host.ts";
import { ENDPOINT_NAMES } from "./kit/mail_services.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const PROGRAMS = programs;

/** Runs it with every program counted; fails unless it ends with that code. */
async function countedRun(
  run: (path: string) => Promise<CertsyncResult>,
  before = "",
  expected = 0,
): Promise<Record<string, number>> {
  await using count = await counted(PROGRAMS, `${before}:${Deno.env.get("PATH")}`);
  const { code, stderr } = await run(count.bin);
  deepEqual({ code, stderr: code === expected ? "" : stderr }, { code: expected, stderr: "" });
  const names = Map.groupBy(count.taken(), (name) => name);
  return Object.fromEntries(Array.from(names, ([name, { length }]) => [name, length]));
}

Deno.test("push starts three openssl and one rsync with its ssh, and nothing once that is done", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  await using ssh = await sshServer();
  const npm = await npmTree(`${dir.path}/npm`);
  await npm.add(5, await ca.issue({ names: [NAME] }));
  await Deno.mkdir(`${dir.path}/incoming`);
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      domain: NAME,
      push: {
        ...{ live: [npm.live], to: ssh.target(`${dir.path}/incoming/`), port: ssh.port },
        ...{ identity: ssh.identity, known_hosts: ssh.knownHosts },
        ...{ state: `${dir.path}/state`, trust: ca.rootFile },
      },
    }),
  );
  const push = () => countedRun((path) => certsync(["push", "--config", config], { path }));

  deepEqual(await push(), { openssl: 3, rsync: 1, ssh: 1 });
  deepEqual(await push(), {});
});

Deno.test("deploy starts three openssl, one handshake a question, one docker a service after two to look, and nothing once that is done", async () => {
  await using ca = await authority();
  await using host = await mailHost({
    trust: ca.rootFile,
    deployed: await ca.issue({ names: [NAME] }),
    staged: await ca.issue({ names: [NAME] }),
  });
  const deploy = () =>
    countedRun(
      (path) =>
        certsync(["deploy", "--config", host.config], { path: `${path}:${host.docker.bin}` }),
      host.docker.bin,
    );
  const questions = ENDPOINT_NAMES.length * 2; // with and without SNI

  // Once before and once after.
  deepEqual(await deploy(), { openssl: 3 + 2 * questions, docker: 2 + 3 });
  deepEqual(await deploy(), {});
});

Deno.test("for DANE deploy and verify start one dig more, where nobody answers", async () => {
  await using ca = await authority();
  await using host = await mailHost({
    trust: ca.rootFile,
    deployed: await ca.issue({ names: [NAME] }),
    staged: await ca.issue({ names: [NAME] }),
    endpoints: ["smtp"],
    resolver: `127.0.0.1:${freePort()}`,
  });
  const run = (args: string[], code = 0) =>
    countedRun(
      (path) =>
        certsync([...args, "--config", host.config], { path: `${path}:${host.docker.bin}` }),
      ...[host.docker.bin, code] as const,
    );
  deepEqual(await run(["deploy"]), { openssl: 3 + 2 * 2, docker: 2 + 3, dig: 1 });
  deepEqual(await run(["deploy"]), {});
  deepEqual(await run(["verify", "--leg", "tlsa"], 3), { dig: 1, systemctl: 1 });
});

Deno.test("verify starts one handshake a question, verifies each chain once, and looks at the timers once", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const leaf = await ca.issue({ names: [NAME] });
  await using host = await mailHost({ trust: ca.rootFile, deployed: leaf });
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      ...{ domain: NAME, resolver: `127.0.0.1:${freePort()}` },
      verify: { trust: ca.rootFile },
    }),
  );
  const endpoints = ENDPOINT_NAMES.flatMap((name) => ["--endpoint", host.services.url(name)]);
  const { systemctl: _, ...others } = await countedRun((path) =>
    certsync(["verify", "--config", config, ...endpoints], { path })
  );
  // All of them serve one chain; for DANE one look, since nobody answers there.
  deepEqual(others, { openssl: 2 * ENDPOINT_NAMES.length + 1, dig: 1 });
});

Deno.test("find-npm-dir starts nothing, however many directories there are", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const npm = await npmTree(dir.path);
  const leaf = await ca.issue({ names: [NAME] });
  for (let n = 1; n <= 50; n++) await npm.add(n, leaf);
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(config, "");
  const args = ["find-npm-dir", NAME, "--live", npm.live, "--config", config];
  deepEqual(await countedRun((path) => certsync(args, { path })), {});
});
