// What the legs, held against each other, say about the chain. Pure.

import type { Certificate } from "../certificate/certificate.ts";
import { RESTART } from "../chain/name_refusals.ts";
import type { LegName } from "../config/verify_config.ts";
import { quoteAll } from "../failure.ts";
import { brokenChain, describeIncompleteChain, lacksIssuer } from "./chain_finding.ts";
import {
  type Finding,
  foreignName,
  type Limits,
  nearEnd,
  type Status,
  statuses,
} from "./finding.ts";
import { shellWord } from "../values/shell_word.ts";
import { type DaneSight, isForeign, isNotThere, isReplaceable, type Leg } from "./leg.ts";
import {
  type Around,
  explainOwn,
  isPassedOver,
  type Kept,
  keptFor,
  lacksNames,
} from "./own_certificate.ts";

export interface LegVerdict {
  readonly leg: Leg;
  /** Whether it holds the certificate of the first readable leg; null where nobody asks or can tell. */
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

export interface Expectations extends Limits, Omit<Around, "legs" | "reference"> {
  /** One kind of leg alone is compared with nothing. */
  readonly isComparing: boolean;
  /** `<service> <fingerprint>`: what a restart did not end, as deploy remembers here. */
  readonly unhelped: ReadonlySet<string>;
  /** The names whose directories certsync made. */
  readonly made: ReadonlySet<string>;
}

/** How long a new certificate may take through the chain, whose timers run twice a day. */
const PROPAGATION_MS = 24 * 3_600_000;

export function judgeLegs(legs: readonly Leg[], expectations: Expectations): Verdict {
  const reference = referenceIn(legs);
  const around = { ...expectations, legs, reference };
  const chain: Chain = { ...around, kept: keptFor(around) };
  const verdicts = legs.map((leg) => judgeLeg(leg, chain));
  const status = worst(verdicts.map(({ status }) => status));
  const isUnknown = expectations.isComparing
    ? reference === null && !verdicts.some(isDown)
    : verdicts.every(isUnseen);
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

/** The first readable leg: what the others should hold. */
export function referenceIn(legs: readonly Leg[]): Leg | null {
  const isRead = (leg: Leg) =>
    leg.fingerprint !== null && leg.dane === undefined && !isForeign(leg);
  return legs.find(isRead) ?? null;
}

export function worst(all: readonly Status[]): Status {
  return statuses[Math.max(0, ...all.map((status) => statuses.indexOf(status)))] ?? "unknown";
}

/** Somebody wants it to give a certificate, and it gives none. */
function isDown({ findings }: LegVerdict): boolean {
  return findings.some(({ kind, status }) => kind === "silent" && status === "critical");
}

/** Nobody looked at it, and it is neither well nor not. */
function isUnseen({ leg, findings }: LegVerdict): boolean {
  if (leg.dane !== undefined) return leg.dane.fit === "unknown";
  return leg.fingerprint === null && findings.length === 0;
}

interface Chain extends Expectations {
  readonly legs: readonly Leg[];
  readonly reference: Leg | null;
  readonly kept: Kept | null;
}

function judgeLeg(leg: Leg, chain: Chain): LegVerdict {
  if (leg.dane !== undefined) return judgeRecords(leg, leg.dane, chain);
  const noted = passedOver(leg, chain);
  if (noted !== null) {
    const nothing = { match: null, isNoted: true, isStale: false, findings: [] };
    return { leg, ...nothing, status: "ok", words: noted };
  }
  if (isPassedOver(leg, chain)) return judgePassedOver(leg, chain);
  const { reference, isComparing } = chain;
  const other = explainOwn(leg, chain, chain.kept);
  // Of a spoilt record nobody can tell what was pushed.
  const isUnread = leg.fingerprint === null &&
    (!isReplaceable(leg) || (leg.leg === "pushed" && leg.obstacle === "spoilt"));
  const match = !isComparing || isForeign(leg) || other !== null || isUnread
    ? null
    : leg.fingerprint !== null && leg.fingerprint === reference?.fingerprint;
  const isStale = match === false && reference !== null &&
    (leg.fingerprint !== null || isNotThere(leg));
  const own = other?.finding ?? null;
  const findings = isForeign(leg) ? watch(leg, chain) : [
    isStale ? lag(leg, reference, chain) : silence(leg),
    own,
    lacksNames(leg, chain),
    ...[leg.certificate, leg.beside ?? null].flatMap((certificate) => {
      if (certificate === null) return [];
      const ending = nearEnd(certificate, chain);
      // Nginx Proxy Manager need not have issued what lies in a directory of its own.
      const advised = ending && own?.advice ? { ...ending, advice: own.advice } : ending;
      return [foreignName(certificate, chain.name), advised]
        .map((finding) => finding && adviseAt(leg, finding, certificate, isStale));
    }),
    brokenChain(leg, chain.now),
    wrongKey(leg),
  ].filter((finding) => finding !== null);
  const criticals = findings.filter(({ status }) => status === "critical");
  // Whatever else it should be: no client takes it.
  const gravest = criticals.find(isUnusable) ?? criticals[0] ?? findings[0];
  return {
    leg,
    match,
    isNoted: false,
    isStale,
    status: gravest?.status ?? "ok",
    words: gravest?.words ?? other?.words ?? "ok",
    findings,
  };
}

function isUnusable({ kind, words }: Finding): boolean {
  return kind === "wrong-name" || kind === "not-yet-valid" || words === "expired";
}

/**
 * What another takes the place of need not be issued anew, and what is staged need not be what was
 * issued.
 */
function adviseAt(
  { leg }: Leg,
  finding: Finding,
  { names }: Certificate,
  isStale: boolean,
): Finding {
  const isSeenAtItsOrigin = leg !== "staged" && !isStale;
  if (isSeenAtItsOrigin) return finding;
  const isFor = finding.kind === "wrong-name" ? `it is for ${quoteAll(names)}` : undefined;
  const isEnding = finding.kind === "near-end" && finding.words !== "expired" && !isStale;
  return isEnding ? finding : { ...finding, advice: isFor };
}

/** Published records hold no certificate that could be late, or near its end. */
function judgeRecords(leg: Leg, dane: DaneSight, { isComparing }: Chain): LegVerdict {
  const { fit, words, publish: advice } = dane;
  const isJudged = fit === "fits" || fit === "misfit";
  const match = isComparing && isJudged ? fit === "fits" : null;
  const findings: Finding[] = fit === "misfit"
    ? [{ kind: "dane", status: "critical", words, advice }]
    : [];
  const status = findings[0]?.status ?? "ok";
  return { leg, match, isNoted: !isJudged, isStale: false, status, words, findings };
}

/** Why the leg counts for nothing. */
function passedOver(leg: Leg, chain: Chain): string | null {
  const { legs, reference, isComparing } = chain;
  if (leg.obstacle === "no-route") return "not asked: no route from here";
  const isSwitchedOff = leg.obstacle === "refused" && !leg.isConfigured &&
    legs.some((other) => other.service === leg.service && other.certificate !== null);
  if (isSwitchedOff) return "switched off";
  const isAnother = leg.mayBeAnother === true && isComparing && leg.certificate !== null &&
    leg.fingerprint !== reference?.fingerprint;
  return isAnother ? "another site, without SNI" : null;
}

/**
 * nginx has nothing else to give, and deploy cannot change that: it matters where it does not cover the
 * name.
 */
function judgePassedOver(leg: Leg, { name, legs }: Chain): LegVerdict {
  const words = "that of the domain: nginx passes over the directory";
  const isCovered = leg.certificate === null || foreignName(leg.certificate, name) === null;
  const unmatched = { leg, match: null, isStale: false, words } as const;
  if (isCovered) return { ...unmatched, isNoted: true, status: "ok", findings: [] };
  const { directory, hostname } = legs.find((each) => each.leg === "deployed") ?? {};
  const advice = `nginx passes over a directory that holds ${hostname}: take that out of ` +
    `${shellWord(`${directory}/domains`)}, then: ${RESTART}; then: certsync deploy`;
  const finding = { kind: "passed-over", status: "critical", words, advice } as const;
  return { ...unmatched, isNoted: false, status: "critical", findings: [finding] };
}

function watch(leg: Leg, chain: Chain): Finding[] {
  const { obstacle, certificate } = leg;
  if (obstacle !== null) {
    const mend = `mend it, or move the directory out of data/assets/ssl, then: ${RESTART}`;
    const found = { kind: "abandoned", status: "warning", words: "cannot be read" } as const;
    return [obstacle === "forbidden" ? found : { ...found, advice: mend }];
  }
  const key = wrongKey(leg);
  if (key !== null) return [key];
  const words = certificate && nearEnd(certificate, chain)?.words;
  if (!words) return [];
  const [name = ""] = leg.domains ?? [];
  const advice = chain.made.has(name)
    ? `certsync made it for ${name}: name that in also again, or remove it`
    : `nobody renews it since SKIP_LETS_ENCRYPT=y: name ${name} in also, or remove it`;
  return [{ kind: "abandoned", status: "warning", words, advice }];
}

/** With a directory like that, nginx does not start any more. */
function wrongKey(leg: Leg): Finding | null {
  if (leg.certificate === null || !leg.keyError) return null;
  const advice = isForeign(leg)
    ? `${leg.keyError}: put the right key.pem there, or move the directory out of data/assets/ssl, then: ${RESTART}`
    : leg.keyError;
  return { kind: "key", status: "critical", words: "wrong key", advice };
}

function silence({ leg, obstacle, hint, isConfigured }: Leg): Finding | null {
  if (obstacle === null) return null;
  if (leg !== "served") {
    const words = obstacle === "unclear" ? "not served alike" : "cannot be read";
    const found = { kind: "unread", status: "critical", words } as const;
    return hint === null ? found : { ...found, advice: hint };
  }
  return {
    kind: "silent",
    status: isConfigured ? "critical" : "warning",
    words: "no certificate",
    advice: hint ?? "see that its service runs",
  };
}

function lag(leg: Leg, reference: Leg | null, { legs, now, unhelped, kept }: Chain): Finding {
  const issued = reference?.certificate?.notBefore;
  const isFresh = reference?.leg === "source" && issued !== undefined &&
    now.getTime() - issued.getTime() < PROPAGATION_MS;
  // Who asks for the name gets a good certificate all the same.
  const isNoHarm = kept !== null && leg.leg === "staged" && leg.obstacle === "unasked";
  const status = isFresh || isNoHarm ? "warning" : "critical";
  if (leg.fingerprint === null) return { kind: "behind", status, words: "nothing there yet" };
  // What was pushed is known by its fingerprint alone, unless it lies further on in the chain.
  const held = legs.find(({ certificate }) => certificate?.fingerprint === leg.fingerprint);
  if (issued !== undefined && held?.certificate && held.certificate.notBefore > issued) {
    return { kind: "newer", status, words: "a newer one" };
  }
  if (leg.service && unhelped.has(`${leg.service} ${leg.fingerprint}`)) {
    const advice = `${leg.service} gave this one after its restart too: see whether a mount in ` +
      "docker-compose.override.yml or another server on that port gives it";
    return { kind: "unhelped", status: "critical", words: "another one", advice };
  }
  return { kind: "behind", status, words: isFresh ? "not yet here" : "another one" };
}
