// Puts pairs into mailcow's directories, and keeps those that they take the place of.

import { keyMatches } from "../certificate/judgement.ts";
import { installPair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import { explain, quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import type { DeployFacts, Installation, Plan } from "./plan.ts";
import { keepPrevious } from "./previous.ts";

/** Keeps each good pair that another one takes the place of. */
export async function keepReplaced(
  { directories }: Plan,
  { mailcow, candidate }: DeployFacts,
  rejected: Rejected,
  state: string,
  context: RunContext,
): Promise<void> {
  const places = [
    { ...mailcow.deployed, name: null },
    ...mailcow.sniDirectories.filter(({ directory }) => directories.includes(directory)),
  ];
  for (const { pair, name } of places) {
    if (pair === null || rejected.has(pair.leaf.fingerprint)) continue;
    if (pair.leaf.fingerprint === candidate.leaf.fingerprint) continue;
    if (await keyMatches(pair, context)) keepPrevious(pair, state, name);
  }
}

/** Returns the paths of what was installed. */
export function installAll(installations: readonly Installation[]): string[] {
  return installations.flatMap(({ pair, directories }) => {
    try {
      return installPair(pair, directories);
    } catch (error) {
      throw explain(error, `install the certificate in ${directories.map(quote).join(", ")}`);
    }
  });
}
