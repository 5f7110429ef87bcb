// Whether the units run without their sandbox: where a machine refuses it in silence, or setup took it off.

import * as fs from "node:fs";
import { readSandbox } from "../files/sandbox.ts";
import { type Point, point } from "./point.ts";
import type { Duty } from "./unit_points.ts";

/** What setup writes where it found that this machine refuses the mounts. */
const dropIn = (unit: string) => `/etc/systemd/system/${unit}.d/certsync-setup.conf`;

export function sandboxPoints(
  { role, setup }: Pick<Duty, "role" | "setup">,
  state: string | null,
): Point[] {
  const unit = `mailcow-cert-${role}.service`;
  if (state === null || readSandbox(state) !== "none") return [];
  const mend = `allow nesting (on Proxmox: pct set ID --features nesting=1), then: ${setup}`;
  return isTakenOff(dropIn(unit))
    ? [point(unit, "note", "runs without its sandbox, which this machine refuses", mend)]
    : [point(unit, "warning", "was not locked in when it last ran, whatever its unit says", mend)];
}

function isTakenOff(path: string): boolean {
  try {
    return /^PrivateMounts=no$/m.test(fs.readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}
