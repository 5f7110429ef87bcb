// Writes down what came of a run: what is loaded, what is owed, and what no restart helped.

import { type Pair, samePair } from "../certificate/pair.ts";
import { type Loaded, readMemory, type Rejected, type Unhelped } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import {
  changeRejected,
  writeAnswered,
  writeDirectories,
  writeLoaded,
  writeSuspects,
  writeUnhelped,
  writeUnseen,
} from "./memory.ts";
import type { DeployFacts } from "./facts.ts";
import { settleOwed } from "./owed.ts";
import { type LastAnswers, outcomesFor, probesFor } from "./questions.ts";
import { formatProbe, leafOf, NO_LEAF, type ServiceOutcome, type Verdict } from "./wire.ts";

export interface Run {
  readonly outcomes: readonly ServiceOutcome[];
  /** The services that a restart left without a certificate, although they run. */
  readonly failing: readonly Service[];
  /** The ways to go wrong after which a certificate is still owed. */
  readonly wrongs: readonly Verdict[];
  readonly answered: LastAnswers;
}

/** Of a service as soon as it is known what became of it: a run that is cut off leaves the others alone. */
export function rememberService(
  outcome: ServiceOutcome,
  facts: DeployFacts,
  scene: Scene,
  state: string,
): void {
  settleOwed(outcome, state);
  // Whether one that is silent fails is known only when all have ended.
  rememberServices({ outcomes: [outcome], failing: [] }, facts, scene, state);
}

/** Those of a container that did not run, so that they were not asked, are still owed too. */
export function remember(
  { outcomes, failing, wrongs, answered }: Run,
  facts: DeployFacts,
  scene: Scene,
  state: string,
): void {
  rememberServices({ outcomes, failing }, facts, scene, state);
  writeDirectories(state, facts.mailcow.sniDirectories.map(({ name }) => name));
  const wrong = outcomes
    .flatMap(({ service, checks }) =>
      checks.filter(({ probe }) => !hasServed(service, probe.sni, facts))
    )
    .filter(({ verdict }) => wrongs.includes(verdict))
    .map(({ probe }) => formatProbe(probe));
  const notAsked = outcomes.filter(({ checks }) => checks.length === 0)
    .map(({ service }) => service);
  const open = probesFor(notAsked, facts, scene).map(formatProbe)
    .filter((probe) => answered.has(probe));
  writeAnswered(state, [...wrong, ...open]);
}

/** What is known of the others stays. */
function rememberServices(
  { outcomes, failing }: Pick<Run, "outcomes" | "failing">,
  facts: DeployFacts,
  scene: Scene,
  state: string,
): void {
  const { loaded, loadedFor, unseen, unpublished, unhelped } = readMemory(state);
  const told = outcomes.map(({ service }) => service);
  const domains = outcomesFor(null, outcomes, facts);
  const confirmed = domains.filter(({ isConfirmed }) => isConfirmed);
  writeLoaded(state, {
    loaded: loadedAfter(loaded, domains, facts.candidate),
    loadedFor: new Map([
      ...loadedFor,
      ...facts.further.map(({ name, serving }) => {
        const before = loadedFor.get(name) ?? new Map();
        return [name, loadedAfter(before, outcomesFor(name, outcomes, facts), serving)] as const;
      }),
    ]),
  });
  const isUnseen = ({ checks }: ServiceOutcome) =>
    checks.length > 0 && checks.every((check) => leafOf(check) === NO_LEAF);
  const isUnpublished = ({ checks }: ServiceOutcome) => checks.length === 0;
  const renewed = (before: ReadonlySet<Service>, is: (outcome: ServiceOutcome) => boolean) =>
    new Set([
      ...[...before].filter((service) => !told.includes(service)),
      ...confirmed.filter(is).map(({ service }) => service),
    ]);
  writeUnseen(state, {
    unseen: renewed(unseen, isUnseen),
    unpublished: renewed(unpublished, isUnpublished),
  });
  const asked = new Set(probesFor(serviceNames, facts, scene).map(formatProbe));
  writeUnhelped(state, [
    ...[...unhelped.values()]
      .filter(({ service, probe }) => !told.includes(service) && asked.has(probe)),
    ...outcomes.flatMap((outcome) => unhelpedIn(outcome, failing)),
  ]);
}

/** Not where the restart itself did not come about or was none of ours, or the service is still starting. */
function unhelpedIn(
  { service, action, checks, trouble }: ServiceOutcome,
  failing: readonly Service[],
): Unhelped[] {
  const isHelpless = (verdict: Verdict) =>
    verdict === "stale"
      ? action === "restarted"
      : verdict === "silent" && failing.includes(service);
  return checks
    .filter(({ verdict }) => verdict === "unhelped" || (trouble === null && isHelpless(verdict)))
    .map((check) => ({ service, probe: formatProbe(check.probe), leaf: leafOf(check) }));
}

function loadedAfter(
  before: Loaded,
  outcomes: readonly ServiceOutcome[],
  pair: Pair | null,
): Map<Service, string> {
  const told = outcomes.map(({ service }) => service);
  return new Map([
    ...[...before].filter(([service]) => !told.includes(service)),
    ...outcomes.flatMap(({ service, isConfirmed }) =>
      isConfirmed && pair !== null ? [[service, pair.leaf.fingerprint] as const] : []
    ),
  ]);
}

/** Whether the service was confirmed with the very pair for that name before this run. */
export function hasServed(
  service: Service,
  sni: string | null,
  { mailcow, candidate, memory, further }: DeployFacts,
): boolean {
  const { pair } = mailcow.deployed;
  const plan = further.find(({ name }) => name === sni);
  if (plan !== undefined) {
    return plan.deed === "none" && plan.serving !== null &&
      memory.loadedFor.get(plan.name)?.get(service) === plan.serving.leaf.fingerprint;
  }
  return pair !== null && samePair(pair, candidate) &&
    memory.loaded.get(service) === candidate.leaf.fingerprint;
}

/** These are deployed well after all, whatever was said of them before; null is the domain. */
export function clearNames(
  names: readonly (string | null)[],
  { candidate, further, memory, now }: DeployFacts,
  rejected: Rejected,
  state: string,
): void {
  const pairs = names.flatMap((name) => {
    if (name === null) return [candidate];
    return further.find((one) => one.name === name)?.serving ?? [];
  });
  let left = rejected;
  for (const remove of pairs) left = changeRejected(left, { add: null, remove }, now, state);
  const cleared = new Set(pairs.map(({ leaf }) => leaf.fingerprint));
  const suspects = memory.suspects.difference(cleared);
  if (suspects.size < memory.suspects.size) writeSuspects(state, suspects);
}
