// What setup is to do: the command line and the config file, checked for what a script may hold.

import { join, resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { checkDistinct, flagDomain } from "../config/names.ts";
import { pushTargets } from "../config/push_config.ts";
import {
  DEPLOY_STATE,
  LOCAL_STAGING,
  MAILCOW,
  PUSH_STATE,
  STAGING,
  STANDARD_KNOWN_HOSTS,
} from "../config/standard.ts";
import { type ConfigFile, STANDARD_FILE } from "../config/config_file.ts";
import type { TargetEntry } from "../config/schema.ts";
import { quote, UsageFailure } from "../failure.ts";
import { isMissing } from "../files/read_file.ts";
import { parseFurtherName } from "../values/host_name.ts";
import type { PushTarget } from "../values/push_target.ts";
import { checkPaths } from "./paths.ts";
import { type SourceSetup, sourceSetup } from "./source.ts";
import {
  type AuthorizedKey,
  type HostKey,
  parseAuthorizedKey,
  parseHostKey,
} from "./ssh_public_key.ts";

export type SetupConfig = PushSetup | DeploySetup | LocalSetup | MonitorSetup;
export type Role = SetupConfig["role"];

/** On another host. */
type RemoteEntry = Extract<TargetEntry, { kind: "ssh" }>;

interface CommonSetup {
  /** The config file; the units name it where it is not the standard one. */
  readonly file: string;
  /** What the file should say for this setup and does not, in lines as they would stand there. */
  readonly missing: readonly string[];
  /** Further names, those of the file first. */
  readonly also: readonly string[];
}

interface Watching {
  /** Whether the timers alone start anything. */
  readonly timersOnly: boolean;
}

export interface PushSetup extends CommonSetup, SourceSetup, Watching {
  readonly role: "push";
  readonly domain: string;
  readonly to: readonly RemoteEntry[];
  readonly port: number;
  readonly identity: string;
  readonly knownHosts: string;
  readonly state: string;
  /** The mail host's ssh key, and by what name push knows it. */
  readonly hostKey: { readonly name: string; readonly key: HostKey } | null;
}

export interface DeploySetup extends CommonSetup, Watching {
  readonly role: "deploy";
  /** Null means MAILCOW_HOSTNAME. */
  readonly domain: string | null;
  readonly mailcow: string;
  readonly staging: string;
  readonly state: string;
  readonly authorizedKeys: readonly AuthorizedKey[];
  /** Whether no other key stays. */
  readonly replace: boolean;
}

/** Both on one machine, with a directory between them. */
export interface LocalSetup extends CommonSetup, SourceSetup, Watching {
  readonly role: "local";
  readonly domain: string;
  readonly mailcow: string;
  readonly staging: string;
  readonly pushState: string;
  readonly deployState: string;
}

export interface MonitorSetup extends CommonSetup {
  readonly role: "monitor";
  /** Null means MAILCOW_HOSTNAME, which is on the mail host alone. */
  readonly domain: string | null;
}

const roles: Readonly<Record<Role, readonly string[]>> = {
  push: ["domain", "also", "to", "host-key", "timers-only"],
  deploy: ["domain", "also", "authorized-key", "replace", "mailcow", "timers-only"],
  local: ["domain", "also", "mailcow", "timers-only"],
  monitor: ["domain", "also"],
};

/** Throws a UsageFailure for what is lacking, and for what has no place in a script that root runs. */
export function setupConfig(
  file: ConfigFile,
  flags: Flags,
  /** Live directories of containers that run here. */
  volumes: readonly string[],
): SetupConfig {
  const role = parseRole(flags.operands[0]);
  const foreign = Object.values(roles).flat()
    .find((name) =>
      (flags.has(name) || flags.values(name) !== undefined) && !roles[role].includes(name)
    );
  if (foreign !== undefined) {
    const owners = Object.entries(roles).filter(([, names]) => names.includes(foreign));
    throw new UsageFailure(`certsync setup ${role} has no --${foreign}`, {
      hint: `it is an option of certsync setup ${owners.map(([owner]) => owner).join(", ")}`,
    });
  }
  const read = { push: pushSetup, deploy: deploySetup, local: localSetup, monitor: monitorSetup };
  const config = read[role](file, flags, volumes);
  checkPaths(config);
  return config;
}

/** Those of the file, and what --also adds; a script that wrote them there may be asked for again. */
function setupNames(
  { also = [] }: ConfigFile,
  flags: Flags,
  domain: string | null,
): readonly string[] {
  const added = (flags.values("also") ?? []).map((text) => parseFurtherName(text, "--also"));
  checkDistinct(domain ?? undefined, added);
  const names = [...also, ...added.filter((name) => !also.includes(name))];
  checkDistinct(domain ?? undefined, names);
  return names;
}

function parseRole(text: string | undefined): Role {
  if (text !== undefined && isRole(text)) return text;
  throw new UsageFailure(
    text === undefined ? "setup needs to know what for" : `setup knows no ${quote(text)}`,
    {
      hint: `it is one of ${Object.keys(roles).map((role) => `certsync setup ${role}`).join(", ")}`,
    },
  );
}

function isRole(text: string): text is Role {
  return Object.hasOwn(roles, text);
}

function pushSetup(config: ConfigFile, flags: Flags, volumes: readonly string[]): PushSetup {
  const { push = {} } = config;
  const domain = flagDomain(flags) ?? config.domain;
  const to = pushTargets(config, flags);
  if (domain === undefined || to === undefined) {
    const lacking = [
      ...(domain === undefined ? ["--domain NAME"] : []),
      ...(to ? [] : ["--to TARGET"]),
    ];
    throw new UsageFailure(`certsync setup push needs ${lacking.join(" and ")}`, {
      hint: "certsync setup push --domain mail.example.org " +
        `--to certsync@mail.example.org:${STAGING}/`,
    });
  }
  const local = to.find(({ kind }) => kind === "local");
  if (local !== undefined) {
    throw new UsageFailure(`certsync setup push is for a mail host, not ${quote(local.text)}`, {
      hint:
        `where NPM and mailcow are on this one machine: certsync setup local --domain ${domain}`,
    });
  }
  const remote = to.filter((target) => target.kind === "ssh");
  const port = push.port ?? 22;
  const identity = push.identity ?? "/root/.ssh/mailcow_certsync";
  const text = flags.value("host-key");
  const also = setupNames(config, flags, domain);
  const { lines, ...source } = sourceSetup(config, volumes);
  return {
    role: "push",
    file: configPath(flags),
    missing: missingLines(config, { domain, also }, {
      push: [
        ["to", targetsText(to), push.to && targetsText(push.to)],
        ["identity", identity, push.identity],
        ...lines,
      ],
    }),
    ...source,
    timersOnly: flags.has("timers-only"),
    domain,
    also,
    to: remote,
    port,
    identity,
    knownHosts: push.known_hosts ?? STANDARD_KNOWN_HOSTS,
    state: push.state ?? PUSH_STATE,
    hostKey: text === undefined
      ? null
      : nameHostKey(parseHostKey(text, "--host-key"), remote, port),
  };
}

/** One target, or a list of them as YAML has it. */
function targetsText(to: readonly PushTarget[]): string {
  const texts = to.map(({ text }) => text);
  if (texts.length < 2) return texts.join();
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** As known_hosts names a host: in brackets where the port is not ssh's own. */
export function knownHostName(host: string, port: number): string {
  return port === 22 ? host : `[${host}]:${port}`;
}

function nameHostKey(
  key: HostKey,
  to: readonly RemoteEntry[],
  standardPort: number,
): PushSetup["hostKey"] {
  const names = [
    ...new Set(to.map(({ host, port }) => knownHostName(host, port ?? standardPort))),
  ];
  const named = key.names.length === 0 && names.length === 1
    ? names[0]
    : names.find((name) => key.names.includes(name));
  if (named !== undefined) return { name: named, key };
  throw new UsageFailure(
    key.names.length === 0
      ? "--host-key does not tell which of the targets' hosts it is of"
      : `--host-key is of ${quote(key.names.join(","))}, which is no target's host`,
    { hint: `put the name that push uses before the key: ${names.join(" or ")}` },
  );
}

function deploySetup(config: ConfigFile, flags: Flags): DeploySetup {
  const { deploy = {} } = config;
  const lines = flags.values("authorized-key") ?? [];
  if (lines.length === 0 && flags.has("replace")) {
    throw new UsageFailure("certsync setup deploy --replace needs --authorized-key LINE", {
      hint: "run certsync setup push on the NPM host first: its script prints that line",
    });
  }
  const staging = resolve(deploy.staging ?? STAGING);
  const authorizedKeys = lines.map((line) => parseAuthorizedKey(line, "--authorized-key", staging));
  const mailcow = mailcowDirectory(config, flags);
  const elsewhere = authorizedKeys.find(({ directory }) => resolve(directory) !== staging);
  if (elsewhere !== undefined) {
    throw new UsageFailure(
      `--authorized-key writes to ${quote(elsewhere.directory)}, but staging is ${quote(staging)}`,
      {
        hint:
          "give push that directory as its target, or first set deploy.staging in the config file",
      },
    );
  }
  const domain = flagDomain(flags) ?? config.domain ?? null;
  const also = setupNames(config, flags, domain);
  return {
    role: "deploy",
    file: configPath(flags),
    missing: missingLines(config, { domain, also }, {
      deploy: [["mailcow", mailcow, deploy.mailcow ?? MAILCOW]],
    }),
    timersOnly: flags.has("timers-only"),
    domain,
    also,
    mailcow,
    staging,
    state: deploy.state ?? DEPLOY_STATE,
    authorizedKeys,
    replace: flags.has("replace"),
  };
}

function mailcowDirectory({ deploy = {} }: ConfigFile, flags: Flags): string {
  const flag = flags.value("mailcow");
  return flag === undefined ? deploy.mailcow ?? MAILCOW : resolve(flag);
}

function localSetup(config: ConfigFile, flags: Flags, volumes: readonly string[]): LocalSetup {
  const { push = {}, deploy = {} } = config;
  const domain = flagDomain(flags) ?? config.domain;
  if (domain === undefined) {
    throw new UsageFailure("certsync setup local needs --domain NAME", {
      hint: "certsync setup local --domain mail.example.org",
    });
  }
  const also = setupNames(config, flags, domain);
  const mailcow = mailcowDirectory(config, flags);
  const staging = resolve(deploy.staging ?? LOCAL_STAGING);
  const { lines, ...source } = sourceSetup(config, volumes);
  return {
    role: "local",
    file: configPath(flags),
    missing: missingLines(config, { domain, also }, {
      push: [["to", `${staging}/`, push.to && targetsText(push.to)], ...lines],
      deploy: [
        ["mailcow", mailcow, deploy.mailcow ?? MAILCOW],
        ["staging", staging, deploy.staging],
      ],
    }),
    ...source,
    timersOnly: flags.has("timers-only"),
    domain,
    also,
    mailcow,
    staging,
    pushState: push.state ?? PUSH_STATE,
    deployState: deploy.state ?? DEPLOY_STATE,
  };
}

function monitorSetup(config: ConfigFile, flags: Flags): MonitorSetup {
  const domain = flagDomain(flags) ?? config.domain ?? null;
  if (domain === null && isMissing(join(config.deploy?.mailcow ?? MAILCOW, "mailcow.conf"))) {
    throw new UsageFailure("certsync setup monitor needs --domain NAME", {
      hint: "certsync setup monitor --domain mail.example.org; on the mail host mailcow.conf tells",
    });
  }
  const also = setupNames(config, flags, domain);
  const missing = missingLines(config, { domain, also }, {});
  return { role: "monitor", file: configPath(flags), missing, domain, also };
}

function configPath(flags: Flags): string {
  return resolve(flags.value("config") ?? STANDARD_FILE);
}

export type Setting = readonly [key: string, wanted: string, found: string | undefined];

/** Of each section what is wanted, and what the file has. */
function missingLines(
  found: ConfigFile,
  { domain, also }: { readonly domain: string | null; readonly also: readonly string[] },
  sections: Readonly<Record<string, readonly Setting[]>>,
): string[] {
  return [
    ...(domain === null || domain === found.domain ? [] : [`domain: ${domain}`]),
    ...(also.length === (found.also ?? []).length ? [] : [alsoLine(also)]),
    ...Object.entries(sections).flatMap(([section, settings]) => {
      const lines = settings.filter(([, wanted, found]) => wanted !== found)
        .map(([key, wanted]) => `  ${key}: ${wanted}`);
      return lines.length === 0 ? [] : [`${section}:`, ...lines];
    }),
  ];
}

/** As the file has it. */
export function alsoLine(also: readonly string[]): string {
  return `also: [${also.join(", ")}]`;
}
