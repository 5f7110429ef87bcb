// Makes mailcow's services load what was installed, and sees on the wire that they serve it.

import { type Compose, composeExec, composeRestart, type ComposeResult } from "./compose.ts";
import { type Endpoint, formatEndpoint } from "./endpoint_url.ts";
import { Failure } from "./failure.ts";
import { type Host, pause } from "./host.ts";
import { type Service, serviceOf } from "./mailcow.ts";
import { readServed, type Served } from "./served.ts";
import { formatDuration } from "./time.ts";

/** One question to the wire: an endpoint, with the mail hostname as SNI or without SNI. */
export interface Probe {
  readonly endpoint: Endpoint;
  readonly sni: string | null;
  /** The leaves that may be served there. */
  readonly expected: readonly string[];
}

export interface Answer {
  readonly probe: Probe;
  readonly served: Served;
}

/** `silent`: gave a certificate before, gives none now. `absent`: gave none before either. */
export type Verdict = "ok" | "stale" | "silent" | "absent";

export interface Check extends Answer {
  readonly verdict: Verdict;
}

export interface ServiceOutcome {
  readonly service: Service;
  readonly action: "reloaded" | "restarted" | "none";
  readonly checks: readonly Check[];
  /** Every endpoint that answers serves what it should, and one at least answers. */
  readonly isConfirmed: boolean;
  /** Why docker could not do what it was asked. */
  readonly trouble: Failure | null;
  readonly warnings: readonly string[];
}

export interface Application {
  readonly compose: Compose;
  readonly mode: "reload" | "restart";
  readonly hasSniDirectories: boolean;
  readonly settleMs: number;
  readonly restartTimeoutMs: number;
  /** What the endpoints gave before anything was installed. */
  readonly before: readonly Answer[];
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const BETWEEN_ROUNDS_MS = 500;

/** Asks all at once. */
export function askAll(probes: readonly Probe[], host: Host): Promise<Answer[]> {
  return Promise.all(probes.map(async (probe) => ({
    probe,
    served: await readServed(probe.endpoint, probe.sni, HANDSHAKE_TIMEOUT_MS, host),
  })));
}

/** Reloads, waits for the new leaf, and restarts where the reload did not bring it. */
export async function applyTo(
  service: Service,
  application: Application,
  host: Host,
): Promise<ServiceOutcome> {
  const { compose, mode, settleMs, restartTimeoutMs } = application;
  const before = application.before.filter(({ probe }) =>
    serviceOf(probe.endpoint.protocol) === service
  );
  const first = mode === "restart"
    ? await restart(compose, service, restartTimeoutMs, host)
    : await reload(service, application, host);
  if (first.kind === "not-running") {
    return {
      service,
      action: "none",
      checks: [],
      isConfirmed: false,
      trouble: null,
      warnings: [`${service} is not running; it reads the certificate when it starts`],
    };
  }
  const firstWaitMs = first.kind === "failed" ? 0 : mode === "restart" ? restartTimeoutMs : settleMs;
  const reloaded = await waitForLeaf(before, firstWaitMs, host);
  if (mode === "restart" || isSettled(reloaded)) {
    const action = first.kind === "failed" ? "none" : mode === "restart" ? "restarted" : "reloaded";
    return outcome(service, action, reloaded, first);
  }

  host.tell(
    `${service} does not serve the new certificate ` +
      `${first.kind === "failed" ? `(${first.words})` : `after ${formatDuration(settleMs)}`}; ` +
      "restarting it",
  );
  const second = await restart(compose, service, restartTimeoutMs, host);
  const waitMs = second.kind === "done" ? restartTimeoutMs : 0;
  const restarted = await waitForLeaf(before, waitMs, host);
  return outcome(service, second.kind === "done" ? "restarted" : "none", restarted, second);
}

function outcome(
  service: Service,
  action: ServiceOutcome["action"],
  checks: readonly Check[],
  last: ComposeResult,
): ServiceOutcome {
  const answers = checks.filter(({ verdict }) => verdict !== "absent");
  const isUnchecked = checks.length === 0; // none of its endpoints can be asked from here
  return {
    service,
    action,
    checks,
    isConfirmed: isSettled(checks) && (answers.length > 0 || (isUnchecked && last.kind === "done")),
    trouble: last.kind === "done"
      ? null
      : new Failure(`docker compose could not ${action === "none" ? "reload or " : ""}restart ` +
        `${service}: ${last.words}`, { hint: last.kind === "failed" ? last.hint : undefined }),
    warnings: checks.filter(({ verdict }) => verdict === "absent").map(absentWarning),
  };
}

function absentWarning({ probe, served }: Check): string {
  const reason = served.kind === "none" ? served.reason : "";
  return `${formatProbe(probe)} gave no certificate, before or after: ${reason}`;
}

export function formatProbe({ endpoint, sni }: Pick<Probe, "endpoint" | "sni">): string {
  return `${formatEndpoint(endpoint)} (${sni === null ? "no SNI" : `SNI ${sni}`})`;
}

async function reload(
  service: Service,
  { compose, hasSniDirectories }: Application,
  host: Host,
): Promise<ComposeResult> {
  for (const command of reloadCommands(service, hasSniDirectories)) {
    const result = await composeExec(compose, service, command, host).catch(asResult);
    if (result.kind !== "done") return result;
  }
  return { kind: "done" };
}

/** Postfix's SNI map embeds keys and chains, so a reload alone would read the old ones. Pure. */
export function reloadCommands(service: Service, hasSniDirectories: boolean): string[][] {
  switch (service) {
    case "postfix-mailcow":
      return [
        ...(hasSniDirectories ? [["postmap", "-F", "hash:/opt/postfix/conf/sni.map"]] : []),
        ["postfix", "reload"],
      ];
    case "dovecot-mailcow":
      return [["dovecot", "reload"]];
    case "nginx-mailcow":
      return [["nginx", "-s", "reload"]];
  }
}

function restart(
  compose: Compose,
  service: Service,
  timeoutMs: number,
  host: Host,
): Promise<ComposeResult> {
  return composeRestart(compose, service, timeoutMs, host).catch(asResult);
}

/** docker missing, or not answering in time, is this service's trouble and not the others'. */
function asResult(error: unknown): ComposeResult {
  if (!(error instanceof Failure) || error.name === "Failure") throw error;
  return { kind: "failed", words: error.message, ...(error.hint && { hint: error.hint }) };
}

/** Asks again those that are not right yet, until all are or the time is over. */
async function waitForLeaf(
  before: readonly Answer[],
  waitMs: number,
  host: Host,
): Promise<Check[]> {
  const end = performance.now() + waitMs;
  let checks: Check[] = before.map((answer) => ({ ...answer, verdict: "stale" }));
  for (;;) {
    checks = await Promise.all(checks.map(async (check, index) => {
      if (check.verdict === "ok") return check;
      const [answer] = await askAll([check.probe], host);
      if (answer === undefined) return check;
      return { ...answer, verdict: judgeAnswer(answer, before[index]?.served.kind) };
    }));
    if (isSettled(checks) || performance.now() >= end) return checks;
    await pause(BETWEEN_ROUNDS_MS, host);
  }
}

/** Pure. */
export function judgeAnswer(
  { probe, served }: Answer,
  before: Served["kind"] | undefined,
): Verdict {
  if (served.kind === "none") return before === "certificate" ? "silent" : "absent";
  return probe.expected.includes(served.leaf.fingerprint) ? "ok" : "stale";
}

function isSettled(checks: readonly Check[]): boolean {
  return checks.every(({ verdict }) => verdict === "ok" || verdict === "absent");
}
