// Which addresses a host name has; asked of getent, so that certsync needs no socket of its own.

import { isIP } from "node:net";
import type { RunContext } from "../run_context.ts";
import { run } from "./run.ts";

/** More would be a farm, of which some tell enough. */
const MOST = 8;

/** The addresses that the name has, each once; an address stands for itself. getent(1) */
export async function addressesOf(
  name: string,
  timeoutMs: number,
  context: RunContext,
): Promise<string[]> {
  if (isIP(name) !== 0) return [name];
  const { stdout } = await run("getent", ["ahosts", name], { timeoutMs }, context);
  const words = stdout.split("\n").map((line) => line.split(/\s/)[0] ?? "");
  return evenly([...new Set(words)].filter((word) => isIP(word) !== 0));
}

/** Of both families, where there are too many. */
function evenly(addresses: readonly string[]): string[] {
  const [v4 = [], v6 = []] = [4, 6].map((family) => addresses.filter((ip) => isIP(ip) === family));
  const kept = Math.max(MOST / 2, MOST - v6.length);
  return [...v4.slice(0, kept), ...v6.slice(0, MOST - Math.min(v4.length, kept))];
}
