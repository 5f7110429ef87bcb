// certsync setup: prints the script that makes this host a part of the chain, and changes nothing.

import type { Flags } from "../cli/command_line.ts";
import {
  DEPLOY_STATE,
  MAILCOW,
  PUSH_STATE,
  STAGING,
  standardLiveDirectories,
} from "../config/standard.ts";
import { readConfigFile, STANDARD_FILE } from "../config/config_file.ts";
import { commentedExampleOf, meaningOf } from "../config/example.ts";
import { pushTargets } from "../config/push_config.ts";
import type { Key } from "../config/reader.ts";
import { schema } from "../config/schema.ts";
import {
  type DeploySetup,
  type LocalSetup,
  type PushSetup,
  type Role,
  type SetupConfig,
  setupConfig,
} from "./config.ts";
import { findVolumes, liveList } from "../programs/npm_container.ts";
import type { RunContext } from "../run_context.ts";
import { alsoLine } from "./missing.ts";
import { unseenByUnits } from "./paths.ts";
import { keptLines } from "./ssh_public_key.ts";
import { readKnownNames } from "./targets.ts";

/** What certsync setup prints. */
export async function setUp(flags: Flags, context: RunContext): Promise<string> {
  const file = await readConfigFile(flags.value("config"));
  const [role = ""] = flags.operands;
  const isAsked = file.push?.live === undefined && ["push", "local"].includes(role);
  const config = setupConfig(file, flags, {
    volumes: isAsked ? await findVolumes(context) : [],
    knownAs: role === "push"
      ? await readKnownNames(pushTargets(file, flags) ?? [], file.push?.port ?? null, context)
      : new Map(),
  });
  return setupScript(config, await readParts(config.role));
}

/** What the binary carries for one role: the shell that all have, that of its own, and its units. */
type Parts = Readonly<Record<string, string>>;

const commandsOf: Readonly<Record<Role, readonly ("push" | "deploy" | "verify")[]>> = {
  push: ["push"],
  deploy: ["deploy"],
  local: ["push", "deploy"],
  monitor: ["verify"],
};

async function readParts(role: Role): Promise<Parts> {
  const read = (path: string) => Deno.readTextFile(new URL(path, import.meta.url));
  const parts: Record<string, string> = {
    common: await read("common.sh"),
    alert_unit: await read("alert_unit.sh"),
    own: await read(`${role}.sh`),
    alert: await read("../../systemd/mailcow-cert-alert@.service"),
    tell_alert: await read("../../systemd/tell-alert"),
  };
  for (const command of commandsOf[role]) {
    parts[`${command}_units`] = await read(`${command}_units.sh`);
    for (const kind of command === "verify" ? ["service", "timer"] : ["service", "timer", "path"]) {
      parts[`${command}_${kind}`] = await read(`../../systemd/mailcow-cert-${command}.${kind}`);
    }
  }
  return parts;
}

/** What the shell of a role names, and does not assign. */
interface Values {
  /** What the script does, a sentence. */
  readonly title: string;
  /** Shell variables. */
  readonly settings: Readonly<Record<string, string>>;
  /** sh has no lists: these words are printed in place of `"$name"`. */
  readonly lists: Readonly<Record<string, readonly string[]>>;
  /** What stands in here-documents alone. */
  readonly texts: Readonly<Record<string, string>>;
}

/** The whole script; it ends without a line break. Pure. */
function setupScript(config: SetupConfig, parts: Parts): string {
  const { title, settings, lists, texts } = valuesOf(config);
  // The comment that opens a file is for those who read it where it lies.
  const body = (shell: string) => shell.replace(/^(#.*\n)+\n/, "");
  return [
    "#!/bin/sh",
    `# ${title}`,
    "#",
    "# Printed by certsync setup. Read it, then run it as root; run again, it changes nothing.",
    ...Object.entries(settings).map(([name, value]) => `${name}=${shellQuote(value)}`),
    "",
    body(parts.common ?? ""),
    fillIn(
      ["alert_unit", ...commandsOf[config.role].map((command) => `${command}_units`), "own"]
        .map((part) => body(parts[part] ?? "")).join("\n").trimEnd(),
      {
        ...{ config_file: [config.file], missing: config.missing },
        ...{ unseen: unseenByUnits(config), ...pathUnits(config), ...lists },
      },
      { yaml_also: yamlAlso(config), ...defaults, ...settings, ...texts, ...parts },
    ),
  ].join("\n");
}

/** Puts words and texts where their names stand. */
function fillIn(shell: string, lists: Values["lists"], texts: Values["texts"]): string {
  return shell
    // A call with an empty list alone is left out, with what it would be fed.
    .replace(
      /^ *\w+ "\$(\w+)"(?: <<END_OF_FILE\n[^]*?^END_OF_FILE)?\n/gm,
      (call, name) => lists[name]?.length === 0 ? "" : call,
    )
    .replace(
      / "\$(\w+)"/g,
      (asItIs, name) => lists[name]?.map((word) => ` ${shellQuote(word)}`).join("") ?? asItIs,
    )
    // Printed as it will be written; no line of it may be END_OF_FILE.
    .replace(/<<END_OF_FILE\n([^]*?)^END_OF_FILE$/gm, (_, template: string) => {
      const text = template.replace(/\$(\w+)/g, (asItIs, name) => texts[name] ?? asItIs).trimEnd();
      return `<<'END_OF_FILE'\n${text === "" ? "" : `${text}\n`}END_OF_FILE`;
    });
}

/** For sh: whatever the text holds, it stays one word and means nothing. */
function shellQuote(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function valuesOf(config: SetupConfig): Values {
  switch (config.role) {
    case "push":
      return pushValues(config);
    case "deploy":
      return deployValues(config);
    case "local":
      return localValues(config);
    case "monitor": {
      const domain = config.domain ?? "";
      return {
        title: "Makes this host verify the chain daily.",
        settings: {},
        // Without a domain there is nothing to write into it.
        lists: domain === "" ? { config_file: [] } : {},
        texts: { domain, yaml_domain: yaml(domain), verify_drop_in: dropIn("verify", config, []) },
      };
    }
  }
}

function pushValues(config: PushSetup): Values {
  const { domain, also, to, port, identity, knownHosts, state, hostKey, writes } = config;
  const targets = config.targets.map(({ text }) => text);
  const items = targets.map(yaml);
  return {
    title: `Makes this host push the certificate of ${domain} to ${targets.join(" and ")}.`,
    settings: {
      ...{ identity, known_hosts: knownHosts, state },
      ...{ config_flag: configFlag(config), also_flags: alsoFlags(config) },
    },
    lists: {
      names: [domain, ...also],
      host_key: hostKey === null
        ? []
        : [hostKey.name, `${hostKey.key.type} ${hostKey.key.blob}`, knownHosts],
      targets: to.flatMap(({ text, knownAs }) => [text, knownAs]),
    },
    texts: {
      yaml_domain: yaml(domain),
      yaml_to: items.length === 1 ? ` ${items}` : items.map((item) => `\n    - ${item}`).join(""),
      yaml_port: setting("port", String(port), "22"),
      yaml_state: setting("state", state, PUSH_STATE),
      yaml_live: yamlLive(config),
      push_drop_in: pushDropIn(config, state, writes.map(ifThere)),
    },
  };
}

function deployValues(config: DeploySetup): Values {
  const { domain, mailcow, staging, state, authorizedKeys, replace } = config;
  return {
    title: `Makes this host deploy what is pushed to ${staging} into ${mailcow}.`,
    settings: {
      ...{ mailcow, staging, state },
      ...{ config_flag: configFlag(config), also_flags: alsoFlags(config) },
      // What else may stay in authorized_keys, for grep -E.
      kept_lines: replace ? "^$" : keptLines(staging),
      is_given_keys: authorizedKeys.length === 0 ? "" : "1",
    },
    lists: {},
    texts: {
      authorized_keys: authorizedKeys.map(({ options, command, type, blob, comment }) =>
        `${options}command="${command}",restrict ${type} ${blob} ${comment}`.trimEnd()
      ).join("\n"),
      yaml_domain: domain === null ? "# domain: mail.example.org" : `domain: ${yaml(domain)}`,
      yaml_mailcow: setting("mailcow", mailcow, MAILCOW),
      yaml_staging: setting("staging", staging, STAGING),
      yaml_state: setting("state", state, DEPLOY_STATE),
      deploy_drop_in: deployDropIn(config, mailcow, state),
    },
  };
}

function localValues(config: LocalSetup): Values {
  const { domain, also, mailcow, staging, writes, pushState, deployState } = config;
  return {
    title: `Makes this machine carry the certificate of ${domain} to the mailcow in ${mailcow}.`,
    settings: {
      ...{ mailcow, staging, push_state: pushState, deploy_state: deployState },
      config_flag: configFlag(config),
    },
    lists: { names: [domain, ...also] },
    texts: {
      yaml_domain: yaml(domain),
      yaml_live: yamlLive(config),
      yaml_mailcow: setting("mailcow", mailcow, MAILCOW),
      yaml_push_state: setting("state", pushState, PUSH_STATE),
      yaml_deploy_state: setting("state", deployState, DEPLOY_STATE),
      push_drop_in: pushDropIn(config, pushState, [staging, ...writes.map(ifThere)]),
      deploy_drop_in: deployDropIn(config, mailcow, deployState),
    },
  };
}

/** Which path units there are, which are not to be, and what the source's watches. */
function pathUnits(config: SetupConfig): Values["lists"] {
  if (config.role === "monitor") return {};
  const units = commandsOf[config.role].map((command) => `mailcow-cert-${command}.path`);
  const { timersOnly } = config;
  const one = (unit: string) => units.filter((name) => name.includes(unit));
  return {
    path_units: timersOnly ? [] : units,
    push_live: "live" in config ? config.live : [],
    push_path_unit: timersOnly ? [] : one("push"),
    push_path_unused: timersOnly ? one("push") : [],
    push_watch: timersOnly || !("live" in config) ? [] : [...one("push"), ...config.live],
    deploy_watch: timersOnly || !("staging" in config) ? [] : [...one("deploy"), config.staging],
    deploy_path_unit: timersOnly ? [] : one("deploy"),
    deploy_path_unused: timersOnly ? one("deploy") : [],
  };
}

/** Of what is not there yet nothing is to be made. systemd.exec(5) */
function ifThere(path: string): string {
  return `-${path}`;
}

function pushDropIn(
  config: SetupConfig,
  state: string,
  targets: readonly string[] = [],
): string {
  return dropIn("push --started", config, [...state === PUSH_STATE ? [] : [state], ...targets]);
}

function deployDropIn(config: SetupConfig, mailcow: string, state: string): string {
  return dropIn("deploy --started", config, [
    // As in the unit: certsync itself says it best if mailcow is not there.
    ...(mailcow === MAILCOW ? [] : [`-${mailcow}/data/assets/ssl`]),
    ...(state === DEPLOY_STATE ? [] : [state]),
  ]);
}

/** What of the service is not as its file has it on this host: empty for nothing. */
function dropIn(command: string, config: SetupConfig, writable: readonly string[]): string {
  const lines = [
    ...(configFlag(config) === ""
      ? []
      : ["ExecStart=", `ExecStart=certsync ${command}${configFlag(config)}`]),
    ...writable.map((path) => `ReadWritePaths=${path}`),
  ];
  if (lines.length === 0) return "";
  return ["# What differs from the standard on this host.", "[Service]", ...lines].join("\n");
}

/** Those of containers; else as a comment what holds anyway. */
function yamlLive({ found }: LocalSetup | PushSetup): string {
  const line = found.length === 0
    ? `  # live: ${liveList(standardLiveDirectories)}`
    : `  live: ${liveList(found)}`;
  return [...meaningOf(schema.push.live, "  "), line].join("\n");
}

/** What holds anyway of the keys that are left alone: comments, for whoever wants it otherwise. */
const defaults = {
  push_defaults: comments({
    source: schema.push.source,
    trust: schema.push.trust,
    timeout: schema.push.timeout,
  }),
  deploy_defaults: comments({
    trust: schema.deploy.trust,
    apply: schema.deploy.apply,
    settle: schema.deploy.settle,
    restart_timeout: schema.deploy.restart_timeout,
    endpoints: schema.deploy.endpoints,
    dane: schema.deploy.dane,
  }),
  verify_defaults: comments(schema.verify),
};

function comments(section: Readonly<Record<string, Key<unknown>>>): string {
  return Object.entries(section).flatMap(([name, key]) => commentedExampleOf(name, key, "  "))
    .join("\n");
}

function configFlag({ file }: SetupConfig): string {
  return file === STANDARD_FILE ? "" : ` --config ${file}`;
}

/** What tells the other host of the further names. */
function alsoFlags({ also }: SetupConfig): string {
  return also.map((name) => ` --also ${name}`).join("");
}

function yamlAlso({ also }: SetupConfig): string {
  return also.length === 0 ? "# also: [mail.example.com]" : alsoLine(also);
}

/** A key of the section, as a comment where it says what holds anyway. */
function setting(key: string, value: string, standard: string): string {
  return value === standard ? `  # ${key}: ${value}` : `  ${key}: ${value}`;
}

/** Plain where YAML takes it for a text anyway. */
function yaml(text: string): string {
  return /^[A-Za-z][A-Za-z0-9@:_-]*[./][A-Za-z0-9@:._/+-]*[A-Za-z0-9/]$/.test(text)
    ? text
    : JSON.stringify(text);
}
