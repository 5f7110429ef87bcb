// The further names of a run: what there is of each, and what is decided of it.

import { join } from "node:path";
import { timeState } from "../certificate/certificate.ts";
import { keyFits, type Pair } from "../certificate/pair.ts";
import type { DeployMemory, Loaded } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import { placeOf, standingAt } from "../chain/name_place.ts";
import { refuseAcme, refuseTurn, refuseUnclear } from "../chain/name_refusals.ts";
import type { Scene } from "../chain/scene.ts";
import { ownDirectory } from "../chain/sni.ts";
import { unclearFor } from "../chain/unclear.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { type DeployFacts, mailHostname, type Situation } from "./facts.ts";
import { judge } from "./judge.ts";
import type { NamePlan } from "./name_plan.ts";
import { isPair, type NameCircumstances, type NameFacts, planNames } from "./names.ts";
import { ageRefusal, type Plan, rejectedRefusal } from "./plan.ts";
import { noPreviousOfName, previousNames, readPreviousOfName } from "./previous.ts";
import { wishFor } from "./wish.ts";

/** Looks at each name; no outside program is asked. */
export function readNames(
  staged: ReadonlyMap<string, Pair | Failure>,
  { mailcow, memory, domain }: Pick<Situation, "mailcow" | "memory" | "domain">,
  config: DeployConfig,
): NameFacts[] {
  const replaced = new Set(previousNames(config.state));
  return config.also.map((name) => {
    const wish = wishFor(name, config, domain);
    const made = memory.made.get(name) ?? null;
    const candidate = wish === "rollback"
      ? readPreviousOfName(config.state, name) ?? noPreviousOfName(config.state, name)
      : staged.get(name);
    if (candidate === undefined) throw new TypeError("a name that was not looked for");
    const own = ownDirectory(name, mailcow.sniDirectories);
    const found = own.kind === "none" ? placeOf(name, mailcow, made !== null) : "free";
    // Where a run was cut off, the key is the one that it put there.
    const place = found === "keyed" && memory.filled.has(name) ? "ours" : found;
    return {
      standing: place === "ours" ? standingAt(name, mailcow) : null,
      ...{ name, candidate, own, made, isForced: wish !== "take" },
      isReturning: wish === "rollback",
      place,
      isFilled: own.kind === "own" && memory.filled.has(own.directory.name),
      wasReplaced: replaced.has(name),
      previous: () => replaced.has(name) ? readPreviousOfName(config.state, name) : null,
    };
  });
}

/** What was rolled back before, alone or with others, is not taken again as it is. */
export function refuseReturned(
  names: readonly NameFacts[],
  { memory }: Pick<Situation, "memory">,
  turn: string | null,
): NameFacts[] {
  return names.map((one) => {
    const { name, candidate, own, isForced } = one;
    if (!isPair(candidate) || isForced) return one;
    const lies = own.kind === "own" ? own.directory.pair?.leaf.fingerprint : undefined;
    const { fingerprint } = candidate.leaf;
    if (lies === fingerprint && isLoaded(candidate, memory.loadedFor.get(name))) return one;
    const why = rejectedRefusal(candidate, memory, ` --only ${name}`) ??
      (memory.suspects.has(fingerprint) && turn !== null && turn !== fingerprint &&
          lies !== fingerprint
        ? refuseTurn(name)
        : null);
    return why === null ? one : { ...one, candidate: why };
  });
}

/**
 * The names whose directories no service, or not each, reads as it was meant: whoever was started since
 * knows nothing of them, so that nothing is loaded for them once that is mended.
 */
export function unloadedNames(
  names: readonly Pick<NameFacts, "name" | "own">[],
  { loadedFor }: Pick<DeployMemory, "loadedFor">,
): string[] {
  return names.filter(({ own, name }) =>
    own.kind !== "own" && own.kind !== "none" && loadedFor.has(name)
  ).map(({ name }) => name);
}

export function isLoaded({ leaf }: Pick<Pair, "leaf">, loaded: Loaded | undefined): boolean {
  return serviceNames.every((service) => loaded?.get(service) === leaf.fingerprint);
}

/** The services that were not seen to serve what they are to. */
export function servicesLacking(
  { name, serving }: NamePlan,
  { loadedFor, owed }: Pick<DeployMemory, "loadedFor" | "owed">,
): Service[] {
  const loaded = loadedFor.get(name);
  return serviceNames.filter((service) =>
    owed.get(service)?.has(name) === true ||
    (serving !== null && loaded?.get(service) !== serving.leaf.fingerprint)
  );
}

/** Whatever is written is told to all; else those are that were not seen to serve it. */
export function servicesToTell(
  { directories, services }: Pick<Plan, "directories" | "services">,
  { further, memory }: Pick<DeployFacts, "further" | "memory">,
): readonly Service[] {
  if (directories.length > 0 || further.some(({ deed }) => deed !== "none")) return serviceNames;
  const lacking = new Set(further.flatMap((plan) => servicesLacking(plan, memory)));
  return serviceNames.filter((service) =>
    services.includes(service) || lacking.has(service) || memory.owed.has(service)
  );
}

/** Whether the name is as it should be, so that no outside program need be asked about it. */
function isSettled(
  { name, candidate, isForced }: NameFacts,
  plan: NamePlan,
  { memory, now }: Pick<Situation, "memory" | "now">,
): boolean {
  return isPair(candidate) && !isForced && plan.deed === "none" && plan.refusal === null &&
    servicesLacking(plan, memory).length === 0 &&
    timeState(candidate.leaf, now) === "valid" &&
    namesCover(candidate.leaf.names, name) !== null && keyFits(candidate);
}

function circumstancesOf(
  top: Pair | null,
  situation: Pick<Situation, "mailcow" | "memory" | "domain" | "now">,
): NameCircumstances {
  const { mailcow: { sslDirectory }, memory: { rejected }, now } = situation;
  return { top, sslDirectory, hostname: mailHostname(situation), rejected, now };
}

/** Whether nothing is left to be done or told for any name, by the files as they are now. */
export function areQuiet(
  staged: ReadonlyMap<string, Pair | Failure>,
  top: Pair | null,
  beginning: Pick<Situation, "mailcow" | "memory" | "domain" | "now">,
  config: DeployConfig,
): boolean {
  const names = refuseReturned(readNames(staged, beginning, config), beginning, null);
  return planNames(names, circumstancesOf(top, beginning)).every((plan) =>
    plan.deed === "none" && plan.refusal === null && plan.warnings.length === 0
  );
}

/** Decides of each name; those alone are judged that are not as they should be. */
export async function decideNames(
  names: readonly NameFacts[],
  top: Pair | null,
  situation: Situation,
  readScene: () => Promise<Scene>,
  config: DeployConfig,
  context: RunContext,
): Promise<NamePlan[]> {
  const circumstances = circumstancesOf(top, situation);
  const draft = planNames(names, circumstances);
  const judged: NameFacts[] = [];
  for (const [index, one] of names.entries()) {
    const plan = draft[index];
    const needs = isPair(one.candidate) && plan !== undefined && !isSettled(one, plan, situation);
    judged.push(needs ? await judgeName(one, top, situation, config, context) : one);
  }
  const plans = judged.some((one, index) => one !== names[index])
    ? planNames(judged, circumstances)
    : draft;
  const makesAny = plans.some(({ deed }) => deed === "make");
  const isAcmeBehind = makesAny ? (await readScene()).isAcmeBehind : false;
  return plans.map((plan, index) => {
    const own = names[index]?.own;
    const place = own?.kind === "own"
      ? own.directory.directory
      : join(circumstances.sslDirectory, plan.name);
    const isMaking = plan.deed === "make";
    const unclear = unclearFor({ place, isMaking }, situation.mailcow);
    if (unclear !== null) {
      return { ...notMade(plan, refuseUnclear(plan.name, unclear)), warnings: [] };
    }
    if (isMaking && isAcmeBehind !== false) {
      return notMade(plan, refuseAcme(plan.name, isAcmeBehind));
    }
    const isForced = judged[index]?.isForced === true && plan.refusal === null;
    return isForced && plan.deed === "none" && plan.directory !== null
      ? { ...plan, deed: "install" }
      : plan;
  });
}

function notMade(plan: NamePlan, refusal: Failure): NamePlan {
  return { ...plan, refusal, serving: null, directory: null, deed: "none" };
}

/** The name with why its pair must not be used in the pair's place; as it is where nothing speaks against it. */
async function judgeName(
  one: NameFacts,
  top: Pair | null,
  { memory, now }: Situation,
  config: DeployConfig,
  context: RunContext,
): Promise<NameFacts> {
  const { name, candidate, own, isForced, isReturning } = one;
  if (!isPair(candidate)) return one;
  const lying = own.kind === "own" ? own.directory : null;
  const isTops = lying?.pair?.leaf.fingerprint === top?.leaf.fingerprint;
  const deployed = isForced || isTops ? null : lying;
  const question = { name, further: name, candidate, deployed, isReturning };
  const { unfit, deployedIsFit } = await judge(question, config, context);
  const loaded = memory.loadedFor.get(name) ?? new Map();
  const old = () =>
    deployed && ageRefusal({ candidate, deployed, loaded, now }, deployedIsFit, ` --only ${name}`);
  const why = unfit ?? old();
  return why === null ? one : { ...one, candidate: why };
}
