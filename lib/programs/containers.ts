// What docker knows of mailcow's containers: whether they run, and where their ports are to be had.

import type { RunContext } from "../run_context.ts";
import { type Compose, NO_PLUGIN, runCompose } from "./compose.ts";
import { MissingProgram, ProgramFailure, run } from "./run.ts";

/**
 * `broken` ends by itself, `unknown` where docker does not say, or there is no container. A paused
 * one goes on as it was.
 */
export type ContainerState =
  | "running"
  | "starting"
  | "paused"
  | "broken"
  | "stopped"
  | "unknown";

/** What docker knows of a service's container. */
export interface Container {
  readonly id: string;
  readonly service: string;
  readonly state: ContainerState;
  /** Where its ports are to be had on this host. */
  readonly published: readonly Published[];
}

export interface Published {
  readonly containerPort: number;
  readonly address: string;
  readonly port: number;
}

/** What docker knows of it beyond that. */
export interface ContainerDetails {
  /** Its ports are the host's own: nothing is published. */
  readonly usesHostNetwork: boolean;
  /** What would be published if it ran. */
  readonly configured: readonly Published[];
  readonly mounts: readonly { readonly source: string; readonly destination: string }[];
  /** SKIP_LETS_ENCRYPT in its environment; null where it is not set there. */
  readonly skipsLetsEncrypt: string | null;
}

const LOOK_TIMEOUT_MS = 30_000;

/**
 * All containers of the project, null where docker cannot be asked; with the compose that answered,
 * where nobody said which one it is. docker compose ps --help
 */
export async function readContainers(
  directory: string,
  version: Compose["version"] | null,
  context: RunContext,
): Promise<{ compose: Compose; containers: readonly Container[] | null }> {
  const native: Compose = { directory, version: version ?? "native" };
  const first = await listContainers(native, context);
  if (version !== null || first !== "no compose") {
    return { compose: native, containers: first === "no compose" ? null : first };
  }
  const standalone: Compose = { directory, version: "standalone" };
  const second = await listContainers(standalone, context);
  return second === "no compose"
    ? { compose: native, containers: null }
    : { compose: standalone, containers: second };
}

async function listContainers(
  compose: Compose,
  context: RunContext,
): Promise<readonly Container[] | null | "no compose"> {
  const args = ["ps", "--all", "--format", "json"];
  try {
    const { code, stdout, stderr } = await runCompose(compose, args, LOOK_TIMEOUT_MS, context);
    if (code === 0) return parseContainers(stdout);
    return NO_PLUGIN.test(stderr) ? "no compose" : null;
  } catch (error) {
    if (error instanceof MissingProgram) return "no compose";
    if (error instanceof ProgramFailure) return null;
    throw error;
  }
}

/** As one Go template for all of them, an object a line; of the environment that one value alone. */
const DETAILS = '{"network":{{json .HostConfig.NetworkMode}},' +
  '"bindings":{{json .HostConfig.PortBindings}},"mounts":{{json .Mounts}},' +
  '"skips":[{{range .Config.Env}}{{$pair := split . "="}}' +
  '{{if eq (index $pair 0) "SKIP_LETS_ENCRYPT"}}{{json (index $pair 1)}},{{end}}{{end}}null]}';

/** In the order of the containers; null where docker cannot be asked. docker inspect --help */
export async function readDetails(
  containers: readonly Container[],
  context: RunContext,
): Promise<readonly ContainerDetails[] | null> {
  const args = ["inspect", "--format", DETAILS, ...containers.map(({ id }) => id)];
  if (containers.length === 0) return [];
  try {
    const { code, stdout } = await run("docker", args, { timeoutMs: LOOK_TIMEOUT_MS }, context);
    const details = stdout.trim().split("\n").map(parseDetails);
    return code === 0 && details.length === containers.length ? details : null;
  } catch (error) {
    if (error instanceof ProgramFailure || error instanceof SyntaxError) return null;
    throw error;
  }
}

interface DockerDetails {
  readonly network?: unknown;
  readonly bindings?: Readonly<Record<string, readonly { HostIp?: string; HostPort?: string }[]>>;
  readonly mounts?: readonly { Source?: string; Destination?: string }[];
  readonly skips?: readonly (string | null)[];
}

/** Pure. Throws a SyntaxError where it is no JSON. */
export function parseDetails(line: string): ContainerDetails {
  const { network, bindings, mounts, skips }: DockerDetails = JSON.parse(line);
  return {
    usesHostNetwork: network === "host",
    configured: Object.entries(bindings ?? {}).flatMap(([port, places]) =>
      (places ?? []).map(({ HostIp = "", HostPort = "" }) => ({
        containerPort: port.endsWith("/tcp") ? parseInt(port) : 0,
        address: HostIp,
        port: /^\d+$/.test(HostPort) ? Number(HostPort) : 0,
      }))
    ).filter(isWhole),
    mounts: (mounts ?? []).map(({ Source = "", Destination = "" }) => ({
      source: Source,
      destination: Destination,
    })),
    skipsLetsEncrypt: skips?.[0] ?? null,
  };
}

/** Docker writes 0 for what is exposed and not published. */
function isWhole({ containerPort, port }: Published): boolean {
  return containerPort > 0 && port > 0;
}

/** Throws a ProgramFailure where docker cannot be asked. docker compose ps --help */
export async function readContainerState(
  compose: Compose,
  service: string,
  context: RunContext,
): Promise<ContainerState> {
  const args = ["ps", "--all", "--format", "json", service];
  const { code, stdout } = await runCompose(compose, args, LOOK_TIMEOUT_MS, context);
  return code === 0 ? parseContainers(stdout)[0]?.state ?? "unknown" : "unknown";
}

/** The exit codes of a container that was told to stop: 0, SIGTERM's and SIGKILL's. */
const STOPPED = [0, 143, 137];

interface DockerContainer {
  readonly ID?: string;
  readonly Service?: string;
  readonly State?: string;
  readonly Health?: string;
  readonly ExitCode?: number;
  readonly Publishers?:
    | readonly { URL?: string; TargetPort?: number; PublishedPort?: number; Protocol?: string }[]
    | null;
}

/** One object a line since compose 2.21, one array before. Pure. */
export function parseContainers(stdout: string): Container[] {
  return parseObjects(stdout).map((container) => ({
    id: String(container.ID ?? ""),
    service: String(container.Service ?? ""),
    state: stateOf(container),
    published: (Array.isArray(container.Publishers) ? container.Publishers : [])
      .filter(({ Protocol }) => Protocol === "tcp")
      .map(({ URL = "", TargetPort = 0, PublishedPort = 0 }) => ({
        containerPort: TargetPort,
        address: URL,
        port: PublishedPort,
      })).filter(isWhole),
  }));
}

function stateOf({ State, Health, ExitCode }: DockerContainer): ContainerState {
  switch (State) {
    case "running":
      return Health === "starting" ? "starting" : "running";
    case "paused":
      return "paused";
    case "created":
      return "stopped";
    case "restarting": // it ends as soon as it starts
    case "dead":
      return "broken";
    case "exited":
      return typeof ExitCode === "number" && STOPPED.includes(ExitCode) ? "stopped" : "broken";
    default:
      return "unknown";
  }
}

function parseObjects(stdout: string): DockerContainer[] {
  const text = stdout.trim();
  try {
    const values: unknown[] = text.startsWith("[")
      ? JSON.parse(text)
      : text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    return values.filter((value) => typeof value === "object" && value !== null);
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}
