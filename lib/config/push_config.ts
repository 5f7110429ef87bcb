// What push is to do, and find-npm-dir beside it: flags before the config file, and that before defaults.

import { resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { quote, UsageFailure } from "../failure.ts";
import { checkOwnDirectory } from "../files/own_directory.ts";
import { parseHostName } from "../values/host_name.ts";
import {
  type LocalTarget,
  parsePushTarget,
  type SshOptions,
  type SshTarget,
} from "../values/push_target.ts";
import { shellWord } from "../values/shell_word.ts";
import { isMissing } from "../files/read_file.ts";
import { type ConfigFile, STANDARD_FILE } from "./config_file.ts";
import { flagDomain, furtherNames } from "./names.ts";
import { standard } from "./reader.ts";
import {
  parsePath,
  parseSource,
  schema,
  type Source,
  type TargetEntry,
  type Trust,
} from "./schema.ts";
import { PUSH_STATE, standardKnownHosts } from "./standard.ts";

/** What `push` needs, and `verify` where it looks at the source. */
export interface SourceConfig {
  /** Null means those of the standard ones that exist. */
  readonly live: readonly string[] | null;
  readonly source: Source;
}

/** A target with the way to it. */
export type Destination = SshDestination | LocalTarget;

export interface SshDestination extends SshTarget {
  readonly ssh: SshOptions;
}

/** Commands of a hint, with what this one was told, so that they mean the same. */
export interface CommandsToTell {
  /** Which certificate is left open. */
  readonly push: string;
  /** The very same run. */
  readonly again: string;
  readonly find: string;
}

function commandsToTell(flags: Flags): CommandsToTell {
  const told = (name: string, inFull: (text: string) => string = (text) => text) =>
    (flags.values(name) ?? []).map((text) => ` --${name} ${shellWord(inFull(text))}`).join("");
  const push = `certsync push${told("domain")}${told("also")}${told("to")}`;
  const source = told("source", (text) => text.includes("/") ? resolve(text) : text);
  return {
    push,
    again: `${push}${source}${flags.has("force") ? " --force" : ""}`,
    find: `certsync find-npm-dir${told("live", resolve)}`,
  };
}

export interface PushConfig extends SourceConfig {
  readonly commands: CommandsToTell;
  readonly domain: string;
  /** Further names, each with a certificate of its own. */
  readonly also: readonly string[];
  readonly to: readonly Destination[];
  readonly state: string;
  readonly trust: Trust;
  readonly timeoutMs: number;
  readonly force: boolean;
  readonly dryRun: boolean;
  /** Nothing is told of what there was nothing to do for. */
  readonly quiet: boolean;
  /** A unit started it: what waits and looks again. */
  readonly started: boolean;
}

/**
 * The targets that --to names, with what push.to says of them, or else push.to; undefined where
 * neither does.
 */
export function pushTargets(
  { push = {} }: ConfigFile,
  flags: Flags,
): readonly TargetEntry[] | undefined {
  const to =
    flags.values("to")?.map((text) =>
      push.to?.find((entry) => entry.text === text) ?? parsePushTarget(text, "--to")
    ) ?? push.to;
  const twice = to?.find(({ text }, index) => to.findIndex((other) => other.text === text) < index);
  if (twice === undefined) return to;
  const where = flags.values("to") === undefined ? "push.to" : "--to";
  throw new UsageFailure(`${where} names a target twice: ${quote(twice.text)}`, {
    hint: "take one of the two out",
  });
}

/** With the file that was looked for: where there is none, setup makes it. */
function lacking(
  what: string,
  unknown: string,
  flags: Flags,
  { key, option }: { readonly key: string; readonly option: string },
): UsageFailure {
  const path = flags.value("config") ?? STANDARD_FILE;
  if (!isMissing(path)) {
    return new UsageFailure(`no ${what}: ${quote(path)} does not say ${unknown}`, {
      hint: `set ${key} there, or give ${option}`,
    });
  }
  return new UsageFailure(
    `no ${what}: there is no config file ${quote(path)}, which would say ${unknown}`,
    {
      hint: "certsync setup push --domain mail.example.org --to " +
        "certsync@mail.example.org:/home/certsync/incoming/ | sh makes one, with " +
        `${key}; or give ${option}`,
    },
  );
}

/** `checkLocal` throws where a local target is not fit to be written to. */
export function pushConfig(
  file: ConfigFile,
  flags: Flags,
  checkLocal = checkOwnDirectory,
): PushConfig {
  const { push = {} } = file;
  const to = pushTargets(file, flags);
  if (to === undefined) {
    throw lacking("target", "where to send the certificate", flags, {
      key: "push.to",
      option: "--to user@host:/dir/",
    });
  }
  const source = sourceConfig(push, flags);
  const name = flagDomain(flags) ?? file.domain;
  if (name === undefined) {
    throw lacking("domain", "which certificate is meant", flags, {
      key: "domain",
      option: "--domain mail.example.org",
    });
  }
  const what = flags.values("to") === undefined ? "push.to" : "--to";
  return {
    ...source,
    commands: commandsToTell(flags),
    domain: name,
    also: furtherNames(file, flags, name),
    to: to.map((entry) => {
      const target = destination(entry, push);
      if (target.kind === "local") checkLocal(target.directory, what);
      return target;
    }),
    state: push.state ?? PUSH_STATE,
    trust: push.trust ?? standard(schema.push.trust),
    timeoutMs: push.timeout ?? standard(schema.push.timeout),
    force: flags.has("force"),
    dryRun: flags.has("dry-run"),
    quiet: flags.has("quiet"),
    started: flags.has("started"),
  };
}

function destination(
  { port, identity, known_hosts, ...target }: TargetEntry,
  push: NonNullable<ConfigFile["push"]>,
): Destination {
  if (target.kind === "local") return target;
  const knownHosts = known_hosts ?? push.known_hosts;
  return {
    ...target,
    ssh: {
      port: port ?? push.port ?? null,
      identity: identity ?? push.identity ?? null,
      knownHosts: knownHosts === undefined ? standardKnownHosts() : [knownHosts],
    },
  };
}

function sourceConfig(push: NonNullable<ConfigFile["push"]>, flags: Flags): SourceConfig {
  const source = flags.value("source");
  return {
    live: push.live ?? null,
    source: source === undefined
      ? push.source ?? standard(schema.push.source)
      : parseSource(source.includes("/") ? resolve(source) : source, "--source"),
  };
}

export interface FindConfig {
  readonly hostNames: readonly string[];
  readonly live: readonly string[] | null;
  /** By what the operator would name another one. */
  readonly liveKey: string;
  readonly commands: CommandsToTell;
}

export function findConfig({ push = {} }: ConfigFile, flags: Flags): FindConfig {
  return {
    hostNames: flags.operands.map((operand) => parseHostName(operand, "HOSTNAME")),
    live: flags.values("live")?.map((path) => parsePath(resolve(path), "--live")) ??
      push.live ?? null,
    liveKey: flags.values("live") !== undefined
      ? "--live DIR"
      : push.live !== undefined
      ? "push.live in the config file"
      : "push.live in the config file, or with --live DIR",
    commands: commandsToTell(flags),
  };
}
