// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import { tlsaRecord } from "../certificate/certificate.ts";
import { deliveredPaths, installedPaths, type Pair } from "../certificate/pair.ts";
import { type DeployMemory, readAnswered, readMemory } from "../chain/deploy_memory.ts";
import { recorded } from "../chain/history.ts";
import { type Installed, type Mailcow, readMailcow, serviceNames } from "../chain/mailcow.ts";
import { awaitStaged, lookAtStaged, mixedHint, stagingWarnings } from "../chain/staging.ts";
import { type DeployConfig, deployConfig } from "../config/deploy_config.ts";
import { checkPlaces } from "../config/places.ts";
import { explain, Failure, quote, UsageFailure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { isMissing } from "../files/read_file.ts";
import { holdState } from "../files/state.ts";
import { removeLeftovers } from "../files/write_file.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { changeRejected, writeAcme } from "./memory.ts";
import {
  type DeployFacts,
  isOlder,
  isSettled,
  type Plan,
  planDeploy,
  planHealing,
  planRecovery,
  type Situation,
  standingWarnings,
} from "./plan.ts";
import {
  noPrevious,
  previousDirectories,
  previousDirectory,
  previousSniDirectories,
  readPrevious,
} from "./previous.ts";
import {
  changesOf,
  type DeployReport,
  describeDeploy,
  describeHealing,
  describeKey,
  describePlan,
  emptyDeployReport,
  failed,
  refusedAfter,
  replacedBy,
} from "./report.ts";
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
    { state, now: context.now, empty: emptyDeployReport(config), changes: changesOf },
  );
}

async function deployOnce(config: DeployConfig, context: RunContext): Promise<DeployReport> {
  const mailcow = readMailcow(config.mailcow);
  checkReadable(mailcow);
  const memory = memoryFor(config);
  const taken = new Set(previousSniDirectories(config.state));
  if (!config.dryRun) sweep(mailcow, config.state);
  const situation: Situation = {
    mailcow,
    memory,
    taken,
    domain: domainOf(config, mailcow),
    now: context.now,
  };
  const candidate = await readCandidate(config, context);
  const warnings = placeWarnings(config, mailcow);
  if (candidate instanceof Failure) {
    const report = { ...emptyDeployReport(config), domain: situation.domain, warnings };
    return await recover(situation, report, candidate, config, context);
  }
  const facts: DeployFacts = { ...situation, candidate };
  const report = { ...reportOf(facts, config), warnings };
  const unchanged = async (): Promise<DeployReport> => ({
    ...report,
    outcome: "unchanged",
    unseen: serviceNames.filter((service) =>
      facts.memory.unseen.has(service) || facts.memory.unpublished.has(service)
    ),
    warnings: [
      ...warnings,
      ...standingWarnings(facts),
      ...await acmeWarnings(facts, config, context),
    ],
  });
  if (!isForced(config) && isSettled(facts)) return await unchanged();

  const decision = planDeploy(facts, await judge(facts, config, context));
  if (decision.kind === "refuse") {
    return await recover(situation, report, decision.why, config, context);
  }
  const planned = {
    ...report,
    ...(decision.changesLeaf ? replacedBy(mailcow.deployed, context.now) : {}),
    warnings: [...warnings, ...decision.warnings],
  };
  // Keys of kinds that node:crypto does not know are seen to fit only now.
  if (decision.directories.length === 0 && decision.services.length === 0) {
    if (!config.dryRun) {
      const change = { add: null, remove: candidate }; // it is deployed well
      changeRejected(memory.rejected, change, context.now, config.state);
    }
    return await unchanged();
  }
  const dane = config.dane === "off" ? null : await lookAtDane(facts, decision, config, context);
  if (config.dryRun) {
    const notes = [...describePlan(decision, config), ...describeKey(facts, "will be")];
    const planning: DeployReport = { ...planned, outcome: "would-deploy", notes };
    return dane?.beforehand(planning) ?? planning;
  }
  const { carryOut } = await import("./carry_out.ts");
  const left = config.rollback && decision.changesLeaf ? mailcow.deployed.pair : null;
  const before = situation.memory.rejected;
  const now = isForced(config)
    ? changeRejected(before, { add: left, remove: candidate }, context.now, config.state)
    : before;
  const done = await carryOut(
    { plan: decision, facts, rejected: { before, now }, scene: dane?.scene },
    planned,
    config,
    context,
  );
  return dane?.afterwards(done) ?? done;
}

/** Looked at again once it was told of, so that who followed the hint hears no more of it. */
async function acmeWarnings(
  { mailcow, memory }: DeployFacts,
  config: DeployConfig,
  context: RunContext,
): Promise<string[]> {
  if (!memory.isAcmeBehind) return [];
  const { ACME_WARNING, readScene } = await import("../chain/scene.ts");
  const { isAcmeBehind } = await readScene(mailcow, config, context);
  if (!config.dryRun) writeAcme(config.state, isAcmeBehind);
  return isAcmeBehind === false ? [] : [ACME_WARNING];
}

/** What senders will make of a new certificate, to be told before or after, and what was seen for that. */
async function lookAtDane(
  facts: DeployFacts,
  plan: Plan,
  config: DeployConfig,
  context: RunContext,
) {
  // Loaded where there is work, as judging is.
  const [{ readScene }, { foreseeDane, renewalsOf, withForesight, withWarning }] = await Promise
    .all([import("../chain/scene.ts"), import("./dane.ts")]);
  const renewals = renewalsOf(facts, plan);
  if (renewals.length === 0) return null;
  const scene = await readScene(facts.mailcow, config, context);
  const foreseen = (await foreseeDane(renewals, scene, config, context)).get(facts.domain);
  return {
    scene,
    beforehand: (report: DeployReport) => foreseen ? withWarning(report, foreseen) : report,
    afterwards: (report: DeployReport) => foreseen ? withForesight(report, foreseen) : report,
  };
}

/** Who forces it wants what did not help tried again. */
function memoryFor(config: DeployConfig): DeployMemory {
  const memory = readMemory(config.state);
  return isForced(config) ? { ...memory, unhelped: new Map() } : memory;
}

function isForced({ force, rollback }: DeployConfig): boolean {
  return force || rollback;
}

/** What cannot be read now may be good: it must neither be replaced by older nor be lost. */
function checkReadable({ deployed, sniDirectories }: Mailcow): void {
  const unreadable = [deployed, ...sniDirectories].find(({ isReadable }) => !isReadable);
  if (unreadable === undefined) return;
  const { directory, problem } = unreadable;
  throw new Failure(`the deployed pair in ${quote(directory)} ${problem}`, {
    hint: problem?.includes("larger than")
      ? "nothing was changed; mend that file, or move the directory out of data/assets/ssl"
      : "nothing was changed; run this as root, and look at the disk: dmesg tells more",
  });
}

function sweep({ sslDirectory, sniDirectories }: Mailcow, state: string): void {
  try {
    const sni = sniDirectories.map(({ directory }) => directory);
    [sslDirectory, ...sni, ...previousDirectories(state)].forEach(removeLeftovers);
  } catch (error) {
    const where = `${quote(sslDirectory)} or ${quote(previousDirectory(state))}`;
    throw explain(error, `remove the temporary files of an earlier run in ${where}`);
  }
}

/** What is wrong with the staging is a reason to refuse, as is what is wrong with the certificate. */
async function readCandidate(config: DeployConfig, context: RunContext): Promise<Pair | Failure> {
  if (config.rollback) return readPrevious(config.state) ?? noPrevious(config.state);
  // Where a unit started it, it has been waited for.
  const staged = config.started
    ? lookAtStaged(config.staging, [])
    : await awaitStaged(config.staging, [], context);
  return staged.top;
}

/** What is wrong with the places themselves, at every run. */
function placeWarnings({ state, staging }: DeployConfig, { problems }: Mailcow): string[] {
  return [exposure(state), ...stagingWarnings(staging), ...problems].filter((words) =>
    words !== null
  );
}

function domainOf(config: DeployConfig, { conf }: Mailcow): string {
  const domain = config.domain ?? conf.hostname;
  if (domain !== null) return domain;
  if (conf.hostnameProblem !== null) throw conf.hostnameProblem;
  throw new UsageFailure("no domain: neither MAILCOW_HOSTNAME nor the config file names it", {
    hint: "give --domain mail.example.org, or set MAILCOW_HOSTNAME in mailcow.conf",
  });
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

async function judge(
  { candidate, mailcow, domain }: DeployFacts,
  config: DeployConfig,
  context: RunContext,
) {
  // Loaded where there is work: reading it takes longer than finding that there is none.
  const { judgePair } = await import("../certificate/judgement.ts");
  const demands = {
    domain,
    trust: config.trust,
    trustKey: "deploy.trust",
    mismatchHint: mixedHint(config.staging, null, context.now),
  } as const;
  const state = config.dryRun ? null : config.state;
  const paths = config.rollback
    ? installedPaths(previousDirectory(config.state))
    : deliveredPaths(config.staging);
  const found = await judgePair(candidate, paths, demands, state, context);
  const unfit = config.rollback && found !== null ? noWayBack(found) : found;
  const { pair, directory } = mailcow.deployed;
  const deployedIsFit = pair !== null && isOlder(candidate, mailcow.deployed) &&
    await judgePair(pair, installedPaths(directory), demands, state, context) === null;
  return { unfit, deployedIsFit, force: isForced(config) };
}

/** Nothing is renewed or pushed there, whatever the hint says for where that is so. */
function noWayBack({ message }: Failure): Failure {
  return new Failure(message, {
    hint: "there is no good pair to go back to: what is deployed stays; certsync deploy, without " +
      "--rollback, takes what is staged",
  });
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
): Promise<DeployReport> {
  const { mailcow, memory: { rejected } } = situation;
  const refused = failed(report, "refused", refusal);
  if (!mailcow.conf.skipsLetsEncrypt) return refused; // mailcow's own client may be at work
  const { keyMatches } = await import("../certificate/judgement.ts");
  const matches = async (pair: Pair | null) => pair !== null && await keyMatches(pair, context);
  const previous = readPrevious(config.state);
  const keeper = planRecovery(situation, {
    deployed: await matches(mailcow.deployed.pair) ? mailcow.deployed.pair : null,
    previous: await matches(previous) ? previous : null,
  });
  if (keeper === null) return brokenAfter(refused, mailcow.deployed);
  const facts: DeployFacts = { ...situation, candidate: keeper };

  const installed = [mailcow.deployed, ...mailcow.sniDirectories];
  const fit = await allEnded(installed.map(({ pair }) => matches(pair)));
  const plan = planHealing(facts, {
    mismatched: installed.filter((_, index) => !fit[index]).map(({ directory }) => directory),
    isOwed: readAnswered(config.state).size > 0,
  });
  if (plan === null) return refused;

  const healing = { ...report, warnings: [describeHealing(plan, facts, config)] };
  if (config.dryRun) return failed(healing, "refused", refusal);
  const { carryOut } = await import("./carry_out.ts");
  const deed = { plan, facts, rejected: { before: rejected, now: rejected } };
  return refusedAfter(await carryOut(deed, healing, config, context), refusal);
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

function ending({ error, outcome }: DeployReport) {
  if (error !== undefined) return "failed" as const;
  return outcome === "unchanged" ? "idle" as const : "done" as const;
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
  empty: emptyDeployReport,
  words: describeDeploy,
  ending,
};
