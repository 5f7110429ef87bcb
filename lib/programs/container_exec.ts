// Runs commands in a service's container, which may end meanwhile.

import { type Compose, composeExec, type ComposeResult } from "./compose.ts";
import { readContainerState } from "./containers.ts";
import { ProgramFailure } from "./run.ts";
import type { RunContext } from "../run_context.ts";

/**
 * Where docker could not run it, or saw it end, the container's state tells why: docker has a dozen
 * words for one that ends meanwhile, or none at all.
 */
export async function execInside(
  compose: Compose,
  service: string,
  command: readonly string[],
  context: RunContext,
): Promise<ComposeResult> {
  const result = await composeExec(compose, service, command, context);
  if (result.kind !== "failed" || result.isUnreachable) return result;
  const { words } = result;
  try {
    switch (await readContainerState(compose, service, context)) {
      case "broken":
      case "stopped":
        return { kind: "not-running", words };
      case "paused":
        return { kind: "paused", words };
      case "running":
      case "starting":
      case "unknown":
        return result;
    }
  } catch (error) {
    if (error instanceof ProgramFailure) return result;
    throw error;
  }
}
