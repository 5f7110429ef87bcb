// What went wrong with services, where it may come from, and what to do about it. Pure.

import type { Scene } from "../chain/scene.ts";
import { composeCommand } from "../programs/compose.ts";
import {
  type Check,
  describeChecks,
  isWrong,
  leafOf,
  NO_LEAF,
  type ServiceOutcome,
} from "./wire.ts";

/** Null where nothing did. */
export function judgeOutcomes(
  outcomes: readonly ServiceOutcome[],
  scene: Pick<Scene, "compose" | "foreignMounts">,
  which: "new" | "former",
): { outcome: "failed" | "stale"; error: string; hint?: string } | null {
  const compose = composeCommand(scene.compose);
  const unfinished = outcomes.filter(({ isConfirmed }) => !isConfirmed);
  const troubled = unfinished.filter(({ trouble }) => trouble !== null);
  const stale = unfinished.filter(({ trouble, obstacle, checks }) =>
    trouble === null && (obstacle !== null || checks.some(isWrong))
  );
  const error = [...describeTroubles(troubled, compose), ...describeStale(stale, which)].join("; ");
  if (troubled.length > 0) {
    const hint = troubled.find(({ trouble }) => trouble?.hint !== undefined)?.trouble?.hint;
    return { outcome: "failed", error, ...(hint && { hint }) };
  }
  return stale.length === 0 ? null : { outcome: "stale", error, hint: adviseStale(stale, scene) };
}

/** A line for each thing that docker said, with the services of which it said it. */
function describeTroubles(troubled: readonly ServiceOutcome[], compose: string): string[] {
  const said = Map.groupBy(troubled, ({ trouble }) => trouble?.words ?? "");
  return Array.from(said, ([words, outcomes]) => {
    const names = outcomes.map(({ service }) => service).join(", ");
    return `${compose} could not reload or restart ${names}: ${words}`;
  });
}

function describeStale(stale: readonly ServiceOutcome[], which: "new" | "former"): string[] {
  if (stale.length === 0) return [];
  const wrong = stale.flatMap(({ checks }) => checks).filter(isWrong);
  const services = stale.map(({ service }) => service).join(", ");
  const found = wrong.length > 0 ? describeChecks(wrong).join("; ") : services;
  const unhelped = stale.filter(({ checks }) =>
    checks.some(({ verdict }) => verdict === "unhelped")
  ).map(({ service, checks }) =>
    checks.every((check) => leafOf(check) === NO_LEAF)
      ? `${service} gave none after its last start either, and is not restarted for that`
      : `a restart of ${service} did not help before, and is not tried again`
  );
  const obstacles = stale.flatMap(({ service, obstacle }) =>
    obstacle === null
      ? []
      : [`${service} was not restarted, for it might not come up: ${obstacle.words}`]
  );
  return [[`not serving the ${which} certificate: ${found}`, ...unhelped, ...obstacles].join("; ")];
}

/** Where what is served may come from, as far as it can be seen from here. */
function adviseStale(
  stale: readonly ServiceOutcome[],
  { compose, foreignMounts }: Pick<Scene, "compose" | "foreignMounts">,
): string {
  const command = composeCommand(compose);
  const advice = stale.map(({ service, obstacle, checks }) => {
    if (obstacle !== null) return `${obstacle.hint}, then run certsync deploy again`;
    const mounts = foreignMounts.get(service) ?? [];
    if (mounts.length > 0) {
      return `the container of ${service} has ${mounts.join(", ")}: take that out of ` +
        `docker-compose.override.yml, then: ${command} up -d ${service}`;
    }
    const isElsewhere = ({ probe, served }: Check) =>
      probe.endpoint.protocol === "https" && served.kind === "certificate";
    return checks.filter(isWrong).some(isElsewhere)
      ? "another proxy or site may answer there: see which with ss -ltnp; where that is as it " +
        "shall be, name the endpoints that are mailcow's in deploy.endpoints"
      : `see the log of the service: ${command} logs --tail=50 ${service}`;
  });
  return `the next run looks again; ${[...new Set(advice)].join("; ")}`;
}

/** Which handshakes give no certificate any more. */
export function describeSilence(outcomes: readonly ServiceOutcome[]): string {
  const silent = outcomes.flatMap(({ checks }) => checks)
    .filter((check) => isWrong(check) && leafOf(check) === NO_LEAF);
  return `no certificate any more with the new one: ${describeChecks(silent).join("; ")}`;
}
