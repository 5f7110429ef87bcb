// What the operator asked for: argv, read into one of a few things to do.

import { parseArgs } from "@std/cli/parse-args";
import { quote, UsageFailure } from "../failure.ts";
import {
  type Command,
  type CommandName,
  commands,
  isCommandName,
  type Option,
  synonyms,
} from "./commands.ts";
import { nearest } from "./nearest.ts";

export type CommandLine =
  | { readonly kind: "bare" }
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
    const { word = "" } = splitCommand(argv);
    return { kind: "misuse", command: isCommandName(word) ? word : null, why: error };
  }
}

export interface Flags {
  has(name: string): boolean;
  value(name: string): string | undefined;
  /** All values of a repeatable option; undefined where it was not given. */
  values(name: string): readonly string[] | undefined;
  readonly operands: readonly string[];
}

export const noFlags: Flags = {
  has: () => false,
  value: () => undefined,
  values: () => undefined,
  operands: [],
};

/** Throws a UsageFailure with the nearest known word. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  if (argv.length === 0) return { kind: "bare" };
  const { word, rest } = splitCommand(argv);
  if (word === "help") {
    const of = splitCommand(rest).word;
    return of === undefined ? { kind: "help", command: null } : parseCommandLine([of, "--help"]);
  }
  if (word === undefined) {
    if (rest.some((option) => option === "--help" || option === "-h")) {
      return { kind: "help", command: null };
    }
    if (rest.some((option) => option === "--version" || option === "-V")) {
      return { kind: "version" };
    }
    const unknown = rest.find(isUnknownOption);
    const message = unknown === undefined ? "no command given" : `unknown option ${quote(unknown)}`;
    throw new UsageFailure(message, { hint: "see certsync --help" });
  }
  if (!isCommandName(word)) {
    throw new UsageFailure(`unknown command ${quote(word)}`, {
      hint: Object.hasOwn(synonyms, word)
        ? `did you mean ${synonyms[word]}?`
        : meant(word, [...Object.keys(commands), "--version"]) ?? "see certsync --help",
    });
  }
  const flags = parseFlags(word, commands[word], rest);
  return flags.has("help")
    ? { kind: "help", command: word }
    : { kind: "run", command: word, flags };
}

const allOptions: readonly Option[] = Object.values(commands).flatMap(({ options }) => options);

function isUnknownOption(argument: string): boolean {
  return argument.startsWith("-") &&
    !allOptions.some(({ name, letter }) =>
      argument.replace(/=.*/s, "") === `--${name}` || argument === `-${letter}`
    );
}

/** The command is the first word that is no option's value: options stand before or after it. */
function splitCommand(
  argv: readonly string[],
): { readonly word: string | undefined; readonly rest: readonly string[] } {
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? "";
    if (argument === "--") break;
    const isOption = argument.startsWith("-") && argument !== "-";
    if (!isOption) return { word: argument, rest: argv.toSpliced(i, 1) };
    const hasValue = allOptions.some((option) =>
      option.argument !== undefined && argument === `--${option.name}`
    );
    if (hasValue && !argv[i + 1]?.startsWith("-")) i++;
  }
  return { word: undefined, rest: argv };
}

function parseFlags(name: string, command: Command, argv: readonly string[]): Flags {
  const switches = command.options.filter(({ argument }) => argument === undefined);
  const valued = command.options.filter(({ argument }) => argument !== undefined);
  const refuse = (argument: string) => unknownOption(argument, name, command, argv);
  for (const argument of beforeOperands(argv)) {
    const [, given = "", value] = /^--?([^=]*)(=)?/.exec(argument) ?? [];
    if (given.includes("_")) throw refuse(argument); // parseArgs keeps operands under `_`
    const isSwitch = switches.some(({ name, letter }) => name === given || letter === given);
    if (value !== undefined && isSwitch) {
      throw new UsageFailure(`${argument.replace(/=.*/s, "")} takes no value`);
    }
  }
  const args: Record<string, unknown> & { _: (string | number)[] } = parseArgs([...argv], {
    string: ["_", ...valued.map(({ name }) => name)],
    boolean: switches.map(({ name }) => name),
    collect: valued.map(({ name }) => name),
    alias: Object.fromEntries(
      switches.flatMap(({ name, letter }) => letter ? [[name, letter]] : []),
    ),
    unknown(argument, key) {
      if (key !== undefined) throw refuse(argument); // else it is an operand
    },
  });
  const values = new Map(
    valued.map((option) => [option.name, valuesOf(option, args[option.name])]),
  );
  const operands = args._.map(String);
  const most = command.operand === undefined ? 0 : command.operand.endsWith("...") ? Infinity : 1;
  const surplus = operands[most];
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

function unknownOption(
  argument: string,
  name: string,
  { options }: Command,
  argv: readonly string[],
): UsageFailure {
  const known = options.map((option) => `--${option.name}`);
  const isFormat = /^--format(=json)?$/.test(argument) && valueIn(argv, "format") === "json";
  return new UsageFailure(`unknown option ${quote(argument)} for certsync ${name}`, {
    hint: isFormat && known.includes("--json")
      ? "did you mean --json?"
      : meant(argument.replace(/=.*/s, ""), known) ?? `see certsync ${name} --help`,
  });
}

/** As they were given; undefined where the option was not. */
function valuesOf({ name, argument, repeatable }: Option, given: unknown): string[] | undefined {
  if (!Array.isArray(given) || given.length === 0) return undefined;
  if (given.some((value) => value === "")) {
    throw new UsageFailure(`--${name} needs a value: --${name} ${argument}`);
  }
  if (given.length > 1 && !repeatable) {
    throw new UsageFailure(`--${name} was given ${given.length} times`);
  }
  return given.map(String);
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

/** The first operand, likewise; what follows an unknown option may be its value. */
export function operandIn(argv: readonly string[]): string | undefined {
  const { rest } = splitCommand(argv);
  const end = rest.findIndex(isUnknownOption);
  return splitCommand(end === -1 ? rest : rest.slice(0, end)).word;
}

function meant(word: string, known: readonly string[]): string | null {
  const suggestion = nearest(word, known);
  return suggestion === null ? null : `did you mean ${suggestion}?`;
}
