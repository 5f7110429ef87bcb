// The kit does what its tests rely on, seen by real openssl, rsync and ssh.

import { deepEqual, equal, match, rejects, throws } from "node:assert/strict";
import { type Algorithm, type Authority, authority, type Leaf, tlsa } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { fakeDocker } from "./kit/fake_docker.ts";
import { type Endpoint, ENDPOINT_NAMES, ENDPOINTS, mailServices } from "./kit/mail_services.ts";
import { type MailcowTree, mailcowTree } from "./kit/mailcow_tree.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { need } from "./kit/programs.ts";
import { type Output, run, tryRun } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { forcedCommand, type SshServer, sshServer } from "./kit/ssh_server.ts";
import { type TempDir, tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";

Deno.test("authority issues every algorithm, and openssl agrees", async () => {
  await using ca = await authority();
  const algorithms: Record<Algorithm, RegExp> = {
    rsa: /Public-Key: \(2048 bit\)/,
    "ecdsa-p256": /NIST CURVE: P-256/,
    "ecdsa-p384": /NIST CURVE: P-384/,
    "ecdsa-p521": /NIST CURVE: P-521/,
    ed25519: /ED25519 Public-Key/,
  };
  await Promise.all(
    Object.entries(algorithms).map(async ([algorithm, words]) => {
      const leaf = await ca.issue({ names: [NAME], algorithm: algorithm as Algorithm });
      match(await x509(leaf, "-text"), words);
      match(leaf.keyPem, /^-----BEGIN PRIVATE KEY-----/);
      match(await x509(leaf, "-fingerprint", "-sha256"), new RegExp(leaf.fingerprint));
      await verify(ca, leaf);
    }),
  );
});

Deno.test("authority issues what is asked for", async () => {
  await using ca = await authority();
  const leaf = await ca.issue({
    names: [NAME, "*.example.org", "192.0.2.1"],
    notBefore: new Date("2020-01-02T03:04:05Z"),
    notAfter: new Date("2060-01-02T03:04:05Z"),
    subject: "",
    issuerName: "(STAGING) Wannabe Watercress R11",
    extendedKeyUsage: "clientAuth",
  });
  const text = await x509(leaf, "-text");
  match(text, /Subject: *\n/);
  match(text, /Issuer: .*CN = \(STAGING\) Wannabe Watercress R11/);
  match(text, /Not Before: Jan {2}2 03:04:05 2020 GMT/);
  match(text, /Not After : Jan {2}2 03:04:05 2060 GMT/);
  match(text, /DNS:mail.example.org, DNS:\*.example.org, IP Address:192.0.2.1/);
  match(text, /TLS Web Client Authentication/);

  const bare = await ca.issue({ names: [NAME], san: [], keyPem: leaf.keyPem });
  equal((await x509(bare, "-text")).includes("Alternative Name"), false);
  equal(await tlsa(bare), await tlsa(leaf));

  const own = await ca.issue({ names: [NAME], signedBy: "self" });
  equal(own.chainPem, "");
  await rejects(verify(ca, own), /self-signed/);
});

Deno.test("authority is parallel and quick", async () => {
  await using ca = await authority();
  const leaves = await Promise.all(
    Array.from({ length: 20 }, (_, i) => ca.issue({ names: [`h${i}.example.org`] })),
  );
  equal(new Set(leaves.map((leaf) => leaf.fingerprint)).size, 20);
});

Deno.test("npm tree renews link by link, and another reader sees it", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const npm = await npmTree(`${dir.path}/letsencrypt`);
  const [first, second] = await twoLeaves(ca);
  const lineage = await npm.add(5, first);

  equal(await Deno.readLink(`${lineage}/fullchain.pem`), "../../archive/npm-5/fullchain1.pem");
  equal(((await Deno.stat(npm.live)).mode ?? 0) & 0o777, 0o700);
  const steps: string[] = [];
  await npm.renew(5, second, async ({ kind, done }) => {
    steps.push(`${kind} ${done}`);
    if (kind === "privkey" && done === "linked") {
      equal(await Deno.readTextFile(`${lineage}/privkey.pem`), second.keyPem);
      equal(await Deno.readTextFile(`${lineage}/fullchain.pem`), first.fullchainPem);
    }
    if (kind === "fullchain" && done === "unlinked") {
      await rejects(Deno.readTextFile(`${lineage}/fullchain.pem`), Deno.errors.NotFound);
    }
  });
  equal(steps.length, 8);
  equal(await Deno.readTextFile(`${lineage}/fullchain.pem`), second.fullchainPem);

  const dangling = await npm.addDangling(6);
  equal((await Deno.lstat(`${dangling}/fullchain.pem`)).isSymlink, true);
  await rejects(Deno.stat(`${dangling}/fullchain.pem`), Deno.errors.NotFound);
  const custom = await npm.addCustom(7, first);
  equal((await Deno.lstat(`${custom}/privkey.pem`)).isFile, true);
});

Deno.test("a snapshot sees a touched file, even one that came and went", async () => {
  await using dir = await tempDir();
  const mailcow = await mailcowTree(dir.path);
  const before = await snapshot(mailcow.root);
  assertSame(before, await snapshot(mailcow.root));
  await Deno.writeTextFile(`${mailcow.ssl}/.certsync-1`, "");
  await Deno.remove(`${mailcow.ssl}/.certsync-1`);
  const after = await snapshot(mailcow.root);
  throws(
    () => assertSame(before, after),
    /something was touched:\ndata\/assets\/ssl\n {2}before: directory/,
  );
});

Deno.test("mailcow tree has the modes and the conf of a real one", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const leaf = await ca.issue({ names: [NAME] });
  const mailcow = await mailcowTree(dir.path, { leaf, conf: { SQL_PORT: null } });
  await mailcow.configure({ SKIP_LETS_ENCRYPT: "n" });
  const modes = await Promise.all(
    [mailcow.confFile, mailcow.certFile, mailcow.keyFile].map(async (path) =>
      ((await Deno.stat(path)).mode ?? 0) & 0o777
    ),
  );
  deepEqual(modes, [0o600, 0o644, 0o600]);
  const conf = await Deno.readTextFile(mailcow.confFile);
  match(conf, /^MAILCOW_HOSTNAME=mail.example.org$/m);
  match(conf, /^SKIP_LETS_ENCRYPT=n$/m);
  equal(conf.includes("SQL_PORT"), false);
});

Deno.test("rsync pushes through the forced command that matches its flags", async () => {
  await using dir = await tempDir();
  const incoming = `${dir.path}/incoming/`;
  await Deno.mkdir(incoming);
  await Deno.writeTextFile(`${dir.path}/file`, "content");
  await using server = await sshServer({ command: forcedCommand("-aL", incoming) });

  const plain = await rsync(server, "-aL", `${dir.path}/file`, incoming);
  equal(plain.code, 0, plain.stderr);
  equal(await Deno.readTextFile(`${incoming}file`), "content");

  const mismatch = await rsync(server, "-azL", `${dir.path}/file`, incoming);
  equal([12, 4].includes(mismatch.code), true, `${mismatch.code}: ${mismatch.stderr}`);

  await server.force(forcedCommand("-azL", incoming));
  await Deno.writeTextFile(`${dir.path}/file`, "changed content");
  const compressed = await rsync(server, "-azL", `${dir.path}/file`, incoming);
  equal(compressed.code, 0, compressed.stderr);
  equal(await Deno.readTextFile(`${incoming}file`), "changed content");
  equal(server.connections(), 3);
});

Deno.test("sshd knows one key, and its own host key", async () => {
  await using server = await sshServer();
  equal((await ssh(server, "echo", "hello")).stdout, "hello\n");
  const stranger = { ...server, identity: server.strangerIdentity };
  match((await ssh(stranger, "true")).stderr, /Permission denied/);
  const unknown = { ...server, knownHosts: server.emptyKnownHosts };
  match((await ssh(unknown, "true")).stderr, /Host key verification failed/);
  const changed = { ...server, knownHosts: server.wrongKnownHosts };
  match((await ssh(changed, "true")).stderr, /REMOTE HOST IDENTIFICATION HAS CHANGED/);
  match(server.log(), /Accepted publickey for/);
  equal(server.connections(), 4);
});

Deno.test("sshd can be without rsync, and listen on ::1", async () => {
  await using dir = await tempDir();
  await using server = await sshServer({ env: { PATH: dir.path }, address: "::1" });
  const { code, stderr } = await rsync(server, "-aL", `${dir.path}/`, dir.path);
  equal([127, 12].includes(code), true, `${code}: ${stderr}`);
  match(stderr, /rsync: command not found|rsync: not found/);
});

Deno.test("every endpoint serves its pair, with SNI and without", async () => {
  await using scene = await mailScene();
  const { services, top, sni } = scene;
  await Promise.all(ENDPOINT_NAMES.flatMap((endpoint) => {
    const hasSni = ENDPOINTS[endpoint].service !== "nginx";
    return [
      same(scene, endpoint, undefined, top),
      same(scene, endpoint, NAME, hasSni ? sni : top),
      same(scene, endpoint, "other.example.org", top),
    ];
  }));
  equal(services.connections("imaps"), 3);
  equal(services.connections(), 27);
  equal(services.serves("imaps", NAME), sni.fingerprint);
  match(scene.mailcow.conf().IMAPS_PORT ?? "", /^127\.0\.0\.1:\d+$/);
});

Deno.test("an endpoint serves several clients at a time, on both families", async () => {
  await using scene = await mailScene({ addresses: ["127.0.0.1", "::1"] });
  const port = scene.services.ports.https;
  await using idle = await handshake(port);
  void idle;
  match(await sClient(port, ["-noservername"]), /BEGIN CERTIFICATE/);
  match(await sClient(port, ["-noservername"], "[::1]"), /BEGIN CERTIFICATE/);
});

Deno.test("endpoints misbehave as told", async () => {
  await using scene = await mailScene();
  const { services, ca } = scene;
  await services.behave("smtp", "refuses-starttls");
  await services.behave("imap", "garbage");
  await services.behave("imaps", "closed");
  await services.behave("pop3s", "hangs-up");
  await services.behave("sieve", { dribbleMs: 0 });
  await services.behave("https", "silent");
  const fingerprints = await Promise.all(
    (["smtp", "imap", "imaps", "pop3s"] as const).map((name) => served(scene, name)),
  );
  deepEqual(fingerprints, [undefined, undefined, undefined, undefined]);
  await same(scene, "sieve", undefined, scene.top);
  equal(await saysSomething(services.ports.https, 30), false);

  await services.behave("imaps", "normal");
  await same(scene, "imaps", undefined, scene.top);

  const next = await ca.issue({ names: [NAME] });
  await scene.mailcow.put(next);
  services.temper("dovecot", { ignores: "reload" });
  await services.reload("dovecot");
  await same(scene, "imaps", undefined, scene.top);
  await services.restart("dovecot");
  await same(scene, "imaps", undefined, next);

  await Deno.writeTextFile(scene.mailcow.keyFile, scene.top.keyPem);
  services.temper("dovecot", {});
  equal(await services.reload("dovecot"), false);
  await same(scene, "imaps", undefined, next);
  await services.restart("dovecot");
  equal(services.isRunning("dovecot"), true);
  equal(await served(scene, "imaps"), undefined);

  services.temper("dovecot", { startDelayMs: 50 });
  await scene.mailcow.put(next);
  await services.restart("dovecot");
  equal(services.serves("imaps"), undefined);
  await until(() => services.serves("imaps") === next.fingerprint);
  services.temper("dovecot", { cannotLoad: [next.fingerprint] });
  await services.restart("dovecot");
  equal(services.serves("imaps"), undefined);
});

Deno.test("fake docker's reload changes what is served", async () => {
  await using scene = await mailScene();
  await using docker = await fakeDocker(scene.services);
  const compose = (...args: string[]) => runDocker(docker.bin, scene.mailcow, "compose", ...args);
  const next = await scene.ca.issue({ names: [NAME] });
  await scene.mailcow.put(next);
  await scene.mailcow.putSni(NAME, next);
  await same(scene, "https", undefined, scene.top);

  equal((await compose("exec", "-T", "nginx-mailcow", "nginx", "-s", "reload")).code, 0);
  await same(scene, "https", undefined, next);
  await same(scene, "imaps", NAME, scene.sni);

  equal((await compose("exec", "-T", "dovecot-mailcow", "dovecot", "reload")).code, 0);
  await same(scene, "imaps", NAME, next);

  const reload = ["exec", "-T", "postfix-mailcow", "postfix", "reload"];
  const postmap = ["postmap", "-F", "hash:/opt/postfix/conf/sni.map"];
  await compose(...reload);
  await same(scene, "smtps", undefined, next);
  await same(scene, "smtps", NAME, scene.sni);
  equal((await compose("exec", "-T", "postfix-mailcow", ...postmap)).code, 0);
  await compose(...reload);
  await same(scene, "smtps", NAME, next);

  await Deno.remove(`${scene.mailcow.ssl}/${NAME}`, { recursive: true });
  await scene.mailcow.put(scene.top);
  const restarted = await compose("restart", "dovecot-mailcow");
  match(restarted.stderr, /mailcowdockerized-dovecot-mailcow-1 {2}Started/);
  await same(scene, "imap", NAME, scene.top);
  await same(scene, "smtp", NAME, next);

  equal(docker.calls.length, 6);
  deepEqual(docker.calls[0], [
    ...["docker", "compose", "exec", "-T"],
    ...["nginx-mailcow", "nginx", "-s", "reload"],
  ]);
  equal(docker.details[0]?.cwd, scene.mailcow.root);
  equal(docker.details[0]?.env.LC_ALL, "C");
});

Deno.test("fake docker fails as the real one does", async () => {
  await using scene = await mailScene();
  const { services, mailcow } = scene;
  await using docker = await fakeDocker(services);
  const compose = (...args: string[]) => runDocker(docker.bin, mailcow, "compose", ...args);
  const exec = () => compose("exec", "-T", "postfix-mailcow", "postfix", "reload");

  await services.stop("postfix");
  match((await exec()).stderr, /^service "postfix-mailcow" is not running$/m);
  const listed = await compose("ps", "--all", "--format", "json");
  const rows = listed.stdout.trim().split("\n").map((line) => JSON.parse(line));
  deepEqual(
    rows.map(({ Service, State }) => [Service, State]),
    [
      ...[["postfix-mailcow", "exited"], ["dovecot-mailcow", "running"]],
      ...[["nginx-mailcow", "running"], ["acme-mailcow", "running"]],
    ],
  );
  equal((await compose("ps", "--services")).stdout, "dovecot-mailcow\nnginx-mailcow\n");

  docker.containers.postfix = "paused";
  match((await exec()).stderr, /is paused, unpause the container before exec/);
  docker.trouble = "engine-down";
  match((await exec()).stderr, /^Cannot connect to the Docker daemon at unix/);
  docker.trouble = "no-compose";
  match((await exec()).stderr, /^docker: 'compose' is not a docker command/);
  docker.trouble = "none";
  docker.intercept = ({ argv }) => argv.includes("reload") ? { code: 7, stderr: "no" } : undefined;
  deepEqual(await exec(), { code: 7, stdout: "", stderr: "no" });
  match((await compose("version")).stdout, /^Docker Compose version v2/);
  const standalone = ["ps", "--services"];
  deepEqual(
    await tryRun(`${docker.bin}/docker-compose`, standalone, { cwd: mailcow.root }),
    await compose(...standalone),
  );

  docker.intercept = () => "hang";
  const hanging = new Deno.Command(`${docker.bin}/docker`, { args: ["compose", "ps"] }).spawn();
  await until(() => docker.calls.at(-1)?.join(" ") === "docker compose ps");
  hanging.kill("SIGTERM");
  equal((await hanging.status).signal, "SIGTERM");
});

Deno.test("certsync runs as a process of its own", async () => {
  const version = await certsync(["--version"]);
  deepEqual([version.code, version.signal, version.stderr], [0, null, ""]);
  match(version.stdout, /\d+\.\d+/);
  throws(() => version.json(), /no JSON on stdout/);
});

Deno.test("a missing program is named with its Debian package", () => {
  match(need("openssl"), /\/openssl$/);
  throws(
    () => need("rsync", "/nonexistent"),
    /^Error: rsync is missing: install the Debian package rsync$/,
  );
});

// What the tests above do

interface MailScene extends AsyncDisposable {
  ca: Authority;
  mailcow: MailcowTree;
  services: Awaited<ReturnType<typeof mailServices>>;
  top: Leaf;
  sni: Leaf;
}

/** A mailcow with one pair at the top and another for the mail hostname. */
async function mailScene(options: { addresses?: string[] } = {}): Promise<MailScene> {
  await using stack = new AsyncDisposableStack();
  const dir: TempDir = stack.use(await tempDir());
  const ca = stack.use(await authority());
  const [top, sni] = await twoLeaves(ca);
  const mailcow = await mailcowTree(dir.path, { leaf: top });
  await mailcow.putSni(NAME, sni);
  const services = stack.use(await mailServices(mailcow, options));
  await mailcow.configure(services.conf);
  const owned = stack.move();
  return {
    ca,
    mailcow,
    services,
    top,
    sni,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function twoLeaves(ca: Authority): Promise<[Leaf, Leaf]> {
  return await Promise.all([
    ca.issue({ names: [NAME], algorithm: "rsa" }),
    ca.issue({ names: [NAME] }),
  ]);
}

async function same(scene: MailScene, endpoint: Endpoint, sni: string | undefined, leaf: Leaf) {
  equal(await served(scene, endpoint, sni), leaf.fingerprint, `${endpoint} ${sni}`);
}

/** The fingerprint that s_client gets, if any. */
async function served({ services }: MailScene, endpoint: Endpoint, sni?: string) {
  const { starttls } = ENDPOINTS[endpoint];
  const output = await sClient(services.ports[endpoint], [
    ...(starttls ? ["-starttls", starttls] : []),
    ...(sni ? ["-servername", sni] : ["-noservername"]),
  ]);
  if (!output.includes("BEGIN CERTIFICATE")) return undefined;
  const args = ["x509", "-noout", "-fingerprint", "-sha256"];
  const line = await run(need("openssl"), args, { stdin: output });
  return line.trim().split("=")[1];
}

async function sClient(port: number, args: string[], host = "127.0.0.1"): Promise<string> {
  const { stdout } = await tryRun(need("openssl"), [
    ...["s_client", "-connect", `${host}:${port}`, ...args],
  ]);
  return stdout;
}

/** A client that has its certificate and stays. */
async function handshake(port: number): Promise<AsyncDisposable> {
  const child = new Deno.Command(need("openssl"), {
    args: ["s_client", "-connect", `127.0.0.1:${port}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.status;
      await reader.cancel();
      await child.stdin.abort();
    },
  };
}

/** Whether a server says anything in that time to a client that keeps silent. */
async function saysSomething(port: number, withinMs: number): Promise<boolean> {
  const connection = await Deno.connect({ port });
  let said = false;
  const reading = connection.read(new Uint8Array(1)).then(() => said = true);
  await new Promise((resolve) => setTimeout(resolve, withinMs));
  const result = said;
  connection.close();
  await reading.catch(() => {});
  return result;
}

function sshOptions(server: SshServer): string[] {
  return [
    ...["-F", "none", "-i", server.identity, "-p", String(server.port)],
    ...["BatchMode=yes", "IdentitiesOnly=yes", `UserKnownHostsFile=${server.knownHosts}`]
      .flatMap((option) => ["-o", option]),
  ];
}

function ssh(server: SshServer, ...command: string[]): Promise<Output> {
  const args = [...sshOptions(server), `${server.user}@${server.address}`, ...command];
  return tryRun(need("ssh"), args);
}

function rsync(server: SshServer, flags: string, from: string, to: string): Promise<Output> {
  const shell = ["ssh", ...sshOptions(server)].join(" ");
  return tryRun(need("rsync"), [flags, "-e", shell, from, server.target(to)]);
}

function runDocker(bin: string, mailcow: MailcowTree, ...args: string[]): Promise<Output> {
  return tryRun(`${bin}/docker`, args, { cwd: mailcow.root });
}

function x509(leaf: Leaf, ...args: string[]): Promise<string> {
  return run(need("openssl"), ["x509", "-noout", ...args], { stdin: leaf.certPem });
}

async function verify(ca: Authority, leaf: Leaf): Promise<void> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/chain.pem`, leaf.chainPem);
  await run(need("openssl"), [
    ...["verify", "-purpose", "sslserver", "-verify_hostname", NAME],
    ...["-CAfile", ca.rootFile],
    ...(leaf.chainPem ? ["-untrusted", `${dir.path}/chain.pem`] : []),
  ], { stdin: leaf.certPem });
}
