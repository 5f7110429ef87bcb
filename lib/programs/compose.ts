// How docker compose is called for mailcow's services, and what its words mean.

import { asRoot } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { type Completion, lastWords, run } from "./run.ts";

/** Where compose runs, and which one mailcow.conf says it is. */
export interface Compose {
  readonly directory: string;
  readonly version: "native" | "standalone";
}

export type ComposeResult =
  | { readonly kind: "done"; readonly stderr: string }
  /** There is no running container; it will read its files when it starts. */
  | { readonly kind: "not-running"; readonly words: string }
  /** Frozen by somebody who will want to go on with it as it was. */
  | { readonly kind: "paused"; readonly words: string }
  | {
    readonly kind: "failed";
    readonly words: string;
    readonly hint?: string;
    /** Docker itself could not be asked: nothing else that it is asked would help. */
    readonly isUnreachable?: boolean;
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
  return completion.code === 0
    ? { kind: "done", stderr: completion.stderr }
    : explainCompose(completion);
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
  const known = composeHints.find(({ said }) => said.test(stderr));
  if (known === undefined) return { kind: "failed", words, code };
  return { kind: "failed", words, code, hint: known.hint, isUnreachable: true };
}

/** Of a docker that has no compose: `docker compose` came with 20.10, and its words changed in 28. */
export const NO_PLUGIN = /'compose' is not a docker command|unknown (shorthand )?(flag|command)/;

/** Of an engine that does not answer, or of a program in a container that does not end. */
export const HANGS =
  "see whether docker answers: timeout 10 docker ps; where it does not, restart " +
  "it, which starts mailcow anew: systemctl restart docker; then run certsync deploy again";

const composeHints: readonly { said: RegExp; hint: string }[] = [
  {
    said:
      /Cannot connect to the Docker daemon|failed to connect to the docker API|error during connect/i,
    hint: "start the engine: systemctl start docker; then run certsync deploy again. An engine " +
      "elsewhere than where docker looks by itself is named by a context (docker context use), " +
      "not by DOCKER_HOST",
  },
  {
    said: NO_PLUGIN,
    hint:
      "install the package docker-compose-plugin, or set DOCKER_COMPOSE_VERSION=standalone in " +
      "mailcow.conf where docker-compose is used",
  },
  {
    said: /permission denied.*docker.*(sock|API)/i,
    hint: asRoot("see what keeps root from docker's socket: AppArmor, SELinux, or another engine"),
  },
  {
    said: /no configuration file provided|no such service/,
    hint: "is deploy.mailcow the directory of mailcow's docker-compose.yml?",
  },
];
