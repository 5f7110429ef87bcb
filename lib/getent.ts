// Which addresses a host name has; asked of getent, so that certsync needs no socket of its own.

import { isIP } from "node:net";
import type { Host } from "./host.ts";
import { run } from "./run.ts";

/** One address of each family that the name has; an address stands for itself. getent(1) */
export async function addressesOf(name: string, timeoutMs: number, host: Host): Promise<string[]> {
  if (isIP(name) !== 0) return [name];
  const { stdout } = await run("getent", ["ahosts", name], { timeoutMs }, host);
  return oneOfEachFamily(stdout.split("\n").map((line) => line.split(/\s/)[0] ?? ""));
}

function oneOfEachFamily(addresses: readonly string[]): string[] {
  return [4, 6].flatMap((family) => addresses.find((address) => isIP(address) === family) ?? []);
}
