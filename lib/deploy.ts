// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import { join } from "node:path";
import { allEnded } from "./all_ended.ts";
import {
  type Application,
  applyTo,
  askAll,
  type Before,
  formatProbe,
  type Probe,
  type ServiceOutcome,
} from "./apply.ts";
import { type Compose, composeExec } from "./compose.ts";
import type { DeployConfig } from "./config.ts";
import { readContainerState } from "./container_state.ts";
import {
  readAnswered,
  readMemory,
  writeAnswered,
  writeLoaded,
  writeRejected,
} from "./deploy_memory.ts";
import {
  type DeployFacts,
  expectedLeaves,
  isOlder,
  isSettled,
  mailHostname,
  type Plan,
  planDeploy,
  planHealing,
  planRecovery,
  planReturn,
  type Situation,
} from "./deploy_plan.ts";
import {
  type DeployReport,
  describeHealing,
  describePlan,
  describeSilence,
  emptyDeployReport,
  failed,
  summarize,
} from "./deploy_report.ts";
import { explain, Failure, quote, UsageFailure } from "./failure.ts";
import type { Host } from "./host.ts";
import { judgePair, keyMatches } from "./judgement.ts";
import { removeLeftovers } from "./leftovers.ts";
import {
  type Mailcow,
  processNames,
  readMailcow,
  type Service,
  serviceNames,
  serviceOf,
} from "./mailcow.ts";
import { installPair, keyFits, type Pair } from "./pair.ts";
import { keepPrevious, previousDirectory, readPrevious } from "./previous.ts";
import { readStaged, stagedPaths } from "./staging.ts";
import { holdState } from "./state.ts";
import { formatTime } from "./time.ts";
import { tlsaRecord } from "./tlsa.ts";

/** Throws a Failure where it does not come to a decision. */
export async function deploy(config: DeployConfig, host: Host): Promise<DeployReport> {
  using _lock = config.dryRun ? null : await holdState(config.state, host);

  const mailcow = readMailcow(config.mailcow);
  if (!config.dryRun) sweep(mailcow, config.state);
  const situation: Situation = {
    mailcow,
    memory: readMemory(config.state),
    domain: domainOf(config, mailcow),
    now: host.now,
  };
  const candidate = readCandidate(config);
  if (candidate instanceof Failure) {
    const report = { ...emptyDeployReport(config), domain: situation.domain };
    return await recover(situation, failed(report, "refused", candidate), config, host);
  }
  const facts: DeployFacts = { ...situation, staged: candidate };
  const report = await reportOf(facts, config);
  if (!isForced(config) && isSettled(facts)) return { ...report, outcome: "unchanged" };

  const decision = planDeploy(facts, await judge(facts, config, host));
  if (decision.kind === "refuse") {
    return await recover(situation, failed(report, "refused", decision.why), config, host);
  }
  const planned = { ...report, warnings: decision.warnings };
  if (config.dryRun) {
    return { ...planned, outcome: "would-deploy", notes: describePlan(decision, config) };
  }
  if (isForced(config)) {
    const left = config.rollback && decision.changesLeaf ? mailcow.deployed.pair : null;
    changeRejected({ add: left, remove: candidate }, config.state);
  }
  return await carryOut(decision, facts, planned, config, host);
}

function isForced({ force, rollback }: DeployConfig): boolean {
  return force || rollback;
}

function sweep({ sslDirectory, sniDirectories }: Mailcow, state: string): void {
  const sni = sniDirectories.map(({ directory }) => directory);
  for (const directory of [sslDirectory, ...sni, previousDirectory(state)]) {
    try {
      removeLeftovers(directory);
    } catch (error) {
      throw explain(error, `remove the temporary files of an earlier run in ${quote(directory)}`);
    }
  }
}

/** What is wrong with the staging is a reason to refuse, as is what is wrong with the certificate. */
function readCandidate(config: DeployConfig): Pair | Failure {
  if (config.rollback) {
    return readPrevious(config.state) ?? new Failure(
      `there is no previous certificate in ${quote(previousDirectory(config.state))}`,
      { hint: "deploy keeps one there when it replaces a good certificate by another" },
    );
  }
  try {
    return readStaged(config.staging);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

function domainOf(config: DeployConfig, { conf }: Mailcow): string {
  const domain = config.domain ?? conf.hostname;
  if (domain !== null) return domain;
  throw new UsageFailure("no domain: neither MAILCOW_HOSTNAME nor the config file names it", {
    hint: "give --domain mail.example.org, or set MAILCOW_HOSTNAME in mailcow.conf",
  });
}

async function reportOf(facts: DeployFacts, config: DeployConfig): Promise<DeployReport> {
  const { leaf } = facts.staged;
  return {
    ...emptyDeployReport(config),
    domain: facts.domain,
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: await tlsaRecord(leaf),
  };
}

async function judge({ staged, mailcow, domain }: DeployFacts, config: DeployConfig, host: Host) {
  const demands = { domain, trust: config.trust, trustKey: "deploy.trust" } as const;
  const state = config.dryRun ? null : config.state;
  const paths = config.rollback
    ? installedPaths(previousDirectory(config.state))
    : stagedPaths(config.staging);
  const unfit = await judgePair(staged, paths, demands, state, host);
  const { pair, directory } = mailcow.deployed;
  const deployedIsFit = pair !== null && isOlder(staged, mailcow.deployed) &&
    await judgePair(pair, installedPaths(directory), demands, state, host) === null;
  return { unfit, deployedIsFit, force: isForced(config) };
}

function installedPaths(directory: string) {
  return { chain: join(directory, "cert.pem"), key: join(directory, "key.pem") };
}

/**
 * Whatever there is to refuse: a crash between two renames may have left a certificate with another
 * one's key, and no service could start with that; or with one that is being rolled back; or it kept
 * a service from being told.
 */
async function recover(
  situation: Situation,
  refusal: DeployReport,
  config: DeployConfig,
  host: Host,
): Promise<DeployReport> {
  const { mailcow } = situation;
  const matches = async (pair: Pair | null) => pair !== null && await keyMatches(pair, host);
  const previous = readPrevious(config.state);
  const decision = planRecovery(situation, {
    deployed: await matches(mailcow.deployed.pair) ? mailcow.deployed.pair : null,
    previous: await matches(previous) ? previous : null,
  });
  if (decision === null) return refusal;
  const facts: DeployFacts = { ...situation, staged: decision };

  const installed = [mailcow.deployed, ...mailcow.sniDirectories];
  const fit = await allEnded(installed.map(({ pair }) => matches(pair)));
  const plan = planHealing(facts, {
    mismatched: installed.filter((_, index) => !fit[index]).map(({ directory }) => directory),
    wasCutOff: readAnswered(config.state).size > 0,
  });
  if (plan === null) return refusal;

  const warned = {
    ...refusal,
    warnings: [...refusal.warnings, describeHealing(plan, facts, config)],
  };
  if (config.dryRun) return warned;
  const { outcome, error, hint } = refusal;
  const healed = await carryOut(plan, facts, warned, config, host);
  return {
    ...healed,
    outcome,
    error: healed.error === undefined ? error : `${error}; ${healed.error}`,
    hint,
  };
}

async function carryOut(
  plan: Plan,
  facts: DeployFacts,
  report: DeployReport,
  config: DeployConfig,
  host: Host,
): Promise<DeployReport> {
  const before = await askBefore(plan.services, facts, config, host);
  if (plan.directories.length > 0) prepare(before, facts, config);
  const installed = install(facts.staged, plan.directories);
  if (config.rollback) keepDeployed(facts, config.state);
  if (installed.length > 0) host.tell(`installed ${installed.join(" ")}`);

  const now = {
    ...report,
    installed,
    notes: keyChanged(facts) ? [`TLSA 3 1 1 changed with the key: it is ${report.tlsa}`] : [],
  };
  try {
    const modes = new Map(plan.services.map((service) => [service, config.apply] as const));
    const outcomes = await apply(modes, facts, before, config, host);
    const failing = await failingServices(outcomes, composeOf(facts), host);
    const former = failing.length === 0 ? null : formerPair(facts, config.state);
    if (former !== null) {
      return await rollBack({ former, failing, outcomes, before }, plan, facts, now, config, host);
    }
    remember(outcomes, facts, config.state);
    return summarize(now, plan, outcomes, facts);
  } catch (error) {
    if (error instanceof Failure) return failed(now, "failed", error); // with what is installed
    throw error;
  }
}

/** What the endpoints give; one that a run which was cut off saw answering counts as such. */
async function askBefore(
  services: readonly Service[],
  facts: DeployFacts,
  config: DeployConfig,
  host: Host,
): Promise<Before[]> {
  const remembered = readAnswered(config.state);
  const answers = await askAll(probesFor(services, facts, config), host);
  return answers.map(({ probe, served }) => ({
    probe,
    hasAnswered: served.kind === "certificate" || remembered.has(formatProbe(probe)),
  }));
}

/** Every endpoint of the services, with the mail hostname as SNI and without SNI. */
function probesFor(
  services: readonly Service[],
  facts: DeployFacts,
  { endpoints }: DeployConfig,
): Probe[] {
  const { conf } = facts.mailcow;
  return (endpoints ?? conf.endpoints).flatMap((endpoint) => {
    const service = serviceOf(endpoint.protocol);
    if (!services.includes(service)) return [];
    return [mailHostname(facts), null].map((sni) => ({
      endpoint,
      sni,
      expected: expectedLeaves(facts, service, sni),
    }));
  });
}

/**
 * Before anything is installed: after a crash behind this line the next run must not take the new
 * files for served ones, nor an endpoint that fell silent for one that always was.
 */
function prepare(
  before: readonly Before[],
  facts: DeployFacts,
  { state, rollback }: DeployConfig,
): void {
  writeLoaded(state, new Map());
  writeAnswered(
    state,
    before.filter(({ hasAnswered }) => hasAnswered).map(({ probe }) => formatProbe(probe)),
  );
  // What is gone back to is the previous pair itself, which lies nowhere else until it is installed.
  if (!rollback) keepDeployed(facts, state);
}

function keepDeployed({ mailcow, staged, memory }: DeployFacts, state: string): void {
  const { pair } = mailcow.deployed;
  if (pair === null || !keyFits(pair) || memory.rejected.has(pair.leaf.fingerprint)) return;
  if (pair.leaf.fingerprint !== staged.leaf.fingerprint) keepPrevious(pair, state);
}

function install(pair: Pair, directories: readonly string[]): string[] {
  if (directories.length === 0) return [];
  try {
    return installPair(pair, directories);
  } catch (error) {
    throw explain(error, `install the certificate in ${directories.map(quote).join(", ")}`);
  }
}

function composeOf({ mailcow }: Situation): Compose {
  return { directory: mailcow.directory, version: mailcow.conf.composeVersion };
}

/** Services side by side: one that takes minutes to come back delays none. */
function apply(
  modes: ReadonlyMap<Service, Application["mode"]>,
  facts: DeployFacts,
  before: readonly Before[],
  { settleMs, restartTimeoutMs }: DeployConfig,
  host: Host,
): Promise<ServiceOutcome[]> {
  return allEnded(Array.from(modes, ([service, mode]) =>
    applyTo(service, {
      compose: composeOf(facts),
      mode,
      hasSniDirectories: facts.mailcow.sniDirectories.length > 0,
      settleMs,
      restartTimeoutMs,
      before,
    }, host)));
}

/** Those that gave a certificate before and give none now, although they were restarted and run. */
async function failingServices(
  outcomes: readonly ServiceOutcome[],
  compose: Compose,
  host: Host,
): Promise<Service[]> {
  const silent = outcomes.filter(({ action, checks }) =>
    action === "restarted" && checks.some(({ verdict }) => verdict === "silent")
  );
  const failing = await allEnded(
    silent.map(async ({ service }) =>
      await isStillStarting(service, compose, host) ? [] : [service]
    ),
  );
  return failing.flat();
}

/** The container may be up long before the program in it is. */
async function isStillStarting(service: Service, compose: Compose, host: Host): Promise<boolean> {
  switch (await readContainerState(compose, service, host)) {
    case "broken":
      return false;
    case "starting":
    case "stopped":
      return true;
    case "running":
    case "unknown": {
      const command = ["pidof", processNames[service]];
      return (await composeExec(compose, service, command, host)).kind !== "done";
    }
  }
}

/** What to go back to; never an expired one. */
function formerPair({ staged, now }: DeployFacts, state: string): Pair | null {
  const pair = readPrevious(state);
  const isUsable = pair !== null && keyFits(pair) && now <= pair.leaf.notAfter &&
    pair.leaf.fingerprint !== staged.leaf.fingerprint;
  return isUsable ? pair : null;
}

interface Fall {
  readonly former: Pair;
  readonly failing: readonly Service[];
  readonly outcomes: readonly ServiceOutcome[];
  readonly before: readonly Before[];
}

async function rollBack(
  { former, failing, outcomes, before }: Fall,
  plan: Plan,
  facts: DeployFacts,
  report: DeployReport,
  config: DeployConfig,
  host: Host,
): Promise<DeployReport> {
  const silence = describeSilence(outcomes);
  host.tell(`${silence}; putting the previous certificate back`);
  // First: after a crash it must not be tried again.
  changeRejected({ add: facts.staged, remove: null }, config.state);
  writeLoaded(config.state, new Map());
  for (const { pair, directories } of planReturn(facts, plan, former)) install(pair, directories);

  const back: DeployFacts = { ...facts, mailcow: readMailcow(config.mailcow), staged: former };
  const answered = new Set(
    before.filter(({ hasAnswered }) => hasAnswered).map(({ probe }) => formatProbe(probe)),
  );
  const beforeReturn = probesFor(serviceNames, back, config).map((probe) => ({
    probe,
    hasAnswered: answered.has(formatProbe(probe)),
  }));
  const modes = new Map(
    serviceNames.map((service) =>
      [service, failing.includes(service) ? "revive" : config.apply] as const
    ),
  );
  const returned = await apply(modes, back, beforeReturn, config, host);
  remember(returned, back, config.state);
  const after = summarize(report, plan, returned, back);
  const { fingerprint, notAfter } = former.leaf;
  return {
    ...after,
    outcome: "rolled-back",
    notes: [],
    error: `${silence}; rolled back to ${fingerprint}, valid until ${formatTime(notAfter)}` +
      (after.error === undefined ? "" : `, but: ${after.error}`),
    hint: "see the log of the service for why; this certificate is tried again only by " +
      "certsync deploy --force",
  };
}

function changeRejected(
  { add, remove }: { readonly add: Pair | null; readonly remove: Pair | null },
  state: string,
): void {
  const { rejected } = readMemory(state);
  const changed = new Set(rejected);
  if (remove !== null) changed.delete(remove.leaf.fingerprint);
  if (add !== null) changed.add(add.leaf.fingerprint);
  if (changed.symmetricDifference(rejected).size > 0) writeRejected(state, changed);
}

function remember(outcomes: readonly ServiceOutcome[], facts: DeployFacts, state: string): void {
  const { fingerprint } = facts.staged.leaf;
  const loaded = new Map(readMemory(state).loaded);
  for (const { service, isConfirmed } of outcomes) {
    if (isConfirmed) loaded.set(service, fingerprint);
    else loaded.delete(service);
  }
  writeLoaded(state, loaded);
  const silent = outcomes.flatMap(({ checks }) => checks)
    .filter(({ verdict }) => verdict === "silent");
  writeAnswered(state, silent.map(({ probe }) => formatProbe(probe)));
}

function keyChanged({ mailcow, staged }: DeployFacts): boolean {
  const old = mailcow.deployed.pair?.leaf.publicKey;
  return old !== undefined && old.toString() !== staged.leaf.publicKey.toString();
}
