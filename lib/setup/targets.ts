// The targets of a setup: as the config file has them, as ssh knows them, and where the service writes.

import { resolve } from "node:path";
import type { TargetEntry } from "../config/schema.ts";
import { quote, UsageFailure } from "../failure.ts";
import { MissingProgram } from "../programs/run.ts";
import { plainView, readSshView } from "../programs/ssh_view.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import type { PushTarget } from "../values/push_target.ts";
import type { HostKey } from "./ssh_public_key.ts";

/** On another host, whose key ssh looks up by that name. */
export type RemoteEntry = Extract<TargetEntry, { kind: "ssh" }> & { readonly knownAs: string };

/** A mail host's ssh key, and by what name push knows it. */
export interface NamedHostKey {
  readonly name: string;
  readonly key: HostKey;
}

/** The directories of this host among them. */
export function localWrites(targets: readonly TargetEntry[], except?: string): string[] {
  const local = targets.filter((target) => target.kind === "local")
    .map(({ directory }) => resolve(directory));
  return [...new Set(local)].filter((path) => path !== except);
}

/** One target, or a list of them as YAML has it. */
export function targetsText(to: readonly PushTarget[]): string {
  const texts = to.map(({ text }) => text);
  if (texts.length < 2) return texts.join();
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** By a target's text, not its own name where ssh's own config has another one for it. */
export async function readKnownNames(
  targets: readonly TargetEntry[],
  standardPort: number | null,
  context: RunContext,
): Promise<ReadonlyMap<string, string>> {
  const remote = targets.filter((target) => target.kind === "ssh");
  const named = remote.map(async ({ text, login, port = standardPort }) => {
    const options = { port, identity: null, knownHosts: null };
    const view = await readSshView(login, options, context).catch((error) => {
      if (error instanceof MissingProgram) return plainView(login, options); // as the script says
      throw error;
    });
    return [text, view.knownAs] as const;
  });
  return new Map(await allEnded(named));
}

export function nameHostKey(key: HostKey, to: readonly RemoteEntry[]): NamedHostKey {
  const names = [...new Set(to.map(({ knownAs }) => knownAs))];
  const named = key.names.length === 0 && names.length === 1
    ? names[0]
    : to.find(({ knownAs, host }) => [knownAs, host].some((name) => key.names.includes(name)))
      ?.knownAs;
  if (named !== undefined) return { name: named, key };
  throw new UsageFailure(
    key.names.length === 0
      ? "--host-key does not tell which of the targets' hosts it is of"
      : `--host-key is of ${quote(key.names.join(","))}, which is no target's host`,
    { hint: `put the name that push uses before the key: ${names.join(" or ")}` },
  );
}
