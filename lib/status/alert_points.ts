// Whether somebody is told of failures, and whether that went well when there was one.

import { lookThrough } from "../files/look_at.ts";
import type { UnitState } from "../programs/systemctl.ts";
import { type Point, point } from "./point.ts";

const ALERT = "/etc/certsync/alert";

/** Which unit tells of that one's failure; none of a timer, which has none. */
export function alertUnit(name: string): string[] {
  return name.endsWith(".timer") ? [] : [`mailcow-cert-alert@${name}.service`];
}

export function alertPoints(units: ReadonlyMap<string, UnitState>): Point[] {
  const failed = Array.from(units).filter(([name, { active }]) =>
    name.startsWith("mailcow-cert-alert@") && active === "failed"
  ).map(([name]) => name);
  return [
    ...executablePoints(failed.length > 0),
    ...failed.map((name) =>
      point(
        "alert",
        "warning",
        `nobody was told of a failure: ${name} failed itself`,
        `see why with journalctl -u ${name} -n 20; that is over with: systemctl reset-failed ${name}`,
      )
    ),
  ];
}

function executablePoints(hasFailed: boolean): Point[] {
  const stat = lookThrough(ALERT);
  if (stat?.isFile() && (stat.mode & 0o111) !== 0) {
    return hasFailed ? [] : [point("alert", "ok", `${ALERT} is told of failures`)];
  }
  return [
    stat === null
      ? point(
        "alert",
        "note",
        `no ${ALERT}: failures are told to the journal alone`,
        "put a program there that sends you what it reads on standard input, and: " +
          `chmod 755 ${ALERT}`,
      )
      : point("alert", "note", `${ALERT} cannot be executed`, `chmod 755 ${ALERT}`),
  ];
}
