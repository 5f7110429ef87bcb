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
import { isOneMachine } from "../config/one_machine.ts";
import { quote, UsageFailure } from "../failure.ts";
import { isMissing } from "../files/read_file.ts";
import { parseFurtherName } from "../values/host_name.ts";
import type { PushTarget } from "../values/push_target.ts";
import { missingLines } from "./missing.ts";
import { checkPaths } from "./paths.ts";
import { type SourceSetup, sourceSetup } from "./source.ts";
import { type AuthorizedKey, parseAuthorizedKey, parseHostKey } from "./ssh_public_key.ts";
import {
  localWrites,
  type NamedHostKey,
  nameHostKey,
  type RemoteEntry,
  targetsText,
} from "./targets.ts";

export type SetupConfig = PushSetup | DeploySetup | LocalSetup | MonitorSetup;
export type Role = SetupConfig["role"];

/** What is not in the config file, but to be seen on this host. */
export interface HostFacts {
  /** Live directories of containers that run here. */
  readonly volumes: readonly string[];
  /** By the target's text, the name by which ssh looks up its host's key. */
  readonly knownAs: ReadonlyMap<string, string>;
}

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
  /** All of them, and those on other hosts. */
  readonly targets: readonly PushTarget[];
  readonly to: readonly RemoteEntry[];
  /** Where push must be let write. */
  readonly writes: readonly string[];
  readonly port: number;
  readonly identity: string;
  readonly knownHosts: string;
  readonly state: string;
  readonly hostKey: NamedHostKey | null;
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
  /** Where else push must be let write. */
  readonly writes: readonly string[];
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
  facts: HostFacts,
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
  const config = read[role](file, flags, facts);
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

function pushSetup(
  config: ConfigFile,
  flags: Flags,
  { volumes, knownAs }: HostFacts,
): PushSetup {
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
  const remote = to.filter((target) => target.kind === "ssh")
    .map((target) => ({ ...target, knownAs: knownAs.get(target.text) ?? target.host }));
  if (remote.length === 0) {
    const texts = to.map(({ text }) => quote(text)).join(", ");
    throw new UsageFailure(`certsync setup push is for a mail host, not ${texts}`, {
      hint:
        `where NPM and mailcow are on this one machine: certsync setup local --domain ${domain}`,
    });
  }
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
    targets: to,
    to: remote,
    // A config file that is kept goes on to be what push does.
    writes: localWrites([...push.to ?? [], ...to]),
    port,
    identity,
    knownHosts: push.known_hosts ?? STANDARD_KNOWN_HOSTS,
    state: push.state ?? PUSH_STATE,
    hostKey: text === undefined ? null : nameHostKey(parseHostKey(text, "--host-key"), remote),
  };
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
  if (isOneMachine(config)) {
    throw new UsageFailure(
      `certsync setup deploy is for what another host pushes: push on this machine writes to ${
        quote(staging)
      }`,
      {
        hint: "certsync setup local is for both on one machine; or first take that directory out " +
          "of push.to in the config file",
      },
    );
  }
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

function localSetup(config: ConfigFile, flags: Flags, { volumes }: HostFacts): LocalSetup {
  const { push = {}, deploy = {} } = config;
  const domain = flagDomain(flags) ?? config.domain;
  if (domain === undefined) {
    throw new UsageFailure("certsync setup local needs --domain NAME", {
      hint: "certsync setup local --domain mail.example.org",
    });
  }
  const also = setupNames(config, flags, domain);
  const mailcow = mailcowDirectory(config, flags);
  const isAlready = isOneMachine(config);
  const found = deploy.staging ?? (isAlready ? STAGING : undefined);
  const staging = resolve(found ?? LOCAL_STAGING);
  const to = push.to && targetsText(push.to);
  const { lines, ...source } = sourceSetup(config, volumes);
  return {
    role: "local",
    file: configPath(flags),
    missing: missingLines(config, { domain, also }, {
      push: [["to", isAlready && to ? to : `${staging}/`, to], ...lines],
      deploy: [
        ["mailcow", mailcow, deploy.mailcow ?? MAILCOW],
        ["staging", staging, found],
      ],
    }),
    ...source,
    timersOnly: flags.has("timers-only"),
    domain,
    also,
    mailcow,
    staging,
    writes: localWrites(push.to ?? [], staging),
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
