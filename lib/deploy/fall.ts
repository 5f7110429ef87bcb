// What fell: which services give no certificate with what is new, and which pairs are to go back for it.

import { join } from "node:path";
import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import { processNames, type Service } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { type Compose, composeExec } from "../programs/compose.ts";
import { readContainerState } from "../programs/containers.ts";
import { ProgramFailure } from "../programs/run.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import type { DeployFacts } from "./facts.ts";
import { hasFilled } from "./fill.ts";
import { hasWritten } from "./make.ts";
import type { NamePlan } from "./name_plan.ts";
import { readPrevious, readPreviousOfName } from "./previous.ts";
import { type LastAnswers, outcomesFor } from "./questions.ts";
import { hasServed } from "./remember.ts";
import { isBlamed, isDumb, type ServiceOutcome } from "./wire.ts";

/** A pair that is put back. */
export interface Return {
  /** Null for the domain. */
  readonly name: string | null;
  readonly refused: Pair;
  /** What takes its place; null where the directory itself was new, or held none before. */
  readonly former: Pair | null;
}

export interface Fall {
  readonly returns: readonly Return[];
  /** No name at all got a certificate, so that nobody knows whose pair is to blame. */
  readonly isEverything: boolean;
  readonly failing: readonly Service[];
  readonly outcomes: readonly ServiceOutcome[];
  readonly answered: LastAnswers;
  readonly rejected: Rejected;
}

/**
 * Those whose every endpoint gave a certificate before and gives none now, for some name, although
 * they were restarted and run.
 */
export async function failingServices(
  outcomes: readonly ServiceOutcome[],
  { compose }: Scene,
  context: RunContext,
): Promise<Service[]> {
  const silent = outcomes.filter(({ hadItsRestart, trouble, checks }) =>
    isDumb(checks) && trouble === null && (hadItsRestart || !checks.some(isBlamed))
  );
  const failing = await allEnded(
    silent.map(async ({ service }) =>
      await isStillStarting(service, compose, context) ? [] : [service]
    ),
  );
  return failing.flat();
}

/** The container may be up long before the program in it is. */
async function isStillStarting(
  service: Service,
  compose: Compose,
  context: RunContext,
): Promise<boolean> {
  try {
    switch (await readContainerState(compose, service, context)) {
      case "broken":
        return false;
      case "starting":
      case "stopped":
      case "paused":
        return true;
      case "running":
      case "unknown": {
        const command = ["pidof", processNames[service]];
        const found = await composeExec(compose, service, command, context);
        if (found.kind === "done") return false;
        if (await readContainerState(compose, service, context) === "broken") return false;
        // pidof(1): 1 where there is no such process. Where there is no pidof, docker says 126 or 127.
        return found.kind !== "failed" || found.code === 1 || found.isUnreachable === true;
      }
    }
  } catch (error) {
    if (error instanceof ProgramFailure) return true; // docker does not tell
    throw error;
  }
}

/**
 * What goes back: of what is new, the names for which a service gives nothing any more; all that is new
 * where it gives nothing for anybody. Not what the service has served before: whatever ails it, the
 * former pair is no cure.
 */
export async function planReturns(
  failing: readonly Service[],
  outcomes: readonly ServiceOutcome[],
  facts: DeployFacts,
  state: string,
  context: RunContext,
): Promise<Pick<Fall, "returns" | "isEverything">> {
  const fallen = outcomes.filter(({ service }) => failing.includes(service));
  const owners = [null, ...facts.further.map(({ name }) => name)];
  const isDumbFor = (name: string | null, outcome: ServiceOutcome) =>
    outcomesFor(name, [outcome], facts).some(({ checks }) => isDumb(checks));
  const isEverything = fallen.some((outcome) => owners.every((name) => isDumbFor(name, outcome)));
  const suspects = owners.filter((name) =>
    failing.some((service) => !hasServed(service, name, facts)) &&
    (isEverything || fallen.some((outcome) => isDumbFor(name, outcome)))
  );
  const returns = await allEnded(suspects.map(async (name) => {
    if (name === null) {
      const former = readPrevious(state);
      const isGood = await isUsable(former, facts.candidate, facts.now, context);
      return isGood ? [{ name, refused: facts.candidate, former }] : [];
    }
    const plan = facts.further.find((one) => one.name === name);
    return plan === undefined ? [] : await returnOf(plan, facts, state, context);
  }));
  // One leaf for several names is one suspect; what is new and cannot go back is one all the same.
  const { candidate, mailcow: { deployed } } = facts;
  const isTopNew = deployed.pair?.leaf.fingerprint !== candidate.leaf.fingerprint;
  const blamed = [
    ...returns.flat().map(({ refused }) => refused),
    ...(suspects.includes(null) && isTopNew ? [candidate] : []),
    ...facts.further.filter(({ name, deed }) => deed !== "none" && suspects.includes(name))
      .flatMap(({ serving }) => serving ?? []),
  ];
  const different = new Set(blamed.map(({ leaf }) => leaf.fingerprint));
  return { returns: returns.flat(), isEverything: isEverything && different.size > 1 };
}

async function returnOf(
  { name, serving, directory, deed }: NamePlan,
  { mailcow: { sslDirectory }, now }: DeployFacts,
  state: string,
  context: RunContext,
): Promise<Return[]> {
  if (serving === null || directory === null) return [];
  const isMade = hasFilled(directory, state) ||
    (directory === join(sslDirectory, name) && hasWritten(name, directory, state));
  if (deed === "make") return isMade ? [{ name, refused: serving, former: null }] : [];
  const former = readPreviousOfName(state, name);
  if (await isUsable(former, serving, now, context)) return [{ name, refused: serving, former }];
  // Made by a run that was cut off before it saw what came of it.
  return former === null && isMade ? [{ name, refused: serving, former: null }] : [];
}

/** Whether it can be gone back to: never to an expired one. */
async function isUsable(
  pair: Pair | null,
  refused: Pair,
  now: Date,
  context: RunContext,
): Promise<boolean> {
  return pair !== null && now <= pair.leaf.notAfter &&
    pair.leaf.fingerprint !== refused.leaf.fingerprint && await keyMatches(pair, context);
}
