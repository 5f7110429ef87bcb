// What the key that setup deploy lets in can do, found out by trying: push, and nothing else.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { need } from "./kit/programs.ts";
import { type Output, run, tryRun } from "./kit/run.ts";
import { setup } from "./kit/setup_script.ts";
import { snapshot } from "./kit/snapshot.ts";
import { type SshServer, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

interface Lock {
  server: SshServer;
  /** The one place where the key may write. */
  staging: string;
  /** Outside of it, with a file that nobody may read or change. */
  outside: string;
  /** What is to be sent. */
  source: string;
  /** The line that setup deploy writes. */
  line: string;
  ssh(args: string[], options?: { env?: Record<string, string> }): Promise<Output>;
  rsync(args: string[]): Promise<Output>;
}

/** The keys that a push host would get, with the forced command of this host's rsync. */
async function withLock(use: (lock: Lock) => Promise<void>): Promise<void> {
  await using dir = await tempDir();
  await using server = await sshServer();
  const [staging, outside, source] = ["incoming", "outside", "source"]
    .map((name) => `${dir.path}/${name}`) as [string, string, string];
  for (const path of [staging, outside, source]) await Deno.mkdir(path, { mode: 0o700 });
  await Deno.writeTextFile(`${outside}/secret`, "the-secret\n", { mode: 0o600 });
  await Deno.writeTextFile(`${source}/fullchain.pem`, "chain\n");
  await Deno.writeTextFile(`${source}/privkey.pem`, "key\n", { mode: 0o600 });

  const target = server.target(`${staging}/`);
  const push = await setup(["push", "--domain", "mail.example.org", "--to", target]);
  const command = (await push.call(`server_command '${target}'`)).trim();
  const key = server.publicKey.split(" ").slice(0, 2).join(" ");
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(config, `deploy: {staging: ${staging}}\n`);
  const deploy = await setup([
    ...["deploy", "--config", config],
    "--authorized-key",
    `command="${command}",restrict ${key} certsync-push@test`,
  ]);
  const line = deploy.fed("authorize /home/certsync/.ssh/authorized_keys") ?? "";
  await server.authorize(line);

  const options = [
    ...["-F", "none", "-i", server.identity, "-p", String(server.port), "-o", "BatchMode=yes"],
    ...["-o", "IdentitiesOnly=yes", "-o", `UserKnownHostsFile=${server.knownHosts}`],
    ...["-o", "StrictHostKeyChecking=yes"],
  ];
  await use({
    server,
    staging,
    outside,
    source,
    line,
    ssh: (args, { env = {} } = {}) =>
      tryRun("timeout", ["10", need("ssh"), ...options, ...args], { env }),
    rsync: (args) =>
      tryRun("timeout", ["10", need("rsync"), "-e", ["ssh", ...options].join(" "), ...args]),
  });
}

const login = ({ server }: Lock) => `${server.user}@${server.address}`;

Deno.test("the key pushes both files into staging", () =>
  withLock(async ({ server, source, staging, rsync }) => {
    const files = [`${source}/fullchain.pem`, `${source}/privkey.pem`];
    const { code, stderr } = await rsync(["-azL", "--", ...files, server.target(`${staging}/`)]);
    deepEqual([code, stderr], [0, ""]);
    equal(await Deno.readTextFile(`${staging}/privkey.pem`), "key\n");
  }));

// What SECURITY.md admits: `-azL` and `-az` are let in by the same letters.
Deno.test("the key writes through a link that it sent itself, as its account", () =>
  withLock(async ({ server, source, staging, outside, rsync }) => {
    await Deno.symlink(outside, `${source}/r`);
    await Deno.mkdir(`${source}/two/r`, { recursive: true });
    await Deno.writeTextFile(`${source}/two/r/planted`, "x");
    const target = server.target(`${staging}/`);
    equal((await rsync(["-az", "--", `${source}/r`, target])).code, 0);
    await rsync(["-azR", "--no-implied-dirs", "--", `${source}/two/./r/planted`, target]);
    equal(await Deno.readTextFile(`${outside}/planted`), "x");
    equal(await Deno.readTextFile(`${outside}/secret`), "the-secret\n");
  }));

Deno.test("the key gets no shell, no command and no pty", () =>
  withLock(async (lock) => {
    const touched = `${lock.outside}/touched`;
    for (const args of [[], [`echo the-answer; touch ${touched}`], ["-tt", "echo the-answer"]]) {
      const { stdout } = await lock.ssh([
        ...args.filter((arg) => arg === "-tt"),
        login(lock),
        ...args.filter((arg) => arg !== "-tt"),
      ]);
      doesNotMatch(stdout, /the-answer|\$ $/);
    }
    match((await lock.ssh(["-tt", login(lock)])).stderr, /PTY allocation request failed/);
    deepEqual(Array.from(Deno.readDirSync(lock.outside), ({ name }) => name), ["secret"]);
  }));

Deno.test("the key forwards no port and no socket, in neither direction", () =>
  withLock(async (lock) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const through = await lock.ssh(["-W", `127.0.0.1:${port}`, login(lock)]);
    match(through.stderr, /administratively prohibited|open failed/);
    notZero(through);

    const strict = ["-N", "-o", "ExitOnForwardFailure=yes"];
    const back = await lock.ssh([...strict, "-R", `127.0.0.1:0:127.0.0.1:${port}`, login(lock)]);
    match(back.stderr, /remote port forwarding failed/);
    const socket = `${lock.outside}/socket`;
    const toSocket = await lock.ssh([...strict, "-R", `${socket}:127.0.0.1:${port}`, login(lock)]);
    match(toSocket.stderr, /remote port forwarding failed/);
    [back, toSocket].forEach(notZero);
  }));

Deno.test("the key's session has no agent and no terminal, which without restrict it would have", () =>
  withLock(async (lock) => {
    const said = await run(need("ssh-agent"), ["-s"]);
    const [, socket = ""] = /SSH_AUTH_SOCK=([^;]+)/.exec(said) ?? [];
    const [, pid = ""] = /SSH_AGENT_PID=(\d+)/.exec(said) ?? [];
    try {
      // The same line, with a command that tells what it sees.
      const telling = lock.line.replace(/command="[^"]*"/, 'command="env"');
      const ask = async (...args: string[]) => {
        const env = { SSH_AUTH_SOCK: socket };
        return (await lock.ssh(["-A", ...args, login(lock)], { env })).stdout;
      };
      await lock.server.authorize(telling);
      const seen = await ask();
      match(seen, /^SSH_CONNECTION=/m);
      doesNotMatch(seen, /SSH_AUTH_SOCK/);
      doesNotMatch(await ask("-tt"), /SSH_TTY/);
      await lock.server.authorize(telling.replace(",restrict", ""));
      match(await ask(), /SSH_AUTH_SOCK/);
      match(await ask("-tt"), /SSH_TTY/);
    } finally {
      Deno.kill(Number(pid));
    }
  }));

Deno.test("the key reads no file", () =>
  withLock(async (lock) => {
    const secret = `${lock.outside}/secret`;
    for (const flags of [["-a"], ["-azL"], ["-a", "--rsync-path=cat"]]) {
      // Both sides would wait to receive, for ever.
      const args = [...flags, "--timeout=1"];
      const result = await lock.rsync([...args, lock.server.target(secret), `${lock.source}/got`]);
      notZero(result);
      doesNotMatch(result.stdout + result.stderr, /the-secret/);
    }
    const sender = await lock.ssh([
      login(lock),
      `rsync --server --sender -logDtprze.iLsfxCIvu . ${secret}`,
    ]);
    doesNotMatch(sender.stdout + sender.stderr, /the-secret/);
    notZero(sender);
    deepEqual([...Deno.readDirSync(lock.source)].map(({ name }) => name).sort(), [
      "fullchain.pem",
      "privkey.pem",
    ]);
  }));

Deno.test("the key writes nowhere but into staging, whatever it names", () =>
  withLock(async (lock) => {
    const { server, outside, source, staging } = lock;
    const before = await snapshot(outside);
    const keys = server.identity.replace(/[^/]*$/, "authorized_keys");
    const authorized = await Deno.readTextFile(keys);
    await Deno.writeTextFile(`${source}/authorized_keys`, `${server.publicKey}\n`);
    await Deno.writeTextFile(`${source}/secret`, "another\n");

    await lock.rsync(["-azL", `${source}/secret`, server.target(`${outside}/secret`)]);
    await lock.rsync(["-azL", `${source}/secret`, server.target(`${outside}/`)]);
    await lock.rsync(["-azL", `${source}/authorized_keys`, server.target(keys)]);
    await lock.rsync(["-azLR", `${source}/./../outside/secret`, server.target("/")]);
    await lock.rsync(["-azL", "--delete", `${source}/`, server.target(`${outside}/`)]);

    // A link that is sent first, and a file through it.
    await Deno.mkdir(`${source}/dir`);
    await Deno.symlink(outside, `${source}/dir/way`);
    await lock.rsync(["-az", `${source}/dir`, server.target(`${staging}/`)]);
    await Deno.remove(`${source}/dir/way`);
    await Deno.mkdir(`${source}/dir/way`);
    await Deno.writeTextFile(`${source}/dir/way/secret`, "another\n");
    await lock.rsync(["-az", `${source}/dir`, server.target(`${staging}/`)]);

    deepEqual(await snapshot(outside), before);
    equal(await Deno.readTextFile(keys), authorized);
  }));

Deno.test("the key opens neither sftp nor scp", () =>
  withLock(async (lock) => {
    const { server, outside, source } = lock;
    const sftp = await lock.ssh(["-s", login(lock), "sftp"]);
    notZero(sftp);
    const legacy = await lock.ssh([login(lock), `scp -t ${outside}`]);
    notZero(legacy);
    const scp = await tryRun("timeout", [
      ...["10", "scp", "-F", "none", "-i", server.identity, "-P", String(server.port)],
      ...["-o", `UserKnownHostsFile=${server.knownHosts}`, "-o", "BatchMode=yes"],
      ...[`${source}/privkey.pem`, server.target(`${outside}/`)],
    ]);
    notZero(scp);
    deepEqual(Array.from(Deno.readDirSync(outside), ({ name }) => name), ["secret"]);
  }));

Deno.test("the key fills staging with whatever it likes: modes, links, FIFOs and trees", () =>
  withLock(async ({ server, outside, source, staging, rsync }) => {
    const before = await snapshot(outside);
    const target = server.target(`${staging}/`);
    const hostile = `${source}/hostile`;
    await Deno.mkdir(`${hostile}/fullchain.pem/${"deep/".repeat(100)}`, { recursive: true });
    await Deno.symlink(`${outside}/secret`, `${hostile}/privkey.pem`);
    await Deno.symlink(outside, `${hostile}/shop.example.net`);
    await run("mkfifo", [`${hostile}/fifo`]);
    await Deno.writeTextFile(`${hostile}/program`, "x");
    await Deno.chmod(`${hostile}/program`, 0o4755);
    await Deno.chmod(hostile, 0o777);

    await rsync(["-azL", `${source}/fullchain.pem`, `${source}/privkey.pem`, target]);
    await rsync(["-az", `${hostile}/`, target]);
    const kinds = Object.fromEntries(
      Array.from(Deno.readDirSync(staging), ({ name }) => {
        const { isFile, isDirectory, isSymlink, mode } = Deno.lstatSync(`${staging}/${name}`);
        const kind = isFile ? "file" : isDirectory ? "directory" : isSymlink ? "link" : "other";
        return [name, `${kind}${isFile ? ` ${((mode ?? 0) & 0o7777).toString(8)}` : ""}`];
      }),
    );
    // A file gives way to a directory, and all of it is staging's own user's.
    deepEqual(kinds, {
      "fifo": "other",
      "fullchain.pem": "directory",
      "privkey.pem": "link",
      "program": "file 4755",
      "shop.example.net": "link",
    });
    equal(((await Deno.lstat(staging)).mode ?? 0) & 0o7777, 0o777);

    // Nothing of it leads out, also not with what it has planted.
    await Deno.remove(hostile, { recursive: true });
    await Deno.mkdir(`${hostile}/shop.example.net`, { recursive: true });
    await Deno.writeTextFile(`${hostile}/shop.example.net/secret`, "another\n");
    await Deno.writeTextFile(`${hostile}/privkey.pem`, "another\n");
    await rsync(["-az", `${hostile}/`, target]);
    await rsync(["-azK", `${hostile}/`, target]);
    await rsync(["-az", "--keep-dirlinks", "--delete", "--inplace", `${hostile}/`, target]);
    await rsync(["-az", "--remove-source-files", `${hostile}/`, target]);
    deepEqual(await snapshot(outside), before);
    equal(await Deno.readTextFile(`${staging}/privkey.pem`), "another\n");
  }));

function notZero({ code, stdout }: Output): void {
  equal(code !== 0 && code !== 124, true, `exit ${code}: ${stdout}`);
}
