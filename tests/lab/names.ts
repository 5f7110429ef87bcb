// Further names on real servers: their pairs in staging, what each endpoint gives for each of them.

import { deepEqual } from "node:assert/strict";
import type { Leaf } from "../kit/authority.ts";
import type { Lab } from "./lab.ts";
import { ask, assertServed, type EndpointName, NAMES } from "./wire.ts";

export const THIRTY = Array.from({ length: 30 }, (_, number) => `mail.shop${number}.example`);

/** The leaf of each name. */
export type Leaves = Map<string, Leaf>;

export async function issueAll(lab: Lab, names: readonly string[]): Promise<Leaves> {
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, await lab.issue({ names: [name] })] as const),
    ),
  );
}

export async function stageAll(lab: Lab, leaves: Leaves): Promise<void> {
  for (const [name, leaf] of leaves) await lab.stage(leaf, name);
}

/** Every endpoint gives each name its own leaf, and everybody else the mail host's. */
export async function assertEach(
  lab: Lab,
  leaves: Leaves,
  top: Leaf = lab.first,
  endpoints: readonly EndpointName[] = NAMES,
): Promise<void> {
  const wrong: string[] = [];
  for (const [name, { fingerprint }] of leaves) {
    const served = await Promise.all(endpoints.map((endpoint) => ask(endpoint, name)));
    served.forEach((is, index) => {
      if (is !== fingerprint) wrong.push(`${endpoints[index]} ${name}: ${is}`);
    });
  }
  deepEqual(wrong, []);
  await assertServed(top, endpoints);
}

/** What a hint gives to a shell, in its order. */
export function commandsIn(hint: string): string[] {
  return hint.split(/; then: |, then: |; |: (?=printf |cd |certsync )/)
    .filter((part) => /^(printf|cd|docker compose) /.test(part));
}
