// Completion scripts for bash and zsh, from the same words as --help.

import { quote, UsageFailure } from "../failure.ts";
import type { Flags } from "./command_line.ts";
import { type Command, type CommandName, commands, type Option } from "./commands.ts";

type Shell = "bash" | "zsh";

/** What certsync completion prints. */
export function complete(flags: Flags): string {
  return completionScript(parseShell(flags.operands[0]));
}

function parseShell(text: string | undefined): Shell {
  if (text === "bash" || text === "zsh") return text;
  throw new UsageFailure(
    text === undefined
      ? "completion needs to know for which shell"
      : `completion knows no ${quote(text)}`,
    { hint: "certsync completion bash, or certsync completion zsh" },
  );
}

/** Pure; it ends without a line break. */
function completionScript(shell: Shell): string {
  return shell === "bash" ? bashScript() : zshScript();
}

/** What a value can be: words to choose from, a file, a directory; otherwise only a person knows. */
interface Value {
  readonly words: readonly string[];
  readonly path: "file" | "directory" | null;
}

/** `auto|npm-N|DIR`: small letters are meant as they are, capitals stand for something. */
function valueOf(argument: string): Value {
  const parts = argument.split("|");
  return {
    words: parts.filter((part) => /^[a-z]+$/.test(part)),
    path: parts.includes("DIR")
      ? "directory"
      : parts.some((part) => part === "FILE" || part === "LOCATION")
      ? "file"
      : null,
  };
}

const entries = Object.entries(commands) as readonly [CommandName, Command][];

const names = Object.keys(commands).join(" ");

function bashScript(): string {
  const cases = entries.flatMap(([name, { options }]) =>
    options.flatMap(({ name: option, argument }) =>
      argument === undefined ? [] : [`        '${name} --${option}') ${bashValue(argument)} ;;`]
    )
  );
  const words = entries.map(([name, { operand = "", options }]) =>
    `        ${name}) words='${
      [...valueOf(operand).words, ...options.map(({ name }) => `--${name}`)].join(" ")
    }' ;;`
  );
  return `# bash completion for certsync, printed by certsync completion bash

_certsync() {
    local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} words=
    COMPREPLY=()
    # --option=value comes as three words.
    [ "$current" != = ] || current=
    [ "$previous" != = ] || previous=\${COMP_WORDS[COMP_CWORD - 2]}
    if [ "$COMP_CWORD" = 1 ]; then
        words='${[...entries.map(([name]) => name), "--help", "--version"].join(" ")}'
    else
        case "\${COMP_WORDS[1]} $previous" in
${cases.join("\n")}
        *)
            case \${COMP_WORDS[1]} in
${words.map((line) => `    ${line}`).join("\n")}
            help) words='${names}' ;;
            esac
            ;;
        esac
    fi
    local word
    for word in $words; do
        case $word in "$current"*) COMPREPLY+=("$word") ;; esac
    done
}

_certsync_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

complete -F _certsync certsync`;
}

function bashValue(argument: string): string {
  const { words, path } = valueOf(argument);
  const parts = [
    ...(path === null ? [] : [`_certsync_paths ${path === "file" ? "-f" : "-d"} "$current"`]),
    ...(words.length === 0 ? [] : [`words='${words.join(" ")}'`]),
  ];
  return parts.length === 0 ? ":" : parts.join("; ");
}

function zshScript(): string {
  const functions = entries.map(([name, { operand, options }]) =>
    [
      `    (${name})`,
      "        _arguments \\",
      ...[
        ...options.map(zshOption),
        ...(operand === undefined
          ? []
          : [zshQuote(`${operand.endsWith("...") ? "*" : "1"}:${operand}:${zshValue(operand)}`)]),
      ].map((line, index, all) => `            ${line}${index < all.length - 1 ? " \\" : ""}`),
      "        ;;",
    ].join("\n")
  );
  return `#compdef certsync
# zsh completion for certsync, printed by certsync completion zsh

_certsync() {
    local context curcontext=$curcontext state line
    local -A opt_args
    _arguments -C \\
        '(- *)--help[show what there is]' \\
        '(- *)--version[show the version]' \\
        '1:command:->command' \\
        '*::argument:->argument' && return
    case $state in
    (command)
        local -a commands=(
${entries.map(([name, { summary }]) => `            ${zshQuote(`${name}:${summary}`)}`).join("\n")}
        )
        _describe command commands
        ;;
    (argument)
        case $words[1] in
${functions.join("\n").replace(/^/gm, "    ")}
        (help)
            _arguments '1:command:(${names})'
            ;;
        esac
        ;;
    esac
}

# In the directory of completions this is the function itself; read otherwise, it names it.
if [[ $funcstack[1] = _certsync ]]; then
    _certsync "$@"
else
    compdef _certsync certsync
fi`;
}

function zshOption({ name, argument, repeatable, help }: Option): string {
  const spec = `--${name}[${help.replace(/[[\]\\:]/g, "\\$&")}]`;
  const value = argument === undefined ? "" : `:${argument}:${zshValue(argument)}`;
  return zshQuote(`${repeatable ? "*" : ""}${spec}${value}`);
}

function zshValue(argument: string): string {
  const { words, path } = valueOf(argument);
  if (words.length > 0 && path !== null) {
    return `{ compadd -- ${words.join(" ")}; _files${path === "directory" ? " -/" : ""} }`;
  }
  if (words.length > 0) return `(${words.join(" ")})`;
  if (path === null) return " ";
  return path === "directory" ? "_files -/" : "_files";
}

function zshQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
