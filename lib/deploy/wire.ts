// What was asked on the wire, what came of it, and what that means for a service.

import type { Service } from "../chain/mailcow.ts";
import type { Served } from "../chain/served.ts";
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
  /** What was known of it before anything was installed. */
  readonly answered: Answered;
}

export interface Answer {
  readonly probe: Probe;
  readonly served: Served;
}

/** When a probe was last given a certificate: before this run's installation, or an earlier one's. */
export type Answered = "now" | "earlier" | "never";

/** `silent`: gave a certificate before, gives none now. `absent`: gave none before either. */
export type Verdict = "ok" | "stale" | "silent" | "absent";

export interface Check extends Answer, Expectation {
  readonly verdict: Verdict;
}

export interface ServiceOutcome {
  readonly service: Service;
  readonly action: "reloaded" | "restarted" | "none";
  readonly checks: readonly Check[];
  /** Every endpoint that answers serves what it should, and one at least answers. */
  readonly isConfirmed: boolean;
  /** Why docker could not do what it was asked, in its words. */
  readonly trouble: Trouble | null;
  readonly warnings: readonly string[];
}

export interface Trouble {
  readonly words: string;
  readonly hint?: string;
}

/** Pure. All of them are of one service. */
export function judgeAnswers(answers: readonly (Answer & Expectation)[]): Check[] {
  const isServed = answers.some(isRight);
  return answers.map((answer) => ({ ...answer, verdict: judge(answer, isServed) }));
}

function isRight({ right, served }: Answer & Expectation): boolean {
  return served.kind === "certificate" && right.includes(served.leaf.fingerprint);
}

/**
 * A service that serves the leaf elsewhere can load it: an endpoint that was silent before this run
 * began was closed by somebody, and not by the leaf.
 */
function judge(answer: Answer & Expectation, isServed: boolean): Verdict {
  if (answer.served.kind === "certificate") return isRight(answer) ? "ok" : "stale";
  return answer.answered === "now" || (answer.answered === "earlier" && !isServed)
    ? "silent"
    : "absent";
}

/** Pure. */
export function isSettled(checks: readonly Check[]): boolean {
  return checks.every(({ verdict }) => verdict === "ok" || verdict === "absent");
}

/** What was found where, a line for each finding; an endpoint once where SNI makes no difference. */
export function describeChecks(checks: readonly Check[]): string[] {
  const found = Map.groupBy(
    checks,
    ({ served }) =>
      served.kind === "none"
        ? served.reason
        : `a certificate that is valid until ${formatTime(served.leaf.notAfter)}`,
  );
  return Array.from(found, ([what, alike]) => {
    const places = Map.groupBy(alike, ({ probe }) => formatEndpoint(probe.endpoint));
    const names = Array.from(
      places,
      ([url, both]) => both.length > 1 ? url : both.map(({ probe }) => formatProbe(probe)).join(),
    );
    return `${names.join(" ")}: ${what}`;
  });
}

export function formatProbe({ endpoint, sni }: Probe): string {
  return `${formatEndpoint(endpoint)} (${sni === null ? "no SNI" : `SNI ${sni}`})`;
}
