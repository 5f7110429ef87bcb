// Writes down what came of a run: what is loaded, what is owed, and what no restart helped.

import { samePair } from "../certificate/pair.ts";
import { readMemory, type Unhelped } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import {
  writeAnswered,
  writeDirectories,
  writeLoaded,
  writeUnhelped,
  writeUnseen,
} from "./memory.ts";
import type { DeployFacts } from "./plan.ts";
import { type LastAnswers, probesFor } from "./questions.ts";
import { formatProbe, leafOf, NO_LEAF, type ServiceOutcome, type Verdict } from "./wire.ts";

export interface Run {
  readonly outcomes: readonly ServiceOutcome[];
  /** The services that a restart left without a certificate, although they run. */
  readonly failing: readonly Service[];
  /** The ways to go wrong after which a certificate is still owed. */
  readonly wrongs: readonly Verdict[];
  readonly answered: LastAnswers;
}

/** Those of a container that did not run, so that they were not asked, are still owed too. */
export function remember(
  { outcomes, failing, wrongs, answered }: Run,
  facts: DeployFacts,
  scene: Scene,
  state: string,
): void {
  const { fingerprint } = facts.candidate.leaf;
  const { loaded, unseen, unpublished, unhelped } = readMemory(state);
  const told = outcomes.map(({ service }) => service);
  const namesOf = (those: readonly ServiceOutcome[]) => those.map(({ service }) => service);
  const confirmed = outcomes.filter(({ isConfirmed }) => isConfirmed);
  writeLoaded(state, {
    loaded: new Map([
      ...[...loaded].filter(([service]) => !told.includes(service)),
      ...namesOf(confirmed).map((service) => [service, fingerprint] as const),
    ]),
  });
  const isUnseen = ({ checks }: ServiceOutcome) =>
    checks.length > 0 && checks.every((check) => leafOf(check) === NO_LEAF);
  const isUnpublished = ({ checks }: ServiceOutcome) => checks.length === 0;
  const renewed = (before: ReadonlySet<Service>, is: (outcome: ServiceOutcome) => boolean) =>
    new Set([
      ...[...before].filter((service) => !told.includes(service)),
      ...namesOf(confirmed.filter(is)),
    ]);
  writeUnseen(state, {
    unseen: renewed(unseen, isUnseen),
    unpublished: renewed(unpublished, isUnpublished),
  });
  const asked = new Set(probesFor(serviceNames, facts, scene).map(formatProbe));
  writeDirectories(state, facts.mailcow.sniDirectories.map(({ name }) => name));
  writeUnhelped(state, [
    ...[...unhelped.values()]
      .filter(({ service, probe }) => !told.includes(service) && asked.has(probe)),
    ...outcomes.flatMap((outcome) => unhelpedIn(outcome, failing)),
  ]);

  const wrong = outcomes.filter(({ service }) => !hasServed(service, facts))
    .flatMap(({ checks }) => checks)
    .filter(({ verdict }) => wrongs.includes(verdict))
    .map(({ probe }) => formatProbe(probe));
  const notAsked = namesOf(outcomes.filter(({ checks }) => checks.length === 0));
  const open = probesFor(notAsked, facts, scene).map(formatProbe)
    .filter((probe) => answered.has(probe));
  writeAnswered(state, [...wrong, ...open]);
}

/** Not where the restart itself did not come about, or the service is still starting. */
function unhelpedIn(
  { service, checks, hadItsRestart, trouble }: ServiceOutcome,
  failing: readonly Service[],
): Unhelped[] {
  const isHelpless = (verdict: Verdict) =>
    verdict === "stale" ? hadItsRestart : verdict === "silent" && failing.includes(service);
  return checks
    .filter(({ verdict }) => verdict === "unhelped" || (trouble === null && isHelpless(verdict)))
    .map((check) => ({ service, probe: formatProbe(check.probe), leaf: leafOf(check) }));
}

/** Whether the service was confirmed with this very pair before this run. */
export function hasServed(
  service: Service,
  { mailcow, candidate, memory }: DeployFacts,
): boolean {
  const { pair } = mailcow.deployed;
  return pair !== null && samePair(pair, candidate) &&
    memory.loaded.get(service) === candidate.leaf.fingerprint;
}
