// The restarts that are owed: which directories there are a service reads at a start alone, so that no
// reload, and no silence, tells that it has read of one that is new or gone.

import { type Owed, readMemory } from "../chain/deploy_memory.ts";
import { type Service, serviceNames, serviceOf } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { rightLeaves } from "../chain/sni.ts";
import type { RunContext } from "../run_context.ts";
import { type DeployFacts, servedPlaces } from "./facts.ts";
import { ask } from "./look.ts";
import { writeOwed } from "./memory.ts";
import { changesDirectories, type NamePlan } from "./name_plan.ts";
import { leafOf, type ServiceOutcome } from "./wire.ts";
import { readWholeMailcow } from "./whole_mailcow.ts";

/** Written before a directory comes or goes, so that a run that is cut off leaves it to the next one. */
export function owe(further: readonly NamePlan[], before: Owed, state: string): Owed {
  const names = further.filter((plan) => changesDirectories([plan])).map(({ name }) => name);
  if (names.length === 0) return before;
  const owed = new Map(
    serviceNames.map((service) =>
      [service, new Set([...before.get(service) ?? [], ...names])] as const
    ),
  );
  writeOwed(state, owed);
  return owed;
}

/** What did not come or go after all is owed by nobody, and by that no service is restarted. */
export function oweWhatIs(
  further: readonly NamePlan[],
  { owed, before, failed }: {
    readonly owed: Owed;
    /** What was owed already. */
    readonly before: Owed;
    /** The names whose directories could not be made, or taken out of service. */
    readonly failed: ReadonlySet<string | null>;
  },
  { mailcow }: Pick<DeployFacts, "mailcow">,
  state: string,
): Owed {
  if (owed.size === 0) return owed;
  const there = new Set(readWholeMailcow(mailcow).sniDirectories.map(({ directory }) => directory));
  const isAsItWas = ({ directory, deed }: NamePlan) =>
    directory !== null && there.has(directory) === (deed === "unmake");
  const spared = new Set(
    further.filter((plan) => failed.has(plan.name) && isAsItWas(plan)).map(({ name }) => name),
  );
  const left = new Map(
    Array.from(owed, ([service, names]) => {
      const still = [...names].filter((name) =>
        !spared.has(name) || before.get(service)?.has(name) === true
      );
      return [service, new Set(still)] as const;
    }).filter(([, names]) => names.size > 0),
  );
  // Also where it is the same: what cannot be written would be owed again after the restart.
  writeOwed(state, left);
  return left;
}

/**
 * The directories that were there after the last run and are gone, of names that nobody asks for: who
 * took them out of service was to restart all. Their names are the hosts', as everybody makes them.
 */
export function goneDirectories(
  { mailcow, memory }: Pick<DeployFacts, "mailcow" | "memory">,
  also: readonly string[],
): string[] {
  const there = new Set(mailcow.sniDirectories.map(({ name }) => name));
  return [...memory.directories].filter((name) =>
    !there.has(name) && !also.includes(name) && /^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name)
  );
}

/** Owed by those that go on to serve such a name from what is gone, and by those that nobody can ask. */
export async function oweGone(
  gone: readonly string[],
  facts: DeployFacts,
  { endpoints }: Pick<Scene, "endpoints">,
  state: string,
  context: RunContext,
): Promise<Owed> {
  const { owed: before } = facts.memory;
  if (gone.length === 0) return before;
  const answers = await ask(
    endpoints.flatMap((endpoint) => gone.map((sni) => ({ endpoint, sni }))),
    context,
  );
  const hasStarted = (service: Service, name: string) => {
    const given = answers.filter(({ probe, served }) =>
      serviceOf(probe.endpoint.protocol) === service && probe.sni === name &&
      served.kind === "certificate"
    );
    const right = rightLeaves({ service, name }, servedPlaces(facts), facts.now);
    return given.length > 0 && given.every((answer) => right.includes(leafOf(answer)));
  };
  const owed = new Map(serviceNames.map((service) => {
    const names = gone.filter((name) => !hasStarted(service, name));
    return [service, new Set([...before.get(service) ?? [], ...names])] as const;
  }));
  const left = new Map([...owed].filter(([, names]) => names.size > 0));
  if (left.size > 0) writeOwed(state, left);
  return left;
}

/** What the service has started with since, or was seen to serve, is owed no more. */
export function settleOwed(outcome: ServiceOutcome, state: string): void {
  const { owed } = readMemory(state);
  const names = owed.get(outcome.service);
  if (names === undefined) return;
  const still = [...names].filter((name) => !hasRead(name, outcome));
  const left = new Map(owed).set(outcome.service, new Set(still));
  writeOwed(state, new Map([...left].filter(([, names]) => names.size > 0)));
}

/** Once it has been started it knows what there is, whether or not it answers before the run is cut off. */
export function settleStarted(service: Service, state: string): void {
  const { owed } = readMemory(state);
  if (!owed.has(service)) return;
  writeOwed(state, new Map([...owed].filter(([other]) => other !== service)));
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
