// The command line: what is understood, and what is told of what is not.

import { deepEqual, doesNotMatch, equal, match, ok, throws } from "node:assert/strict";
import { parseCommandLine, wantsJson } from "../lib/cli/command_line.ts";
import {
  type Command,
  commandHelp,
  type CommandName,
  commands,
  overview,
} from "../lib/cli/commands.ts";
import { explain, Failure, UsageFailure } from "../lib/failure.ts";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { makeScene, NAME } from "./kit/push_scene.ts";
import { tempDir } from "./kit/temp_dir.ts";

const names = Object.keys(commands) as CommandName[];

function run(...argv: string[]) {
  const line = parseCommandLine(argv);
  if (line.kind !== "run") throw new Error(`not a run: ${argv.join(" ")}`);
  return line;
}

Deno.test("help and version are found", () => {
  for (const word of ["--help", "-h", "help"]) {
    deepEqual(parseCommandLine([word]), { kind: "help", command: null });
  }
  for (const word of ["--version", "-V"]) deepEqual(parseCommandLine([word]), { kind: "version" });
  for (const command of names) {
    for (const argv of [[command, "--help"], [command, "-h"], ["help", command]]) {
      deepEqual(parseCommandLine(argv), { kind: "help", command }, argv.join(" "));
    }
  }
});

Deno.test("options are read in either form and in any order", () => {
  const { command, flags } = run(
    "verify",
    "--domain=a.b",
    "--json",
    "--source",
    "/a=b",
    "--endpoint",
    "x",
    "--endpoint=y",
  );
  equal(command, "verify");
  deepEqual([flags.value("domain"), flags.value("source")], ["a.b", "/a=b"]);
  deepEqual(flags.values("endpoint"), ["x", "y"]);
  deepEqual([flags.has("json"), flags.has("help")], [true, false]);
  deepEqual([flags.value("deployed"), flags.values("warn")], [undefined, undefined]);
  deepEqual(flags.operands, []);
});

Deno.test("options stand before the command too, and a switch may be one letter", () => {
  for (
    const argv of [
      ["push", "-nv", "--domain", "a.b"],
      ["-n", "push", "-v", "--domain=a.b"],
      ["--domain", "a.b", "-vn", "push"],
      ["--domain=a.b", "--dry-run", "--verbose", "push"],
    ]
  ) {
    const { command, flags } = run(...argv);
    deepEqual(
      [
        command,
        flags.has("dry-run"),
        flags.has("verbose"),
        flags.has("quiet"),
        flags.value("domain"),
      ],
      ["push", true, true, false, "a.b"],
      argv.join(" "),
    );
  }
  deepEqual(parseCommandLine(["--help", "push"]), { kind: "help", command: "push" });
  deepEqual(parseCommandLine(["--config", "x", "--version"]), { kind: "version" });
});

Deno.test("a value that looks like a number or a truth stays a text", () => {
  const { flags } = run("find-npm-dir", "--live", "007", "--live", "true", "1e3");
  deepEqual(flags.values("live"), ["007", "true"]);
  deepEqual(flags.operands, ["1e3"]);
});

Deno.test("what follows two hyphens is an operand", () => {
  deepEqual(run("find-npm-dir", "--all", "--", "--json").flags.operands, ["--json"]);
  equal(run("find-npm-dir", "--", "--json").flags.has("json"), false);
  equal(wantsJson(["find-npm-dir", "--", "--json"]), false);
  equal(wantsJson(["find-npm-dir", "--json", "--"]), true);
});

Deno.test("wrong usage is told with what was probably meant", () => {
  const cases: [argv: string[], message: RegExp, hint?: RegExp][] = [
    [["--json"], /^no command given$/, /certsync --help/],
    [["--config", "x"], /^no command given$/, /certsync --help/],
    [[""], /^unknown command ""$/, /certsync --help/],
    [["vefiry"], /^unknown command "vefiry"$/, /^did you mean verify\?$/],
    [["find-npm"], /^unknown command "find-npm"$/, /^did you mean find-npm-dir\?$/],
    ...(["list", "run", "renew", "sync", "check", "doctor"] as const).map((
      word,
    ): [string[], RegExp, RegExp] => [[word], /^unknown command /, /^did you mean \S+\?$/]),
    [["renew"], /^unknown command "renew"$/, /^did you mean push\?$/],
    [["frobnicate"], /^unknown command "frobnicate"$/, /certsync --help/],
    [["constructor"], /^unknown command "constructor"$/],
    [["__proto__"], /^unknown command "__proto__"$/],
    [["-x"], /^unknown option "-x"$/, /certsync --help/],
    [["--nonsense", "push"], /^unknown option "--nonsense" for certsync push$/],
    [["--config", "verify"], /^no command given$/],
    [
      ["push", "--domian", "a.b"],
      /^unknown option "--domian" for certsync push$/,
      /mean --domain\?/,
    ],
    [["push", "--domian=a.b"], /^unknown option "--domian/, /mean --domain\?/],
    [["push", "--live", "/a"], /^unknown option "--live" for certsync push$/],
    [["deploy", "--to", "a"], /^unknown option "--to" for certsync deploy$/],
    [["push", "--no-json"], /^unknown option "--no-json"/],
    ...[["push"], ["deploy"], ["status"], ["find-npm-dir"]].flatMap((
      [name = ""],
    ): [string[], RegExp, RegExp][] => [
      [[name, "--format", "json"], /^unknown option "--format"/, /^did you mean --json\?$/],
      [[name, "--format=json"], /^unknown option "--format=json"/, /^did you mean --json\?$/],
    ]),
    [["setup", "push", "--format", "json"], /^unknown option "--format"/, /certsync setup --help/],
    [["push", "-n=1"], /^-n takes no value$/],
    [["push", "-f"], /^unknown option "-f"/],
    [["push", "-hx"], /^unknown option "-hx"/],
    [["push", "--__proto__", "x"], /^unknown option "--__proto__"/],
    [["push", "--constructor"], /^unknown option "--constructor"/],
    [["push", "--domain.x", "y"], /^unknown option "--domain.x"/],
    [["push", "--_", "y"], /^unknown option "--_"/],
    [["verify", "--domain"], /^--domain needs a value: --domain NAME$/],
    [["verify", "--domain="], /^--domain needs a value/],
    [["verify", "--domain", ""], /^--domain needs a value/],
    [["verify", "--domain", "--json"], /^--domain needs a value/],
    [["verify", "--endpoint", "imap://h", "--endpoint"], /^--endpoint needs a value/],
    [["verify", "--domain", "a", "--domain", "b"], /^--domain was given 2 times$/],
    [["verify", "--config", "a", "--config", "b", "--config", "c"], /^--config was given 3 times$/],
    [["verify", "--json=no"], /^--json takes no value$/],
    [["push", "--force=false"], /^--force takes no value$/],
    [["verify", "a.example", "b.example"], /^unexpected argument "b.example"$/, /verify --help/],
    [["completion", "bash", "zsh"], /^unexpected argument "zsh"$/],
    [["push", "--", "x"], /^unexpected argument "x"$/],
  ];
  for (const [argv, message, hint] of cases) {
    throws(() => parseCommandLine(argv), (error) => {
      if (!(error instanceof UsageFailure)) throw error;
      match(error.message, message);
      if (hint !== undefined) match(error.hint ?? "", hint);
      return true;
    }, argv.join(" "));
  }
});

Deno.test("help names every command, and every option of each", () => {
  for (const name of names) {
    match(overview(80).join("\n"), new RegExp(`^ {2}${name} `, "m"));
    const help = commandHelp(name, 80).join("\n");
    match(help, new RegExp(`^usage: certsync ${name} `, "m"));
    for (const { name: option } of commands[name].options) {
      match(help, new RegExp(`^ {2}--${option}(,? |$)`, "m"));
    }
  }
});

Deno.test("help shows two examples of each command, and both are understood", () => {
  for (const name of names) {
    const { examples }: Command = commands[name];
    equal(examples.length >= 2, true, name);
    for (const { line } of examples) {
      equal(`  ${line}`.length <= 80, true, line);
      match(commandHelp(name, 80).join("\n"), new RegExp(`^ {2}${RegExp.escape(line)}$`, "m"));
      // What a shell takes for itself, before it and behind it.
      const [, words = ""] = /certsync ([^|>)]*)/.exec(line) ?? [];
      equal(run(...words.trim().split(" ")).command, name, line);
    }
  }
});

Deno.test("without any argument the overview is printed on stderr", async () => {
  const { code, stdout, stderr } = await certsync([]);
  deepEqual([code, stdout, stderr], [2, "", (await certsync(["--help"])).stdout]);
});

Deno.test("verify answers --format json with the option that does it, and that does", async () => {
  const { code, stdout, stderr } = await certsync(["verify", "--format", "json"]);
  deepEqual([code, stdout], [3, ""]);
  equal(stderr, 'ERROR: --format is not a format: "json"\nhint: did you mean --json?\n');
  equal((await certsync(["verify", "--json"])).json().command, "verify");
});

Deno.test("push without a config names the file that it looked for, and setup push", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(file, "{}");
  const nobody = ["--to", "u@h:/d/"];
  const cases: [argv: string[], error: string, hint: string][] = [
    [["--config", file], `no target: "${file}" does not say`, "set push.to there, or give --to "],
    [["--config", file, ...nobody], `no domain: "${file}" does not say`, "set domain there, or "],
  ];
  for (const [argv, error, hint] of cases) {
    const { code, stderr } = await certsync(["push", ...argv]);
    equal(code, 2);
    ok(stderr.startsWith(`ERROR: ${error}`), stderr);
    ok(stderr.includes(`\nhint: ${hint}`), stderr);
  }
  const { code, stderr } = await certsync(["push"]);
  equal(code, 2);
  match(
    stderr,
    /^ERROR: no (target|domain): there is no config file "\/etc\/certsync\/config\.yaml", .*\nhint: certsync setup push --domain .* --to .* \| sh makes one, /,
  );
});

Deno.test("who is root already is not told to become it", () => {
  const error = Object.assign(new Error("no"), { code: "EACCES" });
  const failure = explain(error, "look");
  if (!(failure instanceof Failure)) throw failure;
  equal(failure.message, "cannot look: permission denied");
  equal(failure.hint?.includes("as root"), Deno.uid() !== 0);
});

Deno.test("-q is silent where there was nothing to do, never of warnings and errors; -v tells of programs", async () => {
  await using ca = await authority();
  await using scene = await makeScene({ ca, leaf: await ca.issue({ names: [NAME] }) });
  const push = (...argv: string[]) => certsync([...argv, "push", "--config", scene.configFile]);
  const first = await push("-q");
  deepEqual([first.code, first.stderr], [0, ""]);
  match(first.stdout, /^pushed /);
  const again = await push("-q");
  deepEqual([again.code, again.stdout, again.stderr], [0, "", ""]);
  const loud = await push("-v");
  deepEqual([loud.code, loud.stderr], [0, ""], "no program was run");
  match(loud.stdout, /^nothing to do/);

  await Deno.chmod(scene.state, 0o777);
  const warned = await push("-q");
  deepEqual([warned.code, warned.stdout], [0, ""]);
  match(warned.stderr, /^WARNING: others can write to /);
  await Deno.chmod(scene.state, 0o700);

  const traced = await push("-vn", "--force");
  match(traced.stderr, /^openssl x509 .*: \d+ ms, exit code 0$/m);
  match(traced.stdout, /^would push /);
  equal((await push("-q", "--source", "npm-77")).stderr.startsWith("ERROR: "), true);
});

Deno.test("what a shell is to run stays empty where the usage is wrong, with --json too", async () => {
  for (const argv of [["setup"], ["setup", "push", "--json"], ["completion", "--json"]]) {
    const { code, stdout, stderr } = await certsync(argv);
    deepEqual([code, stdout], [2, ""], argv.join(" "));
    match(stderr, /^ERROR: [^\n]+\nhint: [^\n]+\n$/);
  }
});

Deno.test("help is as wide as it is told, but for the lines that are to be typed", () => {
  for (const width of [40, 80, 132]) {
    for (const name of names) {
      const { examples, operand = "" }: Command = commands[name];
      const typed = new Set(examples.map(({ line }) => `  ${line}`));
      for (const line of [...overview(width), ...commandHelp(name, width)]) {
        const room = line.startsWith("usage: ") ? width + operand.length : width;
        equal(line.length <= room || typed.has(line) || /^ {2}--\S+ \S+$/.test(line), true, line);
      }
    }
  }
});

Deno.test("help and version print on stdout and succeed", async () => {
  const [help, version, ...ofCommands] = await Promise.all([
    certsync(["--help"]),
    certsync(["--version"]),
    ...names.map((name) => certsync([name, "--help"])),
  ]);
  for (const { code, stdout, stderr } of [help, version, ...ofCommands]) {
    deepEqual([code, stderr], [0, ""]);
    equal(stdout.endsWith("\n"), true);
  }
  match(help.stdout, /^usage: certsync <command>/m);
  match(version.stdout, /^certsync \d+\.\d+\.\d+\n/);
});

Deno.test("wrong usage is one error on stderr, nothing on stdout, no stack, and exit code 2, verify 3", async () => {
  const cases: [argv: string[], code: number][] = [
    [["vefiry"], 2],
    [["--nonsense"], 2],
    [["push", "--nonsense"], 2],
    [["push"], 2],
    [["deploy", "--domain"], 2],
    [["find-npm-dir", "a", "b..c"], 2],
    [["--nonsense", "verify"], 3],
    [["--config", "/nonexistent", "verify"], 3],
    [["--config", "/nonexistent", "push"], 2],
    [["verify", "--nonsense"], 3],
    [["verify", "one", "two"], 3],
    [["verify", "*.example.org"], 3],
    [["verify", "a.example", "--domain", "b.example"], 3],
    [["verify", "--leg", "leaf"], 3],
    [["verify", "--warn", "soon"], 3],
    [["verify", "--endpoint", "mail.example.org"], 3],
  ];
  await Promise.all(cases.map(async ([argv, code]) => {
    const result = await certsync(argv);
    equal(result.code, code, argv.join(" "));
    equal(result.stdout, "");
    match(result.stderr, /^ERROR: [^\n]+\n(hint: [^\n]+\n)?$/);
  }));
});

/** The others print a script. */
type ReportingCommand = Exclude<CommandName, "setup" | "completion">;

const keys: Record<ReportingCommand, string[]> = {
  push: ["outcome", "domain", "source", "fingerprint", "notAfter", "tlsa", "targets", "warnings"],
  deploy: [
    ...["outcome", "domain", "fingerprint", "notAfter", "tlsa"],
    ...["installed", "services", "served", "warnings"],
  ],
  verify: ["status", "domain", "staleAt", "legs", "next", "timers", "warnings"],
  "find-npm-dir": ["hostname", "match", "candidates", "warnings"],
  status: ["roles", "points", "history", "warnings"],
};

Deno.test("--json answers wrong usage with one object that has every key, and the same exit code", async () => {
  await Promise.all(
    names.filter((name): name is ReportingCommand => name in keys).flatMap((name) =>
      [["--nonsense"], ["--config"], ["--json=1"], ["--domain", "a b"]].map(async (wrong) => {
        const result = await certsync([name, "--json", ...wrong]);
        equal(result.code, name === "verify" ? 3 : 2, `${name} ${wrong}`);
        const report = result.json();
        deepEqual([report.schema, report.command], [1, name]);
        for (const key of keys[name]) equal(key in report, true, `${name}: ${key}`);
        equal(typeof report.error, "string");
        match(result.stderr, /^ERROR: /);
        doesNotMatch(result.stderr + report.error, /^ {4}at |\.ts:\d+|this is a bug/m);
      })
    ),
  );
});

Deno.test("--json answers an unknown command too", async () => {
  const result = await certsync(["vefiry", "--json"]);
  equal(result.code, 2);
  const { schema, command, error, hint } = result.json();
  deepEqual(
    [schema, command, error, hint],
    [1, null, 'unknown command "vefiry"', "did you mean verify?"],
  );
});

Deno.test("a reader that goes away is no error", async () => {
  const { code, stderr } = await certsync(["--help"]);
  deepEqual([code, stderr], [0, ""]);
  const binary = new URL("../dist/certsync", import.meta.url).pathname;
  const piped = await new Deno.Command("bash", {
    args: ["-c", 'set -o pipefail; "$0" verify --help | true', binary],
  }).output();
  equal(new TextDecoder().decode(piped.stderr), "");
  equal(piped.code, 0);
});

Deno.test("a report that cannot be printed is an error, and monitoring does not take it for a warning", async () => {
  const under = ["/bin/sh", "-c", 'exec "$@" >/dev/full', "sh"];
  const cases: [string[], number][] = [
    [["--version"], 1],
    [["push", "--help"], 1],
    [["push", "--json", "--config", "/nonexistent"], 2],
    [["verify", "--json", "--config", "/nonexistent"], 3],
  ];
  for (const [args, expected] of cases) {
    const { code, stderr } = await certsync(args, { under });
    equal(code, expected, stderr);
    match(stderr, /^ERROR: cannot print the report: no space left on the device\nhint: .*\n$/m);
    doesNotMatch(stderr, / at |Uncaught/);
  }
});
