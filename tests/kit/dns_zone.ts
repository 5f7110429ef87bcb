// Signed zones below a root of their own, on loopback (knot), and resolvers for them (unbound).

import { freePort } from "./free_port.ts";
import { need } from "./programs.ts";
import { run, tryRun } from "./run.ts";
import { tempDir } from "./temp_dir.ts";
import { until } from "./until.ts";

/** example.com has no DS, and example.net a wrong one; example.edu's name server refuses its zone. */
export const ZONES = {
  secure: "example.org",
  insecure: "example.com",
  bogus: "example.net",
  lame: "example.edu",
} as const;

export interface Resolver {
  address: string;
  port: number;
}

export interface DnsZone extends AsyncDisposable {
  validating: Resolver;
  /** Passes on what it gets. */
  trusting: Resolver;
  /** For `delv -a`: the key of this root. */
  anchorFile: string;
  /** Has these lines stand in the zones in the place of those that were there, and be seen. */
  publish(records: string[]): Promise<void>;
}

export interface DnsZoneOptions {
  /** Lines of a zone file with whole names, each for the zone that its owner ends in. */
  records: string[];
  /** Where the validating resolver listens; default a free port of 127.0.0.1. */
  validating?: Resolver;
}

const LOOPBACK = "127.0.0.1";

/** The name server, and the resolvers that ask it instead of the root of the world. */
export async function dnsZone(options: DnsZoneOptions): Promise<DnsZone> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await tempDir());
  const nameServer = { address: LOOPBACK, port: freePort() };
  const keys = await writeZones(path, nameServer, options.records);
  const running = [
    await start(stack, "knotd", ["-c", `${path}/knot.conf`], path, nameServer),
  ];

  const anchor = keys["."] ?? "";
  const validating = options.validating ?? { address: LOOPBACK, port: freePort() };
  const trusting = { address: LOOPBACK, port: freePort() };
  for (
    const [name, resolver, module] of [
      ["validating", validating, `trust-anchor: "${anchor}"`],
      ["trusting", trusting, 'module-config: "iterator"'],
    ] as const
  ) {
    await Deno.writeTextFile(
      `${path}/${name}.conf`,
      unboundConf(path, resolver, nameServer, module),
    );
    const args = ["-d", "-c", `${path}/${name}.conf`];
    running.push(await start(stack, "unbound", args, path, resolver));
  }
  const anchorFile = `${path}/anchor`;
  const [, , tag, algorithm, type, digest] = anchor.split(" ");
  await Deno.writeTextFile(
    anchorFile,
    `trust-anchors { . static-ds ${tag} ${algorithm} ${type} "${digest}"; };\n`,
  );
  let edition = 1;
  async function publish(records: string[]) {
    edition++;
    await writeTexts(path, records, keys, edition);
    const [server, ...resolvers] = running;
    server?.kill("SIGHUP");
    const apex = ["-r", "+noall", "+answer", ZONES.secure, "SOA"];
    const asked = (resolver: Resolver) =>
      tryRun(need("dig"), [`@${resolver.address}`, "-p", String(resolver.port), ...apex]);
    const isSeen = async (resolver: Resolver) =>
      (await asked(resolver)).stdout.includes(` edition${edition}. `);
    await until(() => isSeen(nameServer), 50);
    for (const resolver of resolvers) resolver.kill("SIGHUP"); // which forgets what it knew
    await until(async () => await isSeen(validating) && await isSeen(trusting), 50);
  }
  const owned = stack.move();
  return {
    publish,
    validating,
    trusting,
    anchorFile,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const SIGNED = [".", ZONES.secure, ZONES.bogus];

/** Returns the DS of each signed zone. */
async function writeZones(
  path: string,
  server: Resolver,
  records: string[],
): Promise<Record<string, string>> {
  for (const name of ["zones", "db"]) await Deno.mkdir(`${path}/${name}`);
  const served = [".", ZONES.secure, ZONES.insecure, ZONES.bogus];
  await Deno.writeTextFile(`${path}/knot.conf`, knotConf(path, server, served));
  const keys: Record<string, string> = {};
  for (const zone of SIGNED) keys[zone] = await makeKey(`${path}/knot.conf`, zone);

  await writeTexts(path, records, keys, 1);
  return keys;
}

async function writeTexts(
  path: string,
  records: string[],
  keys: Record<string, string>,
  edition: number,
): Promise<void> {
  const delegations = Object.values(ZONES).map((zone) => `${zone}. NS ns.`);
  const wrong = keys[ZONES.bogus]?.replace(/ [0-9a-f]{8}(?=[0-9a-f]*$)/, " 00000000");
  const texts: Record<string, string[]> = {
    ".": ["ns. A 127.0.0.1", ...delegations, keys[ZONES.secure] ?? "", wrong ?? ""],
  };
  for (const zone of [ZONES.secure, ZONES.insecure, ZONES.bogus]) {
    texts[zone] = records.filter((line) => line.split(/\s/)[0]?.endsWith(`.${zone}.`));
  }
  for (const [zone, lines] of Object.entries(texts)) {
    const apex = zone === "." ? "." : `${zone}.`;
    // knot goes on from here by itself when it signs.
    const serial = 100 * edition;
    const soa = `SOA ns. edition${edition}. ${serial} 3600 600 86400 60`;
    const start = [`${apex} ${soa}`, `${apex} NS ns.`];
    await Deno.writeTextFile(
      zoneFile(path, zone),
      ["$TTL 3600", ...start, ...lines, ""].join("\n"),
    );
  }
}

function zoneFile(path: string, zone: string): string {
  return `${path}/zones/${zone === "." ? "root" : zone}.zone`;
}

async function makeKey(conf: string, zone: string): Promise<string> {
  const keymgr = need("keymgr");
  const kind = ["algorithm=ecdsap256sha256", "ksk=yes", "zsk=yes"];
  await run(keymgr, ["-c", conf, zone, "generate", ...kind]);
  const lines = (await run(keymgr, ["-c", conf, zone, "ds"])).split("\n");
  const ds = lines.find((line) => / DS \d+ 13 2 /.test(line));
  if (ds === undefined) throw new Error(`keymgr gave no DS for ${zone}: ${lines.join("; ")}`);
  return ds;
}

function knotConf(path: string, server: Resolver, zones: string[]): string {
  return [
    "server:",
    `  listen: ${at(server)}`,
    `  rundir: ${path}`,
    "database:",
    `  storage: ${path}/db`,
    "log:",
    "  - target: stderr",
    "    any: warning",
    "policy:",
    "  - id: one-key",
    "    manual: on",
    "    single-type-signing: on",
    "    algorithm: ecdsap256sha256",
    "template:",
    "  - id: default",
    "    zonefile-sync: -1",
    "zone:",
    ...zones.flatMap((zone) => [
      `  - domain: ${zone}`,
      `    file: ${zoneFile(path, zone)}`,
      `    dnssec-signing: ${SIGNED.includes(zone) ? "on" : "off"}`,
      "    dnssec-policy: one-key",
    ]),
    "",
  ].join("\n");
}

function at({ address, port }: Resolver): string {
  return `${address}@${port}`;
}

function unboundConf(path: string, own: Resolver, server: Resolver, module: string): string {
  const stubs = [".", ...Object.values(ZONES)].flatMap((zone) => [
    "stub-zone:",
    `  name: ${zone}`,
    // Unbound itself refuses what asks for no recursion.
    `  stub-addr: ${at(zone === ZONES.lame ? own : server)}`,
  ]);
  return [
    "server:",
    `  interface: ${own.address}`,
    `  port: ${own.port}`,
    "  do-ip6: no",
    '  username: ""',
    '  chroot: ""',
    `  directory: "${path}"`,
    '  pidfile: ""',
    "  use-syslog: no",
    "  do-not-query-localhost: no",
    `  ${module}`,
    "remote-control:",
    "  control-enable: no",
    ...stubs,
    "",
  ].join("\n");
}

/** Until it answers for the root; its log is the error where it ends instead. */
async function start(
  stack: AsyncDisposableStack,
  program: "knotd" | "unbound",
  args: string[],
  path: string,
  { address, port }: Resolver,
): Promise<Deno.ChildProcess> {
  const log = `${path}/${program}-${port}.log`;
  const output = await Deno.open(log, { write: true, create: true });
  const child = new Deno.Command(need(program), {
    args,
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const logged = child.stderr.pipeTo(output.writable);
  let ended = false;
  const status = child.status.then(() => ended = true);
  stack.defer(async () => {
    if (!ended) child.kill("SIGTERM");
    await Promise.all([status, logged]);
  });
  const question = ["-r", `@${address}`, "-p", String(port), "+tries=1", "+time=1", ".", "SOA"];
  await until(async () => {
    if (ended) throw new Error(`${program} ended: ${await Deno.readTextFile(log)}`);
    return (await tryRun(need("dig"), question)).stdout.includes("status: NOERROR");
  }, 50);
  return child;
}
