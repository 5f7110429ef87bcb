// What was asked on the wire, what came of it, and what that means for a service.

import { shortFingerprint } from "../certificate/headline.ts";
import type { Service } from "../chain/mailcow.ts";
import type { Served } from "../chain/served.ts";
import { quote } from "../failure.ts";
import type { KeyKind } from "../programs/openssl.ts";
import { type Endpoint, formatEndpoint } from "../values/endpoint_url.ts";
import { formatTime } from "../values/time.ts";

/** One question to the wire: an endpoint, with the mail hostname as SNI or without SNI. */
export interface Probe {
  readonly endpoint: Endpoint;
  readonly sni: string | null;
}

/** What is to come of it. */
export interface Expectation {
  readonly probe: Probe;
  /** The leaves that may be served there. */
  readonly right: readonly string[];
  /** The kind of key that the new one has, if it can be asked for. */
  readonly keyKind: KeyKind | null;
  /** What was known of it before anything was installed. */
  readonly answered: Answered;
  /** The leaf (or NO_LEAF) that it went on to give after a restart; null where none was tried. */
  readonly unhelped: string | null;
}

export interface Answer {
  readonly probe: Probe;
  readonly served: Served;
}

/** When a probe was last given a certificate: before this run's installation, or an earlier one's. */
export type Answered = "now" | "earlier" | "never";

/**
 * - `stale`: gives a leaf that is not right.
 * - `silent`: gave a certificate before, gives none now.
 * - `unhelped`: one of these two, as it was after a restart.
 * - `alone`: silent while another endpoint of its service gives the right one to the same question.
 * - `waiting`: silent while Dovecot, which it asks, does not answer.
 * - `foreign`: https without a name, which may be another site.
 * - `absent`: gave none before either.
 */
export type Verdict =
  | "ok"
  | "stale"
  | "silent"
  | "unhelped"
  | "alone"
  | "waiting"
  | "foreign"
  | "absent";

export interface Check extends Answer, Expectation {
  readonly verdict: Verdict;
}

export interface ServiceOutcome {
  readonly service: Service;
  readonly action: "reloaded" | "restarted" | "none";
  readonly checks: readonly Check[];
  /** It took the certificate: nothing that answers gives an old leaf, and nothing fell silent. */
  readonly isConfirmed: boolean;
  /** It was restarted, or it ended by itself and started again, or tried to. */
  readonly hadItsRestart: boolean;
  /** It has been started since the run began, or will be before it serves anything again. */
  readonly hasStarted: boolean;
  /** It gave no certificate for a while. */
  readonly wasAway: boolean;
  /** Why docker could not do what it was asked, in its words. */
  readonly trouble: Trouble | null;
  /** Why it was not restarted, although it might have helped. */
  readonly obstacle: Trouble | null;
  /** Why the restart that it owes was not made. */
  readonly withheld: Trouble | null;
  readonly warnings: readonly string[];
}

export interface Trouble {
  readonly words: string;
  readonly hint?: string;
}

/** In the place of the leaf where none is given. */
export const NO_LEAF = "none";

/** Pure. */
export function leafOf({ served }: Answer): string {
  return served.kind === "certificate" ? served.leaf.fingerprint : NO_LEAF;
}

/** Pure. All of them are of one service. */
export function judgeAnswers(answers: readonly (Answer & Expectation)[]): Check[] {
  const served = new Set(answers.filter(isRight).map(({ probe }) => probe.sni));
  return answers.map((answer) => ({ ...answer, verdict: judge(answer, served) }));
}

function isRight({ right, served }: Answer & Expectation): boolean {
  return served.kind === "certificate" && right.includes(served.leaf.fingerprint);
}

/**
 * A service that gives the leaf elsewhere can load it: what is silent there is the endpoint's own
 * trouble, and not the leaf's.
 */
function judge(answer: Answer & Expectation, servedTo: ReadonlySet<string | null>): Verdict {
  const { probe, served, answered, unhelped } = answer;
  if (isRight(answer)) return "ok";
  if (served.kind === "certificate") {
    if (probe.endpoint.protocol === "https" && probe.sni === null) return "foreign";
  } else {
    if (answered === "never") return "absent";
    if (servedTo.has(probe.sni)) return "alone";
  }
  if (unhelped === leafOf(answer)) return "unhelped";
  return served.kind === "certificate" ? "stale" : "silent";
}

/** Nothing is left to wait for. Pure. */
export function isSettled(checks: readonly Check[]): boolean {
  return checks.every(({ verdict }) => verdict === "ok" || verdict === "absent");
}

/** The service could be to blame, so that a restart could help. Pure. */
export function isBlamed({ verdict }: Check): boolean {
  return verdict === "stale" || verdict === "silent";
}

/** Pure. */
export function isWrong(check: Check): boolean {
  return isBlamed(check) || check.verdict === "unhelped";
}

/** What became of a service as far as some questions go. Pure. */
export function seenFor(
  outcome: ServiceOutcome,
  isAsked: (probe: Probe) => boolean,
): ServiceOutcome {
  const checks = outcome.checks.filter(({ probe }) => isAsked(probe));
  if (outcome.isConfirmed || checks.length === outcome.checks.length) return { ...outcome, checks };
  const isServed = checks.some(({ verdict }) => verdict === "ok") && !checks.some(isWrong);
  return {
    ...{ ...outcome, checks, isConfirmed: isServed },
    trouble: isServed ? null : outcome.trouble,
    obstacle: checks.some(isWrong) ? outcome.obstacle : null,
  };
}

/** For some name every endpoint that answered before gives no certificate any more. Pure. */
export function isDumb(checks: readonly Check[]): boolean {
  const known = checks.filter(({ answered }) => answered !== "never");
  const byName = Map.groupBy(known, ({ probe }) => probe.sni);
  return byName.values().some((alike) =>
    alike.every((check) => isWrong(check) && leafOf(check) === NO_LEAF)
  );
}

/** Warnings of what is nobody's failure. */
export function describeOddities(checks: readonly Check[], service: Service): string[] {
  const words: readonly [Verdict, string][] = [
    ["absent", "no certificate, before or after, from"],
    ["alone", `no certificate any more, while others of ${service} give the new one, from`],
    ["waiting", "no certificate while dovecot-mailcow, which it asks for logins, is away, from"],
    ["foreign", "without a name another site may answer there:"],
  ];
  return words.flatMap(([wanted, before]) =>
    describeChecks(checks.filter(({ verdict }) => verdict === wanted))
      .map((found) => `${before} ${found}`)
  );
}

/** What was found where, a line for each finding; an endpoint once where SNI makes no difference. */
export function describeChecks(checks: readonly Check[]): string[] {
  const found = Map.groupBy(checks, ({ served }) => describeServed(served));
  return Array.from(found, ([what, alike]) => {
    const places = Map.groupBy(alike, ({ probe }) => formatEndpoint(probe.endpoint));
    const names = Array.from(
      places,
      ([url, both]) => both.length > 1 ? url : both.map(({ probe }) => formatProbe(probe)).join(),
    );
    return `${names.join(" ")}: ${what}`;
  });
}

function describeServed(served: Served): string {
  if (served.kind === "none") return served.reason;
  const { subject, issuer, names, fingerprint, notAfter } = served.leaf;
  return `a certificate of ${quote(subject || names.join(" "))} by ${quote(issuer)}, ` +
    `${shortFingerprint(fingerprint)}, valid until ${formatTime(notAfter)}`;
}

export function formatProbe({ endpoint, sni }: Probe): string {
  return `${formatEndpoint(endpoint)} (${sni === null ? "no SNI" : `SNI ${sni}`})`;
}
