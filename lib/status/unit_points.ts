// Whether systemd runs what this host is to do: by the clock, and as soon as something changes.

import type { UnitState } from "../programs/systemctl.ts";
import { type Point, point } from "./point.ts";
import { cure, setupPoints } from "./setup_points.ts";

export interface Duty {
  readonly role: "push" | "deploy" | "verify";
  /** What a path unit must watch; null where this role has none. */
  readonly watches: readonly string[] | null;
  /** The config file, by its whole path. */
  readonly config: string;
  /** Where the service must be let write. */
  readonly writes: readonly string[];
  /** Whether the one path is or leads to the other, or into it. */
  readonly isWithin: (inner: string, outer: string) => boolean;
  /** The script that sets this role up, as it is to be typed. */
  readonly setup: string;
}

export function unitNames({ role, watches }: Duty): string[] {
  const kinds = watches === null ? ["timer", "service"] : ["timer", "service", "path"];
  return kinds.map((kind) => `mailcow-cert-${role}.${kind}`);
}

/** `units` is null where systemd does not run. Pure. */
export function unitPoints(
  duty: Duty,
  units: ReadonlyMap<string, UnitState> | null,
): Point[] {
  const name = `mailcow-cert-${duty.role}`;
  if (units === null) {
    return [point(
      `${name}.timer`,
      "note",
      "systemd does not run here: nothing runs this by itself",
      `have it run ${
        duty.role === "verify" ? "daily" : "twice a day"
      } by what takes the place of ` +
        `systemd: certsync ${duty.role}`,
    )];
  }
  const [timer, service, path] = unitNames(duty).map((unit) => [unit, units.get(unit)] as const);
  return [
    ...(timer === undefined ? [] : [timerPoint(...timer, duty)]),
    ...(service === undefined ? [] : servicePoints(...service, duty)),
    ...(service === undefined ? [] : setupPointsOf(...service, duty)),
    ...(path === undefined ? [] : [pathPoint(...path, duty)]),
  ];
}

type Seen = UnitState | undefined;

function timerPoint(name: string, timer: Seen, duty: Duty): Point {
  const absent = absence(name, timer, duty);
  if (absent !== null) return point(name, "error", ...absent);
  if (!timer?.isEnabled || timer.active !== "active") {
    const what = timer?.isEnabled ? "is not active" : "is not enabled";
    return point(
      name,
      "error",
      `${what}: nothing runs certsync ${duty.role} by itself`,
      enable(name),
    );
  }
  return point(name, "ok", timer.next === null ? "active" : `active, next run ${timer.next}`);
}

/** systemd.exec(5): where it could not set up namespaces, as in a container without nesting. */
const NO_SANDBOX = 226;

function servicePoints(name: string, service: Seen, duty: Duty): Point[] {
  const absent = absence(name, service, duty);
  if (absent !== null) return [point(name, "error", ...absent)];
  if (service === undefined) return [];
  const { result, exitStatus, ended, active } = service;
  const when = ended === null ? "" : `, ended ${ended}`;
  if (active === "activating") return [point(name, "ok", "runs at this moment")];
  if (result === "success") {
    return [point(name, "ok", ended === null ? "has not run yet" : `last run well${when}`)];
  }
  if (exitStatus === NO_SANDBOX) {
    return [point(
      name,
      "error",
      `systemd cannot make its sandbox on this machine (status 226)${when}`,
      duty.setup,
    )];
  }
  const why = result === "exit-code" ? `exit code ${exitStatus}` : result;
  return [point(
    name,
    "error",
    `last run failed: ${why}${when}`,
    `see why with journalctl -u ${name} -n 20; that is over with: systemctl start ${name}`,
  )];
}

function setupPointsOf(name: string, unit: Seen, duty: Duty): Point[] {
  if (unit?.load !== "loaded" || unit.service === null) return [];
  return setupPoints(name, unit.service, unit.dropIns, duty);
}

function pathPoint(name: string, path: Seen, duty: Duty): Point {
  const absent = absence(name, path, duty);
  if (absent !== null) return point(name, "note", ...absent);
  if (path?.active === "failed") {
    const service = name.replace(/path$/, "service");
    return point(
      name,
      "error",
      `systemd has given it up (${path.result}): only the timer is left`,
      `systemctl reset-failed ${name} ${service}; systemctl start ${name}`,
    );
  }
  if (!path?.isEnabled || path.active !== "active") {
    const [state, what] = path?.isEnabled
      ? ["warning", "is not active"] as const
      : ["note", "is not enabled"] as const;
    return point(name, state, `${what}: what changes waits for the timer`, enable(name));
  }
  const missing = (duty.watches ?? []).filter((place) => !path.watched.includes(place));
  if (missing.length > 0) {
    return point(
      name,
      "warning",
      `does not watch ${missing.join(", ")}, but ${path.watched.join(", ") || "nothing"}`,
      cure(path.dropIns, duty.setup),
    );
  }
  return point(name, "ok", `watches ${path.watched.join(", ")}`);
}

function absence(name: string, unit: Seen, { setup }: Duty): [words: string, mend: string] | null {
  if (unit === undefined || unit.load === "not-found") return ["is not installed", setup];
  if (unit.load === "masked") return ["is masked", `systemctl unmask ${name}; ${enable(name)}`];
  return unit.load === "loaded" ? null : [`could not be loaded (${unit.load})`, setup];
}

function enable(name: string): string {
  return `systemctl enable --now ${name}`;
}
