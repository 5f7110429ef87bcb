// Reads argv, clock and environment, runs one command, prints what came of it, and exits.

import { fstatSync } from "node:fs";
import { type Flags, parseCommandLine, wantsJson, wantsNagios } from "./lib/cli/command_line.ts";
import {
  commandHelp,
  type CommandName,
  isCommandName,
  isReporting,
  overview,
  type ReportingCommand,
} from "./lib/cli/commands.ts";
import {
  formatDiagnostic,
  isJournal,
  printable,
  printableJson,
  type Severity,
} from "./lib/cli/terminal.ts";
import type { DeployConfig, FindConfig, PushConfig, VerifyConfig } from "./lib/config/config.ts";
import type { ConfigFile } from "./lib/config/config_file.ts";
import type { DeployReport } from "./lib/deploy/report.ts";
import { explain, Failure, UsageFailure } from "./lib/failure.ts";
import type { FindReport } from "./lib/find_npm_dir.ts";
import type { PushReport } from "./lib/push/push.ts";
import type { RunContext } from "./lib/run_context.ts";
import type { Status } from "./lib/verify/verdict.ts";
import type { VerifyReport } from "./lib/verify/verify.ts";

/** What every report may say, whatever else it holds. */
interface Report {
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

/** One command from the config file to the exit code. */
interface Runner<Config, R extends Report> {
  config(file: ConfigFile, flags: Flags): Config;
  run(config: Config, context: RunContext): R | Promise<R>;
  empty(config: Config | null): R;
  /** In lines; without a config where that is at fault. */
  describe(report: R, config: Config | null, flags: Flags): string[];
  exitCode(report: R): number;
}

/** The moment of the run. */
const now = new Date();

const FAILED = 1;
const USAGE = 2;
/** What monitoring plugins return for "unknown", and for wrong usage. */
const UNKNOWN = 3;

// Each loads what its command needs and no more: reading the whole program at every start would take
// longer than finding that there is nothing to do.

async function pushRunner(): Promise<Runner<PushConfig, PushReport>> {
  const { pushConfig } = await import("./lib/config/config.ts");
  const { describePush, emptyPushReport, push } = await import("./lib/push/push.ts");
  return {
    config: pushConfig,
    run: push,
    empty: emptyPushReport,
    describe: describePush,
    exitCode: ({ error }) => error === undefined ? 0 : FAILED,
  };
}

async function deployRunner(): Promise<Runner<DeployConfig, DeployReport>> {
  const { deployConfig } = await import("./lib/config/config.ts");
  const { deploy } = await import("./lib/deploy/deploy.ts");
  const { describeDeploy, emptyDeployReport } = await import("./lib/deploy/report.ts");
  return {
    config: deployConfig,
    run: deploy,
    empty: emptyDeployReport,
    describe: describeDeploy,
    exitCode: ({ error }) => error === undefined ? 0 : FAILED,
  };
}

async function verifyRunner(): Promise<Runner<VerifyConfig, VerifyReport>> {
  const { verifyConfig } = await import("./lib/config/config.ts");
  const { emptyVerifyReport, verify } = await import("./lib/verify/verify.ts");
  const { isFormat } = await import("./lib/config/report_format.ts");
  const { formatVerify } = await import("./lib/verify/format.ts");
  const { statuses } = await import("./lib/verify/verdict.ts");
  return {
    config: verifyConfig,
    run: verify,
    empty: emptyVerifyReport,
    describe(report, config, flags) {
      const wanted = flags.value("format");
      const thresholds = config && { ...config, now };
      const finish = flags.value("output") === undefined ? paint : (text: string) => text;
      return formatVerify(isFormat(wanted) ? wanted : "text", report, thresholds, finish);
    },
    exitCode: ({ status }) => statuses.indexOf(status),
  };
}

async function findRunner(): Promise<Runner<FindConfig, FindReport>> {
  const { findConfig } = await import("./lib/config/config.ts");
  const { describeFind, emptyFindReport, findNpmDir } = await import("./lib/find_npm_dir.ts");
  return {
    config: findConfig,
    run: findNpmDir,
    empty: emptyFindReport,
    describe: (report, _config, flags) => describeFind(report, { all: flags.has("all") }),
    exitCode: ({ error }) => error === undefined ? 0 : FAILED,
  };
}

async function main(argv: readonly string[]): Promise<number> {
  const json = wantsJson(argv);
  const first = argv[0] ?? "";
  try {
    const line = parseCommandLine(argv);
    switch (line.kind) {
      case "help":
        print(line.command === null ? overview() : commandHelp(line.command));
        return 0;
      case "version": {
        const { describeBuild } = await import("./lib/cli/version.ts");
        print(await describeBuild());
        return 0;
      }
      case "run":
        return isReporting(line.command)
          ? await runCommand(line.command, line.flags, json)
          : await printScript(line.command, line.flags);
    }
  } catch (error) {
    // Only the command line itself can be wrong here: there is no report of a command yet.
    if (!(error instanceof UsageFailure)) throw error;
    if (json && isCommandName(first)) {
      // What setup and completion print, a shell runs.
      if (isReporting(first)) print(formatJson(first, withError(await emptyReport(first), error)));
    } else if (json) print(formatJson(null, withError({ warnings: [] }, error)));
    else if (wantsNagios(argv)) await printNagios(error);
    diagnose(error);
    return first === "verify" ? UNKNOWN : USAGE;
  }
}

async function printNagios(error: UsageFailure): Promise<void> {
  const { emptyVerifyReport } = await import("./lib/verify/verify.ts");
  const { formatNagios } = await import("./lib/verify/nagios.ts");
  formatNagios(printable(withError(emptyVerifyReport(null), error)), null).forEach(print);
}

/** The commands whose output a shell is to run: nothing of it where something is wrong. */
async function printScript(
  command: Exclude<CommandName, ReportingCommand>,
  flags: Flags,
): Promise<number> {
  try {
    print(await (command === "setup" ? setUp(flags) : complete(flags)));
    return 0;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    diagnose(error);
    return error instanceof UsageFailure ? USAGE : FAILED;
  }
}

async function setUp(flags: Flags): Promise<string> {
  const { readConfigFile } = await import("./lib/config/config.ts");
  const { setupConfig } = await import("./lib/setup/config.ts");
  const { readParts, setupScript } = await import("./lib/setup/setup.ts");
  const config = setupConfig(await readConfigFile(flags.value("config")), flags);
  return setupScript(config, await readParts(config.role));
}

async function complete(flags: Flags): Promise<string> {
  const { completionScript, parseShell } = await import("./lib/cli/completion.ts");
  return completionScript(parseShell(flags.operands[0]));
}

async function runCommand(
  command: ReportingCommand,
  flags: Flags,
  json: boolean,
): Promise<number> {
  switch (command) {
    case "push":
      return await execute(command, await pushRunner(), flags, json);
    case "deploy":
      return await execute(command, await deployRunner(), flags, json);
    case "verify":
      return await execute(command, await verifyRunner(), flags, json);
    case "find-npm-dir":
      return await execute(command, await findRunner(), flags, json);
  }
}

async function emptyReport(command: ReportingCommand): Promise<Report> {
  switch (command) {
    case "push":
      return (await pushRunner()).empty(null);
    case "deploy":
      return (await deployRunner()).empty(null);
    case "verify":
      return (await verifyRunner()).empty(null);
    case "find-npm-dir":
      return (await findRunner()).empty(null);
  }
}

async function execute<Config, R extends Report>(
  command: ReportingCommand,
  runner: Runner<Config, R>,
  flags: Flags,
  json: boolean,
): Promise<number> {
  let config: Config | null = null;
  let report: R;
  let code: number;
  const { readConfigFile } = await import("./lib/config/config.ts");
  try {
    config = runner.config(await readConfigFile(flags.value("config")), flags);
    report = await runner.run(config, makeRunContext());
    code = runner.exitCode(report);
  } catch (thrown) {
    const error = firstOf(thrown);
    if (thrown instanceof SuppressedError) tell("warning", `WARNING: ${messageOf(thrown.error)}`);
    report = withError(runner.empty(config), error);
    code = command === "verify" ? UNKNOWN : error instanceof UsageFailure ? USAGE : FAILED;
    if (!(error instanceof Failure)) {
      stackOf(error).split("\n").forEach((line) => tell("error", line));
    }
  }
  const output = flags.value("output");
  if (json) print(formatJson(command, report));
  if (!json || output !== undefined) {
    const lines = runner.describe(printable(report), config, flags);
    if (output === undefined) lines.forEach(print);
    else if (!await writeOutput(output, lines)) code = UNKNOWN;
  }
  for (const warning of report.warnings) tell("warning", `WARNING: ${warning}`);
  if (report.error !== undefined) diagnose({ message: report.error, hint: report.hint });
  return code;
}

/** The fault itself, where clearing up after it did not succeed either. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

function withError<R extends Report>(report: R, error: unknown): R {
  if (error instanceof Failure) {
    return { ...report, error: error.message, ...(error.hint && { hint: error.hint }) };
  }
  return { ...report, error: `this is a bug in certsync: ${messageOf(error)}` };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function stackOf(error: unknown): string {
  return error instanceof Error && error.stack ? error.stack : String(error);
}

function makeRunContext(): RunContext {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Failure(`stopped by ${signal}`)));
  }
  return {
    now,
    environment: {
      PATH: Deno.env.get("PATH"),
      HOME: Deno.env.get("HOME"),
      SSH_AUTH_SOCK: Deno.env.get("SSH_AUTH_SOCK"),
    },
    stop: stop.signal,
    tell: (line) => tell("info", line),
  };
}

const toJournal = isJournal(fstatSync(2), Deno.env.get("JOURNAL_STREAM"));

function diagnose({ message, hint }: { message: string; hint?: string | undefined }): void {
  tell("error", `ERROR: ${message}`);
  if (hint !== undefined) tell("error", `hint: ${hint}`);
}

function tell(severity: Severity, line: string): void {
  write(Deno.stderr, formatDiagnostic(severity, printable(line), { toJournal }));
}

function print(line: string): void {
  write(Deno.stdout, line);
}

/** Whether it could be written; if not, that is said. */
async function writeOutput(path: string, lines: readonly string[]): Promise<boolean> {
  const { replaceFile } = await import("./lib/files/write_file.ts");
  try {
    replaceFile(path, lines.map((line) => `${line}\n`).join(""), 0o644);
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    diagnose(error);
    return false;
  }
}

function formatJson(command: ReportingCommand | null, report: Report): string {
  return printableJson({ schema: 1, command, ...report });
}

/** What kept the report from being printed. */
let notPrinted: Failure | null = null;

function write(stream: typeof Deno.stdout | typeof Deno.stderr, line: string): void {
  const bytes = new TextEncoder().encode(`${line}\n`);
  try {
    for (let offset = 0; offset < bytes.length;) offset += stream.writeSync(bytes.subarray(offset));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return; // nobody reads any more
    if (stream === Deno.stderr) return; // there is nowhere left to say so
    const failure = explain(error, "print the report");
    if (!(failure instanceof Failure)) throw error;
    notPrinted = failure;
  }
}

/** Who waits for the report must not take its absence for a good one. */
function exitCode(code: number): number {
  if (notPrinted === null) return code;
  diagnose(notPrinted);
  return Deno.args[0] === "verify" ? UNKNOWN : code === 0 ? FAILED : code;
}

const colours: Record<Status, string> = { ok: "32", warning: "33", critical: "31", unknown: "35" };

function paint(text: string, status: Status): string {
  const isWanted = Deno.stdout.isTerminal() && !Deno.noColor;
  return isWanted ? `\x1b[${colours[status]}m${text}\x1b[0m` : text;
}

Deno.exit(exitCode(await main(Deno.args)));
