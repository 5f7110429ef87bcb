// Every command with its options, in the words that --help shows.

import { wrap } from "./terminal.ts";

export interface Option {
  readonly name: string;
  /** The one letter that stands for it; a switch alone has one. */
  readonly letter?: string;
  /** What the value is called; an option without one is a switch. */
  readonly argument?: string;
  readonly repeatable?: true;
  readonly help: string;
}

export interface Command {
  readonly summary: string;
  /**
   * The argument that is no option, as the usage line shows it; `push|deploy` is one of these, and
   * with `...` behind it there may be several.
   */
  readonly operand?: string;
  readonly options: readonly Option[];
  readonly examples: readonly { readonly line: string; readonly does: string }[];
}

const config: Option = {
  name: "config",
  argument: "FILE",
  help: "read FILE instead of /etc/certsync/config.yaml",
};
const help: Option = { name: "help", letter: "h", help: "show this" };
const json: Option = { name: "json", help: "print one JSON object on stdout" };
const dryRun: Option = {
  name: "dry-run",
  letter: "n",
  help: "judge everything, change nothing, say what would happen",
};
const quiet: Option = {
  name: "quiet",
  letter: "q",
  help: "print nothing where there was nothing to do; warnings and errors all the same",
};
const verbose: Option = {
  name: "verbose",
  letter: "v",
  help: "tell of every outside program on stderr, with its duration and exit code",
};
const started: Option = {
  name: "started",
  help: "as the units call it: wait until nothing changes, and look again after the work",
};
const domain: Option = {
  name: "domain",
  argument: "NAME",
  help: "the host name that the certificate must cover",
};

const also: Option = {
  name: "also",
  argument: "NAME",
  repeatable: true,
  help: "a further name with a certificate of its own; adds to also of the config file",
};

/** What those have that report. */
const reporting = [json, quiet, verbose, config, help] as const;

export const commands = {
  push: {
    summary: "send the certificate of Nginx Proxy Manager to the mail host, if it changed",
    options: [
      domain,
      also,
      {
        name: "source",
        argument: "auto|npm-N|DIR",
        help: "the certificate's directory (default: auto, the best one for the name)",
      },
      {
        name: "to",
        argument: "TARGET",
        repeatable: true,
        help:
          "where to send it: user@host:/dir/, or a directory of this host; may be given several " +
          "times",
      },
      { name: "force", help: "send it although it is unchanged" },
      dryRun,
      started,
      ...reporting,
    ],
    examples: [
      { line: "certsync push", does: "what the timer runs, with /etc/certsync/config.yaml" },
      {
        line: "certsync push --to certsync@mail.example.org:/home/certsync/incoming/ -n",
        does: "say what would be sent",
      },
    ],
  },
  deploy: {
    summary: "install the staged certificate into mailcow, reload its services, check the wire",
    options: [
      { name: "mailcow", argument: "DIR", help: "mailcow's directory (/opt/mailcow-dockerized)" },
      { name: "staging", argument: "DIR", help: "where push delivers (/home/certsync/incoming)" },
      { ...domain, help: `${domain.help} (default: MAILCOW_HOSTNAME)` },
      also,
      { name: "force", help: "install although unchanged, older or rolled back before" },
      { name: "rollback", help: "put back the certificate that was deployed before" },
      {
        name: "only",
        argument: "NAME",
        repeatable: true,
        help: "force or roll back this name's certificate, not the domain's; all means every one",
      },
      dryRun,
      started,
      ...reporting,
    ],
    examples: [
      { line: "certsync deploy", does: "what the timer runs; a standard mailcow needs no config" },
      { line: "certsync deploy --dry-run", does: "judge what is staged, and touch nothing" },
    ],
  },
  verify: {
    summary: "compare every copy of the certificate: source, staged, deployed, served",
    operand: "[HOSTNAME]",
    options: [
      domain,
      also,
      {
        name: "source",
        argument: "LOCATION",
        help: "a file or directory of the NPM host, or host:/path over ssh",
      },
      {
        name: "deployed",
        argument: "LOCATION",
        help: "the one on the mail host: a file, or host:/path over ssh",
      },
      {
        name: "endpoint",
        argument: "URL",
        repeatable: true,
        help: "where it is served, imaps://host; may be given several times",
      },
      {
        name: "leg",
        argument: "NAME",
        repeatable: true,
        help: "look at it alone: source, pushed, staged, deployed, sni, served, tlsa",
      },
      { name: "warn", argument: "AGE", help: "warn with less than this left: 25% or 21d (25%)" },
      { name: "critical", argument: "AGE", help: "critical with less than this left (10%)" },
      {
        name: "format",
        argument: "text|nagios|prometheus",
        help: "a table, one line with perfdata, or for a textfile collector",
      },
      { name: "all", help: "show each endpoint, also those that are alike and well" },
      {
        name: "output",
        argument: "FILE",
        help: "replace FILE with it, with --json the object, instead of printing it",
      },
      ...reporting,
    ],
    examples: [
      { line: "certsync verify", does: "on either host: all that this host can see" },
      {
        line: "certsync verify NAME --source npm:/etc/letsencrypt/live/npm-5/fullchain.pem",
        does: "from anywhere: what the host npm has against what NAME serves",
      },
    ],
  },
  "find-npm-dir": {
    summary: "print the directory in which Nginx Proxy Manager keeps a name's certificate",
    operand: "[HOSTNAME]...",
    options: [
      {
        name: "live",
        argument: "DIR",
        repeatable: true,
        help: "look in DIR, which holds npm-*; may be given several times",
      },
      { name: "all", help: "list every directory with its names, expiry and state" },
      ...reporting,
    ],
    examples: [
      {
        line: 'cd "$(certsync find-npm-dir mail.example.org)"',
        does: "go to the certificate of a name",
      },
      {
        line: "certsync find-npm-dir mail.example.org mail.example.com",
        does: "of several names, each with its directory",
      },
      { line: "certsync find-npm-dir", does: "list them all" },
    ],
  },
  status: {
    summary: "say whether this host is set up rightly, and what happened last",
    options: [
      { name: "offline", help: "ask no other host" },
      ...reporting,
    ],
    examples: [
      { line: "certsync status", does: "on either host, as root: each point with what mends it" },
      { line: "certsync status --offline --quiet", does: "print nothing where all is well" },
    ],
  },
  setup: {
    summary: "print the shell script that makes this host a part of the chain",
    operand: "push|deploy|local|monitor",
    options: [
      {
        ...domain,
        help: `${domain.help}; setup push, local and, on a third host, monitor need it`,
      },
      also,
      {
        name: "to",
        argument: "TARGET",
        repeatable: true,
        help: "where push sends it, user@host:/dir/; setup push needs it",
      },
      {
        name: "host-key",
        argument: "LINE",
        help: "the mail host's ssh key, as setup deploy prints it there",
      },
      {
        name: "authorized-key",
        argument: "LINE",
        repeatable: true,
        help:
          "the line that setup push prints, or its key alone; setup deploy needs it the first time",
      },
      { name: "replace", help: "setup deploy: let no other key than the given ones stay" },
      { name: "mailcow", argument: "DIR", help: "mailcow's directory (/opt/mailcow-dockerized)" },
      { name: "timers-only", help: "let the timers alone start anything, twice a day" },
      config,
      help,
    ],
    examples: [
      {
        line: "certsync setup push --domain NAME --to certsync@NAME:/home/certsync/incoming/",
        does: "on the NPM host, for the mail host NAME: read it, then give it to sh, as root",
      },
      { line: "certsync setup monitor | sudo sh", does: "verify the chain here every day" },
    ],
  },
  completion: {
    summary: "print the completion script for a shell",
    operand: "bash|zsh",
    options: [help],
    examples: [
      { line: 'eval "$(certsync completion bash)"', does: "in ~/.bashrc" },
      {
        line: "certsync completion zsh >/usr/local/share/zsh/site-functions/_certsync",
        does: "for every user, as root",
      },
    ],
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof commands;

export function isCommandName(text: string): text is CommandName {
  return Object.hasOwn(commands, text);
}

/** What somebody types who has used other tools, and what does it here. */
export const synonyms: Readonly<Record<string, CommandName>> = {
  list: "find-npm-dir",
  run: "push",
  renew: "push",
  sync: "push",
  check: "status",
  doctor: "status",
};

/** No line is wider than `width`, but for the examples: what is to be typed is not broken. */
export function overview(width: number): string[] {
  const rows = Object.entries(commands).map(([name, { summary }]) => ({
    left: name,
    help: summary,
  }));
  return [
    ...wrap("certsync carries the certificate that Nginx Proxy Manager renews to mailcow.", width),
    "",
    "usage: certsync <command> [options]",
    "",
    ...columns(rows, width),
    "",
    ...wrap(
      "certsync <command> --help shows a command's options; certsync --version the version.",
      width,
    ),
  ];
}

/** The same for one command. */
export function commandHelp(name: CommandName, width: number): string[] {
  const command: Command = commands[name];
  const rows = command.options.map(({ name, letter, argument, help }) => ({
    left: `--${name}${letter === undefined ? "" : `, -${letter}`}${
      argument === undefined ? "" : ` ${argument}`
    }`,
    help,
  }));
  return [
    ...wrap(`${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.`, width),
    "",
    `usage: certsync ${name} ${command.operand ? `${command.operand} ` : ""}[options]`,
    "",
    ...columns(rows, width),
    "",
    "examples:",
    ...command.examples.flatMap(({ line, does }) => [
      ...wrap(`# ${does}`, width, "  "),
      `  ${line}`,
    ]),
  ];
}

/** Beside each other where that leaves room for words, else one below the other. */
function columns(
  rows: readonly { readonly left: string; readonly help: string }[],
  width: number,
): string[] {
  const left = Math.min(24, Math.max(...rows.map(({ left }) => left.length)));
  const isNarrow = width < left + 30;
  const indent = " ".repeat(isNarrow ? 6 : left + 4);
  return rows.flatMap((row) => {
    const lines = wrap(row.help, width, indent);
    if (isNarrow || row.left.length > left) return [`  ${row.left}`, ...lines];
    const [first = "", ...others] = lines;
    return [`  ${row.left.padEnd(left)}${first.slice(left + 2)}`, ...others];
  });
}
