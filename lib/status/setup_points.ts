// Whether a service is set up for what its config file says: with that file, by this version, and let write
// where it must.

import { STANDARD_FILE } from "../config/config_file.ts";
import { quote } from "../failure.ts";
import type { ServiceSetup } from "../programs/systemctl.ts";
import { type Point, point } from "./point.ts";
import type { Duty } from "./unit_points.ts";

export function setupPoints(
  name: string,
  { command, writable, hasStartLimit }: ServiceSetup,
  dropIns: readonly string[],
  { role, config, writes, isWithin, setup }: Duty,
): Point[] {
  const mend = cure(dropIns, setup);
  const named = namedConfig(command);
  if (named !== config) {
    const words = `runs with ${quote(named)}, and not with what was asked about`;
    return [point(name, "warning", words, mend)];
  }
  const barred = writable === null
    ? []
    : writes.filter((path) => !writable.some((place) => isWithin(path, place)));
  const isVerify = role === "verify";
  const troubles = [
    ...(barred.length === 0 ? [] : [`may not write to ${barred.map(quote).join(", ")}`]),
    ...(isVerify || / --started\b/.test(command)
      ? []
      : ["is of an older version, which does not wait for quiet"]),
    ...(isVerify || !hasStartLimit
      ? []
      : ["has a start limit, by which quick starts end its path unit"]),
  ];
  return troubles.length === 0 ? [] : [point(name, "warning", troubles.join("; "), mend)];
}

/** The config file that a service is called with. */
export function namedConfig(command: string): string {
  return / --config[ =](\S+)/.exec(command)?.[1] ?? STANDARD_FILE;
}

/** The file that setup writes goes with it; what another one changes stays. */
export function cure(dropIns: readonly string[], setup: string): string {
  const foreign = dropIns.filter((path) => !path.endsWith("/certsync-setup.conf"));
  if (foreign.length === 0) return setup;
  return `see whether ${foreign.join(", ")} does that, and take it out there; then: ${setup}`;
}
