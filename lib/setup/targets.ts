// The targets of a setup: as the config file has them, as ssh knows them, and where the service writes.

import { resolve } from "node:path";
import type { TargetEntry } from "../config/schema.ts";
import { quote, UsageFailure } from "../failure.ts";
import type { PushTarget } from "../values/push_target.ts";
import type { HostKey } from "./ssh_public_key.ts";

/** On another host. */
export type RemoteEntry = Extract<TargetEntry, { kind: "ssh" }>;

/** A mail host's ssh key, and by what name push knows it. */
export interface NamedHostKey {
  readonly name: string;
  readonly key: HostKey;
}

/** Of what is not there yet nothing is to be made. */
export function localWrites(targets: readonly TargetEntry[], except?: string): string[] {
  const local = targets.filter((target) => target.kind === "local")
    .map(({ directory }) => resolve(directory));
  return [...new Set(local)].filter((path) => path !== except).map((path) => `-${path}`);
}

/** One target, or a list of them as YAML has it. */
export function targetsText(to: readonly PushTarget[]): string {
  const texts = to.map(({ text }) => text);
  if (texts.length < 2) return texts.join();
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** As known_hosts names a host: in brackets where the port is not ssh's own. */
export function knownHostName(host: string, port: number): string {
  return port === 22 ? host : `[${host}]:${port}`;
}

export function nameHostKey(
  key: HostKey,
  to: readonly RemoteEntry[],
  standardPort: number,
): NamedHostKey {
  const names = [
    ...new Set(to.map(({ host, port }) => knownHostName(host, port ?? standardPort))),
  ];
  const named = key.names.length === 0 && names.length === 1
    ? names[0]
    : names.find((name) => key.names.includes(name));
  if (named !== undefined) return { name: named, key };
  throw new UsageFailure(
    key.names.length === 0
      ? "--host-key does not tell which of the targets' hosts it is of"
      : `--host-key is of ${quote(key.names.join(","))}, which is no target's host`,
    { hint: `put the name that push uses before the key: ${names.join(" or ")}` },
  );
}
