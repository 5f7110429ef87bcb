// Which paths a script of setup takes: those that mean nothing but themselves, wherever they stand in it.

import { quote, UsageFailure } from "../failure.ts";
import type { SetupConfig } from "./config.ts";

/** Nothing in it means anything to a shell, to YAML, to a unit file or to ssh. */
const PLAIN_PATH = /^\/[A-Za-z0-9._/+@-]*$/;

/** Throws a UsageFailure. */
export function checkPaths(config: SetupConfig): void {
  const hidden = "live" in config ? config.live.find((path) => isTemporary(path)) : undefined;
  if (hidden !== undefined) {
    throw new UsageFailure(`push cannot read what lies in ${quote(hidden)}`, {
      hint: "its unit has a /tmp and a /var/tmp of its own: have the certificates lie elsewhere",
    });
  }
  const strange = pathsOf(config).find((path) => !PLAIN_PATH.test(path));
  if (strange === undefined) return;
  throw new UsageFailure(`setup takes plain absolute paths only, not ${quote(strange)}`, {
    hint: "letters, digits and ._/+@- may be in it; with another one, set this host up by hand",
  });
}

function isTemporary(path: string): boolean {
  return /^\/(var\/)?tmp(\/|$)/.test(path);
}

/**
 * The config file, and what of it only a run by hand can work on: the services have a /tmp and a
 * /var/tmp of their own. Nothing where they can work on all.
 */
export function unseenByUnits(config: SetupConfig): readonly string[] {
  const unseen = workedOn(config).filter(isTemporary);
  return unseen.length === 0 ? [] : [config.file, ...unseen];
}

/** What the services work on, besides what push reads. */
function workedOn(config: SetupConfig): readonly string[] {
  switch (config.role) {
    case "push":
      return [config.state, ...config.writes];
    case "deploy":
      return [config.mailcow, config.staging, config.state];
    case "local":
      return [
        ...[config.mailcow, config.staging, config.pushState, config.deployState],
        ...config.writes,
      ];
    case "monitor":
      return [];
  }
}

function pathsOf(config: SetupConfig): readonly string[] {
  switch (config.role) {
    case "push": {
      const directories = config.to.map(({ directory }) => directory);
      const { file, identity, knownHosts, state, live, writes } = config;
      return [file, identity, knownHosts, state, ...live, ...directories, ...writes];
    }
    case "deploy":
      return [config.file, config.mailcow, config.staging, config.state];
    case "local": {
      const { file, mailcow, staging, pushState, deployState, live, writes } = config;
      return [file, mailcow, staging, pushState, deployState, ...live, ...writes];
    }
    case "monitor":
      return [config.file];
  }
}
