// What the operator asked for: argv, read into one of a few things to do.

import { parseArgs } from "@std/cli/parse-args";
import { quote, UsageFailure } from "../failure.ts";
import { type Command, type CommandName, commands, isCommandName } from "./commands.ts";
import { nearest } from "./nearest.ts";

export type CommandLine =
  | { readonly kind: "help"; readonly command: CommandName | null }
  | { readonly kind: "version" }
  | { readonly kind: "run"; readonly command: CommandName; readonly flags: Flags };

/** What is wrong with a command line, and the command that it was for, if it named one. */
export interface Misuse {
  readonly kind: "misuse";
  readonly command: CommandName | null;
  readonly why: UsageFailure;
}

export function readCommandLine(argv: readonly string[]): CommandLine | Misuse {
  try {
    return parseCommandLine(argv);
  } catch (error) {
    if (!(error instanceof UsageFailure)) throw error;
    const [first = ""] = argv;
    return { kind: "misuse", command: isCommandName(first) ? first : null, why: error };
  }
}

export interface Flags {
  has(name: string): boolean;
  value(name: string): string | undefined;
  /** All values of a repeatable option; undefined where it was not given. */
  values(name: string): readonly string[] | undefined;
  readonly operands: readonly string[];
}

/** Throws a UsageFailure with the nearest known word. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const [first, ...rest] = argv;
  if (first === undefined) {
    throw new UsageFailure("no command given", { hint: "see certsync --help" });
  }
  if (first === "help" && rest[0] !== undefined) return parseCommandLine([...rest, "--help"]);
  if (first === "--help" || first === "-h" || first === "help") {
    return { kind: "help", command: null };
  }
  if (first === "--version" || first === "-V") return { kind: "version" };
  if (!isCommandName(first)) {
    const option = first.startsWith("-");
    throw new UsageFailure(`unknown ${option ? "option" : "command"} ${quote(first)}`, {
      hint: option
        ? "a command comes first; see certsync --help"
        : meant(first, [...Object.keys(commands), "--version"]) ?? "see certsync --help",
    });
  }
  const flags = parseFlags(first, commands[first], rest);
  return flags.has("help")
    ? { kind: "help", command: first }
    : { kind: "run", command: first, flags };
}

function parseFlags(name: string, command: Command, argv: readonly string[]): Flags {
  const switches = command.options.filter(({ argument }) => argument === undefined);
  const valued = command.options.filter(({ argument }) => argument !== undefined);
  const unknownOption = (argument: string) =>
    new UsageFailure(`unknown option ${quote(argument)} for certsync ${name}`, {
      hint: meant(
        argument.replace(/=.*/s, ""),
        command.options.map((option) => `--${option.name}`),
      ) ??
        `see certsync ${name} --help`,
    });
  for (const argument of beforeOperands(argv)) {
    const [, given = "", value] = /^--?([^=]*)(=)?/.exec(argument) ?? [];
    if (given.includes("_")) throw unknownOption(argument); // parseArgs keeps operands under `_`
    if (value !== undefined && switches.some(({ name }) => name === given)) {
      throw new UsageFailure(`--${given} takes no value`);
    }
  }
  const args: Record<string, unknown> & { _: (string | number)[] } = parseArgs([...argv], {
    string: ["_", ...valued.map(({ name }) => name)],
    boolean: switches.map(({ name }) => name),
    collect: valued.map(({ name }) => name),
    alias: { help: "h" },
    unknown(argument, key) {
      if (key === undefined) return; // an operand
      throw unknownOption(argument);
    },
  });

  const values = new Map<string, string[]>();
  for (const { name: option, argument, repeatable } of valued) {
    const given = args[option];
    if (!Array.isArray(given) || given.length === 0) continue;
    if (given.some((value) => value === "")) {
      throw new UsageFailure(`--${option} needs a value: --${option} ${argument}`);
    }
    if (given.length > 1 && !repeatable) {
      throw new UsageFailure(`--${option} was given ${given.length} times`);
    }
    values.set(option, given.map(String));
  }
  const operands = args._.map(String);
  const surplus = operands[command.operand === undefined ? 0 : 1];
  if (surplus !== undefined) {
    throw new UsageFailure(`unexpected argument ${quote(surplus)}`, {
      hint: `see certsync ${name} --help`,
    });
  }
  return {
    has: (option) => args[option] === true,
    value: (option) => values.get(option)?.[0],
    values: (option) => values.get(option),
    operands,
  };
}

/** What comes before `--`, if anything does. */
function beforeOperands(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf("--");
  return end === -1 ? argv : argv.slice(0, end);
}

/** Whether the answer is to be JSON, also where the rest of the command line is wrong. */
export function wantsJson(argv: readonly string[]): boolean {
  return beforeOperands(argv).some((word) => /^--json(=|$)/.test(word));
}

/** The value that an option seems to have, also where the rest of the command line is wrong. */
export function valueIn(argv: readonly string[], option: string): string | undefined {
  const words = beforeOperands(argv);
  const joined = words.find((word) => word.startsWith(`--${option}=`));
  return joined?.slice(`--${option}=`.length) ??
    words[words.indexOf(`--${option}`) + 1 || words.length];
}

function meant(word: string, known: readonly string[]): string | null {
  const suggestion = nearest(word, known);
  return suggestion === null ? null : `did you mean ${suggestion}?`;
}
