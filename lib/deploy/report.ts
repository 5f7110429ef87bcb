// What deploy reports, and what it makes of what became of the services.

import { daysLeft } from "../certificate/headline.ts";
import type { Change } from "../chain/history.ts";
import { inDirectory } from "../chain/in_directory.ts";
import type { Installed, Service } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { Failure } from "../failure.ts";
import { formatEndpoint } from "../values/endpoint_url.ts";
import {
  type CertificateReport,
  emptyCertificate,
  type Outcome,
  worstOutcome,
} from "./certificates.ts";
import type { Plan } from "./plan.ts";
import { judgeOutcomes } from "./trouble.ts";
import type { Check, ServiceOutcome } from "./wire.ts";
import { wishFor } from "./wish.ts";

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

/** What it advises can be followed from wherever somebody reads it. Pure. */
export function advisedIn(
  mailcow: Parameters<typeof inDirectory>[1],
  report: DeployReport,
): DeployReport {
  const advise = <A extends { readonly hint?: string }>(one: A): A =>
    one.hint === undefined ? one : { ...one, hint: inDirectory(one.hint, mailcow) };
  return {
    ...advise(report),
    certificates: report.certificates.map(advise),
    warnings: report.warnings.map((words) => inDirectory(words, mailcow)),
  };
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

function isServedRight({ verdict }: Check): boolean {
  return verdict === "ok";
}
