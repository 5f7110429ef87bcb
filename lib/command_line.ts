// What the operator asked for: argv, read into one of a few things to do.

import { parseArgs } from "@std/cli/parse-args";
import { type Command, type CommandName, commands, isCommandName } from "./commands.ts";
import { quote, UsageFailure } from "./failure.ts";
import { nearest } from "./nearest.ts";

export type CommandLine =
  | { readonly kind: "help"; readonly command: CommandName | null }
  | { readonly kind: "version" }
  | { readonly kind: "run"; readonly command: CommandName; readonly flags: Flags };

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
  if (first === "--help" || first === "-h" || first === "help") {
    return { kind: "help", command: null };
  }
  if (first === "--version" || first === "-V") return { kind: "version" };
  if (!isCommandName(first)) {
    const option = first.startsWith("-");
    throw new UsageFailure(`unknown ${option ? "option" : "command"} ${quote(first)}`, {
      hint: option
        ? "a command comes first; see certsync --help"
        : meant(first, Object.keys(commands)) ?? "see certsync --help",
    });
  }
  const flags = parseFlags(first, commands[first], rest);
  return flags.has("help")
    ? { kind: "help", command: first }
    : { kind: "run", command: first, flags };
}

function parseFlags(name: string, command: Command, argv: readonly string[]): Flags {
  const known = command.options.map((option) => `--${option.name}`);
  const valued = command.options.filter(({ argument }) => argument !== undefined);
  const args: Record<string, unknown> & { _: (string | number)[] } = parseArgs([...argv], {
    string: ["_", ...valued.map(({ name }) => name)],
    boolean: command.options.filter(({ argument }) => argument === undefined).map(({ name }) =>
      name
    ),
    collect: valued.map(({ name }) => name),
    alias: { help: "h" },
    unknown(argument, key) {
      if (key === undefined) return; // an operand
      throw new UsageFailure(`unknown option ${quote(argument)} for certsync ${name}`, {
        hint: meant(argument, known) ?? `see certsync ${name} --help`,
      });
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

function meant(word: string, known: readonly string[]): string | null {
  const suggestion = nearest(word, known);
  return suggestion === null ? null : `did you mean ${suggestion}?`;
}
