// certsync verify: compares every copy of the certificate that can be reached from here.

import type { VerifyConfig } from "../config/config.ts";
import { readTimers, type Timer } from "../programs/systemctl.ts";
import type { RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { type LegName, readLegs } from "./legs.ts";
import { judgeLegs, type LegVerdict, type Status } from "./verdict.ts";

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

export async function verify(config: VerifyConfig, context: RunContext): Promise<VerifyReport> {
  const [{ domain, legs }, timers] = await Promise.all([
    readLegs(config, context),
    readTimers(context),
  ]);
  const verdict = judgeLegs(legs, { ...config, domain, now: context.now });
  return {
    status: verdict.status,
    domain,
    staleAt: verdict.staleAt,
    legs: verdict.legs.map(reportLeg),
    timers,
    warnings: verdict.warnings,
    ...(verdict.status === "unknown" && nothingCompared(legs.length)),
  };
}

function nothingCompared(legCount: number): Pick<VerifyReport, "error" | "hint"> {
  const error = "nothing could be compared: no copy of the certificate can be read from here";
  return legCount > 0 ? { error } : {
    error,
    hint: "run it as root on the NPM or the mail host, or name --domain, --source and --endpoint",
  };
}

function reportLeg({ leg, match, isStale, status, words, next }: LegVerdict): LegReport {
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
