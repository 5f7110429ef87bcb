// What a container engine of this host has mounted into its containers, and from where.

import type { RunContext } from "../run_context.ts";
import { ProgramFailure, run } from "./run.ts";

export type Engine = "docker" | "podman";

export interface Mount {
  readonly container: string;
  readonly image: string;
  /** Within the container. */
  readonly destination: string;
  /** On this host, of a bind and of a named volume alike. */
  readonly source: string;
}

const LIST = ["ps", "--all", "--quiet"];
const MOUNTS = "{{$c := .}}{{range .Mounts}}" +
  '{{$c.Name}}{{"\\t"}}{{$c.Config.Image}}{{"\\t"}}{{.Destination}}{{"\\t"}}{{.Source}}{{println}}' +
  "{{end}}";

/** None where it is not there, or cannot be asked. docker inspect --help, podman inspect --help */
export async function readMounts(engine: Engine, context: RunContext): Promise<readonly Mount[]> {
  const ask = async (args: readonly string[]) =>
    (await run(engine, args, { timeoutMs: 10_000 }, context)).stdout;
  try {
    const ids = (await ask(LIST)).split("\n").filter((line) => line !== "");
    return ids.length === 0 ? [] : parseMounts(await ask(["inspect", "--format", MOUNTS, ...ids]));
  } catch (error) {
    if (error instanceof ProgramFailure) return [];
    throw error;
  }
}

/** Pure. */
export function parseMounts(stdout: string): Mount[] {
  return stdout.split("\n").flatMap((line) => {
    const [container, image, destination, source] = line.split("\t");
    return container === undefined || image === undefined || !destination || !source
      ? []
      : [{ container: container.replace(/^\//, ""), image, destination, source }];
  });
}
