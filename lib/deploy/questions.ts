// Which questions are asked on the wire, and what is to come of each.

import { readAnswered } from "../chain/deploy_memory.ts";
import { type Service, serviceOf } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { keyKindOf } from "../chain/served.ts";
import { rightLeaves } from "../chain/sni.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { RunContext } from "../run_context.ts";
import { ask } from "./look.ts";
import { type DeployFacts, mailHostname, servedPlaces } from "./plan.ts";
import { type Answered, type Expectation, formatProbe, type Probe } from "./wire.ts";

/** When a handshake last gave a certificate, by its name. */
export type LastAnswers = ReadonlyMap<string, Answered>;

/** Every endpoint of the services, with the mail hostname as SNI and without SNI. */
export function probesFor(
  services: readonly Service[],
  facts: DeployFacts,
  { endpoints }: Pick<Scene, "endpoints">,
): Probe[] {
  return endpoints
    .filter(({ protocol }) => services.includes(serviceOf(protocol)))
    .flatMap((endpoint) => [mailHostname(facts), null].map((sni) => ({ endpoint, sni })));
}

/** Pure. */
export function expect(
  probe: Probe,
  facts: DeployFacts,
  answered: LastAnswers,
): Expectation {
  const { leaf } = facts.candidate;
  const name = formatProbe(probe);
  const question = { service: serviceOf(probe.endpoint.protocol), name: probe.sni };
  return {
    probe,
    right: [leaf.fingerprint, ...rightLeaves(question, servedPlaces(facts), facts.now)],
    keyKind: keyKindOf(leaf),
    answered: answered.get(name) ?? "never",
    unhelped: facts.memory.unhelped.get(name)?.leaf ?? null,
  };
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
