// Reads argv, clock and environment, runs one command, prints what came of it, and exits.

import { fstatSync } from "node:fs";
import {
  type Flags,
  noFlags,
  readCommandLine,
  valueIn,
  wantsJson,
} from "./lib/cli/command_line.ts";
import { commandHelp, type CommandName, overview } from "./lib/cli/commands.ts";
import { commandsHere, setupsHere, withNamedFile } from "./lib/config/named_file.ts";
import { hasNoOtherHost, ofOneMachine } from "./lib/config/one_machine.ts";
import {
  isJournal,
  openTerminal,
  type Presentation,
  printable,
  printableJson,
} from "./lib/cli/terminal.ts";
import { complaints } from "./lib/cli/complaints.ts";
import type { ConfigFile } from "./lib/config/config_file.ts";
import { Failure, UsageFailure } from "./lib/failure.ts";
import type { RunContext } from "./lib/run_context.ts";

/** What every report may say, whatever else it holds. */
interface Report {
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
  /** What became of each name, where a command has several. */
  readonly certificates?: readonly {
    readonly name: string | null;
    readonly error?: string;
    readonly hint?: string;
  }[];
}

/** How a command came to its end: idle had nothing to do; verify has the words of monitoring plugins. */
type Ending = "done" | "idle" | "failed" | "misused" | "ok" | "warning" | "critical" | "unknown";

/** One that reports what it did, from the config file to its last word. */
interface Command<Config, R extends Report> {
  config(file: ConfigFile, flags: Flags): Config;
  run(config: Config, context: RunContext): R | Promise<R>;
  /** What is reported of a run that came to nothing; without a config where that is at fault. */
  empty(config: Config | null, argv: readonly string[]): R;
  /** In lines. */
  words(report: R, config: Config | null, presentation: Presentation): string[];
  ending(report: R): Ending;
}

interface Call {
  readonly name: CommandName;
  readonly flags: Flags;
  /** What is wrong with the command line: then it has no flags. */
  readonly misuse: UsageFailure | null;
}

/** Each loads what it needs and no more: to read all at every start would take longer than most runs. */
const commands: Record<CommandName, (call: Call) => Promise<Ending>> = {
  push: async (call) => await report((await import("./lib/push/push.ts")).pushCommand, call),
  deploy: async (call) =>
    await report((await import("./lib/deploy/deploy.ts")).deployCommand, call),
  verify: async (call) =>
    await report((await import("./lib/verify/verify.ts")).verifyCommand, call),
  "find-npm-dir": async (call) =>
    await report((await import("./lib/find_npm_dir.ts")).findCommand, call),
  status: async (call) =>
    await report((await import("./lib/status/status.ts")).statusCommand, call),
  setup: async (call) => await script((await import("./lib/setup/setup.ts")).setUp, call),
  completion: async (call) =>
    await script((await import("./lib/cli/completion.ts")).complete, call),
};

/** What help and tables take where there is no terminal. */
const STANDARD_COLUMNS = 80;

const argv = Deno.args;
const now = new Date();
const terminal = openTerminal({
  stdout: Deno.stdout,
  stderr: Deno.stderr,
  toJournal: isJournal(fstatSync(2), Deno.env.get("JOURNAL_STREAM")),
  inColour: Deno.stdout.isTerminal() && !Deno.noColor,
  columns: () => widthOf(Deno.stderr),
});
/** In columns: some terminals say that they have none. */
function widthOf(stream: { isTerminal(): boolean }): number {
  return stream.isTerminal() && Deno.consoleSize().columns || STANDARD_COLUMNS;
}

async function main(): Promise<number> {
  const line = readCommandLine(argv);
  switch (line.kind) {
    case "bare":
      overview(STANDARD_COLUMNS).forEach((words) => terminal.tell("info", words));
      return exitCode("misused", null);
    case "help": {
      const columns = widthOf(Deno.stdout);
      const help = line.command === null ? overview(columns) : commandHelp(line.command, columns);
      help.forEach(terminal.print);
      return exitCode("done", null);
    }
    case "version":
      terminal.print(await (await import("./lib/cli/version.ts")).describeBuild());
      return exitCode("done", null);
    case "run":
      return await run({ name: line.command, flags: line.flags, misuse: null });
    case "misuse":
      if (line.command !== null) {
        return await run({ name: line.command, flags: noFlags, misuse: line.why });
      }
      if (wantsJson(argv)) {
        terminal.print(jsonOf(null, failedReport({ warnings: [] }, line.why)));
      }
      terminal.diagnose(line.why);
      return exitCode("misused", null);
  }
}

async function run(call: Call): Promise<number> {
  let ending: Ending;
  try {
    ending = await commands[call.name](call);
  } catch (bug) {
    tellStack(bug);
    ending = "failed";
  }
  return exitCode(ending, call.name);
}

const codes = {
  done: 0,
  idle: 0,
  ok: 0,
  failed: 1,
  warning: 1,
  misused: 2,
  critical: 2,
  unknown: 3,
};
/** https://www.monitoring-plugins.org/doc/guidelines.html */
const pluginCodes = { ...codes, failed: 3, misused: 3 };

function exitCode(ending: Ending, command: CommandName | null): number {
  const isPlugin = command === "verify";
  const why = terminal.whyNotPrinted();
  if (why !== null) terminal.diagnose(why);
  const code = (isPlugin ? pluginCodes : codes)[ending];
  // Who waits for a report must not take its absence for a good one.
  if (why === null) return code;
  return isPlugin ? pluginCodes.unknown : Math.max(code, codes.failed);
}

async function report<Config, R extends Report>(
  command: Command<Config, R>,
  { name, flags, misuse }: Call,
): Promise<Ending> {
  let config: Config | null = null;
  let file: ConfigFile | null = null;
  let exposed: readonly string[] = [];
  let outcome: R;
  let ending: Ending;
  const named = flags.value("config");
  try {
    if (misuse !== null) throw misuse;
    const { configWarnings, readConfigFile } = await import("./lib/config/config_file.ts");
    exposed = configWarnings(named);
    file = await readConfigFile(named);
    config = command.config(file, flags);
    outcome = await command.run(config, makeRunContext(flags));
    ending = command.ending(outcome);
  } catch (thrown) {
    const error = firstOf(thrown);
    outcome = failedReport(command.empty(config, argv), error);
    ending = error instanceof UsageFailure ? "misused" : "failed";
    if (thrown instanceof SuppressedError) {
      terminal.tell("warning", `WARNING: ${messageOf(thrown.error)}`);
    }
    if (!(error instanceof Failure)) tellStack(error);
  }
  outcome = { ...outcome, warnings: [...exposed, ...outcome.warnings] };
  if (file !== null && hasNoOtherHost(file)) outcome = ofOneMachine(outcome);
  if (named !== undefined) outcome = withNamedFile(outcome, named, commandsHere(name, file));
  const output = flags.value("output");
  const isJson = wantsJson(argv);
  const isSilent = flags.has("quiet") && (ending === "idle" || ending === "ok");
  if (output !== undefined || isJson || !isSilent) {
    const lines = isJson ? [jsonOf(name, outcome)] : command.words(printable(outcome), config, {
      format: valueIn(argv, "format"),
      all: flags.has("all"),
      width: output === undefined ? widthOf(Deno.stdout) : STANDARD_COLUMNS,
      isTerminal: output === undefined && Deno.stdout.isTerminal(),
      now,
      paint: output === undefined ? terminal.paint : (text) => text,
    });
    if (output === undefined) lines.forEach(terminal.print);
    else if (!await writeOutput(output, lines)) ending = "unknown";
  }
  for (const warning of outcome.warnings) terminal.tell("warning", `WARNING: ${warning}`);
  complaints(outcome).forEach(terminal.diagnose);
  return ending;
}

/** The commands whose output a shell is to run: nothing of it where something is wrong. */
async function script(
  write: (flags: Flags, context: RunContext) => string | Promise<string>,
  { flags, misuse }: Call,
): Promise<Ending> {
  try {
    if (misuse !== null) throw misuse;
    terminal.print(await write(flags, makeRunContext(flags)));
    return "done";
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { message, hint } = error;
    const named = flags.value("config");
    terminal.diagnose({
      message,
      hint: named === undefined ? hint : withNamedFile(hint, named, setupsHere(flags.operands)),
    });
    return error instanceof UsageFailure ? "misused" : "failed";
  }
}

/** The fault itself, where clearing up after it did not succeed either. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

/** What befell the run befell each name of which something was to become. */
function failedReport<R extends Report>(report: R, error: unknown): R {
  const fault = error instanceof Failure
    ? { error: error.message, ...(error.hint && { hint: error.hint }) }
    : { error: `this is a bug in certsync: ${messageOf(error)}` };
  const certificates = report.certificates?.map((one) =>
    "outcome" in one ? { ...one, ...fault } : one
  );
  return { ...report, ...fault, ...(certificates && { certificates }) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function tellStack(error: unknown): void {
  const stack = error instanceof Error && error.stack ? error.stack : String(error);
  stack.split("\n").forEach((line) => terminal.tell("error", line));
}

function makeRunContext(flags: Flags): RunContext {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop.abort(new Failure(`stopped by ${signal}`)));
  }
  return {
    get now() {
      return new Date();
    },
    environment: {
      PATH: Deno.env.get("PATH"),
      HOME: Deno.env.get("HOME"),
      SSH_AUTH_SOCK: Deno.env.get("SSH_AUTH_SOCK"),
    },
    stop: stop.signal,
    tell: (line) => terminal.tell("info", line),
    trace: flags.has("verbose") ? (line) => terminal.tell("info", line) : () => {},
    // Who wants it quiet has it run where each line becomes a mail.
    wait: flags.has("quiet") && !Deno.stderr.isTerminal() ? waitInSilence : terminal.wait,
  };
}

function waitInSilence(): Disposable {
  return { [Symbol.dispose]() {} };
}

function jsonOf(command: CommandName | null, report: Report): string {
  return printableJson({ schema: 1, command, ...report });
}

/** Whether it could be written; if not, that is said. */
async function writeOutput(path: string, lines: readonly string[]): Promise<boolean> {
  const { replaceOutput } = await import("./lib/verify/output.ts");
  try {
    replaceOutput(path, lines);
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    terminal.diagnose(error);
    return false;
  }
}

Deno.exit(await main());
