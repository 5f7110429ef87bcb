// Docker that is missing, down, or called by its older name: clear errors, or the right command.

import { deepEqual, equal, match } from "node:assert/strict";
import { need } from "../kit/programs.ts";
import { run, tryRun } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { actions, ALL_RELOADED, type Lab, startLab } from "./lab.ts";
import { assertServed, DOVECOT, NGINX } from "./wire.ts";

const PLUGIN_DIRECTORIES = [
  "/usr/local/lib/docker/cli-plugins",
  "/usr/local/libexec/docker/cli-plugins",
  "/usr/lib/docker/cli-plugins",
  "/usr/libexec/docker/cli-plugins",
];

/** Hides what docker finds as its plugins for the time of a scope. */
async function withoutPlugins(): Promise<AsyncDisposable> {
  const hidden: string[] = [];
  for (const directory of PLUGIN_DIRECTORIES) {
    const { code } = await tryRun("mount", ["-t", "tmpfs", "none", directory]);
    if (code === 0) hidden.push(directory);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      for (const directory of hidden) await run("umount", [directory]);
    },
  };
}

/** Without a reload these keep what they have; Postfix's next smtpd would read the new files. */
const UNTOLD = [...DOVECOT, ...NGINX];

/** A PATH where openssl is, and nothing else. */
async function onlyOpenssl(directory: string): Promise<string> {
  await Deno.symlink(need("openssl"), `${directory}/openssl`);
  return directory;
}

/** The next run, once all is there again, brings what this one could not. */
async function assertHeals(lab: Lab, leaf: { fingerprint: string }) {
  const { code, json } = await lab.deploy();
  equal(code, 0, json.error);
  equal(json.outcome, "repaired");
  await assertServed(leaf);
}

Deno.test("docker compose missing is an error that says what to install, and the next run heals", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const leaf = await lab.issue();
  {
    await using _ = await withoutPlugins();
    const { code, json } = await lab.deliver(leaf);
    equal(code, 1);
    equal(json.outcome, "failed");
    match(json.error, /compose/);
    match(json.hint, /docker-compose-plugin/);
    await assertServed(lab.first, UNTOLD);
  }
  await assertHeals(lab, leaf);
});

Deno.test("docker missing is an error that says what to install or link, and the next run heals", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  await using dir = await tempDir();
  const leaf = await lab.issue();
  const path = `${await onlyOpenssl(dir.path)}:/usr/local/bin`;
  const docker = (await run("/bin/sh", ["-c", "command -v docker"])).trim();
  await run("mount", ["-t", "tmpfs", "none", "/usr/local/bin"]);
  try {
    await lab.stage(leaf);
    const { code, json } = await lab.deploy([], { env: { PATH: path } });
    equal(code, 1);
    match(json.error, /docker is not installed/);
    match(json.hint, /link it into \/usr\/local\/bin where it lies elsewhere/);
    await assertServed(lab.first, UNTOLD);

    await Deno.symlink(docker, "/usr/local/bin/docker");
    const healed = await lab.deploy([], { env: { PATH: path } });
    deepEqual([healed.code, healed.json.outcome], [0, "repaired"], healed.json.error);
    await assertServed(leaf);
  } finally {
    await run("umount", ["/usr/local/bin"]);
  }
});

Deno.test("an engine that is down is an error that says so, and the next run heals", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const leaf = await lab.issue();
  await Deno.rename("/run/docker.sock", "/run/docker.sock.away");
  try {
    const { code, json } = await lab.deliver(leaf);
    equal(code, 1);
    equal(json.outcome, "failed");
    match(json.error, /Cannot connect to the Docker daemon/);
    match(json.hint, /start/);
  } finally {
    await Deno.rename("/run/docker.sock.away", "/run/docker.sock");
  }
  await assertHeals(lab, leaf);
});

Deno.test("DOCKER_COMPOSE_VERSION=standalone calls docker-compose, and says where it is missing", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  await using dir = await tempDir();
  await lab.tree.configure({ DOCKER_COMPOSE_VERSION: "standalone" });
  const leaf = await lab.issue();

  const missing = await onlyOpenssl(dir.path);
  await lab.stage(leaf);
  const without = await lab.deploy([], { env: { PATH: missing } });
  equal(without.code, 1);
  match(without.json.error, /docker-compose is not installed/);

  // Compose is one program under both names.
  const plugin = await Deno.makeTempFile({ dir: dir.path });
  await Deno.copyFile(await findPlugin(), plugin);
  await Deno.symlink(plugin, `${dir.path}/docker-compose`);
  const next = await lab.issue();
  await lab.stage(next);
  {
    await using _ = await withoutPlugins();
    const { code, json } = await lab.deploy([], { env: { PATH: dir.path } });
    equal(code, 0, json.error);
    equal(json.outcome, "deployed");
    deepEqual(actions(json), ALL_RELOADED);
    await assertServed(next);
  }
});

async function findPlugin(): Promise<string> {
  for (const directory of PLUGIN_DIRECTORIES) {
    const path = `${directory}/docker-compose`;
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  throw new Error("no docker-compose among docker's plugins");
}
