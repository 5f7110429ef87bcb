// What the runs of push and deploy came to: what happened last, and what is not over with.

import { faults, type HistoryEntry, readHistory } from "../chain/history.ts";
import { readMailcow } from "../chain/mailcow.ts";
import { STANDARD_FILE } from "../config/config_file.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { PushConfig } from "../config/push_config.ts";
import { Failure, orFailure } from "../failure.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Point, point } from "./point.ts";
import type { Role, RoleEntry, StatusReport } from "./report.ts";

const SHOWN = 5;

interface Places {
  readonly path: string;
  readonly push: PushConfig | Failure;
  readonly deploy: DeployConfig | Failure;
}

/** The newest of all, and a point for each name whose last run did not come to a good end. */
export function lookBack(
  { path, push, deploy }: Places,
  roles: readonly Role[],
): Pick<StatusReport, "history" | "points" | "warnings"> {
  const places = ([["push", push], ["deploy", deploy]] as const).filter(([role]) =>
    roles.includes(role)
  );
  const warnings: string[] = [];
  const points: Point[] = [];
  const told = path === STANDARD_FILE ? "" : ` --config ${shellWord(path)}`;
  const entries = places.flatMap(([command, config]): RoleEntry[] => {
    if (config instanceof Failure) return [];
    const read = orFailure(() => readHistory(config.state));
    if (read instanceof Failure) {
      warnings.push(`the history of ${command} cannot be read: ${read.message}`);
      return [];
    }
    const names = namesOf(config);
    const open = faults(read).filter(({ name }) =>
      name === null || names === null || names.includes(name)
    );
    points.push(...faultPoints(open, `certsync ${command}${told}`));
    return read.map((entry) => ({ command, ...entry }));
  });
  const latest = ({ time, last }: RoleEntry) => last ?? time;
  entries.sort((a, b) => latest(a) < latest(b) ? -1 : latest(a) > latest(b) ? 1 : 0);
  return { history: entries.slice(-SHOWN), points, warnings };
}

/** Those that are still asked for; null where nobody can tell. */
function namesOf(config: PushConfig | DeployConfig): readonly string[] | null {
  const { domain, also } = config;
  if (domain !== null || !("mailcow" in config)) return [domain ?? "", ...also];
  const mailcow = orFailure(() => readMailcow(config.mailcow));
  if (mailcow instanceof Failure || mailcow.conf.hostname === null) return null;
  return [mailcow.conf.hostname, ...also];
}

/** The first few, and how many more there are: the run itself tells of each. */
function faultPoints(open: readonly HistoryEntry[], command: string): Point[] {
  const shown = open.slice(0, SHOWN);
  const names = open.reduce((sum, { others = 0 }) => sum + 1 + others, 0) - shown.length;
  return [
    ...shown.map((entry) => faultPoint(entry, command)),
    ...(names === 0 ? [] : [
      point(
        `last ${command.split(" ")[1]}`,
        "error",
        `came to no good end for ${names === 1 ? "1 more name" : `${names} more names`}`,
        `run it again, and do what it says: ${command}`,
      ),
    ]),
  ];
}

function faultPoint({ name, time, last, outcome, error }: HistoryEntry, command: string): Point {
  return point(
    name === null ? `last ${command.split(" ")[1]}` : `last ${command.split(" ")[1]} of ${name}`,
    "error",
    `${outcome} at ${last ?? time}: ${error}`,
    `run it again, and do what it says: ${command}`,
  );
}
