// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import * as fs from "node:fs";
import { join } from "node:path";
import {
  type Answer,
  applyTo,
  askAll,
  type Check,
  formatProbe,
  type Probe,
  type ServiceOutcome,
} from "./apply.ts";
import { composeCommand } from "./compose.ts";
import type { DeployConfig } from "./config.ts";
import { readMemory, writeLoaded } from "./deploy_memory.ts";
import {
  type DeployFacts,
  expectedLeaves,
  isOlder,
  isSettled,
  mailHostname,
  type Plan,
  planDeploy,
} from "./deploy_plan.ts";
import { formatEndpoint } from "./endpoint_url.ts";
import { explain, Failure, quote, UsageFailure } from "./failure.ts";
import type { Host } from "./host.ts";
import { judgePair } from "./judgement.ts";
import { type Mailcow, readMailcow, type Service, serviceOf } from "./mailcow.ts";
import { installPair, keyFits, type Pair } from "./pair.ts";
import { readStaged, stagedPaths } from "./staging.ts";
import { holdState } from "./state.ts";
import { formatTime } from "./time.ts";
import { tlsaRecord } from "./tlsa.ts";

export interface DeployReport {
  readonly outcome:
    | "deployed"
    | "repaired"
    | "unchanged"
    | "would-deploy"
    | "refused"
    | "rolled-back"
    | "stale"
    | "failed";
  readonly domain: string | null;
  readonly fingerprint: string | null;
  readonly notAfter: string | null;
  readonly tlsa: string | null;
  readonly installed: readonly string[];
  readonly services: readonly Pick<ServiceOutcome, "service" | "action">[];
  readonly served: readonly ServedReport[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
  /** What the text adds to that. */
  readonly notes: readonly string[];
}

export interface ServedReport {
  readonly endpoint: string;
  readonly sni: string | null;
  readonly fingerprint: string | null;
  readonly ok: boolean;
}

/** What is reported of a run that came to nothing. */
export function emptyDeployReport(config: DeployConfig | null): DeployReport {
  return {
    outcome: "failed",
    domain: config?.domain ?? null,
    fingerprint: null,
    notAfter: null,
    tlsa: null,
    installed: [],
    services: [],
    served: [],
    warnings: [],
    notes: [],
  };
}

/** Throws a Failure where it does not come to a decision. */
export async function deploy(config: DeployConfig, host: Host): Promise<DeployReport> {
  using _lock = config.dryRun ? null : await holdState(config.state, host);

  const mailcow = readMailcow(config.mailcow);
  const domain = domainOf(config, mailcow);
  const staged = readStagedOr(config.staging);
  if (staged instanceof Failure) {
    return failed({ ...emptyDeployReport(config), domain }, "refused", staged);
  }
  const facts: DeployFacts = {
    mailcow,
    staged,
    memory: readMemory(config.state),
    domain,
    now: host.now,
  };
  const report = await reportOf(facts, config);
  if (!config.force && isSettled(facts)) return { ...report, outcome: "unchanged" };

  const decision = planDeploy(facts, await judge(facts, config, host));
  if (decision.kind === "refuse") return failed(report, "refused", decision.why);

  const planned = { ...report, warnings: decision.warnings };
  if (config.dryRun) {
    return { ...planned, outcome: "would-deploy", notes: describePlan(decision, config) };
  }
  return await carryOut(decision, facts, planned, config, host);
}

function failed(
  report: DeployReport,
  outcome: "refused" | "failed",
  { message, hint }: Pick<Failure, "message" | "hint">,
): DeployReport {
  return { ...report, outcome, error: message, ...(hint && { hint }) };
}

/** What is wrong with the staging is a reason to refuse, as is what is wrong with the certificate. */
function readStagedOr(directory: string): Pair | Failure {
  try {
    return readStaged(directory);
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
  const unfit = await judgePair(staged, stagedPaths(config.staging), demands, state, host);
  const { pair, directory } = mailcow.deployed;
  const paths = { chain: join(directory, "cert.pem"), key: join(directory, "key.pem") };
  const deployedIsFit = pair !== null && isOlder(staged, mailcow.deployed) &&
    await judgePair(pair, paths, demands, state, host) === null;
  return { unfit, deployedIsFit, force: config.force };
}

async function carryOut(
  plan: Plan,
  facts: DeployFacts,
  report: DeployReport,
  config: DeployConfig,
  host: Host,
): Promise<DeployReport> {
  const before = await askAll(probesFor(plan.services, facts, config), host);
  const installed = install(plan, facts, config.state);
  if (installed.length > 0) host.tell(`installed ${installed.join(" ")}`);

  const now = {
    ...report,
    installed,
    notes: keyChanged(facts) ? [`TLSA 3 1 1 changed with the key: it is ${report.tlsa}`] : [],
  };
  try {
    const outcomes = await apply(plan, facts, before, config, host);
    remember(outcomes, facts, config.state);
    return summarize(now, plan, outcomes, facts);
  } catch (error) {
    if (error instanceof Failure) return failed(now, "failed", error); // with what is installed
    throw error;
  }
}

/** Services side by side: one that takes minutes to come back delays none. */
function apply(
  { services }: Plan,
  { mailcow }: DeployFacts,
  before: readonly Answer[],
  config: DeployConfig,
  host: Host,
): Promise<ServiceOutcome[]> {
  const application = {
    compose: { directory: mailcow.directory, version: mailcow.conf.composeVersion },
    mode: config.apply,
    hasSniDirectories: mailcow.sniDirectories.length > 0,
    settleMs: config.settleMs,
    restartTimeoutMs: config.restartTimeoutMs,
    before,
  };
  return Promise.all(services.map((service) => applyTo(service, application, host)));
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
 * Forgets first what the services have loaded: after a crash behind this line the next run must
 * not take the new files for served ones.
 */
function install({ directories }: Plan, { mailcow, staged }: DeployFacts, state: string): string[] {
  if (directories.length === 0) return [];
  writeLoaded(state, new Map());
  keepPrevious(mailcow.deployed.pair, staged, join(state, "previous"));
  try {
    return installPair(staged, directories);
  } catch (error) {
    throw explain(error, `install the certificate in ${directories.map(quote).join(", ")}`);
  }
}

/** Outside of mailcow's SSL directory, where it would be served. */
function keepPrevious(deployed: Pair | null, staged: Pair, directory: string): void {
  if (deployed === null || !keyFits(deployed)) return;
  if (deployed.leaf.fingerprint === staged.leaf.fingerprint) return;
  try {
    fs.mkdirSync(directory, { mode: 0o700, recursive: true });
    installPair(deployed, [directory]);
  } catch (error) {
    throw explain(error, `keep the deployed certificate in ${quote(directory)}`);
  }
}

function remember(outcomes: readonly ServiceOutcome[], facts: DeployFacts, state: string): void {
  const loaded = new Map(readMemory(state).loaded);
  for (const { service, isConfirmed } of outcomes) {
    if (isConfirmed) loaded.set(service, facts.staged.leaf.fingerprint);
    else loaded.delete(service);
  }
  writeLoaded(state, loaded);
}

function keyChanged({ mailcow, staged }: DeployFacts): boolean {
  const old = mailcow.deployed.pair?.leaf.publicKey;
  return old !== undefined && old.toString() !== staged.leaf.publicKey.toString();
}

/** Pure. */
function summarize(
  report: DeployReport,
  plan: Plan,
  outcomes: readonly ServiceOutcome[],
  { mailcow }: DeployFacts,
): DeployReport {
  const summary = {
    ...report,
    services: outcomes.map(({ service, action }) => ({ service, action })),
    served: outcomes.flatMap(({ checks }) => checks).map(({ probe, served, verdict }) => ({
      endpoint: formatEndpoint(probe.endpoint),
      sni: probe.sni,
      fingerprint: served.kind === "certificate" ? served.leaf.fingerprint : null,
      ok: verdict === "ok",
    })),
    warnings: [...report.warnings, ...outcomes.flatMap(({ warnings }) => warnings)],
  };
  const compose = composeCommand({ version: mailcow.conf.composeVersion });
  const unfinished = outcomes.filter(({ isConfirmed }) => !isConfirmed);
  const troubled = unfinished.filter(({ trouble }) => trouble !== null);
  const stale = unfinished.filter(({ trouble, checks }) =>
    trouble === null && checks.some(isWrong)
  );
  const errors = [...describeTroubles(troubled, compose), ...describeStale(stale)];
  if (troubled.length > 0) {
    const hint = troubled.find(({ trouble }) => trouble?.hint !== undefined)?.trouble?.hint;
    return failed(summary, "failed", { message: errors.join("; "), hint });
  }
  if (stale.length > 0) {
    return {
      ...summary,
      outcome: "stale",
      error: errors.join("; "),
      hint: "the next run tries again; see the log of the service: " +
        `${compose} logs --tail=50 ${stale.map(({ service }) => service).join(" ")}`,
    };
  }
  return { ...summary, outcome: plan.changesLeaf ? "deployed" : "repaired" };
}

/** A line for each thing that docker said, with the services of which it said it. */
function describeTroubles(troubled: readonly ServiceOutcome[], compose: string): string[] {
  const said = Map.groupBy(troubled, ({ trouble }) => trouble?.words ?? "");
  return Array.from(said, ([words, outcomes]) => {
    const names = outcomes.map(({ service }) => service).join(", ");
    return `${compose} could not reload or restart ${names}: ${words}`;
  });
}

function describeStale(stale: readonly ServiceOutcome[]): string[] {
  if (stale.length === 0) return [];
  const wrong = stale.flatMap(({ checks }) => checks).filter(isWrong);
  return [`not serving the new certificate: ${wrong.map(describeWrong).join(", ")}`];
}

function isWrong({ verdict }: Check): boolean {
  return verdict === "stale" || verdict === "silent";
}

function describeWrong({ probe, served }: Check): string {
  const what = served.kind === "certificate"
    ? `one that is valid until ${formatTime(served.leaf.notAfter)}`
    : served.reason;
  return `${formatProbe(probe)}: ${what}`;
}

function describePlan({ directories, services }: Plan, { apply }: DeployConfig): string[] {
  return [
    ...directories.map((directory) => `would install cert.pem and key.pem in ${directory}`),
    ...services.map((service) => `would ${apply} ${service}`),
  ];
}

/** The report in words, a line each. */
export function describeDeploy(report: DeployReport): string[] {
  const certificate = `the certificate of ${report.domain}, ${report.fingerprint}, ` +
    `valid until ${report.notAfter}`;
  const services = report.services.map(({ service, action }) => `${service}: ${action}`).join(", ");
  const confirmed = report.served.filter(({ ok }) => ok).length;
  const wire = `on the wire: ${confirmed} of ${report.served.length} handshakes gave the right one`;
  switch (report.outcome) {
    case "unchanged":
      return [`nothing to do: mailcow serves ${certificate}`];
    case "would-deploy":
      return [`would deploy ${certificate}`, ...report.notes];
    case "deployed":
    case "repaired":
      return [`${report.outcome} ${certificate}`, services, wire, ...report.notes];
    case "stale":
    case "rolled-back":
      return [services, wire, ...report.notes];
    case "refused":
    case "failed":
      return services === "" ? [] : [services];
  }
}
