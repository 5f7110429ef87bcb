// What a run is to do: for the domain, which all else leans on, then for each further name.

import type { Pair } from "../certificate/pair.ts";
import type { Scene } from "../chain/scene.ts";
import { claimedDirectories } from "../chain/sni.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { type Beginning, placeWarnings, readCandidates } from "./beginning.ts";
import { reportName } from "./certificates.ts";
import { type Decided, decideDomain } from "./domain.ts";
import type { DeployFacts, Situation } from "./facts.ts";
import { decideNames, readNames, refuseReturned, servicesLacking } from "./further.ts";
import { changesDirectories, type NamePlan } from "./name_plan.ts";
import type { NameFacts } from "./names.ts";
import { goneDirectories } from "./owed.ts";
import { acmeRefusal, lostNames } from "./plan.ts";
import type { DeployReport } from "./report.ts";
import { turnOf } from "./turn.ts";

export interface Decision {
  /** What is to be done is done by these; null where there is nothing to do, or nothing may be done. */
  readonly facts: DeployFacts | null;
  readonly domain: Decided;
  /** Of each further name. */
  readonly plans: readonly NamePlan[];
  readonly names: readonly NameFacts[];
  /** What is, or is to be, at the top level. */
  readonly top: Pair | null;
  /** As far as it can be told before anything is done. */
  readonly report: DeployReport;
}

/** Looks at what is staged, and writes nothing. */
export async function decide(
  beginning: Beginning,
  readScene: () => Promise<Scene>,
  config: DeployConfig,
  context: RunContext,
): Promise<Decision> {
  const staged = await readCandidates(config, beginning.domain, context);
  const names = readNames(staged.further, beginning, config);
  const claimed = claimedDirectories(names.map(({ own }) => own));
  const situation: Situation = { ...beginning, claimed };

  const warnings = placeWarnings(config, beginning);
  const domain = await decideDomain(situation, staged.top, warnings, config, context);
  const top = domain.facts?.candidate ?? situation.mailcow.deployed.pair;
  const why = acmeRefusal(situation.mailcow) ?? (domain.facts === null ? domain.refusal : null);
  const decideIn = (turn: string | null) => {
    const open = refuseReturned(names, situation, turn);
    return decideNames(open, top, situation, readScene, config, context);
  };
  const draft = why === null ? await decideIn(null) : names.map(({ name }) => refused(name, why));
  const turn = why === null ? turnOf(domain, draft, situation) : null;
  const plans = turn === null ? draft : await decideIn(turn);

  const further = namesAtStake(plans, situation);
  const isIdle = domain.plan === null && further.length === 0 &&
    situation.memory.owed.size === 0 && goneDirectories(situation, config.also).length === 0;
  const facts = domain.facts === null || isIdle ? null : { ...domain.facts, further };
  const report = reportAll(domain, plans, context.now);
  return { facts, domain, plans, names, top, report };
}

function reportAll({ report }: Decided, plans: readonly NamePlan[], now: Date): DeployReport {
  return {
    ...report,
    certificates: plans.map((plan) => reportName(plan, now)),
    warnings: [
      ...report.warnings,
      ...plans.flatMap(({ warnings }) => warnings),
      ...plans.flatMap(({ serving, former: pair, deed }) =>
        deed === "install" && serving !== null ? lostNames(serving, { pair }) : []
      ),
    ],
  };
}

function refused(name: string, refusal: Failure): NamePlan {
  const nothing = { serving: null, directory: null, deed: "none", former: null } as const;
  return { ...nothing, name, refusal, warnings: [] };
}

/**
 * The names that there is something to do for; all of them where services are restarted, since these
 * read every directory anew.
 */
function namesAtStake(plans: readonly NamePlan[], { memory }: Situation): NamePlan[] {
  const isRestart = changesDirectories(plans);
  return plans.filter((plan) =>
    plan.deed !== "none" || servicesLacking(plan, memory).length > 0 ||
    (isRestart && plan.serving !== null && plan.refusal === null)
  );
}
