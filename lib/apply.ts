// Makes mailcow's services load what was installed, and sees on the wire that they serve it.

import {
  type Compose,
  composeCommand,
  composeExec,
  composeRestart,
  type ComposeResult,
} from "./compose.ts";
import { type Endpoint, formatEndpoint } from "./endpoint_url.ts";
import { type Host, pause } from "./host.ts";
import { type Service, serviceOf } from "./mailcow.ts";
import { MissingProgram, TimedOut } from "./run.ts";
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
  /** Why docker could not do what it was asked, in its words. */
  readonly trouble: Trouble | null;
  readonly warnings: readonly string[];
}

export interface Trouble {
  readonly words: string;
  readonly hint?: string;
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
  const [first, done, waitMs] = mode === "restart"
    ? [await restartRunning(service, application, host), "restarted", restartTimeoutMs] as const
    : [await reload(service, application, host), "reloaded", settleMs] as const;
  if (first.kind === "not-running" || first.kind === "paused") {
    return leftAlone(service, first, compose);
  }
  const checks = await waitForLeaf(before, first.kind === "done" ? waitMs : 0, host);
  if (mode === "restart" || isSettled(checks)) return outcome(service, done, checks, first);

  host.tell(
    `${service} does not serve the new certificate ` +
      `${first.kind === "failed" ? `(${first.words})` : `after ${formatDuration(settleMs)}`}; ` +
      "restarting it",
  );
  const second = await restart(service, application, host);
  const checksAfter = await waitForLeaf(
    before,
    second.kind === "done" ? restartTimeoutMs : 0,
    host,
  );
  return outcome(service, "restarted", checksAfter, second);
}

/** A container that does not run, or that somebody froze: restarting it would be against his will. */
function leftAlone(
  service: Service,
  { kind, words }: Extract<ComposeResult, { kind: "not-running" | "paused" }>,
  compose: Compose,
): ServiceOutcome {
  const nothing = { service, action: "none", checks: [], isConfirmed: false } as const;
  if (kind === "not-running") {
    const warning = `${service} is not running; it reads the certificate when it starts`;
    return { ...nothing, trouble: null, warnings: [warning] };
  }
  const hint = `${composeCommand(compose)} unpause ${service}, then run certsync deploy again`;
  return { ...nothing, trouble: { words, hint }, warnings: [] };
}

/** What has become of a service for which docker did, or could not do, the last thing. */
function outcome(
  service: Service,
  action: ServiceOutcome["action"],
  checks: readonly Check[],
  last: ComposeResult,
): ServiceOutcome {
  const isDone = last.kind === "done";
  const answers = checks.filter(({ verdict }) => verdict !== "absent");
  const isUnchecked = checks.length === 0; // none of its endpoints can be asked from here
  return {
    service,
    action: isDone ? action : "none",
    checks,
    isConfirmed: isSettled(checks) && (answers.length > 0 || (isUnchecked && isDone)),
    trouble: isDone ? null : last,
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

/** `restart` also starts what is stopped, so a command that does nothing is run inside first. */
async function restartRunning(
  service: Service,
  application: Application,
  host: Host,
): Promise<ComposeResult> {
  const isThere = await composeExec(application.compose, service, ["true"], host).catch(asResult);
  return isThere.kind === "done" ? await restart(service, application, host) : isThere;
}

function restart(
  service: Service,
  { compose, restartTimeoutMs }: Application,
  host: Host,
): Promise<ComposeResult> {
  return composeRestart(compose, service, restartTimeoutMs, host).catch(asResult);
}

/** docker missing, or not answering in time, is this service's trouble and not the others'. */
function asResult(error: unknown): ComposeResult {
  if (!(error instanceof MissingProgram || error instanceof TimedOut)) throw error;
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
