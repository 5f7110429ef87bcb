// What the legs, held against each other, say about the chain. Pure.

import { type Certificate, lifeLeft, timeState } from "../certificate/certificate.ts";
import { belongsInto } from "../chain/sni.ts";
import { quote } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import type { Age } from "../values/time.ts";
import type { Leg, LegName } from "./legs.ts";

export const statuses = ["ok", "warning", "critical", "unknown"] as const;

export type Status = typeof statuses[number];

export interface LegVerdict {
  readonly leg: Leg;
  /** Whether it holds the certificate of the first readable leg. */
  readonly match: boolean;
  /** Whether the certificate of the first readable leg has not come this far. */
  readonly isStale: boolean;
  readonly status: Exclude<Status, "unknown">;
  /** In few words, such as "ok" or "expires in 5 days". */
  readonly words: string;
  /** What to do about it; null where nothing is to be done. */
  readonly next: string | null;
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
  const verdicts = legs.map((leg) => judgeLeg(leg, reference, legs, expectations));
  const status = worst(verdicts.map(({ status }) => status));
  return {
    status: reference === undefined ? "unknown" : status,
    staleAt: verdicts.find(({ isStale }) => isStale)?.leg.leg ?? null,
    legs: verdicts,
    warnings: [...new Set(legs.filter(lacksIntermediate).map(describeIncompleteChain))],
  };
}

function worst(all: readonly Status[]): Status {
  return statuses[Math.max(0, ...all.map((status) => statuses.indexOf(status)))] ?? "unknown";
}

interface Finding {
  readonly status: "warning" | "critical";
  readonly words: string;
  readonly next: string;
}

function judgeLeg(
  leg: Leg,
  reference: Leg | undefined,
  legs: readonly Leg[],
  expectations: Expectations,
): LegVerdict {
  const { certificate } = leg;
  const match = leg.fingerprint !== null && leg.fingerprint === reference?.fingerprint;
  const isStale = reference !== undefined && !match && (leg.fingerprint !== null || leg.isEmpty);
  const findings = [
    isStale ? lag(leg, reference, legs, expectations.now) : silence(leg),
    certificate && foreignName(certificate, expectations.domain),
    certificate && nearEnd(certificate, expectations),
    lacksIntermediate(leg) ? incompleteChain : null,
  ].filter((finding) => finding !== null);
  const gravest = findings.find(({ status }) => status === "critical") ?? findings[0];
  return {
    leg,
    match,
    isStale,
    status: gravest?.status ?? "ok",
    words: gravest?.words ?? "ok",
    next: gravest?.next ?? null,
  };
}

function silence({ leg, error, hint, isConfigured }: Leg): Finding | null {
  if (error === null) return null;
  if (leg !== "served") {
    return { status: "critical", words: "cannot be read", next: hint ?? "see its error" };
  }
  return {
    status: isConfigured ? "critical" : "warning",
    words: "no certificate",
    next: hint ?? "see that its service runs",
  };
}

function lag(leg: Leg, reference: Leg, legs: readonly Leg[], now: Date): Finding {
  const issued = reference.certificate?.notBefore;
  const isFresh = reference.leg === "source" && issued !== undefined &&
    now.getTime() - issued.getTime() < PROPAGATION_MS;
  const status = isFresh ? "warning" : "critical";
  if (leg.fingerprint === null) {
    return { status, words: "nothing there yet", next: repair(leg, reference, legs, now) };
  }
  // What was pushed is known by its fingerprint alone, unless it lies further on in the chain.
  const held = legs.find(({ certificate }) => certificate?.fingerprint === leg.fingerprint);
  if (issued !== undefined && held?.certificate && held.certificate.notBefore > issued) {
    return {
      status,
      words: "a newer certificate",
      next: `it is newer than that of ${reference.leg}; see who put it there`,
    };
  }
  return {
    status,
    words: isFresh ? "not yet the new one" : "another certificate",
    next: repair(leg, reference, legs, now),
  };
}

/** What brings the certificate from the leg before to this one. */
function repair(leg: Leg, reference: Leg, legs: readonly Leg[], now: Date): string {
  switch (leg.leg) {
    case "source":
    case "pushed":
      return "run on the NPM host: certsync push";
    case "staged":
      return "run on the NPM host: certsync push --force";
    case "deployed":
      return "run on the mail host: certsync deploy";
    case "sni":
    case "served": {
      const [own] = legs.filter((other) =>
        other.leg === "sni" && other.sni === leg.sni && other.fingerprint === leg.fingerprint
      );
      return own !== undefined && isLeftAlone(own, reference, legs, now)
        ? 'give the certificate all the names in its "domains", as deploy warns'
        : "run on the mail host: certsync deploy --force";
    }
  }
}

/** Whether deploy installs nothing in this SNI directory. */
function isLeftAlone(
  { domains = [], hostname = "", certificate }: Leg,
  reference: Leg,
  legs: readonly Leg[],
  now: Date,
): boolean {
  // What was pushed is known by its fingerprint alone.
  const held = legs.find((leg) => leg.certificate?.fingerprint === reference.fingerprint);
  const names = held?.certificate?.names;
  const directory = { domains, own: certificate, isTaken: false };
  return names !== undefined && !belongsInto(directory, names, hostname, now);
}

function foreignName({ names }: Certificate, domain: string | null): Finding | null {
  if (domain === null || namesCover(names, domain) !== null) return null;
  return {
    status: "critical",
    words: "wrong name",
    next: `it does not cover ${domain}; issue one that does`,
  };
}

const DAY_MS = 86_400_000;

function nearEnd(certificate: Certificate, { warn, critical, now }: Expectations): Finding | null {
  switch (timeState(certificate, now)) {
    case "expired":
      return { status: "critical", words: "expired", next: RENEW };
    case "not-yet-valid":
      return {
        status: "critical",
        words: "not yet valid",
        next: "is the clock of this host right?",
      };
    case "valid": {
      const days = Math.floor((certificate.notAfter.getTime() - now.getTime()) / DAY_MS);
      const words = days === 0
        ? "expires in hours"
        : `expires in ${days} day${days === 1 ? "" : "s"}`;
      if (isWithin(certificate, critical, now)) return { status: "critical", words, next: RENEW };
      return isWithin(certificate, warn, now) ? { status: "warning", words, next: RENEW } : null;
    }
  }
}

const RENEW = "see in Nginx Proxy Manager why it is not renewed";

function isWithin(certificate: Certificate, age: Age, now: Date): boolean {
  return "ms" in age
    ? certificate.notAfter.getTime() - now.getTime() < age.ms
    : lifeLeft(certificate, now) < age.lifePart;
}

/** Some clients fetch a missing intermediate, others fail. */
const incompleteChain: Finding = {
  status: "warning",
  words: "no intermediate",
  next: "let it serve the whole of fullchain.pem",
};

function lacksIntermediate({ certificate, chainLength }: Leg): boolean {
  return certificate !== null && chainLength === 1 && certificate.issuer !== certificate.subject;
}

function describeIncompleteChain({ where, certificate }: Leg): string {
  return `${where} serves its leaf without the intermediate ${quote(certificate?.issuer ?? "")}: ` +
    "some clients will fail";
}
