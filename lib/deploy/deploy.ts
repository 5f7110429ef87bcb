// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import { recorded } from "../chain/history.ts";
import { hostnameIn, type Mailcow, readMailcow } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { claimedDirectories, ownDirectory } from "../chain/sni.ts";
import { lookAtStaged } from "../chain/staging.ts";
import { type DeployConfig, deployConfig } from "../config/deploy_config.ts";
import { domainMeant } from "../config/domain_meant.ts";
import { checkPlaces } from "../config/places.ts";
import { Failure } from "../failure.ts";
import { isMissing } from "../files/read_file.ts";
import { holdState } from "../files/state.ts";
import { composeCommand } from "../programs/compose.ts";
import type { RunContext } from "../run_context.ts";
import { begin, type Beginning, placeWarnings } from "./beginning.ts";
import { reportName, withOffers } from "./certificates.ts";
import { decide, type Decision } from "./decide.ts";
import { type Decided, decideDomain } from "./domain.ts";
import type { DeployFacts, Situation } from "./facts.ts";
import { clearForced } from "./forced.ts";
import { areQuiet, servicesToTell } from "./further.ts";
import { changeRejected, writeAcme } from "./memory.ts";
import { modesFor } from "./name_plan.ts";
import { isPair } from "./names.ts";
import { isSettled } from "./plan.ts";
import { describeKey, describeKeys, describePlan } from "./plan_words.ts";
import { quietNames, rememberQuiet } from "./quiet.ts";
import {
  advisedIn,
  changesOf,
  type DeployReport,
  emptyDeployReport,
  failed,
  refusedAfter,
  withCertificates,
} from "./report.ts";
import { describeDeploy } from "./report_words.ts";
import { deployStarted, rememberStaged } from "./started.ts";

/** Throws a Failure where it does not come to a decision. */
export async function deploy(config: DeployConfig, context: RunContext): Promise<DeployReport> {
  checkPlaces(config);
  if (isMissing(config.state)) readMailcow(config.mailcow); // nothing is made where there is none
  const state = config.dryRun ? null : config.state;
  using _lock = state === null ? null : await holdState(state, context);
  if (state !== null) rememberStaged(config, context.now);
  return await recorded(
    () => deployOnce(config, context),
    {
      ...{ state, now: context.now, empty: emptyDeployReport(config) },
      changes: (report) => changesOf(report, config),
    },
  );
}

async function deployOnce(config: DeployConfig, context: RunContext): Promise<DeployReport> {
  const beginning = begin(config, context.now);
  const report = withCertificates(await deployFrom(beginning, config, context));
  const { directory, conf: { composeVersion } } = beginning.mailcow;
  const compose = composeCommand({ version: composeVersion ?? "native" });
  return advisedIn({ directory, compose }, report);
}

/** By what there is: what is to be done, that, and what came of it. */
async function deployFrom(
  beginning: Beginning,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const readScene = sceneReader(beginning.mailcow, config, context);
  const quiet = quietNames(config, beginning);
  const idle = quiet && await idleReport(quiet, beginning, readScene, config, context);
  if (idle !== null) return idle;

  const decision = await decide(beginning, readScene, config, context);
  const { facts, domain, names } = decision;
  if (domain.forgiven && !config.dryRun) {
    const change = { add: null, remove: domain.forgiven };
    changeRejected(beginning.memory.rejected, change, context.now, config.state);
  }
  if (facts === null) {
    const told = await withAcmeWarning(decision.report, beginning, readScene, config);
    return { ...told, certificates: withOffers(told.certificates, names) };
  }
  const dane = config.dane === "off"
    ? null
    : await lookAtDane({ facts, plan: domain.plan }, readScene, config, context);
  const end = config.dryRun
    ? foresee(facts, decision, dane, config)
    : await carryThrough(facts, decision, dane, config, context);
  const done = { ...end, certificates: withOffers(end.certificates, names) };
  return config.dryRun || config.rollback ? done : noteQuiet(done, decision, config, context.now);
}

/** Where nothing is to be done for further names; null where something is to be done for the domain. */
async function idleReport(
  certificates: DeployReport["certificates"],
  beginning: Beginning,
  readScene: () => Promise<Scene>,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport | null> {
  const { mailcow: { sniDirectories } } = beginning;
  const owns = config.also.map((name) => ownDirectory(name, sniDirectories));
  const situation: Situation = { ...beginning, claimed: claimedDirectories(owns) };
  const { top } = lookAtStaged(config.staging, []);
  if (!isPair(top) || !isSettled({ ...situation, candidate: top, further: [] })) return null;
  const warnings = placeWarnings(config, beginning);
  const { report } = await decideDomain(situation, top, warnings, config, context);
  return await withAcmeWarning({ ...report, certificates }, beginning, readScene, config);
}

type Dane = Awaited<ReturnType<typeof lookAtDane>>;

function foresee(
  facts: DeployFacts,
  { domain: { plan, refusal }, report }: Decision,
  dane: Dane,
  config: DeployConfig,
): DeployReport {
  const { further, memory } = facts;
  const services = servicesToTell(plan ?? { directories: [], services: [] }, facts);
  const modes = modesFor(services, further, config.apply, memory.owed);
  const planning: DeployReport = {
    ...report,
    outcome: plan === null ? report.outcome : "would-deploy",
    certificates: report.certificates.map((one) =>
      one.error === undefined &&
        further.some(({ name, deed }) => name === one.name && deed !== "none")
        ? { ...one, outcome: "would-deploy" }
        : one
    ),
    notes: [
      ...describePlan(plan, further, modes),
      ...(plan === null || refusal !== null ? [] : describeKey(facts, "will be")),
      ...describeKeys(further, "will be"),
    ],
  };
  const told = dane?.beforehand(planning) ?? planning;
  return refusal === null ? told : failed(told, "refused", refusal);
}

async function carryThrough(
  facts: DeployFacts,
  { domain: { plan, refusal }, plans, report }: Decision,
  dane: Dane,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const { carryOut } = await import("./carry_out.ts");
  const before = facts.memory.rejected;
  const now = clearForced(facts, refusal === null ? plan : null, config);
  const deed = { plan, facts, rejected: { before, now }, scene: dane?.scene };
  const { error: _, hint: __, ...open } = report;
  const done = await carryOut(deed, open, config, context);
  const all: DeployReport = {
    ...done,
    certificates: plans.map((one) =>
      done.certificates.find(({ name }) => name === one.name) ?? reportName(one, context.now)
    ),
    domain: facts.domain,
  };
  const told = dane?.afterwards(all) ?? all;
  return refusal === null ? told : refusedAfter(told, refusal);
}

/** Where all is well, the next run need not look at each name again. */
function noteQuiet(
  done: DeployReport,
  { plans, top }: Decision,
  config: DeployConfig,
  now: Date,
): DeployReport {
  const isWell = plans.every(({ refusal, warnings }) => refusal === null && warnings.length === 0);
  if (!isWell || [done, ...done.certificates].some(({ error }) => error !== undefined)) return done;
  try {
    const after = begin(config, now);
    const { further } = lookAtStaged(config.staging, config.also);
    if (areQuiet(further, top, after, config)) rememberQuiet(config, after, done.certificates);
    return done;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ...done, error: error.message, ...(error.hint && { hint: error.hint }) };
  }
}

/** Looked at again once it was told of, so that who followed the hint hears no more of it. */
async function withAcmeWarning(
  report: DeployReport,
  { memory }: Beginning,
  readScene: () => Promise<Scene>,
  config: DeployConfig,
): Promise<DeployReport> {
  if (!memory.isAcmeBehind || report.outcome !== "unchanged") return report;
  const { ACME_WARNING } = await import("../chain/scene.ts");
  const { isAcmeBehind } = await readScene();
  if (!config.dryRun) writeAcme(config.state, isAcmeBehind);
  if (isAcmeBehind === false) return report;
  return { ...report, warnings: [...report.warnings, ACME_WARNING] };
}

/** Docker is asked once, and only where somebody wants to know. */
function sceneReader(
  mailcow: Mailcow,
  config: DeployConfig,
  context: RunContext,
): () => Promise<Scene> {
  let scene: Promise<Scene> | null = null;
  return () => {
    // Loaded where there is work: reading it takes longer than finding that there is none.
    scene ??= import("../chain/scene.ts")
      .then(({ readScene }) => readScene(mailcow, config, context));
    return scene;
  };
}

/** What senders will make of new certificates, to be told before or after, and what was seen for that. */
async function lookAtDane(
  { facts, plan }: { readonly facts: DeployFacts; readonly plan: Decided["plan"] },
  readScene: () => Promise<Scene>,
  config: DeployConfig,
  context: RunContext,
) {
  const { comeTrue, foreseeDane, renewalsOf, withForesights } = await import("./dane.ts");
  const renewals = renewalsOf(facts, plan ?? { directories: [] });
  if (renewals.length === 0) return null;
  const scene = await readScene();
  const foreseen = await foreseeDane(renewals, scene, config, context);
  return {
    scene,
    beforehand: (report: DeployReport) => withForesights(report, foreseen, "before"),
    afterwards: (report: DeployReport) => {
      const { outcome, installed } = report;
      const own = { name: facts.domain, outcome };
      const [directory = null] = plan?.directories ?? [];
      const seen = { installed, certificates: [own, ...report.certificates] };
      const places = [{ name: facts.domain, directory }, ...facts.further];
      return withForesights(report, comeTrue(foreseen, seen, places), "after");
    },
  };
}

function ending({ outcome, error, certificates }: DeployReport) {
  if (error !== undefined || certificates.some(({ error }) => error !== undefined)) {
    return "failed" as const;
  }
  const isIdle = outcome === "unchanged" &&
    certificates.every(({ outcome }) => outcome === "unchanged");
  return isIdle ? "idle" as const : "done" as const;
}

/** Of the domain as far as anybody can tell what it is. */
function emptyReport(config: DeployConfig | null, argv: readonly string[]): DeployReport {
  if (config === null) return emptyDeployReport(null, domainMeant(argv));
  return emptyDeployReport(config, config.domain ?? hostnameIn(config.mailcow));
}

/** How main runs it. */
export const deployCommand = {
  config: deployConfig,
  async run(config: DeployConfig, context: RunContext) {
    if (!config.started) return await deploy(config, context);
    return await deployStarted(
      config,
      { run: (context) => deploy(config, context), ending },
      context,
    );
  },
  empty: emptyReport,
  words: describeDeploy,
  ending,
} as const;
