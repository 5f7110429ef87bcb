// What the legs, held against each other, say about the chain. Pure.

import { type Certificate, lifeLeft, timeState } from "./certificate.ts";
import { quote } from "./failure.ts";
import { namesCover } from "./host_name.ts";
import type { Age } from "./time.ts";
import type { Leg, LegName } from "./verify_legs.ts";

export const statuses = ["ok", "warning", "critical", "unknown"] as const;

export type Status = typeof statuses[number];

export interface LegVerdict {
  readonly leg: Leg;
  /** Whether it holds the certificate of the first readable leg. */
  readonly match: boolean;
  readonly status: Exclude<Status, "unknown">;
  /** In few words, such as "ok" or "expires in 5 days". */
  readonly words: string;
}

export interface Verdict {
  readonly status: Status;
  /** The first leg that lags behind the one before it: where to look. */
  readonly staleAt: LegName | null;
  readonly legs: readonly LegVerdict[];
  readonly warnings: readonly string[];
}

export interface Expectations {
  readonly domain: string | null;
  readonly warn: Age;
  readonly critical: Age;
  readonly now: Date;
}

/** How long a new certificate may take through the chain, whose timers run twice a day. */
const PROPAGATION_MS = 24 * 3_600_000;

export function judgeLegs(legs: readonly Leg[], expectations: Expectations): Verdict {
  const reference = legs.find(({ fingerprint }) => fingerprint !== null);
  const verdicts = legs.map((leg) => judgeLeg(leg, reference, expectations));
  return {
    status: reference === undefined ? "unknown" : worst(verdicts.map(({ status }) => status)),
    staleAt: verdicts.find(({ leg, match }) => leg.fingerprint !== null && !match)?.leg.leg ?? null,
    legs: verdicts,
    warnings: incompleteChains(legs),
  };
}

function worst(all: readonly Status[]): Status {
  return statuses[Math.max(0, ...all.map((status) => statuses.indexOf(status)))] ?? "unknown";
}

function judgeLeg(
  leg: Leg,
  reference: Leg | undefined,
  expectations: Expectations,
): LegVerdict {
  const match = leg.fingerprint !== null && leg.fingerprint === reference?.fingerprint;
  const findings = [
    silence(leg),
    mismatch(leg, match, reference, expectations.now),
    leg.certificate && foreignName(leg.certificate, expectations.domain),
    leg.certificate && nearEnd(leg.certificate, expectations),
  ].filter((finding) => finding !== null);
  const status = worst(findings.map(({ status }) => status));
  const gravest = findings.find((finding) => finding.status === status);
  return {
    leg,
    match,
    status: status === "unknown" ? "critical" : status,
    words: gravest?.words ?? "ok",
  };
}

interface Finding {
  readonly status: "warning" | "critical";
  readonly words: string;
}

function silence({ leg, error, isConfigured }: Leg): Finding | null {
  if (error === null) return null;
  return { status: leg === "served" && !isConfigured ? "warning" : "critical", words: error };
}

function mismatch(
  leg: Leg,
  match: boolean,
  reference: Leg | undefined,
  now: Date,
): Finding | null {
  if (match || leg.fingerprint === null) return null;
  const isFresh = reference?.leg === "source" && reference.certificate !== null &&
    now.getTime() - reference.certificate.notBefore.getTime() < PROPAGATION_MS;
  return isFresh
    ? { status: "warning", words: "not yet the new one" }
    : { status: "critical", words: "another certificate" };
}

function foreignName({ names }: Certificate, domain: string | null): Finding | null {
  if (domain === null || namesCover(names, domain) !== null) return null;
  return { status: "critical", words: `does not cover ${domain}` };
}

function nearEnd(certificate: Certificate, { warn, critical, now }: Expectations): Finding | null {
  const state = timeState(certificate, now);
  if (state === "expired") return { status: "critical", words: "expired" };
  if (state === "not-yet-valid") return { status: "critical", words: "not yet valid" };
  const days = Math.floor((certificate.notAfter.getTime() - now.getTime()) / 86_400_000);
  const words = `expires in ${days} days`;
  if (isWithin(certificate, critical, now)) return { status: "critical", words };
  return isWithin(certificate, warn, now) ? { status: "warning", words } : null;
}

function isWithin(certificate: Certificate, age: Age, now: Date): boolean {
  return "ms" in age
    ? certificate.notAfter.getTime() - now.getTime() < age.ms
    : lifeLeft(certificate, now) < age.lifePart;
}

/** Some clients fetch missing intermediates, others fail. */
function incompleteChains(legs: readonly Leg[]): string[] {
  return legs.flatMap(({ leg, where, ip, certificate, chainLength }) => {
    if (leg !== "served" || certificate === null || chainLength !== 1) return [];
    if (certificate.issuer === certificate.subject) return [];
    return [`${where}${ip ? ` (${ip})` : ""} serves its leaf without the intermediate ` +
      `${quote(certificate.issuer)}: some clients will fail`];
  }).filter((warning, index, all) => all.indexOf(warning) === index);
}
