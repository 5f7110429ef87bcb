// A run that a unit started: it waits until nothing changes, and after its work it looks again, since
// systemd loses what changes while a service runs.

import { Failure } from "./failure.ts";
import { pause, type RunContext } from "./run_context.ts";

export interface Pace {
  /** How long nothing may have changed, and how long that is waited for at most. */
  readonly quietMs: number;
  readonly mostMs: number;
  /** Between two looks. */
  readonly betweenMs: number;
  /** How long a run stays after a failure, so that who writes on and on cannot have it fail as often. */
  readonly stayMs: number;
}

/** A renewal writes for 10 ms, and a push for as long; their two halves may come a second apart. */
const quiet = { quietMs: 2_000, mostMs: 15_000, betweenMs: 200 };
export const pushPace: Pace = { ...quiet, stayMs: 0 };
/** Whoever holds the key of the push can write to the staging as often as he likes. */
export const deployPace: Pace = { ...quiet, stayMs: 60_000 };

export interface Work<Report> {
  /** A text that is another one once something changed that the work is about. */
  look(): string;
  run(context: RunContext): Promise<Report>;
  /** Whether there was nothing to do, it was done, or it failed. */
  ending(report: Report): "idle" | "done" | "failed";
  /** Whether a failure is of something that was done, so that no later round comes to it again. */
  hasFailedInDoing(report: Report): boolean;
  /** What is reported where nothing was begun. */
  idle(): Report;
  /** What is told of a round that another one follows. */
  words(report: Report): readonly string[];
}

const ROUNDS = 3;

/**
 * What the last round came to; or if that had nothing to do, what was done before it. What was done and
 * failed is told whatever came after it: nobody else would give the alarm.
 */
export async function runRounds<Report>(
  work: Work<Report>,
  pace: Pace,
  context: RunContext,
): Promise<Report> {
  let done: Report | null = null;
  let failed: Report | null = null;
  for (let round = 1;; round++) {
    const seen = await awaitQuiet(work, pace, context);
    if (seen === null) {
      context.tell("stopped before anything was begun: the next run takes what is there then");
      return failed ?? done ?? work.idle();
    }
    const end = await attempt(work, context);
    const ending = end instanceof Failure ? "failed" : work.ending(end);
    const isLast = round === ROUNDS;
    if (ending === "failed") {
      await stay(pace, () => !isLast && work.look() !== seen, context);
    }
    if (isLast || context.stop.aborted || work.look() === seen) {
      if (end instanceof Failure) throw end;
      if (ending !== "failed" && failed !== null) {
        if (ending === "done") work.words(end).forEach(context.tell);
        return failed;
      }
      return ending === "idle" && done !== null ? done : end;
    }
    if (end instanceof Failure) context.tell(end.message);
    else work.words(end).forEach(context.tell);
    if (ending === "done" && !(end instanceof Failure)) done = end;
    if (ending === "failed" && !(end instanceof Failure) && work.hasFailedInDoing(end)) {
      failed = end;
    }
    context.tell("something changed meanwhile: looking again");
  }
}

async function attempt<Report>(
  work: Work<Report>,
  context: RunContext,
): Promise<Report | Failure> {
  try {
    return await work.run(context);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/**
 * What was there when nothing had changed for a while, or when that had been waited for in vain. Null
 * where the operator stopped us: that is no failure, for the next run takes what is there then.
 */
async function awaitQuiet(
  { look }: Pick<Work<unknown>, "look">,
  { quietMs, mostMs, betweenMs }: Pace,
  context: RunContext,
): Promise<string | null> {
  using waits = new DisposableStack();
  const tell = once(() =>
    waits.use(context.wait("waiting until nothing changes any more", mostMs))
  );
  let seen = look();
  for (let waitedMs = 0, quietForMs = 0; quietForMs < quietMs && waitedMs < mostMs;) {
    if (!await goesOn(betweenMs, context)) return null;
    waitedMs += betweenMs;
    quietForMs += betweenMs;
    const now = look();
    if (now === seen) continue;
    tell();
    [seen, quietForMs] = [now, 0];
  }
  return seen;
}

/** Waits; whether it did so to the end. */
async function goesOn(ms: number, context: RunContext): Promise<boolean> {
  try {
    await pause(ms, context);
    return true;
  } catch (error) {
    if (!context.stop.aborted) throw error;
    return false;
  }
}

function once(deed: () => unknown): () => void {
  let isDone = false;
  return () => {
    if (!isDone) deed();
    isDone = true;
  };
}

/** Ends at `enough`, and at once when the operator stops us: what failed has failed. */
async function stay(
  { stayMs, betweenMs }: Pace,
  enough: () => boolean,
  context: RunContext,
): Promise<void> {
  if (stayMs === 0) return;
  using _told = context.wait("staying for what may come, after this failure", stayMs);
  for (let stayedMs = 0; stayedMs < stayMs && !enough(); stayedMs += betweenMs) {
    if (!await goesOn(betweenMs, context)) return;
  }
}
