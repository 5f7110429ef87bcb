// How docker compose is called for mailcow's services, and what its words mean.

import type { RunContext } from "../run_context.ts";
import { type Completion, lastWords, run } from "./run.ts";

/** Where compose runs, and which one mailcow.conf says it is. */
export interface Compose {
  readonly directory: string;
  readonly version: "native" | "standalone";
}

export type ComposeResult =
  | { readonly kind: "done" }
  /** There is no running container; it will read its files when it starts. */
  | { readonly kind: "not-running"; readonly words: string }
  /** Frozen by somebody who will want to go on with it as it was. */
  | { readonly kind: "paused"; readonly words: string }
  | {
    readonly kind: "failed";
    readonly words: string;
    readonly hint?: string;
    /** The command's exit code, or docker's; none where it did not come to its end. */
    readonly code?: number;
  };

const EXEC_TIMEOUT_MS = 60_000;

/** Runs a command in a service's running container. docker compose exec --help */
export function composeExec(
  compose: Compose,
  service: string,
  command: readonly string[],
  context: RunContext,
): Promise<ComposeResult> {
  return call(compose, ["exec", "-T", service, ...command], EXEC_TIMEOUT_MS, context);
}

export function composeRestart(
  compose: Compose,
  service: string,
  timeoutMs: number,
  context: RunContext,
): Promise<ComposeResult> {
  return call(compose, ["restart", service], timeoutMs, context);
}

/** How the operator types it. */
export function composeCommand({ version }: Pick<Compose, "version">): string {
  return version === "native" ? "docker compose" : "docker-compose";
}

/** Whatever its exit code. */
export function runCompose(
  { directory, version }: Compose,
  args: readonly string[],
  timeoutMs: number,
  context: RunContext,
): Promise<Completion> {
  const invocation = { cwd: directory, timeoutMs };
  return version === "native"
    ? run("docker", ["compose", ...args], invocation, context)
    : run("docker-compose", args, invocation, context);
}

async function call(
  compose: Compose,
  args: readonly string[],
  timeoutMs: number,
  context: RunContext,
): Promise<ComposeResult> {
  const completion = await runCompose(compose, args, timeoutMs, context);
  return completion.code === 0 ? { kind: "done" } : explainCompose(completion);
}

/**
 * Compose's and the engine's own words for a container that does not run. The command inside one may
 * say "is not running" too, of its own service.
 */
const NOT_RUNNING: readonly RegExp[] = [
  /^service "[^"]*" is not running/m,
  /^(Error response from daemon|Error): .*container \S+ is (not running|restarting)/im,
  /^(ERROR: |Error: |Error response from daemon: )?No (such )?container\b/im,
];

const PAUSED = /^Error response from daemon: container \S+ is paused/im;

/** Pure. */
export function explainCompose({ code, stderr, stdout }: Completion): ComposeResult {
  const words = lastWords(stderr) || lastWords(stdout) || `exit code ${code}`;
  if (NOT_RUNNING.some((pattern) => pattern.test(stderr))) return { kind: "not-running", words };
  if (PAUSED.test(stderr)) return { kind: "paused", words };
  const hint = composeHints.find(({ said }) => said.test(stderr))?.hint;
  return { kind: "failed", words, code, ...(hint === undefined ? {} : { hint }) };
}

const composeHints: readonly { said: RegExp; hint: string }[] = [
  {
    said: /Cannot connect to the Docker daemon|error during connect/,
    hint: "start the engine: systemctl start docker; then run certsync deploy again",
  },
  {
    said: /'compose' is not a docker command|unknown (shorthand )?(flag|command)/,
    hint:
      "install the package docker-compose-plugin, or set DOCKER_COMPOSE_VERSION=standalone in " +
      "mailcow.conf where docker-compose is used",
  },
  {
    said: /permission denied.*docker.*sock/i,
    hint: "run this as root",
  },
  {
    said: /no configuration file provided|no such service/,
    hint: "is deploy.mailcow the directory of mailcow's docker-compose.yml?",
  },
];

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
