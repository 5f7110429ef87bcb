// What deploy is to do: flags before the config file, and that before mailcow.conf and defaults.

import { resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { UsageFailure } from "../failure.ts";
import type { Endpoint } from "../values/endpoint_url.ts";
import type { Resolver } from "../values/resolver.ts";
import type { ConfigFile } from "./config_file.ts";
import { flagDomain, furtherNames, type Only, parseOnly } from "./names.ts";
import { standard } from "./reader.ts";
import { parsePath, schema, type Trust } from "./schema.ts";
import { DEPLOY_STATE, MAILCOW, STAGING } from "./standard.ts";

export interface DeployConfig {
  /** Null means MAILCOW_HOSTNAME. */
  readonly domain: string | null;
  /** Further names, each with a certificate of its own. */
  readonly also: readonly string[];
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
  /** Whose certificates these two are about. */
  readonly only: Only;
  readonly dryRun: boolean;
  /** A unit started it: what waits and looks again. */
  readonly started: boolean;
}

export function deployConfig(file: ConfigFile, flags: Flags): DeployConfig {
  const { resolver, deploy = {} } = file;
  if (flags.has("force") && flags.has("rollback")) {
    throw new UsageFailure("--force and --rollback were given together", {
      hint: "give --rollback alone: it goes back to what --force installed too",
    });
  }
  const domain = flagDomain(flags) ?? file.domain;
  return {
    domain: domain ?? null,
    also: furtherNames(file, flags, domain),
    mailcow: flagPath(flags, "mailcow") ?? deploy.mailcow ?? MAILCOW,
    staging: flagPath(flags, "staging") ?? deploy.staging ?? STAGING,
    state: deploy.state ?? DEPLOY_STATE,
    trust: deploy.trust ?? standard(schema.deploy.trust),
    apply: deploy.apply ?? standard(schema.deploy.apply),
    settleMs: deploy.settle ?? standard(schema.deploy.settle),
    restartTimeoutMs: deploy.restart_timeout ?? standard(schema.deploy.restart_timeout),
    endpoints: deploy.endpoints ?? null,
    dane: deploy.dane ?? standard(schema.deploy.dane),
    resolver: resolver ?? null,
    force: flags.has("force"),
    rollback: flags.has("rollback"),
    only: parseOnly(flags),
    dryRun: flags.has("dry-run"),
    started: flags.has("started"),
  };
}

/** A path on the command line may begin where the operator stands; one in the file may not. */
function flagPath(flags: Flags, name: string): string | undefined {
  const path = flags.value(name);
  return path === undefined ? undefined : parsePath(resolve(path), `--${name}`);
}
