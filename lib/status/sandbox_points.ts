// Whether the units run without their sandbox: where a machine refuses it in silence, or setup took it off.

import { textOrNothing } from "../files/read_file.ts";
import { readSandbox } from "../files/sandbox.ts";
import { type Point, point } from "./point.ts";
import type { Duty } from "./unit_points.ts";

export function sandboxPoints(
  { role, setup }: Pick<Duty, "role" | "setup">,
  /** Where a run remembers how it was; null for who remembers nothing. */
  state: string | null,
  /** The files that change what the unit's own says. */
  dropIns: readonly string[],
): Point[] {
  const unit = `mailcow-cert-${role}.service`;
  const mend = `allow nesting (on Proxmox: pct set ID --features nesting=1), then: ${setup}`;
  if (dropIns.some(isTakenOff)) {
    return [
      point(unit, "note", "runs without its sandbox, which this machine refused to setup", mend),
    ];
  }
  if (state === null || readSandbox(state) !== "none") return [];
  return [
    point(unit, "warning", "was not locked in when it last ran, whatever its unit says", mend),
  ];
}

/** As setup does where it found that this machine refuses the mounts. */
function isTakenOff(path: string): boolean {
  return /^PrivateMounts=no$/m.test(textOrNothing(path));
}
