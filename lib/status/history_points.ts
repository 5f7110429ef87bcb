// What the runs of push and deploy came to: what happened last, and what is not over with.

import { faults, type HistoryEntry, readHistory } from "../chain/history.ts";
import { readMailcow } from "../chain/mailcow.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { PushConfig } from "../config/push_config.ts";
import { Failure, orFailure } from "../failure.ts";
import { type Point, point } from "./point.ts";
import type { Role, RoleEntry, StatusReport } from "./report.ts";

const SHOWN = 5;

interface Places {
  readonly push: PushConfig | Failure;
  readonly deploy: DeployConfig | Failure;
}

/** The newest of all, and a point for each name whose last run did not come to a good end. */
export function lookBack(
  { push, deploy }: Places,
  roles: readonly Role[],
): Pick<StatusReport, "history" | "points" | "warnings"> {
  const places = ([["push", push], ["deploy", deploy]] as const).filter(([role]) =>
    roles.includes(role)
  );
  const warnings: string[] = [];
  const points: Point[] = [];
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
    points.push(...faultPoints(open, command));
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
function faultPoints(open: readonly HistoryEntry[], command: RoleEntry["command"]): Point[] {
  const shown = open.slice(0, SHOWN);
  const more = open.reduce((sum, { others = 0 }) => sum + 1 + others, 0) - shown.length;
  const fault = (words: string, name: string | null) =>
    point(
      name === null ? `last ${command}` : `last ${command} of ${name}`,
      "error",
      words,
      `run it again, and do what it says: certsync ${command}`,
    );
  return [
    ...shown.map(({ name, time, last, outcome, error }) =>
      fault(`${outcome} at ${last ?? time}: ${error}`, name)
    ),
    ...(more === 0
      ? []
      : [fault(`came to no good end for ${more} more name${more === 1 ? "" : "s"}`, null)]),
  ];
}
