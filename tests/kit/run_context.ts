// What main hands down to a command, for tests that call one in this very process.

import type { RunContext } from "../../lib/run_context.ts";

/** Says nothing to nobody, unless it is told otherwise. */
export function runContext(
  { bin, ...over }: Partial<RunContext> & { /** First on PATH. */ bin?: string } = {},
): RunContext {
  const path = [bin, Deno.env.get("PATH")].filter(Boolean).join(":");
  return {
    now: new Date(),
    environment: { PATH: path, HOME: undefined, SSH_AUTH_SOCK: undefined },
    stop: new AbortController().signal,
    tell: () => {},
    trace: () => {},
    wait: () => ({ [Symbol.dispose]() {} }),
    ...over,
  };
}
