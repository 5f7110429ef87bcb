// Makes mailcow's services load what was installed, and sees on the wire that they serve it.

import type { Service } from "../chain/mailcow.ts";
import {
  type Compose,
  composeCommand,
  composeRestart,
  type ComposeResult,
  HANGS,
} from "../programs/compose.ts";
import { execInside } from "../programs/container_exec.ts";
import { type ContainerState, readContainerState } from "../programs/containers.ts";
import { MissingProgram, ProgramFailure, TimedOut } from "../programs/run.ts";
import type { RunContext } from "../run_context.ts";
import { formatDuration } from "../values/time.ts";
import { lookUntilRight, type Seen } from "./look.ts";
import {
  type Check,
  describeOddities,
  type Expectation,
  isBlamed,
  isSettled,
  isWrong,
  type ServiceOutcome,
  type Trouble,
} from "./wire.ts";

export interface Application {
  readonly compose: Compose;
  /** `revive` restarts whatever has become of the container; `look` leaves it as it is. */
  readonly mode: "reload" | "restart" | "revive" | "look";
  readonly hasSniDirectories: boolean;
  readonly settleMs: number;
  readonly restartTimeoutMs: number;
  readonly expectations: readonly Expectation[];
  /** What would keep the service from coming up again, whatever the certificate. */
  readonly obstacle: Trouble | null;
  /** Why the restart that it owes is not made. */
  readonly withheld: Trouble | null;
  /** What is to be begun before it, where there is an order. */
  readonly turn?: Promise<void>;
  /** Tells those whose turn is after it. */
  readonly hasBegun?: () => void;
  /** Told as soon as docker has restarted it. */
  readonly hasRestarted?: () => void;
  /** What has become of the service that it asks for logins. */
  readonly whetherDovecotIs: () => Promise<"there" | "back" | "away">;
}

/** For how long Postfix's master starts no server of a kind that has just died, and a little more. */
const THROTTLED_MS = 75_000;

export async function applyTo(
  service: Service,
  application: Application,
  context: RunContext,
): Promise<ServiceOutcome> {
  const { withheld } = application;
  const outcome = await tell(service, application, context);
  return withheld === null ? outcome : { ...outcome, hasStarted: false, withheld };
}

/** Reloads, waits for the new leaf, and restarts where the reload did not bring it. */
async function tell(
  service: Service,
  application: Application,
  context: RunContext,
): Promise<ServiceOutcome> {
  const { compose, mode, settleMs, restartTimeoutMs, obstacle } = application;
  if (mode === "look") {
    const seen = await look(application, 0, context);
    application.hasBegun?.();
    return outcome({
      ...{ service, action: "none", last: DONE, said: [], hadItsRestart: false, ...seen },
    });
  }
  await application.turn;
  const { result: first, said, isReloaded = false } = await begin(service, application, context)
    .finally(application.hasBegun);
  if (first.kind === "failed" && first.isUnreachable) {
    const seen = await look(application, 0, context);
    return outcome({ service, action: "none", last: first, said, hadItsRestart: false, ...seen });
  }
  if (first.kind === "not-running" || first.kind === "paused") {
    return await leaveAlone(service, first, application, context);
  }
  const isReload = mode === "reload";
  const waitMs = first.kind !== "done" && !isReloaded ? 0 : isReload ? settleMs : restartTimeoutMs;
  const seen = await look(application, waitMs, context);
  const action = isReload ? "reloaded" as const : "restarted" as const;
  const told = outcome({ service, action, last: first, said, hadItsRestart: !isReload, ...seen });
  const done: ServiceOutcome = isReloaded ? { ...told, action } : told;
  if (!isReload || !needsRestart(seen.checks, first)) return done;

  if (seen.checks.some(({ verdict }) => verdict === "silent")) {
    const state = await stateOf(service, compose, context);
    if (state === "stopped" || state === "paused") return leftAlone(service, state);
  }
  if (obstacle !== null) return { ...done, isConfirmed: false, trouble: null, obstacle };
  context.tell(
    `${service} does not serve the new certificate ` +
      `${first.kind === "failed" ? `(${first.words})` : `after ${formatDuration(settleMs)}`}; ` +
      "restarting it",
  );
  const last = await restart(service, application, context);
  const { checks } = await look(application, last.kind === "done" ? restartTimeoutMs : 0, context);
  const restarted = { action: "restarted", hadItsRestart: true, wasAway: true } as const;
  return outcome({ service, last, said, checks, ...restarted });
}

/** Not for what a restart did not help before. Pure. */
export function needsRestart(checks: readonly Check[], first: ComposeResult): boolean {
  if (checks.some(isBlamed)) return true;
  const isRight = isSettled(checks) && checks.some(({ verdict }) => verdict === "ok");
  return first.kind === "failed" && !isRight && !checks.some(isWrong);
}

/**
 * Looks until all is right. Postfix's servers for clients that log in die where they cannot ask
 * Dovecot, and are then not started for a while: what is silent there is judged when that is over.
 */
async function look(application: Application, waitMs: number, context: RunContext): Promise<Seen> {
  const { expectations, settleMs, whetherDovecotIs } = application;
  const seen = await lookUntilRight(expectations, { waitMs, settleMs }, context);
  const isVictim = ({ probe, verdict }: Check) =>
    ["submission", "smtps"].includes(probe.endpoint.protocol) &&
    ["silent", "alone"].includes(verdict);
  if (!seen.checks.some(isVictim)) return seen;
  switch (await whetherDovecotIs()) {
    case "there":
      return seen;
    case "back": {
      const patience = { waitMs: THROTTLED_MS, settleMs: THROTTLED_MS };
      return { ...await lookUntilRight(expectations, patience, context), wasAway: seen.wasAway };
    }
    case "away":
      return {
        ...seen,
        checks: seen.checks.map((check) =>
          isVictim(check) ? { ...check, verdict: "waiting" } : check
        ),
      };
  }
}

interface Begun {
  readonly result: ComposeResult;
  /** Warnings of the programs, which do what they can nevertheless. */
  readonly said: readonly string[];
  /** What failed is not the reload itself. */
  readonly isReloaded?: boolean;
}

async function begin(
  service: Service,
  application: Application,
  context: RunContext,
): Promise<Begun> {
  const { mode, compose, hasSniDirectories } = application;
  if (mode === "reload") {
    return await reload(service, compose, { withSniMap: hasSniDirectories }, context);
  }
  const result = mode === "revive"
    ? await restart(service, application, context)
    : await restartRunning(service, application, context);
  return { result, said: [] };
}

/**
 * The container does not run. Who stopped or froze it does not want it restarted; one that ends by
 * itself has had its restart, and another one would be no better.
 */
async function leaveAlone(
  service: Service,
  { kind }: ComposeResult,
  application: Application,
  context: RunContext,
): Promise<ServiceOutcome> {
  const { compose, expectations, settleMs } = application;
  const state = kind === "paused" ? "paused" : await stateOf(service, compose, context);
  if (state === "stopped" || state === "paused" || state === "unknown") {
    return leftAlone(service, state);
  }
  const seen = await look(application, settleMs, context);
  const log = `${composeCommand(compose)} logs --tail=50 ${service}`;
  const fallen = outcome({
    ...{ service, action: "none", last: DONE, said: [], hadItsRestart: true, ...seen },
  });
  const started = { ...fallen, hasStarted: true };
  if (expectations.some(({ answered }) => answered !== "never")) return started;
  const warning = `${service} ends again and again; see why: ${log}`;
  return { ...started, isConfirmed: false, warnings: [warning, ...fallen.warnings] };
}

const DONE: ComposeResult = { kind: "done", stderr: "" };

function leftAlone(service: Service, state: ContainerState): ServiceOutcome {
  const warning = state === "paused"
    ? `${service} is paused; it goes on with what it has loaded until a run after that`
    : `${service} is not running; it reads the certificate when it starts`;
  return {
    ...{ service, action: "none", checks: [], isConfirmed: false, hadItsRestart: false },
    ...{ hasStarted: state === "stopped", withheld: null },
    ...{ wasAway: true, trouble: null, obstacle: null, warnings: [warning] },
  };
}

/** What has become of a service for which docker did, or could not do, the last thing. */
function outcome(
  { service, action, checks, last, said, ...more }: Seen & {
    readonly service: Service;
    readonly action: ServiceOutcome["action"];
    readonly last: ComposeResult;
    readonly said: readonly string[];
    readonly hadItsRestart: boolean;
  },
): ServiceOutcome {
  const isServed = checks.some(({ verdict }) => verdict === "ok") && !checks.some(isWrong);
  const isUnseen = checks.every(({ verdict }) => verdict === "absent" || verdict === "foreign");
  const failure = last.kind === "done" ? null : last;
  return {
    ...{ service, checks, ...more },
    action: failure === null ? action : "none",
    hasStarted: failure === null && action === "restarted",
    withheld: null,
    isConfirmed: isServed || (isUnseen && failure === null),
    trouble: isServed ? null : failure,
    obstacle: null,
    warnings: [
      ...said,
      ...(isServed && failure !== null ? [`${service} serves it, but: ${failure.words}`] : []),
      ...describeOddities(checks, service),
    ],
  };
}

async function reload(
  service: Service,
  compose: Compose,
  { withSniMap }: { readonly withSniMap: boolean },
  context: RunContext,
): Promise<Begun> {
  const said: string[] = [];
  let unmapped: ComposeResult | null = null;
  for (const command of reloadCommands(service, withSniMap)) {
    const result = await execInside(compose, service, command, context).catch(asResult);
    const isMap = command[0] === "postmap";
    // The top-level pair needs no map: a reload brings it all the same.
    if (isMap && result.kind === "failed" && !result.isUnreachable) unmapped = result;
    else if (result.kind !== "done") return { result, said };
    else if (isMap) {
      const words = result.stderr.split("\n").filter((line) => line.includes("warning:"));
      said.push(...words.map((line) => `${service}: ${line.trim()}`));
    }
  }
  if (unmapped !== null) return { result: unmapped, said, isReloaded: true };
  return { result: DONE, said };
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
  const { compose } = application;
  const isThere = await execInside(compose, service, ["true"], context).catch(asResult);
  // Which itself cannot fail: the container had ended just then, where it runs now.
  const hasCome = isThere.kind === "failed" && !isThere.isUnreachable &&
    await stateOf(service, compose, context) === "running";
  return isThere.kind === "done" || hasCome
    ? await restart(service, application, context)
    : isThere;
}

async function restart(
  service: Service,
  { compose, restartTimeoutMs, hasRestarted }: Application,
  context: RunContext,
): Promise<ComposeResult> {
  using _wait = context.wait(`waiting for ${service} to be restarted`, restartTimeoutMs);
  const result = await composeRestart(compose, service, restartTimeoutMs, context).catch(asResult);
  if (result.kind === "done") hasRestarted?.();
  return result;
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
  const hint = error.hint ?? (error instanceof TimedOut ? HANGS : undefined);
  return {
    ...{ kind: "failed", words: error.message, ...(hint && { hint }) },
    isUnreachable: error instanceof MissingProgram,
  };
}
