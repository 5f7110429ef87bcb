// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import type { DeployMemory } from "../chain/deploy_memory.ts";
import { recorded } from "../chain/history.ts";
import { hostnameIn, readMailcow } from "../chain/mailcow.ts";
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
import { begin, type Beginning, placeWarnings, readCandidates } from "./beginning.ts";
import { reportName, withOffers } from "./certificates.ts";
import { type Decided, decideDomain } from "./domain.ts";
import type { DeployFacts, Situation } from "./facts.ts";
import {
  areQuiet,
  decideNames,
  readNames,
  refuseReturned,
  servicesLacking,
  servicesToTell,
  unloadedNames,
} from "./further.ts";
import { clearForced } from "./forced.ts";
import { goneDirectories } from "./owed.ts";
import { writeAcme, writeLoaded } from "./memory.ts";
import { changesDirectories, modesFor, type NamePlan } from "./name_plan.ts";
import { isPair } from "./names.ts";
import { acmeRefusal, isSettled, lostNames } from "./plan.ts";
import { quietNames, rememberQuiet } from "./quiet.ts";
import { inDirectory } from "./in_directory.ts";
import { describeKey, describeKeys, describePlan } from "./plan_words.ts";
import {
  changesOf,
  type DeployReport,
  emptyDeployReport,
  failed,
  refusedAfter,
  withCertificates,
} from "./report.ts";
import { describeDeploy } from "./report_words.ts";
import { deployStarted, rememberStaged } from "./started.ts";
import { turnOf } from "./turn.ts";

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

/** The domain first, which all else leans on; then each further name, whatever became of the others. */
async function deployOnce(config: DeployConfig, context: RunContext): Promise<DeployReport> {
  const beginning = begin(config, context.now);
  const quiet = quietNames(config, beginning);
  const idle = quiet && await idleReport(quiet, beginning, config, context);
  const report = withCertificates(idle ?? await deployAll(beginning, config, context));
  const { directory, conf: { composeVersion } } = beginning.mailcow;
  const compose = composeCommand({ version: composeVersion ?? "native" });
  return inDirectory(report, { directory, compose });
}

/** Where nothing is to be done for further names; null where something is to be done for the domain. */
async function idleReport(
  certificates: DeployReport["certificates"],
  beginning: Beginning,
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
  const readScene = sceneReader(situation, config, context);
  return await withAcmeWarning({ ...report, certificates }, situation, readScene, config);
}

async function deployAll(
  beginning: Beginning,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const staged = await readCandidates(config, beginning.domain, context);
  const found = readNames(staged.further, beginning, config);
  const memory = forgetLoaded(unloadedNames(found, beginning.memory), beginning.memory, config);
  const claimed = claimedDirectories(found.map(({ own }) => own));
  const situation: Situation = { ...beginning, memory, claimed };
  const readScene = sceneReader(situation, config, context);

  const warnings = placeWarnings(config, beginning);
  const first = await decideDomain(situation, staged.top, warnings, config, context);
  const top = first.facts?.candidate ?? situation.mailcow.deployed.pair;
  const blocked = acmeRefusal(situation.mailcow) ?? (first.facts === null ? first.refusal : null);
  const decide = async (turn: string | null) => {
    const names = refuseReturned(found, situation, turn);
    return blocked === null
      ? await decideNames(names, top, situation, readScene, config, context)
      : names.map(({ name }) => refusedAll(name, blocked));
  };
  const draft = await decide(null);
  const turn = turnOf(first, draft, situation);
  const plans = turn === null ? draft : await decide(turn);
  const report: DeployReport = {
    ...first.report,
    certificates: plans.map((plan) => reportName(plan, context.now)),
    warnings: [
      ...first.report.warnings,
      ...plans.flatMap(({ warnings }) => warnings),
      ...plans.flatMap(({ serving, former: pair, deed }) =>
        deed === "install" && serving !== null ? lostNames(serving, { pair }) : []
      ),
    ],
  };

  const further = namesAtStake(plans, situation);
  const isIdle = first.plan === null && further.length === 0 &&
    situation.memory.owed.size === 0 && goneDirectories(situation, config.also).length === 0;
  if (first.facts === null || isIdle) {
    const told = await withAcmeWarning(report, situation, readScene, config);
    return { ...told, certificates: withOffers(told.certificates, found) };
  }
  const facts: DeployFacts = { ...first.facts, further };
  const end = await act({ ...first, facts }, plans, report, readScene, config, context);
  const done = { ...end, certificates: withOffers(end.certificates, found) };
  const isWell = plans.every(({ refusal, warnings }) => refusal === null && warnings.length === 0);
  const hasFault = [done, ...done.certificates].some(({ error }) => error !== undefined);
  if (!config.dryRun && !config.rollback && isWell && !hasFault) {
    try {
      const now = begin(config, context.now);
      const { further } = lookAtStaged(config.staging, config.also);
      if (areQuiet(further, top, now, config)) rememberQuiet(config, now, done.certificates);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { ...done, error: error.message, ...(error.hint && { hint: error.hint }) };
    }
  }
  return done;
}

function forgetLoaded(
  names: readonly string[],
  memory: DeployMemory,
  { state, dryRun }: DeployConfig,
): DeployMemory {
  if (names.length === 0) return memory;
  const loadedFor = new Map([...memory.loadedFor].filter(([name]) => !names.includes(name)));
  if (!dryRun) writeLoaded(state, { loaded: memory.loaded, loadedFor });
  return { ...memory, loadedFor };
}

/** What is decided is foreseen, told, or done. */
async function act(
  { plan, facts, refusal }: Decided & { readonly facts: DeployFacts },
  plans: readonly NamePlan[],
  report: DeployReport,
  readScene: () => Promise<Scene>,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const { further, domain, memory } = facts;
  const dane = config.dane === "off"
    ? null
    : await lookAtDane({ facts, plan }, readScene, config, context);
  if (config.dryRun) {
    const words = [
      ...describePlan(
        plan,
        further,
        modesFor(
          servicesToTell(plan ?? { directories: [], services: [] }, facts),
          further,
          config.apply,
          memory.owed,
        ),
      ),
      ...(plan === null || refusal !== null ? [] : describeKey(facts, "will be")),
      ...describeKeys(further, "will be"),
    ];
    const planning: DeployReport = {
      ...report,
      outcome: plan === null ? report.outcome : "would-deploy",
      certificates: report.certificates.map((one) =>
        one.error === undefined &&
          further.some(({ name, deed }) => name === one.name && deed !== "none")
          ? { ...one, outcome: "would-deploy" }
          : one
      ),
      notes: words,
    };
    const told = dane?.beforehand(planning) ?? planning;
    return refusal === null ? told : failed(told, "refused", refusal);
  }
  const { carryOut } = await import("./carry_out.ts");
  const before = memory.rejected;
  const now = clearForced(facts, refusal === null ? plan : null, config);
  const deed = { plan, facts, rejected: { before, now }, scene: dane?.scene };
  const { error: _, hint: __, ...open } = report;
  const done = await carryOut(deed, open, config, context);
  const all: DeployReport = {
    ...done,
    certificates: plans.map((one) =>
      done.certificates.find(({ name }) => name === one.name) ?? reportName(one, context.now)
    ),
    domain,
  };
  const told = dane?.afterwards(all) ?? all;
  return refusal === null ? told : refusedAfter(told, refusal);
}

function refusedAll(name: string, refusal: Failure): NamePlan {
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

/** Looked at again once it was told of, so that who followed the hint hears no more of it. */
async function withAcmeWarning(
  report: DeployReport,
  { memory }: Situation,
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
  { mailcow }: Situation,
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
