// certsync deploy: installs what push delivered into mailcow, and proves that it is served.

import * as fs from "node:fs";
import { join } from "node:path";
import { type Answer, applyTo, askAll, formatProbe, type Probe, type ServiceOutcome } from "./apply.ts";
import type { DeployConfig } from "./config.ts";
import { readMemory, writeLoaded } from "./deploy_memory.ts";
import {
  type DeployFacts,
  expectedLeaves,
  isOlder,
  isSettled,
  type Plan,
  planDeploy,
} from "./deploy_plan.ts";
import { formatEndpoint } from "./endpoint_url.ts";
import { explain, UsageFailure } from "./failure.ts";
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
  const facts: DeployFacts = {
    mailcow,
    staged: readStaged(config.staging),
    memory: readMemory(config.state),
    domain: domainOf(config, mailcow),
    now: host.now,
  };
  const report = await reportOf(facts, config);
  if (!config.force && isSettled(facts)) return { ...report, outcome: "unchanged" };

  const decision = planDeploy(facts, await judge(facts, config, host));
  if (decision.kind === "refuse") {
    const { message: error, hint } = decision.why;
    return { ...report, outcome: "refused", error, ...(hint && { hint }) };
  }
  const planned = { ...report, warnings: decision.warnings };
  if (config.dryRun) return { ...planned, outcome: "would-deploy", notes: describePlan(decision) };
  return await carryOut(decision, facts, planned, config, host);
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
  const { conf, directory, sniDirectories } = facts.mailcow;
  const before = await askAll(probesFor(plan.services, facts, config), host);

  const installed = install(plan, facts, config.state);
  if (installed.length > 0) host.tell(`installed ${installed.join(" ")}`);

  const outcomes = await Promise.all(plan.services.map((service) =>
    applyTo(service, {
      compose: { directory, version: conf.composeVersion },
      mode: config.apply,
      hasSniDirectories: sniDirectories.length > 0,
      settleMs: config.settleMs,
      restartTimeoutMs: config.restartTimeoutMs,
      before,
    }, host)
  ));
  remember(outcomes, facts, config.state);
  return {
    ...summarize(report, plan, outcomes),
    installed,
    notes: keyChanged(facts) ? [`TLSA 3 1 1 changed with the key: it is ${report.tlsa}`] : [],
  };
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
    return [conf.hostname ?? facts.domain, null].map((sni) => ({
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
  try {
    writeLoaded(state, new Map());
    keepPrevious(mailcow.deployed.pair, staged, state);
    return installPair(staged, directories);
  } catch (error) {
    throw explain(error, "install the certificate");
  }
}

/** Outside of mailcow's SSL directory, where it would be served. */
function keepPrevious(deployed: Pair | null, staged: Pair, state: string): void {
  if (deployed === null || !keyFits(deployed)) return;
  if (deployed.leaf.fingerprint === staged.leaf.fingerprint) return;
  const directory = join(state, "previous");
  fs.mkdirSync(directory, { mode: 0o700, recursive: true });
  installPair(deployed, [directory]);
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
): DeployReport {
  const checks = outcomes.flatMap(({ checks }) => checks);
  const wrong = checks.filter(({ verdict }) => verdict === "stale" || verdict === "silent");
  const summary = {
    ...report,
    services: outcomes.map(({ service, action }) => ({ service, action })),
    served: checks.map(({ probe, served, verdict }) => ({
      endpoint: formatEndpoint(probe.endpoint),
      sni: probe.sni,
      fingerprint: served.kind === "certificate" ? served.leaf.fingerprint : null,
      ok: verdict === "ok",
    })),
    warnings: [...report.warnings, ...outcomes.flatMap(({ warnings }) => warnings)],
  };
  const troubles = outcomes.flatMap(({ trouble, isConfirmed }) =>
    trouble === null || isConfirmed ? [] : [trouble]
  );
  const [trouble] = troubles;
  if (trouble !== undefined) {
    return {
      ...summary,
      outcome: "failed",
      error: troubles.map(({ message }) => message).join("; "),
      ...(trouble.hint && { hint: trouble.hint }),
    };
  }
  if (wrong.length > 0) {
    return {
      ...summary,
      outcome: "stale",
      error: `not serving the new certificate: ${wrong.map(describeWrong).join(", ")}`,
      hint: "the next run tries again; see the service's log: docker compose logs --tail=50 " +
        [...new Set(wrong.map(({ probe }) => serviceOf(probe.endpoint.protocol)))].join(" "),
    };
  }
  return { ...summary, outcome: plan.changesLeaf ? "deployed" : "repaired" };
}

function describeWrong({ probe, served }: Answer): string {
  const what = served.kind === "certificate" ? "another certificate" : served.reason;
  return `${formatProbe(probe)}: ${what}`;
}

function describePlan({ directories, services }: Plan): string[] {
  return [
    ...directories.map((directory) => `would install cert.pem and key.pem in ${directory}`),
    ...services.map((service) => `would reload ${service}`),
  ];
}

/** The report in words, a line each. */
export function describeDeploy(report: DeployReport): string[] {
  const certificate = `the certificate of ${report.domain}, ${report.fingerprint}, ` +
    `valid until ${report.notAfter}`;
  const services = report.services.map(({ service, action }) => `${service}: ${action}`).join(", ");
  const confirmed = report.served.filter(({ ok }) => ok).length;
  const wire = `served: ${confirmed} of ${report.served.length} handshakes gave it`;
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

