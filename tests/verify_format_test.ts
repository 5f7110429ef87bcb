// verify speaks to monitoring: one line for Nagios, whole metrics for Prometheus, also on failure.

import { deepEqual, equal, match } from "node:assert/strict";
import { type Authority, authority, type Leaf } from "./kit/authority.ts";
import { certsync, type CertsyncResult } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;

const daysFromNow = (days: number) => new Date(Date.now() + days * DAY_MS);

function issue(ca: Authority, from: number, to: number): Promise<Leaf> {
  return ca.issue({ names: [NAME], notBefore: daysFromNow(from), notAfter: daysFromNow(to) });
}

/** verify of two files and no endpoint that answers. */
async function verifyFiles(
  source: Leaf,
  deployed: Leaf | null,
  ...args: string[]
): Promise<CertsyncResult> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/source.pem`, source.fullchainPem);
  if (deployed) await Deno.writeTextFile(`${dir.path}/deployed.pem`, deployed.fullchainPem);
  return await certsync([
    "verify",
    ...["--domain", NAME, "--source", "source.pem", "--deployed", "deployed.pem"],
    ...["--endpoint", "imaps://127.0.0.1:1"],
    ...args,
  ], { cwd: dir.path });
}

function perfdata(line: string): Record<string, string> {
  return Object.fromEntries(
    (line.split(" | ")[1] ?? "").trim().split(" ").map((item) => item.split("=")),
  );
}

Deno.test("nagios gets one line with thresholds in days, from percent of the whole life", async () => {
  await using ca = await authority();
  const leaf = await issue(ca, -10, 90);
  const { code, stdout } = await verifyFiles(leaf, leaf, "--format", "nagios");
  equal(code, 2); // the endpoint was asked for, and gives no certificate
  equal(stdout.split("\n").length, 2, stdout);
  match(stdout, /^CERTSYNC CRITICAL - /);
  const data = perfdata(stdout);
  equal(data.days_left?.replace(/^[\d.]+/, ""), ";25.00:;10.00:;;100.00");
  match(data.days_left ?? "", /^(89\.99|90\.00);/);
  equal(data.legs, "4;;;0"); // two files, and one endpoint with and without SNI
  equal(data.unread, "2;;;0");
  equal(data.mismatched, "0;;;0");
});

Deno.test("nagios thresholds may be given in days, and mismatches are counted", async () => {
  await using ca = await authority();
  const { code, stdout } = await verifyFiles(
    await issue(ca, -2, 90),
    await issue(ca, -80, 10),
    ...["--format", "nagios", "--warn", "21d", "--critical", "5d"],
  );
  equal(code, 2);
  match(stdout, /stale at deployed/);
  const data = perfdata(stdout);
  match(data.days_left ?? "", /^(9\.99|10\.00);21\.00:;5\.00:;;90\.00$/);
  equal(data.mismatched, "1;;;0");
});

Deno.test("nagios gets its one line also where the configuration is wrong", async () => {
  const { code, stdout, stderr } = await certsync([
    ...["verify", "--format", "nagios", "--warn", "soon"],
  ]);
  equal(code, 3);
  match(stdout, /^CERTSYNC UNKNOWN - --warn is not an age: "soon" \| legs=0;;;0 /);
  equal(stdout.trimEnd().includes("\n"), false);
  match(stderr, /^ERROR: --warn is not an age/);
});

Deno.test("nagios gets its one line also where the command line is wrong", async () => {
  for (const format of [["--format", "nagios"], ["--format=nagios"]]) {
    const { code, stdout, stderr } = await certsync(["verify", ...format, "--wran", "5d"]);
    equal(code, 3);
    match(stdout, /^CERTSYNC UNKNOWN - [^|\n]*--wran[^|\n]* \| legs=0;;;0 [^\n]*\n$/);
    match(stderr, /^ERROR: .*--wran/);
  }
});

Deno.test("an unknown format is refused with the known ones", async () => {
  const { code, stdout, stderr } = await certsync(["verify", "--format", "yaml"]);
  equal(code, 3);
  equal(stdout, "");
  match(stderr, /--format is not a format: "yaml"\nhint: the formats are text, nagios, prometheus/);
});

async function promtoolAccepts(metrics: string): Promise<void> {
  const { code, stdout, stderr } = await tryRun(need("promtool"), ["check", "metrics"], {
    stdin: metrics,
  });
  equal(stdout + stderr, "");
  equal(code, 0);
}

const NAMES = [
  "certsync_fingerprint_info",
  "certsync_match",
  "certsync_not_after_seconds",
  "certsync_run_seconds",
  "certsync_status",
];

Deno.test("prometheus gets every leg with its labels, and promtool is satisfied", async () => {
  await using ca = await authority();
  const [source, deployed] = [await issue(ca, -2, 90), await issue(ca, -80, 10)];
  const { stdout } = await verifyFiles(source, deployed, "--format", "prometheus");
  await promtoolAccepts(stdout);
  const samples = new Map(
    stdout.split("\n").filter((line) => /^[a-z]/.test(line)).map((line) => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), line.slice(space + 1)];
    }),
  );
  const value = (name: string, leg: string) =>
    Array.from(samples).filter(([series]) =>
      series.startsWith(`${name}{domain="${NAME}",leg="${leg}"`)
    )
      .map(([, value]) => value);
  deepEqual(value("certsync_match", "source"), ["1"]);
  deepEqual(value("certsync_match", "deployed"), ["0"]);
  deepEqual(value("certsync_match", "served"), []); // nobody knows what it holds
  deepEqual(value("certsync_not_after_seconds", "deployed"), [
    String(Math.floor(deployed.notAfter.getTime() / 1000)),
  ]);
  deepEqual(value("certsync_not_after_seconds", "served"), []);
  const info = [...samples.keys()].find((series) =>
    series.startsWith(`certsync_fingerprint_info{domain="${NAME}",leg="source"`)
  );
  match(info ?? "", new RegExp(`,sni="",ip="",sha256="${source.fingerprint}"}$`));
  equal(samples.get(`certsync_status{domain="${NAME}"}`), "2");
  const age = Date.now() / 1_000 - Number(samples.get(`certsync_run_seconds{domain="${NAME}"}`));
  equal(age >= 0 && age < 60, true, `${age} s`);
  // A series that comes twice makes the collector drop the whole file.
  equal(samples.size, stdout.split("\n").filter((line) => /^[a-z]/.test(line)).length);
});

Deno.test("prometheus gets all its metrics also where nothing could be done", async () => {
  for (const args of [["--warn", "soon"], ["--config", "/nonexistent.yaml"]]) {
    const { code, stdout } = await certsync(["verify", "--format", "prometheus", ...args]);
    equal(code, 3);
    await promtoolAccepts(stdout);
    deepEqual([...stdout.matchAll(/^# TYPE (\S+) gauge$/gm)].map(([, name]) => name).sort(), NAMES);
    match(stdout, /^certsync_status\{domain=""\} 3$/m);
  }
});

Deno.test("a fault is reported under the name that is meant, and takes no other report's place", async () => {
  await using dir = await tempDir();
  const [config, output] = [`${dir.path}/config.yaml`, `${dir.path}/certsync.prom`];
  const verify = (...args: string[]) =>
    certsync([...args, "--format", "prometheus", "--output", output]);
  const named = async (name: string, ...args: string[]) => {
    equal((await verify("verify", ...args)).code, 3);
    match(
      await Deno.readTextFile(output),
      new RegExp(`^certsync_status.domain="${name}". 3$`, "m"),
    );
  };
  for (const text of [`domain: ${NAME}\nvreify: 1\n`, `{"domain": "${NAME}", "vreify": 1}`]) {
    await Deno.writeTextFile(config, text);
    await named(NAME, "--config", config);
    await named(NAME, "--config", config, "--wran", "5d");
  }
  await named("b.example", "--config", config, "--domain", "b.example");
  await named("d.example", "-v", "d.example", "--config", config);
  // Options may stand before the command.
  equal((await verify("--config", config, "--verbose", "verify", "e.example")).code, 3);
  match(await Deno.readTextFile(output), /^certsync_status\{domain="e\.example"\} 3$/m);
  // What follows an unknown one may be its value.
  match(
    (await verify("-v", "verify", "f.example", "--x")).stdout,
    /status\{domain="f\.example"\} 3$/m,
  );
  match((await verify("verify", "--x", "f.example")).stdout, /status\{domain=""\} 3$/m);
  await named("c.example", "c.example", "--config", config);
  await Deno.writeTextFile(config, "push:\n  domain: x.example\n");
  await named("c.example", "--config", config); // the older report stays as it was
});

Deno.test("an endpoint that is named twice makes no series twice", async () => {
  await using ca = await authority();
  const leaf = await issue(ca, -2, 90);
  const { stdout } = await verifyFiles(
    leaf,
    leaf,
    ...["--format", "prometheus", "--endpoint", "imaps://127.0.0.1:1"],
  );
  await promtoolAccepts(stdout);
});

Deno.test("--output replaces the file by a rename, readable by the collector, and prints nothing", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/certsync.prom`;
  await Deno.writeTextFile(file, "old\n");
  const before = await Deno.stat(file);
  const { stdout } = await certsync([
    ...["verify", "--config", "/nonexistent.yaml", "--format", "prometheus", "--output", file],
  ]);
  equal(stdout, "");
  const after = await Deno.stat(file);
  equal(after.ino === before.ino, false);
  equal((after.mode ?? 0) & 0o777, 0o644);
  await promtoolAccepts(await Deno.readTextFile(file));
  deepEqual(Array.from(Deno.readDirSync(dir.path), ({ name }) => name), ["certsync.prom"]);
});

Deno.test("with --output what would be printed is in the file alone, JSON too", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/certsync.json`;
  for (const format of [[], ["--format", "prometheus"]]) {
    const args = ["verify", "--config", "/nonexistent.yaml", "--json", ...format];
    const { code, stdout } = await certsync([...args, "--output", file]);
    deepEqual([code, stdout], [3, ""]);
    const printed = await certsync(args);
    equal(await Deno.readTextFile(file), printed.stdout);
    equal(printed.json().command, "verify");
  }
});

Deno.test("an output that cannot be written is said, and is no success though all is well", async () => {
  await using ca = await authority();
  await using dir = await tempDir();
  const leaf = await issue(ca, -2, 90);
  await Deno.writeTextFile(`${dir.path}/leaf.pem`, leaf.fullchainPem);
  await Deno.mkdir(`${dir.path}/directory`);
  await Deno.mkdir(`${dir.path}/another`);
  // No name and no endpoint: two files are the whole chain.
  const verify = (output: string, ...more: string[]) =>
    certsync([
      ...["verify", "--source", "./leaf.pem", "--deployed", "./leaf.pem"],
      ...["--format", "prometheus", "--output", `${dir.path}/${output}`, ...more],
    ], { cwd: dir.path });

  const well = await verify("certsync.prom");
  deepEqual([well.code, well.stdout, well.stderr], [0, "", ""]);
  match(await Deno.readTextFile(`${dir.path}/certsync.prom`), /^certsync_status\{domain=""\} 0$/m);

  const cases: [output: string, error: RegExp, more: string[]][] = [
    ["missing/x.prom", /cannot write ".*\/missing\/x\.prom": no such file or directory/, []],
    ["directory", /cannot write ".*\/directory": it is a directory/, []],
    ["another", /cannot write ".*\/another": it is a directory/, ["--json"]],
    ["directory/.", /cannot write ".*\/directory\/\.": it is a directory/, []],
    [`${"../".repeat(20)}dev/null`, /cannot write ".*\/dev\/null": it is not a regular file/, []],
    // A chain that is not well is no better known to whoever waits for the file.
    ["missing/x.prom", /cannot write/, ["--endpoint", "imaps://127.0.0.1:1"]],
  ];
  await Promise.all(cases.map(async ([output, error, more]) => {
    const { code, stderr } = await verify(output, ...more);
    equal(code, 3, output);
    match(stderr, new RegExp(`^ERROR: ${error.source}`, "m"));
  }));
  const names = Array.from(Deno.readDirSync(dir.path), ({ name }) => name).sort();
  deepEqual(names, ["another", "certsync.prom", "directory", "leaf.pem"]);
});
