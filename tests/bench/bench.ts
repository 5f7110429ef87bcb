// Measures certsync against the shell that it replaces: same input, same run, in turns.
//
//     tools/deno run --allow-all tests/bench/bench.ts [--quick] [startUp push deploy …]

import { fileURLToPath } from "node:url";
import { authority, type Leaf } from "../kit/authority.ts";
import { counted } from "../kit/counted.ts";
import { type MailHost, mailHost } from "../kit/mail_host.ts";
import { ENDPOINT_NAMES, ENDPOINTS } from "../kit/mail_services.ts";
import { type NpmTree, npmTree } from "../kit/npm_tree.ts";
import { type SshServer, sshServer } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { call, type Command, inTurns, median, medianOf, peakMemoryMiB } from "./measure.ts";
import { describeMachine, formatTable, type Row } from "./table.ts";

const NAME = "mail.example.org";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DIST = `${ROOT}dist`;
const CERTSYNC = `${DIST}/certsync`;
const HELLO = `${DIST}/bench/hello`;

const isQuick = Deno.args.includes("--quick");
const many = { rounds: isQuick ? 5 : 21, warmUp: 2 };
const some = { rounds: isQuick ? 3 : 9, warmUp: 1 };
const once = { rounds: 1, warmUp: 0 };

/** Everything that the scripts and certsync start. */
const PROGRAMS = [
  ...["openssl", "rsync", "ssh", "docker", "docker-compose", "systemctl", "getent"],
  ...["cat", "grep", "install"],
];

const PATH = Deno.env.get("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin";
const rows: Row[] = [];

await using dir = await tempDir();
await using ca = await authority("Bench", "ecdsa-p384");
const env = { PATH, HOME: dir.path, LC_ALL: "C" };
const hello = { argv: [HELLO], env };

const parts = { startUp, push, pushNames, deploy, deployNames, verify, findNpmDir, binary };
const wanted = Deno.args.filter((argument) => !argument.startsWith("-"));
for (const [name, measure] of Object.entries(parts)) {
  if (wanted.length === 0 || wanted.includes(name)) await measure();
}

const machine = await describeMachine();
const table = formatTable(rows);
console.log(`${machine}\n\n${table}`);
const taken = new Date().toISOString();
await Deno.writeTextFile(
  `${DIST}/bench.json`,
  JSON.stringify({ taken, machine, quick: isQuick, rows }, null, 2) + "\n",
);

async function startUp() {
  progress("start-up");
  const times = await inTurns({
    hello: subject(hello),
    version: subject(certsync("--version")),
    help: subject(certsync("--help")),
  }, many);
  for (const name of ["version", "help"] as const) {
    row(`start-up: --${name}`, "hello world", times.hello, times[name], {
      ratio: medianOf(times, (round) => round[name] / round.hello),
      limit: 1.1,
    });
  }
}

async function push() {
  progress("push");
  const npm = await npmTree(`${dir.path}/npm`);
  const leaf = await ca.issue({ names: [NAME] });
  const lineage = await npm.add(5, leaf);
  await using ssh = await sshServer();
  const targets = await Promise.all(Array.from({ length: 10 }, async (_, index) => {
    const path = `${dir.path}/incoming-${index}`;
    await Deno.mkdir(path);
    return ssh.target(`${path}/`);
  }));
  const [first = ""] = targets;
  const toOne = await pushConfig("one", npm, ssh, [first]);
  const toTen = await pushConfig("ten", npm, ssh, targets);
  await Deno.mkdir(`${dir.path}/script`);
  await Deno.writeTextFile(`${dir.path}/empty-config.yaml`, "");

  const script = bench("push.sh", lineage, `${dir.path}/script`, first, ...sshArgs(ssh));
  await call(script);
  await call(toOne.push);
  const idle = await inTurns({
    hello: subject(hello),
    script: subject(script),
    certsync: subject(toOne.push),
  }, many);
  row("push, nothing to do", "hello world", idle.hello, idle.certsync, {
    ratio: medianOf(idle, (round) => round.certsync / round.hello),
    limit: 1.15,
    ...await processes(hello, toOne.push),
    limitProcesses: 0,
    ...await memory(hello, toOne.push),
    limitMiB: 60,
  });
  row("push, nothing to do", "script", idle.script, idle.certsync, {
    ratio: medianOf(idle, (round) => round.certsync / round.script),
    ...await processes(script, toOne.push),
  });

  const forget = (state: string) => () => renewed(state, first);
  const renewal = await inTurns({
    hello: subject(hello),
    rsync: subject(bench("rsync.sh", lineage, first, ...sshArgs(ssh)), () => emptyOut(first)),
    certsync: subject(toOne.push, async () => {
      await emptyOut(first);
      await forget(toOne.state)();
    }),
    script: subject(script, async () => {
      await emptyOut(first);
      await Deno.writeTextFile(`${dir.path}/script/last_fp`, "");
    }),
  }, some);
  const bare = renewal.rsync.map((ms, round) => ms + (renewal.hello[round] ?? 0));
  await forget(toOne.state)();
  const counts = await processes(
    bench("rsync.sh", lineage, first, ...sshArgs(ssh)),
    toOne.push,
  );
  row("push of a renewal", "bare rsync + hello world", bare, renewal.certsync, {
    ratio: medianOf(renewal, ({ certsync, rsync, hello }) => certsync / (rsync + hello)),
    limit: 1.15,
    ...counts,
  });
  row("push of a renewal", "script", renewal.script, renewal.certsync, {
    ratio: medianOf(renewal, ({ certsync, script }) => certsync / script),
  });

  const bareTo = (target: string) => bench("rsync.sh", lineage, target, ...sshArgs(ssh));
  const wide = await inTurns({
    one: subject(toOne.push, forget(toOne.state)),
    ten: subject(toTen.push, forget(toTen.state)),
    bareOne: subject(bareTo(first), () => emptyOut(first)),
    bareTen: {
      prepare: () => Promise.all(targets.map(emptyOut)),
      run: () => Promise.all(targets.map((target) => call(bareTo(target)))),
    },
  }, some);
  row("bare rsync to 10 targets at once", "bare rsync to one", wide.bareOne, wide.bareTen, {
    ratio: medianOf(wide, ({ bareOne, bareTen }) => bareTen / bareOne),
    note: "what this machine can do",
  });
  row("push to 10 targets", "certsync push to one", wide.one, wide.ten, {
    ratio: medianOf(wide, ({ one, ten }) => ten / one),
    limit: 2.5,
  });
}

/** A host with a hundred certificates, of which one is pushed, or all. */
async function pushNames() {
  progress("push of a hundred names");
  const npm = await npmTree(`${dir.path}/npm-names`);
  const also = Array.from({ length: 99 }, (_, index) => `host-${index}.example.net`);
  const leaves = await Promise.all([NAME, ...also].map((name) => ca.issue({ names: [name] })));
  const lineages = await Promise.all(leaves.map((leaf, index) => npm.add(index + 1, leaf)));
  await using ssh = await sshServer();
  const incoming = `${dir.path}/incoming-names`;
  await Deno.mkdir(incoming);
  const target = ssh.target(`${incoming}/`);
  const one = await pushConfig("one-name", npm, ssh, [target]);
  const all = await pushConfig("all-names", npm, ssh, [target], also);
  await call(one.push);
  await call(all.push);
  const idle = await inTurns({ one: subject(one.push), all: subject(all.push) }, many);
  row("push of 100 names, nothing to do", "one of the 100", idle.one, idle.all, {
    ratio: medianOf(idle, (round) => round.all / round.one),
    limit: 1.6,
    ...await processes(one.push, all.push),
    limitProcesses: 0,
    ...await memory(one.push, all.push),
  });

  const noted = await Deno.readTextFile(`${all.state}/last_fp`);
  const name = also[50] ?? "";
  const other = Array(32).fill("00").join(":");
  const isRenewed = async () => {
    await Deno.remove(`${incoming}/${name}`, { recursive: true });
    const text = noted.replace(new RegExp(`^\\S+(?= .*\t${name}$)`, "m"), other);
    await Deno.writeTextFile(`${all.state}/last_fp`, text);
    await Deno.utime(`${all.state}/last_fp`, 0, 0);
  };
  const pair = bench(
    "rsync.sh",
    lineages[51] ?? "",
    ssh.target(`${incoming}/${name}/`),
    ...sshArgs(ssh),
  );
  const renewal = await inTurns({
    hello: subject(hello),
    rsync: subject(pair, () => emptyOut(`:${incoming}/${name}`)),
    certsync: subject(all.push, isRenewed),
  }, some);
  const bare = renewal.rsync.map((ms, round) => ms + (renewal.hello[round] ?? 0));
  await isRenewed();
  row("push of 1 of 100 names", "bare rsync of it + hello world", bare, renewal.certsync, {
    ratio: medianOf(renewal, ({ certsync, rsync, hello }) => certsync / (rsync + hello)),
    limit: 1.2,
    processes: [2, await started(all.push)],
  });
}

/** Lets the next push find another certificate noted, a while ago. */
async function renewed(state: string, target: string) {
  const other = Array(32).fill("00").join(":");
  await Deno.writeTextFile(`${state}/last_fp`, `${other} ${target}\n`);
  await Deno.utime(`${state}/last_fp`, 0, 0);
}

async function emptyOut(target: string) {
  const path = target.slice(target.indexOf(":") + 1);
  await Deno.remove(path, { recursive: true });
  await Deno.mkdir(path);
}

async function pushConfig(
  name: string,
  npm: NpmTree,
  ssh: SshServer,
  to: readonly string[],
  also: readonly string[] = [],
) {
  const state = `${dir.path}/state-${name}`;
  await Deno.mkdir(state, { mode: 0o700 });
  const file = `${dir.path}/push-${name}.yaml`;
  await Deno.writeTextFile(
    file,
    `domain: ${NAME}
${also.length === 0 ? "" : `also: [${also.join(", ")}]`}
push:
  live: [${npm.live}]
  to: [${to.map((target) => `"${target}"`).join(", ")}]
  port: ${ssh.port}
  identity: ${ssh.identity}
  known_hosts: ${ssh.knownHosts}
  state: ${state}
  trust: ${ca.rootFile}
`,
  );
  return { state, push: certsync("push", "--config", file) };
}

function sshArgs(ssh: SshServer): string[] {
  const settings = ["BatchMode=yes", `UserKnownHostsFile=${ssh.knownHosts}`];
  return [
    ...settings.flatMap((setting) => ["-o", setting]),
    ...["-o", "IdentitiesOnly=yes", "-i", ssh.identity, "-p", String(ssh.port)],
  ];
}

async function deploy() {
  progress("deploy");
  const [one, other] = [await ca.issue({ names: [NAME] }), await ca.issue({ names: [NAME] })];
  await using host = await mailHost({ trust: ca.rootFile, deployed: one, staged: one });
  const ours = onMailHost(host, certsync("deploy", "--config", host.config));
  const theirs = onMailHost(host, bench("deploy.sh", host.staging, host.mailcow.root, NAME));
  await call(ours);
  await Deno.chmod(`${host.mailcow.ssl}/key.pem`, 0o600);
  const idle = await inTurns({
    hello: subject(hello),
    script: subject(theirs),
    certsync: subject(ours),
  }, many);
  row("deploy, nothing to do", "hello world", idle.hello, idle.certsync, {
    ratio: medianOf(idle, (round) => round.certsync / round.hello),
    limit: 1.15,
    ...await processes(hello, ours),
    limitProcesses: 0,
    ...await memory(hello, ours),
    limitMiB: 60,
  });
  row("deploy, nothing to do", "script", idle.script, idle.certsync, {
    ratio: medianOf(idle, (round) => round.certsync / round.script),
    limit: 0.4,
    ...await processes(theirs, ours),
  });

  // Each run finds the other certificate staged.
  const leaves = [other, one];
  const renew = async () => {
    const leaf = leaves.shift() as Leaf;
    leaves.push(leaf);
    await host.stage(leaf);
    // As old as the deployed one, or deploy would refuse the way back.
  };
  await using slow = await slowDocker(host, 250);
  const slowly = (command: Command): Command => ({
    ...command,
    env: { ...command.env, PATH: `${slow.path}:${command.env.PATH}` },
  });
  const renewal = await inTurns({
    script: subject(slowly(theirs), renew),
    certsync: subject(slowly(ours), renew),
  }, some);
  await renew();
  const theirCount = await started(theirs);
  await renew();
  const ourCount = await started(ours);
  row("deploy of a renewal, stand-ins", "script without checks", renewal.script, renewal.certsync, {
    ratio: medianOf(renewal, ({ script, certsync }) => certsync / script),
    limit: 0.6,
    processes: [theirCount, ourCount],
  });
}

/** Of names that have directories of their own, each with a certificate of its own. */
async function deployNames() {
  progress("deploy of a hundred names");
  const names = Array.from({ length: 100 }, (_, number) => `mail.shop${number}.example`);
  const [top, next, ...leaves] = await Promise.all(
    [[NAME], [names[0] ?? ""], ...names.map((name) => [name])].map((names) => ca.issue({ names })),
  );
  if (top === undefined || next === undefined) throw new Error("no certificate");
  await using stack = new AsyncDisposableStack();
  const hostOf = async (also: string[]) => {
    const host = stack.use(
      await mailHost({ trust: ca.rootFile, deployed: top, staged: top, also }),
    );
    for (const [index, name] of also.entries()) {
      await host.stage(leaves[index] as Leaf, name);
      await host.mailcow.putSni(name, leaves[index] as Leaf);
    }
    await Promise.all((["postfix", "dovecot", "nginx"] as const).map(host.services.restart));
    const run = onMailHost(host, certsync("deploy", "--config", host.config));
    await call(run);
    return { host, run };
  };
  const [one, all] = [await hostOf(names.slice(0, 1)), await hostOf(names)];
  const idle = await inTurns({ one: subject(one.run), all: subject(all.run) }, many);
  row("deploy, nothing to do for 100 names", "for one", idle.one, idle.all, {
    ratio: medianOf(idle, (round) => round.all / round.one),
    limit: 1.6,
    ...await processes(one.run, all.run),
    limitProcesses: 0,
  });

  const renewing = ({ host, run }: typeof one) => {
    const turns = [next, leaves[0] as Leaf];
    const renew = async () => {
      const leaf = turns.shift() as Leaf;
      turns.push(leaf);
      await host.stage(leaf, names[0]);
    };
    return subject(run, renew);
  };
  const renewal = await inTurns({ one: renewing(one), all: renewing(all) }, some);
  row("deploy of 1 of 100 names renewed", "of the only one", renewal.one, renewal.all, {
    ratio: medianOf(renewal, (round) => round.all / round.one),
    limit: 1.5,
  });
}

function onMailHost(host: MailHost, command: Command): Command {
  return { ...command, env: { ...command.env, PATH: `${host.docker.bin}:${PATH}` } };
}

/** Before each call of the kit's docker, the time that a real one takes to reach a container. */
async function slowDocker(host: MailHost, ms: number) {
  const bin = await tempDir();
  const script = `#!/bin/sh\nsleep ${ms / 1000}\nexec ${host.docker.bin}/docker "$@"\n`;
  await Deno.writeTextFile(`${bin.path}/docker`, script, { mode: 0o755 });
  return bin;
}

async function verify() {
  progress("verify");
  const leaf = await ca.issue({ names: [NAME] });
  await using host = await mailHost({ trust: ca.rootFile, deployed: leaf, staged: leaf });
  const config = `${dir.path}/verify.yaml`;
  await Deno.writeTextFile(
    config,
    `domain: ${NAME}\nverify: {timeout: 2s, trust: ${ca.rootFile}}\n`,
  );
  const urls = ENDPOINT_NAMES.flatMap((name) => ["--endpoint", host.services.url(name)]);
  const ours = certsync("verify", "--config", config, ...urls);
  const addresses = ENDPOINT_NAMES.map((name) => {
    const { starttls } = ENDPOINTS[name];
    const address = `127.0.0.1:${host.services.ports[name]}`;
    return starttls === undefined ? address : `${address}/${starttls}`;
  });
  const theirs = bench("verify.sh", NAME, ...addresses);
  const singly = addresses.map((address) => bench("verify.sh", NAME, address));
  const single: number[] = [];
  const handshakes = ENDPOINT_NAMES.flatMap((name) => {
    const { starttls } = ENDPOINTS[name];
    return [["-noservername"], ["-servername", NAME]].map((sni): Command => ({
      argv: [
        ...["openssl", "s_client", "-connect", `127.0.0.1:${host.services.ports[name]}`, ...sni],
        ...(starttls === undefined ? [] : ["-starttls", starttls]),
      ],
      env: { ...env, SSL_CERT_FILE: "/dev/null", SSL_CERT_DIR: "/dev/null" },
    }));
  });
  const times = await inTurns({
    hello: subject(hello),
    script: subject(theirs),
    certsync: subject(ours),
    bare: { run: () => Promise.all(handshakes.map(call)) },
    slowest: {
      run: async () => {
        let slowest = 0;
        for (const command of singly) {
          const begin = performance.now();
          await call(command);
          slowest = Math.max(slowest, performance.now() - begin);
        }
        single.push(slowest);
      },
    },
  }, some);
  single.splice(0, some.warmUp);
  row("verify of nine endpoints", "calls one after the other", times.script, times.certsync, {
    ratio: medianOf(times, ({ script, certsync }) => certsync / script),
    limit: 0.35,
    ...await processes(theirs, ours),
  });
  const bare = times.bare.map((ms, round) => ms + (times.hello[round] ?? 0));
  row("18 bare handshakes at once, hello world", "calls one after the other", times.script, bare, {
    ratio: median(bare.map((ms, round) => ms / (times.script[round] ?? NaN))),
    note: "what this machine can do",
  });
  const floor = single.map((ms, round) => ms + (times.hello[round] ?? 0));
  row("verify of nine endpoints", "slowest call + hello world", floor, times.certsync, {
    ratio: median(times.certsync.map((ms, round) => ms / (floor[round] ?? NaN))),
    limit: 1.5,
  });

  await host.services.behave("imaps", "silent");
  const dead = await inTurns({
    certsync: { run: () => call(ours).catch(() => {}) }, // critical, as it should be
  }, some);
  const over = median(dead.certsync) - 2_000;
  row("verify with one dead endpoint", "the time-out, 2 s", [2_000], dead.certsync, {
    ratio: median(dead.certsync) / 2_000,
    note: `${over.toFixed(0)} ms over (≤ 500)`,
    isMet: over <= 500,
  });
}

async function findNpmDir() {
  const others = await Promise.all(
    Array.from(
      { length: 20 },
      (_, index) =>
        ca.issue({ names: [`host-${index}.example.org`, `www.host-${index}.example.org`] }),
    ),
  );
  const wanted = await ca.issue({ names: [NAME] });
  await Deno.writeTextFile(`${dir.path}/none.yaml`, "");
  for (const count of [10, 100, 1_000, 5_000]) {
    progress(`find-npm-dir over ${count}`);
    const npm = await npmTree(`${dir.path}/npm-${count}`);
    for (let n = 1; n <= count; n++) {
      await npm.add(n, n === count >> 1 ? wanted : others[n % others.length] as Leaf);
    }
    const ours = certsync(
      ...["find-npm-dir", NAME, "--live", npm.live, "--config", `${dir.path}/none.yaml`],
    );
    const theirs = bench("find.sh", npm.live);
    // The loop takes minutes there; what disturbs it is small against that.
    const isLong = count >= 1_000;
    const loop = isLong
      ? isQuick ? { script: [NaN] } : await inTurns({ script: subject(theirs) }, once)
      : null;
    const times = loop === null
      ? await inTurns({ script: subject(theirs), certsync: subject(ours) }, some)
      : { ...loop, ...await inTurns({ certsync: subject(ours) }, some) };
    row(`find-npm-dir over ${count}`, "the documentation's loop", times.script, times.certsync, {
      ratio: median(times.certsync) / median(times.script),
      ...(isLong && !isQuick && { limit: 0.02 }),
      processes: [count, await started(ours)],
      ...await memory(hello, ours),
    });
    await Deno.remove(npm.root, { recursive: true });
  }
}

async function binary() {
  const runtime = await runtimeSize();
  const { size } = await Deno.stat(CERTSYNC);
  const overBytes = size - runtime;
  rows.push({
    work: "binary",
    reference: "the runtime alone",
    note: `runtime + ${(overBytes / 1e6).toFixed(2)} MB (≤ 1)`,
    isMet: overBytes <= 1e6,
  });
}

/** What a compiled hello world holds besides its own few bytes. */
async function runtimeSize(): Promise<number> {
  const { size } = await Deno.stat(HELLO);
  return size;
}

function certsync(...args: string[]): Command {
  return { argv: [CERTSYNC, ...args], env };
}

function bench(script: string, ...args: string[]): Command {
  return { argv: [`${ROOT}tests/bench/${script}`, ...args], env };
}

function subject(command: Command, prepare?: () => Promise<unknown>) {
  return { run: () => call(command), ...(prepare && { prepare }) };
}

/** How many outside programs one run starts. */
async function started(command: Command): Promise<number> {
  await using count = await counted(PROGRAMS, command.env.PATH ?? PATH);
  await call({ ...command, env: { ...command.env, PATH: `${count.bin}:${command.env.PATH}` } });
  return count.taken().length;
}

async function processes(reference: Command, ours: Command) {
  return { processes: [await started(reference), await started(ours)] as const };
}

async function memory(reference: Command, ours: Command) {
  return { memoryMiB: [await peakMemoryMiB(reference), await peakMemoryMiB(ours)] as const };
}

function row(
  work: string,
  reference: string,
  theirs: readonly number[],
  ours: readonly number[],
  rest: Omit<Row, "work" | "reference" | "theirsMs" | "oursMs">,
) {
  rows.push({ work, reference, theirsMs: median(theirs), oursMs: median(ours), ...rest });
}

function progress(what: string) {
  console.error(`measuring ${what}`);
}
