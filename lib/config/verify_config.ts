// What verify is to compare: flags before the config file, and that before what this host has.

import { resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { quote, UsageFailure } from "../failure.ts";
import { type Endpoint, parseEndpoint } from "../values/endpoint_url.ts";
import { parseHostName } from "../values/host_name.ts";
import { type Location, parseLocation } from "../values/location.ts";
import type { PushTarget } from "../values/push_target.ts";
import type { Resolver } from "../values/resolver.ts";
import { type Age, parseAge } from "../values/time.ts";
import type { ConfigFile } from "./config_file.ts";
import type { DeployConfig } from "./deploy_config.ts";
import { flagDomain, furtherNames } from "./names.ts";
import type { SourceConfig } from "./push_config.ts";
import { standard } from "./reader.ts";
import { schema, type Trust } from "./schema.ts";
import { DEPLOY_STATE, MAILCOW, PUSH_STATE, STAGING, standardKnownHosts } from "./standard.ts";

const formats = ["text", "nagios", "prometheus"];

/** The form of the report, which main reads again where it has one to show. Throws a UsageFailure. */
function checkFormat(text: string, what: string): void {
  if (formats.includes(text)) return;
  throw new UsageFailure(`${what} is not a format: ${quote(text)}`, {
    hint: text === "json" ? "did you mean --json?" : `the formats are ${formats.join(", ")}`,
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
  /** Further names, each with a certificate of its own. */
  readonly also: readonly string[];
  /** Those of them that the command line alone names. */
  readonly added: readonly string[];
  /** The one of them that was asked for: nothing else is looked at. */
  readonly only: string | null;
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
  const warn = age("warn") ?? standard(schema.verify.warn);
  const critical = age("critical") ?? standard(schema.verify.critical);
  if (isLess(warn, critical)) {
    throw new UsageFailure("the critical age is larger than the one for a warning", {
      hint: "--critical, or verify.critical, must be less than --warn, or verify.warn",
    });
  }
  return {
    ...verifyNames(file, flags),
    source: location("source") ?? null,
    deployed: location("deployed") ?? null,
    endpoints: flags.values("endpoint")?.map((url) => parseEndpoint(url, "--endpoint")) ??
      verify.endpoints ?? null,
    legs: flags.values("leg")?.map((text) => parseLegName(text, "--leg")) ?? null,
    trust: verify.trust ?? standard(schema.verify.trust),
    warn,
    critical,
    timeoutMs: verify.timeout ?? standard(schema.verify.timeout),
    resolver: file.resolver ?? null,
    knownHosts: standardKnownHosts(),
    push: {
      isConfigured: file.push !== undefined,
      live: push.live ?? null,
      source: push.source ?? standard(schema.push.source),
      to: push.to ?? null,
      state: push.state ?? PUSH_STATE,
    },
    deploy: {
      isConfigured: file.deploy !== undefined,
      mailcow: deploy.mailcow ?? MAILCOW,
      staging: deploy.staging ?? STAGING,
      state: deploy.state ?? DEPLOY_STATE,
      endpoints: deploy.endpoints ?? null,
      dane: deploy.dane ?? standard(schema.deploy.dane),
    },
  };
}

/**
 * The name that was asked for is the domain, whoever the config file is about: its further names are
 * not that one's. One of these is looked at where its pair lies.
 */
function verifyNames(
  file: ConfigFile,
  flags: Flags,
): Pick<VerifyConfig, "domain" | "also" | "added" | "only"> {
  const asked = askedName(flags);
  const isFurther = asked !== undefined && file.also?.includes(asked) === true;
  const isAnother = asked !== undefined && !isFurther && file.domain !== undefined &&
    asked !== file.domain;
  const domain = isFurther ? file.domain : asked ?? file.domain;
  const also = furtherNames(isAnother ? { ...file, also: [] } : file, flags, domain);
  return {
    domain: domain ?? null,
    also,
    added: also.filter((name) => !file.also?.includes(name)),
    only: isFurther ? asked : null,
  };
}

/** HOSTNAME is what --domain is. */
function askedName(flags: Flags): string | undefined {
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
