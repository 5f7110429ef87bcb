// Runs a command of certsync in this very process, from argv to its report: where what is shown is what
// comes of it, and the binary's own start would be most of what it takes.

import { type Flags, readCommandLine } from "../../lib/cli/command_line.ts";
import { type ConfigFile, readConfigFile } from "../../lib/config/config_file.ts";
import { deployCommand } from "../../lib/deploy/deploy.ts";
import { Failure } from "../../lib/failure.ts";
import { pushCommand } from "../../lib/push/push.ts";
import type { RunContext } from "../../lib/run_context.ts";
import type { VerifyReport } from "../../lib/verify/report.ts";
import { setUp } from "../../lib/setup/setup.ts";
import { verifyCommand } from "../../lib/verify/verify.ts";
import { WITHOUT_DNS } from "./certsync.ts";
import { runContext } from "./run_context.ts";

interface Command<Config, Report> {
  config(file: ConfigFile, flags: Flags): Config;
  run(config: Config, context: RunContext): Report | Promise<Report>;
}

/** Gives the report of `certsync verify …`; `bin` is first on PATH. */
export function verifyHere(argv: readonly string[], bin?: string): Promise<VerifyReport> {
  return run(verifyCommand, ["verify", ...argv], context(bin));
}

/** What verify prints of it where stdout is no terminal. */
export function verifyLines(report: VerifyReport): string[] {
  const paint = (text: string) => text;
  const look = {
    format: undefined,
    all: false,
    width: 80,
    isTerminal: false,
    now: new Date(),
    paint,
  };
  return verifyCommand.words(report, null, look);
}

/** `push …` or `deploy …`, whatever comes of it: what that is shows where it was to do something. */
export async function certsyncHere(argv: readonly string[], bin?: string): Promise<void> {
  const [name] = argv;
  try {
    if (name === "push") await run(pushCommand, argv, context(bin));
    else if (name === "deploy") await run(deployCommand, argv, context(bin));
    else throw new TypeError(`not run here: ${argv.join(" ")}`);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}

/** What `certsync setup …` prints. */
export async function setupHere(argv: readonly string[], bin?: string): Promise<string> {
  const { flags } = lineOf(["setup", ...argv]);
  return await setUp(flags, context(bin)) + "\n";
}

function context(bin: string | undefined): RunContext {
  return runContext({ bin: [bin, WITHOUT_DNS].filter(Boolean).join(":") });
}

async function run<Config, Report>(
  command: Command<Config, Report>,
  argv: readonly string[],
  context: RunContext,
): Promise<Report> {
  const { flags } = lineOf(argv);
  const file = await readConfigFile(flags.value("config"));
  return await command.run(command.config(file, flags), context);
}

function lineOf(argv: readonly string[]): { flags: Flags } {
  const line = readCommandLine(argv);
  if (line.kind === "misuse") throw line.why;
  if (line.kind !== "run") throw new TypeError(`nothing to run: ${argv.join(" ")}`);
  return line;
}
