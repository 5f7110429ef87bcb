// What is decided of the domain's own certificate, which lies at the top level.

import { tlsaRecord } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import { readAnswered } from "../chain/deploy_memory.ts";
import { type Installed, serviceNames } from "../chain/mailcow.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure, quote } from "../failure.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import type { DeployFacts, Situation } from "./facts.ts";
import { planHealing, planRecovery } from "./healing.ts";
import { judge } from "./judge.ts";
import { isSettled, type Plan, planDeploy } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import { describeHealing } from "./plan_words.ts";
import { type DeployReport, emptyDeployReport, failed, replacedBy } from "./report.ts";
import { standingWarnings } from "./warnings.ts";
import { wishFor } from "./wish.ts";

/** What there is to do for the domain. */
export interface Decided {
  /** By what is to be at the top level; null where no good pair is, or may be touched. */
  readonly facts: DeployFacts | null;
  /** Null where there is nothing to do. */
  readonly plan: Plan | null;
  /** Why its new pair is not taken. */
  readonly refusal: Failure | null;
  /** It is deployed well, whatever was said of it before. */
  readonly forgiven?: Pair;
  /** As far as it can be told before anything is done. */
  readonly report: DeployReport;
}

export async function decideDomain(
  situation: Situation,
  candidate: Pair | Failure,
  warnings: readonly string[],
  config: DeployConfig,
  context: RunContext,
): Promise<Decided> {
  const { domain, mailcow, memory } = situation;
  if (candidate instanceof Failure) {
    const report = { ...emptyDeployReport(config), domain, warnings };
    return await recover(situation, report, candidate, config, context);
  }
  const facts: DeployFacts = { ...situation, candidate, further: [] };
  const report = { ...reportOf(facts, config), warnings };
  const unchanged: Decided = {
    ...{ facts, plan: null, refusal: null },
    report: {
      ...report,
      outcome: "unchanged",
      unseen: serviceNames.filter((service) =>
        memory.unseen.has(service) || memory.unpublished.has(service)
      ),
      warnings: [...warnings, ...standingWarnings(facts)],
    },
  };
  const wish = wishFor(null, config, domain);
  const isForced = wish !== "take";
  if (!isForced && isSettled(facts)) return unchanged;

  const isReturning = wish === "rollback";
  const deployed = isForced ? null : mailcow.deployed;
  const question = { name: domain, further: null, candidate, deployed, isReturning };
  const judged = await judge(question, config, context);
  const decision = planDeploy(facts, { ...judged, force: isForced });
  if (decision.kind === "refuse") {
    return await recover(situation, report, decision.why, config, context);
  }
  // Keys of kinds that node:crypto does not know are seen to fit only now.
  if (decision.directories.length === 0 && decision.services.length === 0) {
    return { ...unchanged, forgiven: candidate };
  }
  return {
    ...{ facts, plan: decision, refusal: null },
    report: {
      ...report,
      ...(decision.changesLeaf ? replacedBy(mailcow.deployed, context.now) : {}),
      warnings: [...warnings, ...decision.warnings],
    },
  };
}

function reportOf(facts: DeployFacts, config: DeployConfig): DeployReport {
  const { leaf } = facts.candidate;
  return {
    ...emptyDeployReport(config),
    domain: facts.domain,
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: tlsaRecord(leaf),
  };
}

/**
 * Whatever there is to refuse: a crash between two renames may have left a certificate with another
 * one's key, and no service could start with that; or with one that is being rolled back; or it kept
 * a service from being told.
 */
async function recover(
  situation: Situation,
  report: DeployReport,
  refusal: Failure,
  config: DeployConfig,
  context: RunContext,
): Promise<Decided> {
  const { mailcow } = situation;
  const refused: Decided = {
    ...{ facts: null, plan: null, refusal },
    report: failed(report, "refused", refusal),
  };
  if (!mailcow.conf.skipsLetsEncrypt) return refused; // mailcow's own client may be at work
  const { keyMatches } = await import("../certificate/judgement.ts");
  const matches = async (pair: Pair | null) => pair !== null && await keyMatches(pair, context);
  const previous = readPrevious(config.state);
  const keeper = planRecovery(situation, {
    deployed: await matches(mailcow.deployed.pair) ? mailcow.deployed.pair : null,
    previous: await matches(previous) ? previous : null,
  });
  if (keeper === null) {
    return { ...refused, report: brokenAfter(refused.report, mailcow.deployed) };
  }
  const facts: DeployFacts = { ...situation, candidate: keeper, further: [] };

  const installed = [mailcow.deployed, ...mailcow.sniDirectories];
  const fit = await allEnded(installed.map(({ pair }) => matches(pair)));
  const plan = planHealing(facts, {
    mismatched: installed.filter((_, index) => !fit[index]).map(({ directory }) => directory),
    isOwed: readAnswered(config.state).size > 0,
  });
  if (plan === null) return { ...refused, facts };
  return {
    ...{ facts, plan, refusal },
    report: { ...report, warnings: [describeHealing(plan, facts, config)] },
  };
}

/** Neither what is staged nor what is kept can take the place of what no service could start with. */
function brokenAfter(refused: DeployReport, { pair, problem, directory }: Installed): DeployReport {
  if (pair === null && problem === null) return refused;
  const why = pair === null ? problem : "its key does not match its certificate";
  const message = `${refused.error}; and ${quote(directory)} holds no pair, so that no service ` +
    `could start with it: ${why}`;
  const hint = "nothing that is kept could take its place; run on the NPM host: certsync push " +
    "--force; then here: certsync deploy";
  return failed(refused, "refused", { message, hint });
}
