// Goes back to the pair that was served before, where a service gives no certificate with the new one.

import { headline } from "../certificate/headline.ts";
import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import { processNames, readMailcow, type Service, serviceNames } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { type Compose, composeExec } from "../programs/compose.ts";
import { readContainerState } from "../programs/containers.ts";
import { TimedOut } from "../programs/run.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { applyAll } from "./apply_all.ts";
import { installAll } from "./install.ts";
import { changeRejected, writeLoaded } from "./memory.ts";
import { carriers, type DeployFacts, type Plan, planInstallations } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import type { LastAnswers } from "./questions.ts";
import { hasServed, remember } from "./remember.ts";
import { type DeployReport, describeSilence, summarize } from "./report.ts";
import { isBlamed, isDumb, type ServiceOutcome } from "./wire.ts";

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
        // pidof(1): 1 where there is no such process. Where there is no pidof, docker says 126 or 127.
        return found.kind === "failed" ? found.code === 1 : found.kind !== "done";
      }
    }
  } catch (error) {
    if (error instanceof TimedOut) return true; // the engine is too busy to tell
    throw error;
  }
}

/**
 * What to go back to; never an expired one. Not for services that have served this very pair before:
 * whatever ails them, the former pair is no cure.
 */
export async function formerPair(
  failing: readonly Service[],
  facts: DeployFacts,
  state: string,
  context: RunContext,
): Promise<Pair | null> {
  const { candidate, now } = facts;
  if (failing.every((service) => hasServed(service, facts))) return null;
  const pair = readPrevious(state);
  const isUsable = pair !== null && now <= pair.leaf.notAfter &&
    pair.leaf.fingerprint !== candidate.leaf.fingerprint && await keyMatches(pair, context);
  return isUsable ? pair : null;
}

export interface Fall {
  readonly former: Pair;
  readonly failing: readonly Service[];
  readonly outcomes: readonly ServiceOutcome[];
  readonly answered: LastAnswers;
  readonly rejected: Rejected;
}

export async function rollBack(
  { former, failing, outcomes, answered, rejected }: Fall,
  plan: Plan,
  facts: DeployFacts,
  scene: Scene,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const silence = describeSilence(outcomes);
  context.tell(`${silence}; putting the previous certificate back`);
  // First: after a crash it must not be tried again.
  const change = { add: facts.candidate, remove: former };
  const now = changeRejected(rejected, change, facts.now, config.state);
  writeLoaded(config.state, { loaded: new Map() });

  const memory = { ...facts.memory, loaded: new Map(), unhelped: new Map(), rejected: now };
  const back: DeployFacts = { ...facts, memory, candidate: former };
  const kept = (name: string) => readPrevious(config.state, name);
  installAll(planInstallations(back, carriers(back), kept));
  const current: DeployFacts = { ...back, mailcow: readMailcow(config.mailcow) };
  const modes = new Map(
    serviceNames.map((service) =>
      [service, failing.includes(service) ? "revive" : config.apply] as const
    ),
  );
  const returned = await applyAll(modes, current, answered, scene, config, context);
  // What is as silent with the former certificate is not owed one any more.
  const run = { outcomes: returned, failing: [], wrongs: ["stale", "unhelped"], answered } as const;
  remember(run, back, scene, config.state);
  const after = summarize(report, plan, returned, scene, "former");
  const { fingerprint, notAfter } = former.leaf;
  return {
    ...after,
    outcome: "rolled-back",
    notes: [
      headline(`rolled back ${after.domain} to`, { fingerprint, notAfter: formatTime(notAfter) }),
      `fingerprint ${fingerprint}`,
    ],
    error: `${silence}; rolled back to ${fingerprint}, valid until ${formatTime(notAfter)}` +
      (after.error === undefined ? "" : `, but: ${after.error}`),
    hint: "see the log of the service for why; the certificate that was refused is tried again " +
      "only by certsync deploy --force",
  };
}
