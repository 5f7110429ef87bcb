// certsync status: says whether this host is set up rightly, and what happened last.

import { dirname, join, resolve } from "node:path";
import type { Flags } from "../cli/command_line.ts";
import { isOneMachine } from "../config/one_machine.ts";
import type { Presentation } from "../cli/terminal.ts";
import { type ConfigFile, STANDARD_FILE } from "../config/config_file.ts";
import { type DeployConfig, deployConfig } from "../config/deploy_config.ts";
import { type PushConfig, pushConfig } from "../config/push_config.ts";
import { Failure, orFailure, quote } from "../failure.ts";
import { isMissing } from "../files/read_file.ts";
import { isPathWithin } from "../files/real_path.ts";
import { readSandbox } from "../files/sandbox.ts";
import { readUnits, type UnitState } from "../programs/systemctl.ts";
import { readVersion, type VersionedProgram } from "../programs/version.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { alertPoints, alertUnit } from "./alert_points.ts";
import { lookAtDeploy } from "./deploy_points.ts";
import { lookBack } from "./history_points.ts";
import { exposurePoints, failedPoint, type Point, point } from "./point.ts";
import { lookAtPush } from "./push_points.ts";
import {
  describeStatus,
  emptyStatusReport,
  endingOf,
  type Role,
  type StatusReport,
} from "./report.ts";
import { sandboxPoints } from "./sandbox_points.ts";
import { namedConfig } from "./setup_points.ts";
import { type Duty, unitNames, unitPoints } from "./unit_points.ts";

export interface StatusConfig {
  readonly file: ConfigFile;
  readonly path: string;
  /** Whether it was asked about that file by its name. */
  readonly isNamed: boolean;
  readonly push: PushConfig | Failure;
  readonly deploy: DeployConfig | Failure;
  readonly offline: boolean;
  /** Only what is not well is told. */
  readonly quiet: boolean;
}

function statusConfig(file: ConfigFile, flags: Flags): StatusConfig {
  return {
    file,
    path: flags.value("config") ?? STANDARD_FILE,
    isNamed: flags.value("config") !== undefined,
    // What is wrong with a local target is a point of its own.
    push: orFailure(() => pushConfig(file, flags, () => {})),
    deploy: orFailure(() => deployConfig(file, flags)),
    offline: flags.has("offline"),
    quiet: flags.has("quiet"),
  };
}

const roleNames: readonly Role[] = ["push", "deploy", "verify"];

async function status(config: StatusConfig, context: RunContext): Promise<StatusReport> {
  const duties = roleNames.map((role) => dutyOf(role, config));
  const names = duties.flatMap(unitNames);
  const units = await readUnits([...names, ...names.flatMap(alertUnit)], context);
  const roles = rolesOf(config, units);
  if (roles.length === 0) return { ...emptyStatusReport(), points: [noRole(config)] };
  const other = otherConfig(config, units);
  if (other !== null) return { ...emptyStatusReport(), roles, points: [other] };
  const isOf = (role: Role) => roles.includes(role);
  const push = isOf("push") && !(config.push instanceof Failure)
    ? await lookAtPush(config.push, config, context)
    : { points: [], watches: [] };
  const deploy = isOf("deploy") && !(config.deploy instanceof Failure)
    ? [
      ...await lookAtDeploy(config.deploy, context, {
        offline: config.offline,
        setup: withKey(dutyOf("deploy", config).setup),
      }),
      ...exposurePoints("deploy state", config.deploy.state, "700"),
    ]
    : [];
  const seen = duties.filter(({ role }) => isOf(role)).map((duty) => ({
    ...duty,
    writes: writesOf(duty.role, config),
    ...(duty.role === "push" ? { watches: push.watches } : {}),
  }));
  const { history, points, warnings } = lookBack(config, roles);
  return {
    roles,
    points: onceEach([
      ...configPoints(config, roles),
      ...await programPoints(programsOf(roles, config), context),
      ...push.points,
      ...deploy,
      ...seen.flatMap((duty) => unitPoints(duty, units)),
      ...seen.filter((duty) => hasService(duty, units))
        .flatMap((duty) => sandboxPoints(duty, stateOf(duty.role, config), dropInsOf(duty, units))),
      ...points,
      ...(units === null ? [] : alertPoints(units)),
    ]),
    history,
    warnings,
  };
}

/** Else it was run by hand, and nothing had promised to lock it in. */
function hasService({ role }: Duty, units: ReadonlyMap<string, UnitState> | null): boolean {
  return units?.get(`mailcow-cert-${role}.service`)?.load === "loaded";
}

function dropInsOf(
  { role }: Duty,
  units: ReadonlyMap<string, UnitState> | null,
): readonly string[] {
  return units?.get(`mailcow-cert-${role}.service`)?.dropIns ?? [];
}

/** What two of them found is told once. */
function onceEach(points: readonly Point[]): Point[] {
  return [...new Map(points.map((one) => [`${one.point}: ${one.words}`, one])).values()];
}

/** By what is enabled, by what the config speaks of, and where mailcow lies. Pure, but for that. */
function rolesOf(
  { file, deploy }: StatusConfig,
  units: ReadonlyMap<string, UnitState> | null,
): Role[] {
  const isEnabled = (role: Role) => units?.get(`mailcow-cert-${role}.timer`)?.isEnabled ?? false;
  const hasMailcow = !(deploy instanceof Failure) &&
    !isMissing(join(deploy.mailcow, "mailcow.conf"));
  const roles = roleNames.filter((role) =>
    isEnabled(role) || (role === "push" && file.push !== undefined) ||
    (role === "deploy" && (file.deploy !== undefined || hasMailcow))
  );
  return roles.length === 0 && file.verify !== undefined ? ["verify"] : roles;
}

function stateOf(role: Role, { push, deploy }: StatusConfig): string | null {
  const config = { push, deploy, verify: null }[role];
  return config === null || config instanceof Failure ? null : config.state;
}

/** By another file than the units run with nothing that is said of this host would be true. */
function otherConfig(
  { isNamed, path }: StatusConfig,
  units: ReadonlyMap<string, UnitState> | null,
): Point | null {
  if (isNamed) return null;
  const named = roleNames.flatMap((role) => {
    const unit = units?.get(`mailcow-cert-${role}.service`);
    return unit?.load === "loaded" && unit.service ? namedConfig(unit.service.command) : [];
  }).find((file) => file !== path);
  if (named === undefined) return null;
  return point(
    "config",
    "warning",
    `the units run with ${quote(named)}, and not with ${quote(path)}`,
    `certsync status --config ${shellWord(named)}`,
  );
}

function noRole(config: StatusConfig): Point {
  const [push, deploy] = [dutyOf("push", config), dutyOf("deploy", config)];
  return point(
    "role",
    "error",
    "this host has no part in the chain yet",
    `on the NPM host: ${push.setup}; on the mail host: ${
      withKey(deploy.setup)
    }; where both are on ` +
      `this machine: certsync setup local --domain ${domainOf(config)} | sh`,
  );
}

/** Where nobody is let in yet: with the line that setup push printed on the NPM host. */
function withKey(setup: string): string {
  return setup.replace(/^(certsync setup deploy)(.*) \| sh$/, "$1$2 --authorized-key '…' | sh");
}

function domainOf({ file }: StatusConfig): string {
  return file.domain ?? "mail.example.org";
}

function dutyOf(role: Role, config: StatusConfig): Duty {
  const { file, push, deploy } = config;
  const domain = domainOf(config);
  const to = push instanceof Failure
    ? [`certsync@${domain}:/home/certsync/incoming/`]
    : push.to.map(({ text }) => text);
  const also = (file.also ?? []).map((name) => ` --also ${name}`).join("");
  const targets = to.map((text) => ` --to ${shellWord(text)}`).join("");
  const common = {
    role,
    config: resolve(config.path),
    writes: [],
    isWithin: isPathWithin,
  };
  const local = isOneMachine(file) || (role === "push" && to.every((text) => text.startsWith("/")))
    ? `certsync setup local --domain ${domain}${also} | sh`
    : null;
  switch (role) {
    case "push":
      return {
        ...common,
        watches: [],
        setup: local ?? `certsync setup push --domain ${domain}${also}${targets} | sh`,
      };
    case "deploy":
      return {
        ...common,
        watches: deploy instanceof Failure ? [] : [deploy.staging.replace(/(.)\/+$/, "$1")],
        setup: local ?? `certsync setup deploy${also} | sh`,
      };
    case "verify":
      return { ...common, watches: null, setup: `certsync setup monitor | sh` };
  }
}

/** Nothing where the sandbox is not made, whatever the unit says. */
function writesOf(role: Role, config: StatusConfig): string[] {
  const { push, deploy } = config;
  const state = stateOf(role, config);
  if (state === null || readSandbox(state) === "none") return [];
  return [
    state,
    ...(role === "push" && !(push instanceof Failure)
      ? push.to.flatMap((target) => target.kind === "local" ? [target.directory] : [])
      : []),
    ...(role === "deploy" && !(deploy instanceof Failure)
      ? [join(deploy.mailcow, "data/assets/ssl")]
      : []),
  ];
}

function configPoints(config: StatusConfig, roles: readonly Role[]): Point[] {
  const { path, push, deploy } = config;
  const wrong = [roles.includes("push") ? push : null, roles.includes("deploy") ? deploy : null]
    .filter((one) => one instanceof Failure);
  // An option of one run is no cure for what the units run.
  if (wrong.length > 0) {
    return wrong.map(({ message, hint }) =>
      point("config", "error", message, hint?.replace(/[,;] or give --.*$/, ""))
    );
  }
  const exposed = [path, dirname(path)].flatMap((one) => exposurePoints("config", one, "go-w"));
  if (exposed.length > 0) return exposed;
  return [
    point("config", "ok", isMissing(path) ? `no ${path}: the defaults hold` : quote(path)),
  ];
}

function programsOf(roles: readonly Role[], { push }: StatusConfig): VersionedProgram[] {
  const isLocal = !(push instanceof Failure) && push.to.every(({ kind }) => kind === "local");
  const needed: Record<Role, VersionedProgram[]> = {
    push: isLocal ? ["rsync", "openssl"] : ["rsync", "ssh", "openssl"],
    deploy: ["docker", "openssl"],
    verify: ["openssl"],
  };
  return [...new Set(roles.flatMap((role) => needed[role]))];
}

async function programPoints(
  programs: readonly VersionedProgram[],
  context: RunContext,
): Promise<Point[]> {
  return await allEnded(programs.map(async (program): Promise<Point> => {
    try {
      return point(program, "ok", await readVersion(program, context));
    } catch (error) {
      if (error instanceof Failure && !context.stop.aborted) return failedPoint(program, error);
      throw error;
    }
  }));
}

/** How main runs it. */
export const statusCommand = {
  config: statusConfig,
  run: status,
  empty: emptyStatusReport,
  words: (report: StatusReport, config: StatusConfig | null, presentation: Presentation) =>
    describeStatus(report, { ...presentation, isQuiet: config?.quiet ?? false }),
  ending: endingOf,
};
