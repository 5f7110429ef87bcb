// The man page certsync(1), from the same words as --help.

import { type Command, commands, type Option } from "../lib/cli/commands.ts";

/** Pure; roff for the man macros, ending without a line break. */
export function manPage(version: string): string {
  const entries = Object.entries(commands) as readonly [string, Command][];
  return [
    `.TH CERTSYNC 1 "" ${macroWord(`certsync ${version}`)} "User Commands"`,
    ".SH NAME",
    text(
      "certsync - carry the certificate of Nginx Proxy Manager to mailcow, and prove it is served",
    ),
    ".SH SYNOPSIS",
    ...entries.flatMap(([name, { operand }], index) => [
      ...(index === 0 ? [] : [".br"]),
      `${bold(`certsync ${name}`)}${operand === undefined ? "" : ` ${italic(operand)}`} [${
        italic("options")
      }]`,
    ]),
    ".br",
    `${bold("certsync")} ${bold("--help")} | ${bold("--version")}`,
    ".SH DESCRIPTION",
    text(
      "On the host with Nginx Proxy Manager, push sends a renewed certificate to the mail host. " +
        "There, deploy judges it, installs it into mailcow, reloads the services and looks at what " +
        "they serve. verify compares all copies, from anywhere.",
    ),
    ".SH COMMANDS",
    ...entries.flatMap(([name, command]) => describe(name, command)),
    ".SH EXIT STATUS",
    ...tagged(text("0"), text("done, or nothing to do")),
    ...tagged(text("1"), text("failed")),
    ...tagged(text("2"), text("wrong usage or configuration")),
    ".PP",
    text(
      "verify has those of monitoring plugins: 0 ok, 1 warning, 2 critical, 3 unknown or wrong usage.",
    ),
    ".SH FILES",
    ...tagged(italic("/etc/certsync/config.yaml"), text("the config file; flags override it")),
    ...tagged(
      italic("/etc/certsync/known_hosts"),
      text("the mail host's ssh key, where the config names no other file"),
    ),
    ...tagged(
      italic("/etc/certsync/alert"),
      text(
        "if it is executable, it runs when a unit has failed: the unit's name is its argument, " +
          "the last lines of the journal are its standard input",
      ),
    ),
    ...tagged(
      italic("/var/lib/mailcow-cert-push/") + ", " + italic("/var/lib/mailcow-cert-deploy/"),
      text("what push and deploy remember"),
    ),
    ".SH SEE ALSO",
    `${bold("rsync")}(1), ${bold("ssh")}(1), ${bold("systemd.timer")}(5)`,
  ].join("\n");
}

function describe(name: string, { summary, operand, options, examples }: Command): string[] {
  return [
    `.SS ${macroWord(`certsync ${name}${operand === undefined ? "" : ` ${operand}`}`)}`,
    text(`${summary.slice(0, 1).toUpperCase()}${summary.slice(1)}.`),
    ...options.flatMap(describeOption),
    ".PP",
    ...examples.flatMap(({ line, does }, index) => [
      ...(index === 0 ? [] : [".PP"]),
      text(`${does.slice(0, 1).toUpperCase()}${does.slice(1)}:`),
      ".PP",
      ".RS 4",
      ".nf",
      text(line),
      ".fi",
      ".RE",
    ]),
  ];
}

function describeOption({ name, argument, help }: Option): string[] {
  const tag = argument === undefined
    ? bold(`--${name}`)
    : `${bold(`--${name}`)} ${italic(argument)}`;
  return tagged(tag, text(help));
}

function tagged(tag: string, body: string): string[] {
  return [".TP", tag, body];
}

const bold = (words: string) => `\\fB${escape(words)}\\fR`;
const italic = (words: string) => `\\fI${escape(words)}\\fR`;

/** A line of text: it must not be taken for a request. */
function text(line: string): string {
  return line.replace(/^[.']/, "\\&$&") === line ? escape(line) : `\\&${escape(line)}`;
}

/** An argument of a macro. */
function macroWord(words: string): string {
  return `"${escape(words)}"`;
}

function escape(words: string): string {
  return words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll('"', "\\(dq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replaceAll("…", "\\&...");
}
