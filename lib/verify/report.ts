// What verify reports, to machines and to those who put it into words.

import type { VerifyConfig } from "../config/config.ts";
import type { Timer } from "../programs/systemctl.ts";
import { formatTime } from "../values/time.ts";
import type { LegName } from "./legs.ts";
import type { LegVerdict, Status } from "./verdict.ts";

export interface VerifyReport {
  readonly status: Status;
  readonly domain: string | null;
  readonly staleAt: LegName | null;
  readonly legs: readonly LegReport[];
  readonly timers: readonly Timer[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

export interface LegReport {
  readonly leg: LegName;
  readonly where: string;
  readonly sni?: string;
  readonly ip?: string;
  readonly fingerprint: string | null;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly names: readonly string[];
  readonly match: boolean;
  readonly error?: string;
  readonly hint?: string;
  /** Whether the certificate of the first readable leg has not come this far. */
  readonly stale: boolean;
  readonly status: LegVerdict["status"];
  readonly verdict: string;
  /** What to do about it. */
  readonly next?: string;
}

/** What is reported of a run that came to nothing. */
export function emptyVerifyReport(config: VerifyConfig | null): VerifyReport {
  return {
    status: "unknown",
    domain: config?.domain ?? null,
    staleAt: null,
    legs: [],
    timers: [],
    warnings: [],
  };
}

export function reportLeg({ leg, match, isStale, status, words, next }: LegVerdict): LegReport {
  const { certificate } = leg;
  return {
    leg: leg.leg,
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
    ...(leg.hint !== null && { hint: leg.hint }),
    stale: isStale,
    status,
    verdict: words,
    ...(next !== null && { next }),
  };
}
