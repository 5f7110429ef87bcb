// What deploy remembers: which leaf each service was seen to serve, and which were rolled back.

import { isService, type Service } from "../chain/mailcow.ts";
import { readState, readStateOrNothing, writeState } from "../files/state.ts";

export interface DeployMemory {
  /** The leaf that each service was confirmed to have loaded. */
  readonly loaded: ReadonlyMap<Service, string>;
  /** Leaves that a service could not serve. */
  readonly rejected: ReadonlySet<string>;
}

/** Throws a Failure where it cannot tell what was rolled back. */
export function readMemory(state: string): DeployMemory {
  return {
    loaded: parseLoaded(readStateOrNothing(state, "loaded")),
    rejected: new Set(readState(state, "rejected").split("\n").filter(isFingerprint)),
  };
}

function isFingerprint(text: string | undefined): text is string {
  return text !== undefined && /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/.test(text);
}

/** `<service> <fingerprint>` a line; whatever else stands there was not confirmed. */
export function parseLoaded(text: string): Map<Service, string> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [service = "", fingerprint] = line.split(" ");
      return isService(service) && isFingerprint(fingerprint)
        ? [[service, fingerprint] as const]
        : [];
    }),
  );
}

export function writeLoaded(state: string, loaded: ReadonlyMap<Service, string>): void {
  const lines = Array.from(loaded, ([service, fingerprint]) => `${service} ${fingerprint}\n`);
  writeState(state, "loaded", lines.join(""));
}

export function writeRejected(state: string, rejected: ReadonlySet<string>): void {
  writeState(state, "rejected", Array.from(rejected, (fingerprint) => `${fingerprint}\n`).join(""));
}

/**
 * The handshakes that gave a certificate before the last installation and are owed since: those of a
 * run that was cut off, or that ended with them silent.
 */
export function readAnswered(state: string): ReadonlySet<string> {
  return new Set(readState(state, "answered").split("\n").filter((line) => line !== ""));
}

export function writeAnswered(state: string, probes: readonly string[]): void {
  writeState(state, "answered", probes.map((probe) => `${probe}\n`).join(""));
}
