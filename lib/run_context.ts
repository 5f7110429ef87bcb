// What main hands down: the moment of the run, the environment that matters, and how to speak. And
// how to wait, so that nothing is left running behind.

import { setTimeout } from "node:timers/promises";

export interface RunContext {
  /** The moment by which validity is judged: the present one, since NPM may renew while a run looks. */
  readonly now: Date;
  readonly environment: Readonly<Record<"PATH" | "HOME" | "SSH_AUTH_SOCK", string | undefined>>;
  /** Aborted by SIGTERM and SIGINT; its reason is a Failure that says so. */
  readonly stop: AbortSignal;
  /** Tells the operator of progress, a line at a time. */
  tell(line: string): void;
  /** Tells of an outside program, where the operator asked for that. */
  trace(line: string): void;
  /** Tells that, and for how long at most, something is waited for, until that is disposed. */
  wait(what: string, mostMs: number): Disposable;
}

/** Waits, unless the operator stops us: then it throws the reason. */
export async function pause(ms: number, { stop }: RunContext): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal: stop });
  } catch (error) {
    stop.throwIfAborted();
    throw error;
  }
}

/** As Promise.all, but only when every one has ended: so nobody cleans up under one that has not. */
export async function allEnded<T extends readonly unknown[] | []>(
  tasks: T,
): Promise<{ -readonly [Index in keyof T]: Awaited<T[Index]> }> {
  await Promise.allSettled(tasks);
  return await Promise.all(tasks);
}
