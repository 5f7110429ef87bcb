// What each command is to do: flags before the config file, and the config file before defaults.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { quote, UsageFailure } from "../failure.ts";
import { type Endpoint, parseEndpoint } from "../values/endpoint_url.ts";
import { parseHostName } from "../values/host_name.ts";
import { type Location, parseLocation } from "../values/location.ts";
import { parsePushTarget, type PushTarget, type SshOptions } from "../values/push_target.ts";
import type { Resolver } from "../values/resolver.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Age, parseAge } from "../values/time.ts";
import {
  type ConfigFile,
  parsePath,
  parseSource,
  type Source,
  type TargetEntry,
  type Trust,
} from "./config_file.ts";

export const STANDARD_KNOWN_HOSTS = "/etc/certsync/known_hosts";
export const PUSH_STATE = "/var/lib/mailcow-cert-push";
export const DEPLOY_STATE = "/var/lib/mailcow-cert-deploy";
export const MAILCOW = "/opt/mailcow-dockerized";
export const STAGING = "/home/certsync/incoming";

/** What `push` needs, and `verify` where it looks at the source. */
export interface SourceConfig {
  /** Null means those of the standard ones that exist. */
  readonly live: readonly string[] | null;
  readonly source: Source;
}

/** A target with the way to it. */
export interface Destination extends PushTarget {
  readonly ssh: SshOptions;
}

/** Commands of a hint, with what this one was told, so that they mean the same. */
export interface CommandsToTell {
  readonly push: string;
  readonly find: string;
}

function commandsToTell(flags: Flags): CommandsToTell {
  const told = (name: string, inFull: (text: string) => string = (text) => text) =>
    (flags.values(name) ?? [flags.value(name)].flatMap((text) => text ?? []))
      .map((text) => ` --${name} ${shellWord(inFull(text))}`).join("");
  const config = told("config", resolve);
  return {
    push: `certsync push${config}${told("domain")}${told("to")}`,
    find: `certsync find-npm-dir${config}${told("live", resolve)}`,
  };
}

export interface PushConfig extends SourceConfig {
  readonly commands: CommandsToTell;
  readonly domain: string;
  readonly to: readonly Destination[];
  readonly state: string;
  readonly trust: Trust;
  readonly timeoutMs: number;
  readonly force: boolean;
  readonly dryRun: boolean;
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

export function pushConfig(file: ConfigFile, flags: Flags): PushConfig {
  const { domain, push = {} } = file;
  const to = pushTargets(file, flags);
  if (to === undefined) {
    throw new UsageFailure("no target: push does not know where to send the certificate", {
      hint: "set push.to in the config file, or give --to user@host:/dir/",
    });
  }
  return {
    ...sourceConfig(push, flags),
    commands: commandsToTell(flags),
    domain: requiredDomain(flagDomain(flags) ?? domain),
    to: to.map((entry) => destination(entry, push)),
    state: push.state ?? PUSH_STATE,
    trust: push.trust ?? { kind: "system" },
    timeoutMs: push.timeout ?? 60_000,
    force: flags.has("force"),
    dryRun: flags.has("dry-run"),
  };
}

function destination(
  { port, identity, known_hosts, ...target }: TargetEntry,
  push: NonNullable<ConfigFile["push"]>,
): Destination {
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
      ? push.source ?? { kind: "auto" }
      : parseSource(source.includes("/") ? resolve(source) : source, "--source"),
  };
}

/** Our own file before ssh's, if it is there. */
function standardKnownHosts(): readonly string[] | null {
  return existsSync(STANDARD_KNOWN_HOSTS)
    ? [STANDARD_KNOWN_HOSTS, "~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
    : null;
}

export function flagDomain(flags: Flags): string | undefined {
  const domain = flags.value("domain");
  return domain === undefined ? undefined : parseHostName(domain, "--domain");
}

function requiredDomain(domain: string | undefined): string {
  if (domain !== undefined) return domain;
  throw new UsageFailure("no domain: certsync does not know which certificate is meant", {
    hint: "set domain in the config file, or give --domain mail.example.org",
  });
}

export interface DeployConfig {
  /** Null means MAILCOW_HOSTNAME. */
  readonly domain: string | null;
  readonly mailcow: string;
  readonly staging: string;
  readonly state: string;
  readonly trust: Trust;
  readonly apply: "reload" | "restart";
  readonly settleMs: number;
  readonly restartTimeoutMs: number;
  /** Null means those that mailcow.conf publishes. */
  readonly endpoints: readonly Endpoint[] | null;
  /** Whether DANE is looked at. */
  readonly dane: "warn" | "off";
  /** Null means mailcow's own, else this host's. */
  readonly resolver: Resolver | null;
  readonly force: boolean;
  /** Put back what was served before, instead of what is staged. */
  readonly rollback: boolean;
  readonly dryRun: boolean;
}

export function deployConfig(
  { domain, resolver, deploy = {} }: ConfigFile,
  flags: Flags,
): DeployConfig {
  return {
    domain: flagDomain(flags) ?? domain ?? null,
    mailcow: flagPath(flags, "mailcow") ?? deploy.mailcow ?? MAILCOW,
    staging: flagPath(flags, "staging") ?? deploy.staging ?? STAGING,
    state: deploy.state ?? DEPLOY_STATE,
    trust: deploy.trust ?? { kind: "system" },
    apply: deploy.apply ?? "reload",
    settleMs: deploy.settle ?? 30_000,
    restartTimeoutMs: deploy.restart_timeout ?? 300_000,
    endpoints: deploy.endpoints ?? null,
    dane: deploy.dane ?? "warn",
    resolver: resolver ?? null,
    force: flags.has("force"),
    rollback: flags.has("rollback"),
    dryRun: flags.has("dry-run"),
  };
}

/** A path on the command line may begin where the operator stands; one in the file may not. */
function flagPath(flags: Flags, name: string): string | undefined {
  const path = flags.value(name);
  return path === undefined ? undefined : parsePath(resolve(path), `--${name}`);
}

const formats = ["text", "nagios", "prometheus"];

/** The form of the report, which main reads again where it has one to show. Throws a UsageFailure. */
function checkFormat(text: string, what: string): void {
  if (formats.includes(text)) return;
  throw new UsageFailure(`${what} is not a format: ${quote(text)}`, {
    hint: `the formats are ${formats.join(", ")}`,
  });
}

/** In the order of the chain. */
export const legNames = [
  "source",
  "pushed",
  "staged",
  "deployed",
  "sni",
  "served",
  "tlsa",
] as const;

export type LegName = typeof legNames[number];

function parseLegName(text: string, what: string): LegName {
  const name = legNames.find((name) => name === text);
  if (name !== undefined) return name;
  throw new UsageFailure(`${what} is not a leg: ${quote(text)}`, {
    hint: `the legs are ${legNames.join(", ")}`,
  });
}

export interface VerifyConfig {
  /** Null means MAILCOW_HOSTNAME. */
  readonly domain: string | null;
  /** Null means what this host has. */
  readonly source: Location | null;
  readonly deployed: Location | null;
  readonly endpoints: readonly Endpoint[] | null;
  /** In the order in which they were named; null means all. */
  readonly legs: readonly LegName[] | null;
  readonly trust: Trust;
  readonly warn: Age;
  readonly critical: Age;
  readonly timeoutMs: number;
  /** Null means mailcow's own, else this host's. */
  readonly resolver: Resolver | null;
  readonly knownHosts: readonly string[] | null;
  /** What this host is in the chain, as far as the config file says: null where it does not. */
  readonly push: SourceConfig & {
    readonly isConfigured: boolean;
    readonly to: readonly PushTarget[] | null;
    readonly state: string;
  };
  readonly deploy: Pick<DeployConfig, "mailcow" | "staging" | "state" | "endpoints" | "dane"> & {
    readonly isConfigured: boolean;
  };
}

export function verifyConfig(file: ConfigFile, flags: Flags): VerifyConfig {
  const { push = {}, deploy = {}, verify = {} } = file;
  const age = (name: "warn" | "critical") => {
    const text = flags.value(name);
    return text === undefined ? verify[name] : parseAge(text, `--${name}`);
  };
  const location = (name: "source" | "deployed") => {
    const text = flags.value(name);
    return text === undefined ? verify[name] : resolved(parseLocation(text, `--${name}`));
  };
  checkFormat(flags.value("format") ?? "text", "--format");
  const warn = age("warn") ?? { lifePart: 0.25 };
  const critical = age("critical") ?? { lifePart: 0.1 };
  if (isLess(warn, critical)) {
    throw new UsageFailure("the critical age is larger than the one for a warning", {
      hint: "--critical, or verify.critical, must be less than --warn, or verify.warn",
    });
  }
  return {
    domain: verifyDomain(flags) ?? file.domain ?? null,
    source: location("source") ?? null,
    deployed: location("deployed") ?? null,
    endpoints: flags.values("endpoint")?.map((url) => parseEndpoint(url, "--endpoint")) ??
      verify.endpoints ?? null,
    legs: flags.values("leg")?.map((text) => parseLegName(text, "--leg")) ?? null,
    trust: verify.trust ?? { kind: "system" },
    warn,
    critical,
    timeoutMs: verify.timeout ?? 10_000,
    resolver: file.resolver ?? null,
    knownHosts: standardKnownHosts(),
    push: {
      isConfigured: file.push !== undefined,
      live: push.live ?? null,
      source: push.source ?? { kind: "auto" },
      to: push.to ?? null,
      state: push.state ?? PUSH_STATE,
    },
    deploy: {
      isConfigured: file.deploy !== undefined,
      mailcow: deploy.mailcow ?? MAILCOW,
      staging: deploy.staging ?? STAGING,
      state: deploy.state ?? DEPLOY_STATE,
      endpoints: deploy.endpoints ?? null,
      dane: deploy.dane ?? "warn",
    },
  };
}

/** HOSTNAME is what --domain is. */
function verifyDomain(flags: Flags): string | undefined {
  const [operand] = flags.operands;
  if (operand === undefined) return flagDomain(flags);
  const name = parseHostName(operand, "HOSTNAME");
  if ((flagDomain(flags) ?? name) === name) return name;
  throw new UsageFailure(`HOSTNAME and --domain are two names: ${quote(operand)}`, {
    hint: "give one of them",
  });
}

function resolved(location: Location): Location {
  return location.kind === "local" ? { ...location, path: resolve(location.path) } : location;
}

function isLess(a: Age, b: Age): boolean {
  if ("ms" in a && "ms" in b) return a.ms < b.ms;
  return "lifePart" in a && "lifePart" in b && a.lifePart < b.lifePart;
}

export interface FindConfig {
  readonly hostName: string | null;
  readonly live: readonly string[] | null;
  readonly commands: CommandsToTell;
}

export function findConfig({ push = {} }: ConfigFile, flags: Flags): FindConfig {
  const [operand] = flags.operands;
  return {
    hostName: operand === undefined ? null : parseHostName(operand, "HOSTNAME"),
    live: flags.values("live")?.map((path) => parsePath(resolve(path), "--live")) ??
      push.live ?? null,
    commands: commandsToTell(flags),
  };
}
