// The man page certsync(1), from the same words as --help.

import { type Command, commands, type Option } from "../lib/cli/commands.ts";
import { bold, heading, italic, literal, macroWord, tagged, text } from "./roff.ts";

/** Pure; roff for the man macros, ending without a line break. The date is ISO 8601's, of the day. */
export function manPage(version: string, date: string): string {
  const entries = Object.entries(commands) as readonly [string, Command][];
  return [
    heading({ title: "CERTSYNC", section: 1, date, version }),
    ".SH NAME",
    text("certsync - bring certificates from Nginx Proxy Manager to mailcow"),
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
      "status has 1 where a point is in error or a warning, or where none could be looked at, and 0 " +
        "where all is well.",
    ),
    ".PP",
    text(
      "verify has those of monitoring plugins: 0 ok, 1 warning, 2 critical, 3 unknown or wrong usage.",
    ),
    ".SH ENVIRONMENT",
    ...tagged(bold("NO_COLOR"), text("if it is set, a terminal is shown no colour")),
    ...tagged(bold("SSH_AUTH_SOCK"), text("an agent that ssh may ask for keys")),
    ...tagged(
      bold("JOURNAL_STREAM"),
      text("set by systemd: lines that go to the journal get their priority"),
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
          "the lines of the failed run are its standard input; the same failure comes once a day",
      ),
    ),
    ...tagged(
      `${italic("/var/lib/mailcow-cert-push/")}, ${italic("/var/lib/mailcow-cert-deploy/")}`,
      text("what push and deploy remember, and the history of what they did"),
    ),
    ".SH SEE ALSO",
    `${bold("certsync.yaml")}(5), ${bold("rsync")}(1), ${bold("ssh")}(1), ${
      bold("systemd.timer")
    }(5)`,
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
      ...literal([line]),
    ]),
  ];
}

function describeOption({ name, letter, argument, help }: Option): string[] {
  const short = letter === undefined ? "" : `${bold(`-${letter}`)}, `;
  const value = argument === undefined ? "" : ` ${italic(argument)}`;
  return tagged(`${short}${bold(`--${name}`)}${value}`, text(help));
}
