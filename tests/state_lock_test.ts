// One run at a time in a state directory, and for how long another one waits.

import { deepEqual, equal, rejects } from "node:assert/strict";
import { holdState } from "../lib/files/state.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";
import { runContext } from "./kit/run_context.ts";

Deno.test("who has waited a minute for the lock gives up, names who to ask, and leaves it to the next", async () => {
  await using dir = await tempDir();
  const told: [what: string, mostMs: number][] = [];
  let isOver = false;
  const wait = (what: string, mostMs: number) => {
    told.push([what, mostMs]);
    return { [Symbol.dispose]: () => void (isOver = true) };
  };
  const held = await holdState(dir.path, runContext({ wait }));
  equal(told.length, 0);

  // Only the clock is not the real one: it is asked for a time-out, and that is over when we say so.
  const asked: number[] = [];
  const clock = new AbortController();
  const { timeout } = AbortSignal;
  AbortSignal.timeout = (ms) => {
    asked.push(ms);
    return clock.signal;
  };
  try {
    let hasEnded = false;
    const waiting = holdState(dir.path, runContext({ wait }));
    waiting.catch(() => {}).finally(() => hasEnded = true);
    await until(() => told.length === 1);
    deepEqual([asked, hasEnded, isOver], [[60_000], false, false]);
    deepEqual(told, [["another certsync is at work: waiting for it to end", 60_000]]);
    clock.abort(new DOMException("Signal timed out.", "TimeoutError"));
    await rejects(waiting, {
      name: "Failure",
      message: `another certsync has been at work for a minute: "${dir.path}"`,
      hint: `see which one it is with: fuser -v "${dir.path}/lock"`,
    });
  } finally {
    AbortSignal.timeout = timeout;
  }

  held[Symbol.dispose]();
  using _next = await holdState(dir.path, runContext());
  deepEqual([told.length, isOver], [1, true]);
});
