// Which questions are asked on the wire, and what is to come of each.

import { readAnswered } from "../chain/deploy_memory.ts";
import { type Service, serviceOf } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { keyKindOf } from "../chain/served.ts";
import { claimants, rightLeaves } from "../chain/sni.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { RunContext } from "../run_context.ts";
import { ask } from "./look.ts";
import type { NamePlan } from "./name_plan.ts";
import { hasRead, isOwed } from "./owed.ts";
import { type DeployFacts, mailHostname, servedPlaces } from "./facts.ts";
import {
  type Answered,
  type Expectation,
  formatProbe,
  type Probe,
  seenFor,
  type ServiceOutcome,
} from "./wire.ts";

/** When a handshake last gave a certificate, by its name. */
export type LastAnswers = ReadonlyMap<string, Answered>;

/** Every endpoint of the services, with the mail hostname as SNI, without, and with each further name. */
export function probesFor(
  services: readonly Service[],
  facts: DeployFacts,
  { endpoints }: Pick<Scene, "endpoints">,
): Probe[] {
  const names = new Set([mailHostname(facts), null, ...facts.further.map(({ name }) => name)]);
  return endpoints
    .filter(({ protocol }) => services.includes(serviceOf(protocol)))
    .flatMap((endpoint) => Array.from(names, (sni) => ({ endpoint, sni })));
}

/** What became of the services for the domain, or for a further name. Pure. */
export function outcomesFor(
  name: string | null,
  outcomes: readonly ServiceOutcome[],
  facts: DeployFacts,
): ServiceOutcome[] {
  const own = [mailHostname(facts), null];
  if (name === null) {
    return outcomes.map((outcome) => seenFor(outcome, ({ sni }) => own.includes(sni)));
  }
  return outcomes.map((outcome) => {
    const seen = seenFor(outcome, ({ sni }) => sni === name);
    if (!isOwed(outcome.service, name, facts) || hasRead(name, outcome)) return seen;
    return { ...seen, isConfirmed: false, obstacle: outcome.withheld ?? seen.obstacle };
  });
}

/** Pure. */
export function expect(
  probe: Probe,
  facts: DeployFacts,
  answered: LastAnswers,
): Expectation {
  const name = formatProbe(probe);
  const further = facts.further.find((plan) => plan.name === probe.sni);
  const leaf = further?.serving?.leaf ?? facts.candidate.leaf;
  return {
    probe,
    right: rightFor(probe, further, facts),
    keyKind: keyKindOf(leaf),
    answered: answered.get(name) ?? "never",
    unhelped: facts.memory.unhelped.get(name)?.leaf ?? null,
  };
}

/**
 * A name's own directory goes before the top level, where the service reads it for that name: with
 * the top-level leaf there, it does not know of the directory yet.
 */
function rightFor(probe: Probe, further: NamePlan | undefined, facts: DeployFacts): string[] {
  const question = { service: serviceOf(probe.endpoint.protocol), name: probe.sni };
  const places = servedPlaces(facts);
  if (further === undefined) {
    return [facts.candidate.leaf.fingerprint, ...rightLeaves(question, places, facts.now)];
  }
  const ahead = claimants(question, places);
  const isOwn = ahead.some(({ directory }) => directory === further.directory);
  return rightLeaves(question, isOwn ? { ...places, top: null } : places, facts.now);
}

/**
 * The handshakes that give a certificate, and those that an earlier run left owing one. What was owed
 * where nobody asks any more is forgotten.
 */
export async function askBefore(
  services: readonly Service[],
  facts: DeployFacts,
  scene: Scene,
  { state }: Pick<DeployConfig, "state">,
  context: RunContext,
): Promise<LastAnswers> {
  const asked = new Set(probesFor(serviceNamesOf(scene), facts, scene).map(formatProbe));
  const answers = await ask(probesFor(services, facts, scene), context);
  const answering = answers.filter(({ served }) => served.kind === "certificate");
  return new Map([
    ...Array.from(readAnswered(state), (name) => [name, "earlier"] as const)
      .filter(([name]) => asked.has(name)),
    ...answering.map(({ probe }) => [formatProbe(probe), "now"] as const),
  ]);
}

function serviceNamesOf({ endpoints }: Scene): Service[] {
  return [...new Set(endpoints.map(({ protocol }) => serviceOf(protocol)))];
}
