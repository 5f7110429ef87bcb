// The restarts that are owed: which directories there are a service reads at a start alone, so that no
// reload, and no silence, tells that it has read of one that is new or gone.

import { type Owed, readMemory } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import type { DeployFacts } from "./facts.ts";
import { writeOwed } from "./memory.ts";
import type { NamePlan } from "./names.ts";
import type { ServiceOutcome } from "./wire.ts";

/** Written before a directory comes or goes, so that a run that is cut off leaves it to the next one. */
export function owe(further: readonly NamePlan[], before: Owed, state: string): Owed {
  const names = further.filter(({ deed }) => deed === "make" || deed === "unmake")
    .map(({ name }) => name);
  if (names.length === 0) return before;
  const owed = new Map(
    serviceNames.map((service) =>
      [service, new Set([...before.get(service) ?? [], ...names])] as const
    ),
  );
  writeOwed(state, owed);
  return owed;
}

/** What a service has started with since, or was seen to serve, is owed no more. */
export function settleOwed(outcomes: readonly ServiceOutcome[], state: string): void {
  const { owed } = readMemory(state);
  if (owed.size === 0) return;
  const left = Array.from(owed, ([service, names]) => {
    const outcome = outcomes.find((one) => one.service === service);
    const still = outcome === undefined
      ? [...names]
      : [...names].filter((name) => !hasRead(name, outcome));
    return [service, new Set(still)] as const;
  });
  writeOwed(state, new Map(left.filter(([, names]) => names.size > 0)));
}

/** Whether the service knows by now whether there is a directory of the name. Pure. */
export function hasRead(name: string, { hasStarted, checks }: ServiceOutcome): boolean {
  const own = checks.filter(({ probe }) => probe.sni === name);
  return hasStarted ||
    (own.length > 0 && own.every(({ verdict }) => verdict === "ok" || verdict === "absent") &&
      own.some(({ verdict }) => verdict === "ok"));
}

/** Pure. */
export function isOwed(
  service: Service,
  name: string,
  { memory }: Pick<DeployFacts, "memory">,
): boolean {
  return memory.owed.get(service)?.has(name) === true;
}
