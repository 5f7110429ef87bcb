// What a crash, or a run that was cut off, left to be done although nothing new is taken. Pure.

import { timeState } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import { serviceNames } from "../chain/mailcow.ts";
import { quote } from "../failure.ts";
import {
  carriers,
  type DeployFacts,
  directoriesLacking,
  isRejected,
  type Situation,
  straySniDirectories,
} from "./facts.ts";
import type { Plan } from "./plan.ts";

/** The pair that is to be served where no new one is taken; null where there is none. */
export function planRecovery(
  situation: Situation,
  { deployed, previous }: {
    /** The pairs whose key matches. */
    readonly deployed: Pair | null;
    readonly previous: Pair | null;
  },
): Pair | null {
  const usable = previous !== null && situation.now <= previous.leaf.notAfter ? previous : null;
  if (deployed === null) return usable;
  // A rollback was cut off before it came to that.
  const isReturning = isRejected(deployed, situation) && usable !== null &&
    !isRejected(usable, situation);
  return isReturning ? usable : deployed;
}

/** What a crash left to be done so that the pair is served, and why; null where that is nothing. */
export function planHealing(
  facts: DeployFacts,
  { mismatched, isOwed }: {
    /** The directories whose certificate and key do not match. */
    readonly mismatched: readonly string[];
    /** An earlier run was cut off, or ended, before everything was served again. */
    readonly isOwed: boolean;
  },
): Plan | null {
  const { mailcow, candidate, memory } = facts;
  const { fingerprint } = candidate.leaf;
  const changesLeaf = mailcow.deployed.pair?.leaf.fingerprint !== fingerprint;
  const returning = [mailcow.deployed, ...mailcow.sniDirectories].filter(({ pair }) =>
    pair !== null && pair.leaf.fingerprint !== fingerprint &&
    memory.rejected.has(pair.leaf.fingerprint)
  ).map(({ directory }) => directory);
  const isGood = timeState(candidate.leaf, facts.now) !== "expired";
  const skipped = isOwed && isGood ? directoriesLacking(facts) : [];
  const reasons = new Map([
    ...skipped.map((directory) => [directory, "an earlier run did not come to"] as const),
    ...returning.map((directory) => [directory, "a rollback did not come to"] as const),
    ...mismatched.map((directory) => [directory, "certificate and key did not match in"] as const),
  ]);
  const directories = carriers(facts).filter((directory) => reasons.has(directory));
  const services = directories.length > 0 || straySniDirectories(facts).length > 0
    ? serviceNames
    : serviceNames.filter((service) => isOwed && memory.loaded.get(service) !== fingerprint);
  if (services.length === 0) return null;
  const byReason = Map.groupBy(directories, (directory) => reasons.get(directory));
  const warnings = Array.from(
    byReason,
    ([why, where]) => `${why} ${where.map((directory) => quote(directory)).join(", ")}`,
  );
  if (directories.length === 0) {
    warnings.push(`${services.join(", ")} was not seen to serve the deployed certificate yet`);
  }
  return { kind: "install", directories, services, changesLeaf, warnings };
}
