// What may be wrong with one leg, and what its certificate alone says: its names and its dates. Pure.

import { type Certificate, lifeLeft, timeState } from "../certificate/certificate.ts";
import { daysLeft } from "../certificate/headline.ts";
import { namesCover } from "../values/host_name.ts";
import type { Age } from "../values/time.ts";

export const statuses = ["ok", "warning", "critical", "unknown"] as const;

export type Status = typeof statuses[number];

/**
 * `behind`, `newer`: holds another certificate than the first leg that can be read; `stead`: that of
 * another name, which ends later; `passed-over`: that of another name, which does not cover this one.
 */
export type FindingKind =
  | "behind"
  | "newer"
  | "unread"
  | "silent"
  | "unhelped"
  | "chain"
  | "key"
  | "trust"
  | "wrong-name"
  | "near-end"
  | "not-yet-valid"
  | "own"
  | "stead"
  | "passed-over"
  | "dane"
  | "abandoned";

export interface Finding {
  readonly kind: FindingKind;
  readonly status: "warning" | "critical";
  /** In few words, such as "expires in 5 days". */
  readonly words: string;
  /** What to do about it where no command of ours helps. */
  readonly advice?: string;
  /** The names that the certificate should cover too. */
  readonly lacking?: readonly string[];
}

export function foreignName({ names }: Certificate, domain: string | null): Finding | null {
  if (domain === null || namesCover(names, domain) !== null) return null;
  return {
    kind: "wrong-name",
    status: "critical",
    words: "wrong name",
    advice: `it does not cover ${domain}; issue one that does`,
  };
}

/** How near its end a certificate may come. */
export interface Limits {
  readonly warn: Age;
  readonly critical: Age;
  readonly now: Date;
}

export function nearEnd(certificate: Certificate, { warn, critical, now }: Limits): Finding | null {
  switch (timeState(certificate, now)) {
    case "expired":
      return { kind: "near-end", status: "critical", words: "expired", advice: RENEW };
    case "not-yet-valid":
      return {
        kind: "not-yet-valid",
        status: "critical",
        words: "not yet valid",
        advice: "is the clock of this host right?",
      };
    case "valid": {
      const days = daysLeft(certificate.notAfter, now);
      const words = days === 0
        ? "expires in hours"
        : `expires in ${days} day${days === 1 ? "" : "s"}`;
      const found = { kind: "near-end", words, advice: RENEW } as const;
      if (isWithin(certificate, critical, now)) return { ...found, status: "critical" };
      return isWithin(certificate, warn, now) ? { ...found, status: "warning" } : null;
    }
  }
}

const RENEW = "see in Nginx Proxy Manager why it is not renewed";

function isWithin(certificate: Certificate, age: Age, now: Date): boolean {
  return "ms" in age
    ? certificate.notAfter.getTime() - now.getTime() < age.ms
    : lifeLeft(certificate, now) < age.lifePart;
}
