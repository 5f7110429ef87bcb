// What the legs, held against each other, say about the chain. Pure.

import { type Certificate, lifeLeft, timeState } from "../certificate/certificate.ts";
import type { SniDirectory } from "../chain/mailcow.ts";
import { belongsInto, isHidden, rightLeaves, uncovered } from "../chain/sni.ts";
import type { LegName } from "../config/config.ts";
import { quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import type { Age } from "../values/time.ts";
import type { DaneSight, Leg } from "./leg.ts";

export const statuses = ["ok", "warning", "critical", "unknown"] as const;

export type Status = typeof statuses[number];

/** `behind`, `newer`: holds another certificate than the first leg that can be read. */
export type FindingKind =
  | "behind"
  | "newer"
  | "unread"
  | "silent"
  | "chain"
  | "trust"
  | "wrong-name"
  | "near-end"
  | "not-yet-valid"
  | "own"
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

export interface LegVerdict {
  readonly leg: Leg;
  /** Whether it holds the certificate of the first readable leg; null where that is not asked. */
  readonly match: boolean | null;
  /** It counts for nothing: `words` tell why. */
  readonly isNoted: boolean;
  /** Whether the certificate of the first readable leg has not come this far. */
  readonly isStale: boolean;
  readonly status: Exclude<Status, "unknown">;
  /** The gravest finding's, or why there is none to be made. */
  readonly words: string;
  readonly findings: readonly Finding[];
}

export interface Verdict {
  readonly status: Status;
  /** The first leg that lags behind the one before it: where to look. */
  readonly staleAt: LegName | null;
  readonly reference: Leg | null;
  readonly legs: readonly LegVerdict[];
  readonly warnings: readonly string[];
}

export interface Expectations {
  readonly domain: string | null;
  /** One kind of leg alone is compared with nothing. */
  readonly isComparing: boolean;
  /** What mailcow's services serve ahead of the top-level pair. */
  readonly sniDirectories: readonly SniDirectory[];
  readonly warn: Age;
  readonly critical: Age;
  readonly now: Date;
}

/** How long a new certificate may take through the chain, whose timers run twice a day. */
const PROPAGATION_MS = 24 * 3_600_000;

export function judgeLegs(legs: readonly Leg[], expectations: Expectations): Verdict {
  const reference =
    legs.find((leg) => leg.fingerprint !== null && leg.dane === undefined && !isForeign(leg)) ??
      null;
  const chain: Chain = { legs, reference, ...expectations };
  const verdicts = legs.map((leg) => judgeLeg(leg, chain));
  const status = worst(verdicts.map(({ status }) => status));
  const isUnknown = reference === null && expectations.isComparing;
  return {
    status: isUnknown ? "unknown" : status,
    staleAt: verdicts.find(({ isStale }) => isStale)?.leg.leg ?? null,
    reference,
    legs: verdicts,
    warnings: [
      ...new Set(
        legs.filter((leg) => leg.leg === "served" && lacksIssuer(leg)).map(describeIncompleteChain),
      ),
    ],
  };
}

function worst(all: readonly Status[]): Status {
  return statuses[Math.max(0, ...all.map((status) => statuses.indexOf(status)))] ?? "unknown";
}

interface Chain extends Expectations {
  readonly legs: readonly Leg[];
  readonly reference: Leg | null;
}

function judgeLeg(leg: Leg, chain: Chain): LegVerdict {
  if (leg.dane !== undefined) return judgeRecords(leg, leg.dane, chain);
  const noted = passedOver(leg, chain);
  if (noted !== null) {
    const nothing = { match: null, isNoted: true, isStale: false, findings: [] };
    return { leg, ...nothing, status: "ok", words: noted };
  }
  const { reference, isComparing } = chain;
  const isOwn = holdsItsOwn(leg, chain);
  const match = !isComparing || isForeign(leg) || isOwn
    ? null
    : leg.fingerprint !== null && leg.fingerprint === reference?.fingerprint;
  const isStale = match === false && reference !== null &&
    (leg.fingerprint !== null || (leg.obstacle === "empty" && leg.leg !== "source"));
  const findings = isForeign(leg) ? watch(leg, chain) : [
    isStale ? lag(leg, reference, chain) : silence(leg),
    isOwn ? leftAlone(leg, chain) : null,
    ...[leg.certificate, leg.beside ?? null].flatMap((certificate) =>
      certificate === null
        ? []
        : [foreignName(certificate, chain.domain), nearEnd(certificate, chain)]
    ),
    brokenChain(leg, chain.now),
  ].filter((finding) => finding !== null);
  const gravest = findings.find(({ status }) => status === "critical") ?? findings[0];
  return {
    leg,
    match,
    isNoted: false,
    isStale,
    status: gravest?.status ?? "ok",
    words: gravest?.words ?? (isOwn ? "its own certificate" : "ok"),
    findings,
  };
}

/** Published records hold no certificate that could be late, or near its end. */
function judgeRecords(leg: Leg, dane: DaneSight, { isComparing }: Chain): LegVerdict {
  const { fit, words, publish: advice } = dane;
  const match = isComparing && fit !== "unknown" ? fit === "fits" : null;
  const findings: Finding[] = fit === "misfit"
    ? [{ kind: "dane", status: "critical", words, advice }]
    : [];
  const status = findings[0]?.status ?? "ok";
  return { leg, match, isNoted: fit === "unknown", isStale: false, status, words, findings };
}

/** An SNI directory of other names than this one's. */
function isForeign({ leg, sni }: Leg): boolean {
  return leg === "sni" && sni === undefined;
}

/** Why the leg counts for nothing. */
function passedOver(leg: Leg, { legs, reference, isComparing }: Chain): string | null {
  if (leg.obstacle === "no-route") return "not asked: no route from here";
  const isSwitchedOff = leg.obstacle === "refused" && !leg.isConfigured &&
    legs.some((other) => other.service === leg.service && other.certificate !== null);
  if (isSwitchedOff) return "switched off";
  const isAnother = leg.mayBeAnother === true && isComparing && leg.certificate !== null &&
    leg.fingerprint !== reference?.fingerprint;
  return isAnother ? "another site, without SNI" : null;
}

/** Whether it is right with another certificate than the others: that of an SNI directory. */
function holdsItsOwn(leg: Leg, { legs, reference, sniDirectories, now }: Chain): boolean {
  const { fingerprint, certificate } = leg;
  if (fingerprint === null || fingerprint === reference?.fingerprint) return false;
  // What was pushed is known by its fingerprint alone, unless it lies elsewhere too.
  const names = legs.find((other) => other.certificate?.fingerprint === reference?.fingerprint)
    ?.certificate?.names;
  if (names === undefined || certificate === null || now > certificate.notAfter) return false;
  const hostname = legs.find((other) => other.hostname !== undefined)?.hostname ?? "";
  const keepers = sniDirectories.filter(({ name, domains, pair }) =>
    isHidden(name) ||
    !belongsInto({ domains, own: pair?.leaf ?? null, isTaken: false }, names, hostname, now)
  );
  if (leg.leg === "sni") return keepers.some(({ directory }) => directory === leg.directory);
  if (leg.service === undefined || !leg.sni) return false;
  const places = { top: null, sniDirectories: keepers, hostname };
  return rightLeaves({ service: leg.service, name: leg.sni }, places, now).includes(fingerprint);
}

function leftAlone({ leg, domains = [] }: Leg, { reference }: Chain): Finding | null {
  if (leg !== "sni") return null;
  const missing = uncovered(domains, reference?.certificate?.names ?? []);
  return {
    kind: "own",
    status: "warning",
    words: "its own certificate",
    advice: `the new certificate does not cover ${quoteAll(missing)}`,
    lacking: missing,
  };
}

function watch(leg: Leg, chain: Chain): Finding[] {
  const { obstacle, error, certificate } = leg;
  if (obstacle !== null) {
    const advice = error ?? "see its error";
    return [{ kind: "abandoned", status: "warning", words: "cannot be read", advice }];
  }
  const words = certificate && nearEnd(certificate, chain)?.words;
  if (!words) return [];
  const [name = ""] = leg.domains ?? [];
  const advice = `nobody renews it since SKIP_LETS_ENCRYPT=y: name ${name} in also, or remove it`;
  return [{ kind: "abandoned", status: "warning", words, advice }];
}

function silence({ leg, obstacle, hint, isConfigured }: Leg): Finding | null {
  if (obstacle === null) return null;
  if (leg !== "served") {
    const advice = hint ?? "see its error";
    return { kind: "unread", status: "critical", words: "cannot be read", advice };
  }
  return {
    kind: "silent",
    status: isConfigured ? "critical" : "warning",
    words: "no certificate",
    advice: hint ?? "see that its service runs",
  };
}

function lag(leg: Leg, reference: Leg | null, { legs, now }: Chain): Finding {
  const issued = reference?.certificate?.notBefore;
  const isFresh = reference?.leg === "source" && issued !== undefined &&
    now.getTime() - issued.getTime() < PROPAGATION_MS;
  const status = isFresh ? "warning" : "critical";
  if (leg.fingerprint === null) return { kind: "behind", status, words: "nothing there yet" };
  // What was pushed is known by its fingerprint alone, unless it lies further on in the chain.
  const held = legs.find(({ certificate }) => certificate?.fingerprint === leg.fingerprint);
  if (issued !== undefined && held?.certificate && held.certificate.notBefore > issued) {
    return { kind: "newer", status, words: "a newer one" };
  }
  return { kind: "behind", status, words: isFresh ? "not yet here" : "another one" };
}

function foreignName({ names }: Certificate, domain: string | null): Finding | null {
  if (domain === null || namesCover(names, domain) !== null) return null;
  return {
    kind: "wrong-name",
    status: "critical",
    words: "wrong name",
    advice: `it does not cover ${domain}; issue one that does`,
  };
}

const DAY_MS = 86_400_000;

function nearEnd(certificate: Certificate, { warn, critical, now }: Expectations): Finding | null {
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
      const days = Math.floor((certificate.notAfter.getTime() - now.getTime()) / DAY_MS);
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

/** X509_V_ERR_…: no issuer was found for the certificate at that depth. verify(1) */
const ISSUER_NOT_FOUND = [2, 20, 21];
const SELF_SIGNED_LEAF = 18;
const SELF_SIGNED_ROOT = 19;
const NOT_YET_VALID = 9;
const EXPIRED = 10;

/** The certificate for which openssl found no issuer, where none of that name was there either. */
function lacksIssuer({ chain, chainError }: Leg): boolean {
  if (chain === null || !ISSUER_NOT_FOUND.includes(chainError?.code ?? -1)) return false;
  const orphan = chain[chainError?.depth ?? 0];
  return orphan !== undefined && !chain.some(({ subject }) => subject === orphan.issuer);
}

function brokenChain(leg: Leg, now: Date): Finding | null {
  const { chain, chainError } = leg;
  if (chain === null || chainError === null) return null;
  const { code, depth, words } = chainError;
  if (lacksIssuer(leg)) {
    // Some clients fetch a missing intermediate, others fail. A root may be unknown here alone.
    return depth === 0
      ? finding("warning", "no intermediate", "let it serve the whole of fullchain.pem")
      : { kind: "trust", status: "warning", words: "issuer unknown here", advice: UNKNOWN_ROOT };
  }
  if (code === EXPIRED || code === NOT_YET_VALID) {
    if (depth === 0 && timeState(chain[0] ?? { notBefore: now, notAfter: now }, now) !== "valid") {
      return null; // which was said already
    }
    const state = code === EXPIRED ? "expired" : "not yet valid";
    return finding(
      "critical",
      `intermediate ${state}`,
      "issue it anew, with a chain that is valid",
    );
  }
  if (ISSUER_NOT_FOUND.includes(code ?? -1)) {
    return finding("critical", "wrong intermediate", "let it serve fullchain.pem as it was issued");
  }
  if (code === SELF_SIGNED_LEAF) return finding("critical", "self-signed", UNKNOWN_ROOT);
  if (code === SELF_SIGNED_ROOT) {
    const words = "root unknown here";
    return { kind: "trust", status: "critical", words, advice: UNKNOWN_ROOT };
  }
  return finding("critical", "broken chain", words);
}

const UNKNOWN_ROOT =
  "install or update ca-certificates here, or set verify.trust to the file of your own CA";

function finding(status: Finding["status"], words: string, advice: string): Finding {
  return { kind: "chain", status, words, advice };
}

function describeIncompleteChain({ where, chain, chainError }: Leg): string {
  const issuer = quote(chain?.[chainError?.depth ?? 0]?.issuer ?? "");
  return (chainError?.depth ?? 0) === 0
    ? `${where} serves its leaf without the intermediate ${issuer}: some clients will fail`
    : `the issuer ${issuer} of what is served is not known on this host`;
}
