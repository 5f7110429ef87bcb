// Whether the timers and path units of the chain are active on this host, where systemd runs.

import type { RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { ProgramFailure, run } from "./run.ts";

/** Or a path unit: what starts a service. */
export interface Timer {
  readonly unit: string;
  readonly active: boolean;
  /** ISO 8601; null where it is not going to elapse, as of a path unit, which nobody can foresee. */
  readonly next: string | null;
}

export interface InstalledTimer extends Timer {
  readonly isEnabled: boolean;
}

/** Every one of the chain's that is installed; none where systemd does not run. systemctl(1) */
export async function readTimers(context: RunContext): Promise<InstalledTimer[]> {
  const list = await systemctl(
    ["list-unit-files", "--no-legend", "--no-pager", "mailcow-cert-*.timer", "mailcow-cert-*.path"],
    context,
  );
  const units = list.split("\n").flatMap((line) =>
    /^(\S+\.(?:timer|path))\s/.exec(line)?.[1] ?? []
  );
  if (units.length === 0) return [];
  const properties = "--property=Id,ActiveState,UnitFileState,NextElapseUSecRealtime";
  return parseTimers(await systemctl(["show", properties, ...units], context));
}

/** What `systemctl show` prints of units: a block each, times in UTC. Pure. */
function parseTimers(shown: string): InstalledTimer[] {
  return shown.split("\n\n").flatMap((block) => {
    const unit = property(block, "Id");
    return unit === "" ? [] : [{
      unit,
      active: property(block, "ActiveState") === "active",
      isEnabled: property(block, "UnitFileState") === "enabled",
      next: parseTime(property(block, "NextElapseUSecRealtime")),
    }];
  });
}

/** What systemd knows of a unit. */
export interface UnitState {
  /** `loaded`, `not-found`, `masked` and others. */
  readonly load: string;
  readonly active: string;
  readonly isEnabled: boolean;
  /** Of its last run: `success`, `exit-code`, `timeout` and others. */
  readonly result: string;
  /** systemd's own begin at 200: 226 where it could not make the sandbox. systemd.exec(5) */
  readonly exitStatus: number;
  /** When the last run ended. */
  readonly ended: string | null;
  readonly next: string | null;
  /** What a path unit looks at. */
  readonly watched: readonly string[];
  /** The files in directories of its own that change what its file says. */
  readonly dropIns: readonly string[];
  /** How a service is set up; null where systemd does not tell. */
  readonly service: ServiceSetup | null;
}

export interface ServiceSetup {
  /** With its options, as its file has it. */
  readonly command: string;
  /** Where alone it may write; null for everywhere. */
  readonly writable: readonly string[] | null;
  /** Whether a few quick starts end it, and its path unit, for good. */
  readonly hasStartLimit: boolean;
}

const STATE_PROPERTIES = [
  ...["Id", "LoadState", "ActiveState", "UnitFileState", "Result", "ExecMainStatus"],
  ...["ExecMainExitTimestamp", "NextElapseUSecRealtime", "Paths"],
  ...["ExecStart", "ProtectSystem", "ReadWritePaths", "StateDirectory", "StartLimitIntervalUSec"],
  "DropInPaths",
];

/** By name, also those that are not there; null where systemd does not run. systemctl(1) */
export async function readUnits(
  units: readonly string[],
  context: RunContext,
): Promise<ReadonlyMap<string, UnitState> | null> {
  const shown = await systemctl(
    ["show", `--property=${STATE_PROPERTIES.join(",")}`, ...units],
    context,
  );
  return shown.trim() === "" ? null : parseUnits(shown);
}

/** Pure. */
function parseUnits(shown: string): Map<string, UnitState> {
  return new Map(
    shown.trim().split("\n\n").map((block) => [property(block, "Id"), {
      load: property(block, "LoadState"),
      active: property(block, "ActiveState"),
      isEnabled: property(block, "UnitFileState") === "enabled",
      result: property(block, "Result"),
      exitStatus: Number(property(block, "ExecMainStatus")),
      ended: parseTime(property(block, "ExecMainExitTimestamp")),
      next: parseTime(property(block, "NextElapseUSecRealtime")),
      watched: Array.from(block.matchAll(/^Paths=(.+) \(\w+\)$/gm), ([, path = ""]) => path),
      // Those of all services are the system's.
      dropIns: words(block, "DropInPaths")
        .filter((path) => /\/mailcow-cert-[^/]*\.d\//.test(path)),
      service: parseService(block),
    }]),
  );
}

function parseService(block: string): ServiceSetup | null {
  const [, command] = /^ExecStart=\{.*? argv\[\]=(.*?) ; /m.exec(block) ?? [];
  if (command === undefined) return null;
  return {
    command,
    writable: property(block, "ProtectSystem") !== "strict" ? null : [
      // A minus stands before what may be missing, a plus before what lies below RootDirectory=.
      ...words(block, "ReadWritePaths").map((path) => path.replace(/^[-+]+/, "")),
      ...words(block, "StateDirectory").map((name) => `/var/lib/${name}`),
    ],
    hasStartLimit: !/^(?:0|infinity)?$/.test(property(block, "StartLimitIntervalUSec")),
  };
}

function words(block: string, name: string): string[] {
  return property(block, name).split(" ").filter((word) => word !== "");
}

function property(block: string, name: string): string {
  return new RegExp(`^${name}=(.*)$`, "m").exec(block)?.[1] ?? "";
}

function parseTime(text: string): string | null {
  const [, day, time] = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/.exec(text) ?? [];
  return day === undefined ? null : formatTime(new Date(`${day}T${time}Z`));
}

async function systemctl(args: readonly string[], context: RunContext): Promise<string> {
  try {
    const environment = { TZ: "UTC" }; // older ones have no option for the format of times
    return (await run("systemctl", args, { timeoutMs: 5_000, environment }, context)).stdout;
  } catch (error) {
    if (error instanceof ProgramFailure) return "";
    throw error;
  }
}
