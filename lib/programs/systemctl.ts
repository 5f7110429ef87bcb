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
    const property = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(block)?.[1] ?? "";
    const unit = property("Id");
    const [, day, time] = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/.exec(
      property("NextElapseUSecRealtime"),
    ) ?? [];
    return unit === "" ? [] : [{
      unit,
      active: property("ActiveState") === "active",
      isEnabled: property("UnitFileState") === "enabled",
      next: day === undefined ? null : formatTime(new Date(`${day}T${time}Z`)),
    }];
  });
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
