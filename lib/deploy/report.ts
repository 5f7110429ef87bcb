// What deploy reports, to machines and in words.

import type { DeployConfig } from "../config/config.ts";
import type { Failure } from "../failure.ts";
import type { DeployFacts, Plan } from "./plan.ts";
import type { ServiceOutcome } from "./wire.ts";

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

export function failed(
  report: DeployReport,
  outcome: "refused" | "failed",
  { message, hint }: Pick<Failure, "message" | "hint">,
): DeployReport {
  return { ...report, outcome, error: message, ...(hint && { hint }) };
}

export function describePlan({ directories, services }: Plan, { apply }: DeployConfig): string[] {
  return [
    ...directories.map((directory) => `would install cert.pem and key.pem in ${directory}`),
    ...services.map((service) => `would ${apply} ${service}`),
  ];
}

/** What is done although the candidate is refused, as a warning. */
export function describeHealing(
  { directories, warnings }: Plan,
  { candidate }: Pick<DeployFacts, "candidate">,
  { dryRun }: DeployConfig,
): string {
  const { fingerprint } = candidate.leaf;
  const put = `put ${fingerprint} there`;
  const deed = directories.length > 0
    ? dryRun ? `would ${put}` : put
    : dryRun
    ? "would see to it now"
    : "saw to it now";
  return `${warnings.join("; ")}: ${deed}`;
}

/** The report in words, a line each. */
export function describeDeploy(report: DeployReport): string[] {
  const certificate = `the certificate of ${report.domain}, ${report.fingerprint}, ` +
    `valid until ${report.notAfter}`;
  const services = report.services.map(({ service, action }) => `${service}: ${action}`).join(", ");
  const confirmed = report.served.filter(({ ok }) => ok).length;
  const wire = report.served.length === 0
    ? []
    : [`on the wire: ${confirmed} of ${report.served.length} handshakes gave the right one`];
  switch (report.outcome) {
    case "unchanged":
      return [`nothing to do: mailcow serves ${certificate}`];
    case "would-deploy":
      return [`would deploy ${certificate}`, ...report.notes];
    case "deployed":
    case "repaired":
      return [`${report.outcome} ${certificate}`, services, ...wire, ...report.notes];
    case "stale":
    case "rolled-back":
      return [services, ...wire, ...report.notes];
    case "refused":
    case "failed":
      return services === "" ? [] : [services];
  }
}
