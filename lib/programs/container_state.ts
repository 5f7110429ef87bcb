// Whether a service's container is up, as docker sees it.

import type { RunContext } from "../run_context.ts";
import { type Compose, runCompose } from "./compose.ts";

/** `unknown` where docker does not say, or there is no container. */
export type ContainerState = "running" | "starting" | "broken" | "stopped" | "unknown";

/** docker compose ps --help */
export async function readContainerState(
  compose: Compose,
  service: string,
  context: RunContext,
): Promise<ContainerState> {
  const { code, stdout } = await runCompose(
    compose,
    ["ps", "--all", "--format", "json", service],
    30_000,
    context,
  );
  return code === 0 ? parseContainerState(stdout) : "unknown";
}

/** The exit codes of a container that was told to stop: 0, SIGTERM's and SIGKILL's. */
const STOPPED = [0, 143, 137];

/** One object a line since compose 2.21, one array before. Pure. */
export function parseContainerState(stdout: string): ContainerState {
  const container = parseFirst(stdout);
  if (container === null) return "unknown";
  const { State, Health, ExitCode } = container;
  switch (State) {
    case "running":
      return Health === "starting" ? "starting" : "running";
    case "created":
    case "paused":
      return "starting";
    case "restarting": // it ends as soon as it starts
    case "dead":
      return "broken";
    case "exited":
      return typeof ExitCode === "number" && STOPPED.includes(ExitCode) ? "stopped" : "broken";
    default:
      return "unknown";
  }
}

function parseFirst(stdout: string): Record<string, unknown> | null {
  const text = stdout.trim();
  try {
    const value: unknown = JSON.parse(text.startsWith("[") ? text : text.split("\n")[0] ?? "");
    const first: unknown = Array.isArray(value) ? value[0] : value;
    return typeof first === "object" && first !== null ? { ...first } : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
