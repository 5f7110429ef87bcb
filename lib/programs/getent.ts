// Which addresses a host name has; asked of getent, so that certsync needs no socket of its own.

import { isIP } from "node:net";
import type { RunContext } from "../run_context.ts";
import { run } from "./run.ts";

/** One address of each family that the name has; an address stands for itself. getent(1) */
export async function addressesOf(
  name: string,
  timeoutMs: number,
  context: RunContext,
): Promise<string[]> {
  if (isIP(name) !== 0) return [name];
  const { stdout } = await run("getent", ["ahosts", name], { timeoutMs }, context);
  return oneOfEachFamily(stdout.split("\n").map((line) => line.split(/\s/)[0] ?? ""));
}

function oneOfEachFamily(addresses: readonly string[]): string[] {
  return [4, 6].flatMap((family) => addresses.find((address) => isIP(address) === family) ?? []);
}
