// What deploy reports, and what it makes of what became of the services.

import { daysLeft } from "../certificate/headline.ts";
import type { Change } from "../chain/history.ts";
import type { Installed, Service } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { Failure } from "../failure.ts";
import { composeCommand } from "../programs/compose.ts";
import { formatEndpoint } from "../values/endpoint_url.ts";
import {
  type CertificateReport,
  emptyCertificate,
  type Outcome,
  worstOutcome,
} from "./certificates.ts";
import { wishFor } from "./further.ts";
import type { Plan } from "./plan.ts";
import {
  type Check,
  describeChecks,
  isWrong,
  leafOf,
  NO_LEAF,
  type ServiceOutcome,
} from "./wire.ts";

export interface DeployReport {
  readonly outcome: Outcome;
  /** The worst outcome of all. */
  readonly result: Outcome;
  /** Every name, the domain first; until the end of the run the further ones alone. */
  readonly certificates: readonly CertificateReport[];
  readonly domain: string | null;
  readonly fingerprint: string | null;
  /** The leaf that lay there before, where another one takes its place. */
  readonly replaces: string | null;
  /** Whole days; below zero: it has expired. */
  readonly replacesDaysLeft: number | null;
  readonly notAfter: string | null;
  readonly tlsa: string | null;
  readonly installed: readonly string[];
  readonly services: readonly Pick<ServiceOutcome, "service" | "action">[];
  readonly served: readonly ServedReport[];
  /** The services that nobody saw serving it. */
  readonly unseen: readonly Service[];
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

/** With the domain first among the certificates, once all is known. Pure. */
export function withCertificates(report: DeployReport): DeployReport {
  const { domain: name, outcome, fingerprint, replaces, replacesDaysLeft, notAfter, tlsa } = report;
  const { error, hint, certificates } = report;
  const own = {
    ...{ name, outcome, fingerprint, replaces, replacesDaysLeft, notAfter, tlsa },
    ...{ ...(error !== undefined && { error }), ...(hint !== undefined && { hint }) },
  };
  const all = [own, ...certificates];
  return { ...report, result: worstOutcome(all), certificates: all };
}

/** What is reported of a run that came to nothing. */
export function emptyDeployReport(
  config: DeployConfig | null,
  domain = config?.domain ?? null,
): DeployReport {
  return {
    outcome: "failed",
    result: "failed",
    certificates: [domain, ...(config?.also ?? [])].map(emptyCertificate),
    domain,
    fingerprint: null,
    replaces: null,
    replacesDaysLeft: null,
    notAfter: null,
    tlsa: null,
    installed: [],
    services: [],
    served: [],
    unseen: [],
    warnings: [],
    notes: [],
  };
}

/** What is told of the leaf whose place another one takes. */
export function replacedBy({ pair }: Pick<Installed, "pair">, now: Date): Partial<DeployReport> {
  if (pair === null) return {};
  const { fingerprint, notAfter } = pair.leaf;
  return { replaces: fingerprint, replacesDaysLeft: daysLeft(notAfter, now) };
}

export function failed(
  report: DeployReport,
  outcome: "refused" | "failed",
  { message, hint }: Pick<Failure, "message" | "hint">,
): DeployReport {
  return { ...report, outcome, error: message, ...(hint && { hint }) };
}

/** What was done although there was something to refuse, with why; a failure of that goes first. */
export function refusedAfter(done: DeployReport, refusal: Failure): DeployReport {
  if (done.error === undefined) return failed(done, "refused", refusal);
  return {
    ...done,
    error: `${refusal.message}; ${done.error}`,
    hint: done.hint ?? refusal.hint,
  };
}

/** What the history says of it; of what is wrong with all, once. Pure. */
export function changesOf(
  { certificates, ...report }: DeployReport,
  config: Pick<DeployConfig, "force" | "rollback" | "only">,
): Change[] {
  const own = { ...report, name: report.domain };
  const isCommon = own.error !== undefined &&
    certificates.every(({ error }) => error === undefined);
  return (isCommon ? [own] : [own, ...certificates.slice(1)]).flatMap(
    ({ name, outcome, replaces, fingerprint, error }, index) => {
      if (outcome === "would-deploy") return [];
      const words = error === undefined ? {} : { error };
      const wish = wishFor(index === 0 ? null : name, config, report.domain ?? "");
      const isBack = wish === "rollback" && outcome === "deployed";
      const what = isBack ? "rolled-back" : outcome;
      return [{ name, outcome: what, old: replaces, new: fingerprint, ...words }];
    },
  );
}

/**
 * What came of the domain, by its own questions, and of the services in all. Pure.
 */
export function summarize(
  report: DeployReport,
  { directories, services, changesLeaf }: Plan,
  outcomes: readonly ServiceOutcome[],
  own: readonly ServiceOutcome[],
  scene: Pick<Scene, "compose" | "foreignMounts">,
  which: "new" | "former" = "new",
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
    unseen: [
      ...report.unseen,
      ...own.filter(({ checks }) => !checks.some(isServedRight)).map(({ service }) => service),
    ],
    warnings: [...report.warnings, ...outcomes.flatMap(({ warnings }) => warnings)],
  };
  const trouble = judgeOutcomes(own, scene, which);
  if (trouble !== null) return { ...summary, ...trouble };
  // What could not be looked at leaves it as the files have it.
  const isMended = directories.length > 0 ||
    own.some(({ service, isConfirmed, checks }) =>
      services.includes(service) && isConfirmed && checks.some(isServedRight)
    );
  return { ...summary, outcome: changesLeaf ? "deployed" : isMended ? "repaired" : "unchanged" };
}

/** What went wrong; null where nothing did. Pure. */
export function judgeOutcomes(
  outcomes: readonly ServiceOutcome[],
  scene: Pick<Scene, "compose" | "foreignMounts">,
  which: "new" | "former",
): { outcome: "failed" | "stale"; error: string; hint?: string } | null {
  const compose = composeCommand(scene.compose);
  const unfinished = outcomes.filter(({ isConfirmed }) => !isConfirmed);
  const troubled = unfinished.filter(({ trouble }) => trouble !== null);
  const stale = unfinished.filter(({ trouble, obstacle, checks }) =>
    trouble === null && (obstacle !== null || checks.some(isWrong))
  );
  const error = [...describeTroubles(troubled, compose), ...describeStale(stale, which)].join("; ");
  if (troubled.length > 0) {
    const hint = troubled.find(({ trouble }) => trouble?.hint !== undefined)?.trouble?.hint;
    return { outcome: "failed", error, ...(hint && { hint }) };
  }
  return stale.length === 0 ? null : { outcome: "stale", error, hint: adviseStale(stale, scene) };
}

function isServedRight({ verdict }: Check): boolean {
  return verdict === "ok";
}

/** A line for each thing that docker said, with the services of which it said it. */
function describeTroubles(troubled: readonly ServiceOutcome[], compose: string): string[] {
  const said = Map.groupBy(troubled, ({ trouble }) => trouble?.words ?? "");
  return Array.from(said, ([words, outcomes]) => {
    const names = outcomes.map(({ service }) => service).join(", ");
    return `${compose} could not reload or restart ${names}: ${words}`;
  });
}

function describeStale(stale: readonly ServiceOutcome[], which: "new" | "former"): string[] {
  if (stale.length === 0) return [];
  const wrong = stale.flatMap(({ checks }) => checks).filter(isWrong);
  const services = stale.map(({ service }) => service).join(", ");
  const found = wrong.length > 0 ? describeChecks(wrong).join("; ") : services;
  const unhelped = stale.filter(({ checks }) =>
    checks.some(({ verdict }) => verdict === "unhelped")
  ).map(({ service, checks }) =>
    checks.every((check) => leafOf(check) === NO_LEAF)
      ? `${service} gave none after its last start either, and is not restarted for that`
      : `a restart of ${service} did not help before, and is not tried again`
  );
  const obstacles = stale.flatMap(({ service, obstacle }) =>
    obstacle === null
      ? []
      : [`${service} was not restarted, for it might not come up: ${obstacle.words}`]
  );
  return [[`not serving the ${which} certificate: ${found}`, ...unhelped, ...obstacles].join("; ")];
}

/** Where what is served may come from, as far as it can be seen from here. */
function adviseStale(
  stale: readonly ServiceOutcome[],
  { compose, foreignMounts }: Pick<Scene, "compose" | "foreignMounts">,
): string {
  const command = composeCommand(compose);
  const advice = stale.map(({ service, obstacle, checks }) => {
    if (obstacle !== null) return `${obstacle.hint}, then run certsync deploy again`;
    const mounts = foreignMounts.get(service) ?? [];
    if (mounts.length > 0) {
      return `the container of ${service} has ${mounts.join(", ")}: take that out of ` +
        `docker-compose.override.yml, then: ${command} up -d ${service}`;
    }
    const isElsewhere = ({ probe, served }: Check) =>
      probe.endpoint.protocol === "https" && served.kind === "certificate";
    return checks.filter(isWrong).some(isElsewhere)
      ? "another proxy or site may answer there: see which with ss -ltnp; where that is as it " +
        "shall be, name the endpoints that are mailcow's in deploy.endpoints"
      : `see the log of the service: ${command} logs --tail=50 ${service}`;
  });
  return `the next run looks again; ${[...new Set(advice)].join("; ")}`;
}

/** Which handshakes give no certificate any more. */
export function describeSilence(outcomes: readonly ServiceOutcome[]): string {
  const silent = outcomes.flatMap(({ checks }) => checks)
    .filter((check) => isWrong(check) && leafOf(check) === NO_LEAF);
  return `no certificate any more with the new one: ${describeChecks(silent).join("; ")}`;
}
