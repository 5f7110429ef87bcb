// What verify reports, to machines and to those who put it into words.

import { hostnameIn } from "../chain/mailcow.ts";
import { operandIn } from "../cli/command_line.ts";
import { domainMeant } from "../config/domain_meant.ts";
import type { LegName, VerifyConfig } from "../config/verify_config.ts";
import type { Timer } from "../programs/systemctl.ts";
import { formatTime } from "../values/time.ts";
import type { Status } from "./finding.ts";
import { isForeign } from "./leg.ts";
import type { Step } from "./next_step.ts";
import type { LegVerdict } from "./verdict.ts";

export interface VerifyReport {
  /** The worst of all names. */
  readonly status: Status;
  /** The first name, whose `staleAt` is the one beside it. */
  readonly domain: string | null;
  readonly staleAt: LegName | null;
  /** In the order of the names, the domain first. */
  readonly certificates: readonly NameReport[];
  readonly legs: readonly LegReport[];
  /** In their order; where no command helps, the legs say what does. */
  readonly next: readonly Step[];
  readonly timers: readonly Timer[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

export interface NameReport {
  readonly name: string | null;
  readonly status: Status;
  readonly staleAt: LegName | null;
}

export interface LegReport {
  readonly leg: LegName;
  /** The one whose certificate it is. */
  readonly name: string | null;
  readonly where: string;
  readonly sni?: string;
  readonly ip?: string;
  readonly fingerprint: string | null;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly names: readonly string[];
  /** Null where it is compared with nothing, or could not be read. */
  readonly match: boolean | null;
  readonly error?: string;
  readonly hint?: string;
  /** It counts for nothing: `verdict` tells why. */
  readonly noted: boolean;
  /** Whether the certificate of the first readable leg has not come this far. */
  readonly stale: boolean;
  readonly status: LegVerdict["status"];
  readonly verdict: string;
}

/** What is reported of a run that came to nothing. */
export function emptyVerifyReport(
  config: VerifyConfig | null,
  argv: readonly string[],
): VerifyReport {
  const domain = config === null
    ? domainMeant(argv, operandIn(argv))
    : config.only ?? config.domain ?? hostnameIn(config.deploy.mailcow);
  const names = config === null || config.only !== null ? [domain] : [domain, ...config.also];
  return {
    status: "unknown",
    domain,
    staleAt: null,
    certificates: names.map((name) => ({ name, status: "unknown", staleAt: null })),
    legs: [],
    next: [],
    timers: [],
    warnings: [],
  };
}

export function reportLeg(verdict: LegVerdict, name: string | null): LegReport {
  const { leg, match, isNoted, isStale, status, words, findings } = verdict;
  const { certificate } = leg;
  const advice = leg.hint ?? findings.find((finding) => finding.status === status)?.advice ?? null;
  return {
    leg: leg.leg,
    name: isForeign(leg) ? leg.domains?.[0] ?? null : name,
    where: leg.where,
    ...(leg.sni && { sni: leg.sni }),
    ...(leg.ip && { ip: leg.ip }),
    fingerprint: leg.fingerprint,
    notBefore: certificate && formatTime(certificate.notBefore),
    notAfter: certificate && formatTime(certificate.notAfter),
    subject: certificate?.subject ?? null,
    issuer: certificate?.issuer ?? null,
    names: certificate?.names ?? [],
    match,
    ...(leg.error !== null && { error: leg.error }),
    ...(advice !== null && { hint: advice }),
    noted: isNoted,
    stale: isStale,
    status,
    verdict: words,
  };
}
