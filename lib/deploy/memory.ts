// What deploy remembers: which leaf each service was seen to serve, which were rolled back, and what
// no restart helped.

import type { Pair } from "../certificate/pair.ts";
import { isService, type Service } from "../chain/mailcow.ts";
import { readState, readStateOrNothing, writeState } from "../files/state.ts";
import { formatTime } from "../values/time.ts";

export interface DeployMemory {
  /** The leaf that each service was confirmed to have loaded. */
  readonly loaded: ReadonlyMap<Service, string>;
  /** Leaves that a service could not serve, with the moment of the rollback. */
  readonly rejected: Rejected;
  /** By the name of the probe: what it went on to give after a restart of its service. */
  readonly unhelped: ReadonlyMap<string, Unhelped>;
  /** The services that were told, and that could not be looked at. */
  readonly unseen: ReadonlySet<Service>;
  /** The services that were told, and have no endpoint to look at. */
  readonly unpublished: ReadonlySet<Service>;
  /** Whether the running acme-mailcow did not know that it shall leave the certificate alone. */
  readonly isAcmeBehind: boolean;
  /** The SNI directories that there were, by their names. */
  readonly directories: ReadonlySet<string>;
}

export type Rejected = ReadonlyMap<string, string>;

/** Throws a Failure where it cannot tell what was rolled back. */
export function readMemory(state: string): DeployMemory {
  const unseen = linesOf(readStateOrNothing(state, "unseen")).map((line) => line.split("\t"));
  const servicesIn = (lines: string[][]) =>
    new Set(lines.flatMap(([name = ""]) => name).filter(isService));
  return {
    loaded: parseLoaded(readStateOrNothing(state, "loaded")),
    rejected: parseRejected(readState(state, "rejected")),
    unhelped: parseUnhelped(readStateOrNothing(state, "unhelped")),
    unseen: servicesIn(unseen.filter(([, why]) => why !== UNPUBLISHED)),
    unpublished: servicesIn(unseen.filter(([, why]) => why === UNPUBLISHED)),
    isAcmeBehind: readStateOrNothing(state, "acme") !== "",
    directories: new Set(linesOf(readStateOrNothing(state, "directories"))),
  };
}

/** Whether anything was ever pushed here, as far as this state directory goes back. */
export function wasStaged(state: string): boolean {
  return ["staged", "loaded"].some((name) => readStateOrNothing(state, name) !== "");
}

export function writeStaged(state: string, now: Date): void {
  writeState(state, "staged", `${formatTime(now)}\n`);
}

const UNPUBLISHED = "unpublished";

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

/**
 * `<fingerprint> <time>` a line. Versions before this one wrote no time, and rolled back what was not to
 * blame: such a leaf is tried once more.
 */
export function parseRejected(text: string): Map<string, string> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [fingerprint, time = ""] = line.split(" ");
      return isFingerprint(fingerprint) && /^\d{4}-\d{2}-\d{2}T[\d:]{8}Z$/.test(time)
        ? [[fingerprint, time] as const]
        : [];
    }),
  );
}

export interface Unhelped {
  readonly service: Service;
  readonly probe: string;
  /** Its fingerprint, or the word for none. */
  readonly leaf: string;
}

/** Service, probe and leaf a line, with tabs between them. */
function parseUnhelped(text: string): Map<string, Unhelped> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [service = "", probe, leaf] = line.split("\t");
      return isService(service) && probe !== undefined && leaf !== undefined
        ? [[probe, { service, probe, leaf }] as const]
        : [];
    }),
  );
}

export function writeLoaded(state: string, loaded: ReadonlyMap<Service, string>): void {
  writeLines(state, "loaded", Array.from(loaded, (entry) => entry.join(" ")));
}

export function writeRejected(state: string, rejected: Rejected): void {
  writeLines(state, "rejected", Array.from(rejected, (entry) => entry.join(" ")));
}

/** Returns what is rejected from now on. */
export function changeRejected(
  rejected: Rejected,
  { add, remove }: { readonly add: Pair | null; readonly remove: Pair | null },
  now: Date,
  state: string,
): Rejected {
  const changed = new Map(rejected);
  if (remove !== null) changed.delete(remove.leaf.fingerprint);
  if (add !== null) changed.set(add.leaf.fingerprint, formatTime(now));
  if (add !== null || changed.size !== rejected.size) writeRejected(state, changed);
  return changed;
}

export function writeUnhelped(state: string, unhelped: readonly Unhelped[]): void {
  const lines = unhelped.map(({ service, probe, leaf }) => [service, probe, leaf].join("\t"));
  writeLines(state, "unhelped", lines);
}

export function writeDirectories(state: string, names: readonly string[]): void {
  writeLines(state, "directories", names.filter((name) => !name.includes("\n")));
}

/** The name of a service a line; behind a tab the word for one that has no endpoint. */
export function writeUnseen(
  state: string,
  { unseen, unpublished }: Pick<DeployMemory, "unseen" | "unpublished">,
): void {
  const without = Array.from(unpublished, (service) => `${service}\t${UNPUBLISHED}`);
  writeLines(state, "unseen", [...unseen, ...without]);
}

/** What docker did not tell leaves it as it was. */
export function writeAcme(state: string, isBehind: boolean | null): void {
  if (isBehind !== null) writeLines(state, "acme", isBehind ? ["behind"] : []);
}

/**
 * The handshakes that gave a certificate before the last installation and are owed since: those of a
 * run that was cut off, or that ended with them silent.
 */
export function readAnswered(state: string): ReadonlySet<string> {
  return new Set(linesOf(readState(state, "answered")));
}

export function writeAnswered(state: string, probes: readonly string[]): void {
  writeLines(state, "answered", probes);
}

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

function writeLines(state: string, name: string, lines: readonly string[]): void {
  writeState(state, name, lines.map((line) => `${line}\n`).join(""));
}
