// Makes mailcow's services load what was installed, and sees on the wire that they serve it.

import { type Service, serviceOf } from "../chain/mailcow.ts";
import { readAllServed } from "../chain/served.ts";
import {
  type Compose,
  composeCommand,
  composeExec,
  composeRestart,
  type ComposeResult,
  type ContainerState,
  readContainerState,
} from "../programs/compose.ts";
import { ProgramFailure } from "../programs/run.ts";
import { pause, type RunContext } from "../run_context.ts";
import { formatDuration } from "../values/time.ts";
import {
  type Answer,
  type Check,
  describeChecks,
  type Expectation,
  isSettled,
  judgeAnswers,
  type Probe,
  type ServiceOutcome,
} from "./wire.ts";

export interface Application {
  readonly compose: Compose;
  /** `revive` restarts whatever has become of the container. */
  readonly mode: "reload" | "restart" | "revive";
  readonly hasSniDirectories: boolean;
  readonly settleMs: number;
  readonly restartTimeoutMs: number;
  readonly expectations: readonly Expectation[];
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Just after a reload the old processes still answer, for a moment. */
const BETWEEN_ROUNDS_MS = { first: 100, most: 500 };

/** Asks the wire. */
export async function ask(probes: readonly Probe[], context: RunContext): Promise<Answer[]> {
  const served = await readAllServed(probes, HANDSHAKE_TIMEOUT_MS, context);
  return probes.flatMap((probe, index) => {
    const one = served[index];
    return one === undefined ? [] : [{ probe, served: one }];
  });
}

/** Reloads, waits for the new leaf, and restarts where the reload did not bring it. */
export async function applyTo(
  service: Service,
  application: Application,
  context: RunContext,
): Promise<ServiceOutcome> {
  const { compose, mode, settleMs, restartTimeoutMs } = application;
  const before = application.expectations.filter(({ probe }) =>
    serviceOf(probe.endpoint.protocol) === service
  );
  const [done, waitMs] = mode === "reload"
    ? ["reloaded", settleMs] as const
    : ["restarted", restartTimeoutMs] as const;
  const first = await begin(service, application, context);
  if (first.kind === "not-running" || first.kind === "paused") {
    const hasAnswered = before.some(({ answered }) => answered !== "never");
    const hasFallen = mode !== "revive" && first.kind === "not-running" && hasAnswered &&
      await isBroken(service, compose, context);
    if (!hasFallen) return leftAlone(service, first, compose);
    context.tell(`${service} has fallen; restarting it`);
    return await applyTo(service, { ...application, mode: "revive" }, context);
  }
  const checks = await waitForLeaf(before, first.kind === "done" ? waitMs : 0, context);
  if (mode !== "reload" || isSettled(checks)) return outcome(service, done, checks, first);

  if (
    checks.every(({ verdict }) => verdict === "silent") &&
    await isStopped(service, compose, context)
  ) {
    return leftAlone(service, { kind: "not-running", words: "" }, compose);
  }
  context.tell(
    `${service} does not serve the new certificate ` +
      `${first.kind === "failed" ? `(${first.words})` : `after ${formatDuration(settleMs)}`}; ` +
      "restarting it",
  );
  const second = await restart(service, application, context);
  const checksAfter = await waitForLeaf(
    before,
    second.kind === "done" ? restartTimeoutMs : 0,
    context,
  );
  return outcome(service, "restarted", checksAfter, second);
}

function begin(
  service: Service,
  application: Application,
  context: RunContext,
): Promise<ComposeResult> {
  switch (application.mode) {
    case "reload":
      return reload(
        service,
        application.compose,
        { withSniMap: application.hasSniDirectories },
        context,
      );
    case "restart":
      return restartRunning(service, application, context);
    case "revive":
      return restart(service, application, context);
  }
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
    warnings: describeChecks(checks.filter(({ verdict }) => verdict === "absent"))
      .map((found) => `no certificate, before or after, from ${found}`),
  };
}

async function reload(
  service: Service,
  compose: Compose,
  { withSniMap }: { readonly withSniMap: boolean },
  context: RunContext,
): Promise<ComposeResult> {
  for (const command of reloadCommands(service, withSniMap)) {
    const result = await composeExec(compose, service, command, context).catch(asResult);
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
  context: RunContext,
): Promise<ComposeResult> {
  const isThere = await composeExec(application.compose, service, ["true"], context).catch(
    asResult,
  );
  return isThere.kind === "done" ? await restart(service, application, context) : isThere;
}

function restart(
  service: Service,
  { compose, restartTimeoutMs }: Application,
  context: RunContext,
): Promise<ComposeResult> {
  return composeRestart(compose, service, restartTimeoutMs, context).catch(asResult);
}

/** Who stops a container while we wait does not want it started. */
async function isStopped(
  service: Service,
  compose: Compose,
  context: RunContext,
): Promise<boolean> {
  return await stateOf(service, compose, context) === "stopped";
}

/** Nobody stopped it: it ended by itself, or ends as soon as it starts. */
async function isBroken(service: Service, compose: Compose, context: RunContext): Promise<boolean> {
  return await stateOf(service, compose, context) === "broken";
}

async function stateOf(
  service: Service,
  compose: Compose,
  context: RunContext,
): Promise<ContainerState> {
  try {
    return await readContainerState(compose, service, context);
  } catch (error) {
    if (!(error instanceof ProgramFailure)) throw error;
    return "unknown";
  }
}

/** What docker did not do is this service's trouble and not the others'. */
function asResult(error: unknown): ComposeResult {
  if (!(error instanceof ProgramFailure)) throw error;
  return { kind: "failed", words: error.message, ...(error.hint && { hint: error.hint }) };
}

/** nginx lets its old workers accept for 100 ms beside the new ones; Postfix's may take longer. */
const BETWEEN_LOOKS_MS = 250;

/**
 * Asks until all is right or the time is over. All is right when every endpoint says so at two
 * moments, with SNI and then without: for a while old and new processes accept side by side.
 */
async function waitForLeaf(
  before: readonly Expectation[],
  waitMs: number,
  context: RunContext,
): Promise<Check[]> {
  if (before.length === 0) return [];
  const end = performance.now() + waitMs;
  const withoutSni = before.filter(({ probe }) => probe.sni === null);
  const first = await look(
    before.filter((one) => one.probe.sni !== null || !hasTwin(one, before)),
    context,
  );
  if (isSettled(first)) await pause(BETWEEN_LOOKS_MS, context);
  const second = await look(withoutSni, context);
  let checks = judgeAnswers([...second, ...first.filter(({ probe }) => probe.sni !== null)]);

  for (
    let betweenMs = BETWEEN_ROUNDS_MS.first;
    !isSettled(checks) && performance.now() < end;
    betweenMs = Math.min(2 * betweenMs, BETWEEN_ROUNDS_MS.most)
  ) {
    await pause(betweenMs, context);
    const right = checks.filter(({ verdict }) => verdict === "ok");
    const wrong = before.filter(({ probe }) => right.every((check) => check.probe !== probe));
    checks = judgeAnswers([...right, ...await look(wrong, context)]);
    if (!isSettled(checks)) continue;
    await pause(BETWEEN_LOOKS_MS, context);
    checks = await look(before, context);
  }
  return before.flatMap(({ probe }) => checks.filter((check) => check.probe === probe));
}

/** Whether the other question to the same endpoint tells new from old as well as this one. */
function hasTwin({ probe, right }: Expectation, before: readonly Expectation[]): boolean {
  return before.some(({ probe: other, right: others }) =>
    other !== probe && other.endpoint === probe.endpoint &&
    others.every((leaf) => right.includes(leaf))
  );
}

async function look(expectations: readonly Expectation[], context: RunContext): Promise<Check[]> {
  const answers = await ask(expectations.map(({ probe }) => probe), context);
  return judgeAnswers(answers.flatMap((answer, index) => {
    const expectation = expectations[index];
    return expectation === undefined ? [] : [{ ...answer, ...expectation }];
  }));
}
