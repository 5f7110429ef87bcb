// What deploy remembers: which leaf each service was seen to serve, which were rolled back, and what
// no restart helped. Read by whoever wants to know; deploy alone writes it.

import { readState, readStateOrNothing } from "../files/state.ts";
import { isService, type Service } from "./mailcow.ts";

export interface DeployMemory {
  /** The leaf that each service was confirmed to have loaded for the domain. */
  readonly loaded: Loaded;
  /** The same by further name. */
  readonly loadedFor: ReadonlyMap<string, Loaded>;
  /** The further names whose directories certsync makes and has made, with how far it came. */
  readonly made: ReadonlyMap<string, Made>;
  /** The SNI directories that were somebody's without a pair, and hold one of ours that was not seen to be served. */
  readonly filled: ReadonlySet<string>;
  /** Leaves that were rolled back together, so that nobody knows whose fault it was. */
  readonly suspects: ReadonlySet<string>;
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
  /** The restarts that are still to be made. */
  readonly owed: Owed;
}

/** By service the names whose directories came or went since its last start. */
export type Owed = ReadonlyMap<Service, ReadonlySet<string>>;

export type Loaded = ReadonlyMap<Service, string>;

export type Rejected = ReadonlyMap<string, string>;

/** `begun` may lack files, `anew` had gone away once before. */
export type Made = "begun" | "made" | "anew";

/** Throws a Failure where it cannot tell what was rolled back. */
export function readMemory(state: string): DeployMemory {
  const unseen = linesOf(readStateOrNothing(state, "unseen")).map((line) => line.split("\t"));
  const loaded = parseLoaded(readStateOrNothing(state, "loaded"));
  const servicesIn = (lines: string[][]) =>
    new Set(lines.flatMap(([name = ""]) => name).filter(isService));
  return {
    loaded: loaded.get("") ?? new Map(),
    loadedFor: new Map([...loaded].filter(([name]) => name !== "")),
    made: readMade(state),
    filled: readFilled(state),
    suspects: new Set(linesOf(readStateOrNothing(state, "suspects"))),
    rejected: parseRejected(readState(state, "rejected")),
    unhelped: parseUnhelped(readStateOrNothing(state, "unhelped")),
    unseen: servicesIn(unseen.filter(([, why]) => why !== UNPUBLISHED)),
    unpublished: servicesIn(unseen.filter(([, why]) => why === UNPUBLISHED)),
    isAcmeBehind: readStateOrNothing(state, "acme") !== "",
    directories: new Set(linesOf(readStateOrNothing(state, "directories"))),
    owed: parseOwed(readStateOrNothing(state, "owed")),
  };
}

/** Whether anything was ever pushed here, as far as this state directory goes back. */
export function wasStaged(state: string): boolean {
  return ["staged", "loaded"].some((name) => readStateOrNothing(state, name) !== "");
}

export const UNPUBLISHED = "unpublished";

function isFingerprint(text: string | undefined): text is string {
  return text !== undefined && /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/.test(text);
}

/**
 * `<service> <fingerprint>` a line, a tab and the name behind it for a further one; by name, the
 * domain's by the empty one. Whatever else stands there was not confirmed.
 */
export function parseLoaded(text: string): Map<string, Map<Service, string>> {
  const loaded = new Map<string, Map<Service, string>>();
  for (const line of linesOf(text)) {
    const [words = "", name = "", ...more] = line.split("\t");
    const [service = "", fingerprint] = words.split(" ");
    if (!isService(service) || !isFingerprint(fingerprint) || more.length > 0) continue;
    const own = loaded.get(name) ?? new Map<Service, string>();
    loaded.set(name, own.set(service, fingerprint));
  }
  return loaded;
}

/** `<service> <name>` a line. */
function parseOwed(text: string): Map<Service, Set<string>> {
  const owed = new Map<Service, Set<string>>();
  for (const line of linesOf(text)) {
    const [service = "", name = "", ...more] = line.split(" ");
    if (!isService(service) || name === "" || more.length > 0) continue;
    owed.set(service, (owed.get(service) ?? new Set<string>()).add(name));
  }
  return owed;
}

export function readMade(state: string): Map<string, Made> {
  return parseMade(readStateOrNothing(state, "names"));
}

/** The name of a directory a line. */
export function readFilled(state: string): Set<string> {
  return new Set(linesOf(readStateOrNothing(state, "filled")));
}

/** A name a line, with a tab and what is to be said of it behind that. */
export function parseMade(text: string): Map<string, Made> {
  return new Map(
    linesOf(text).flatMap((line) => {
      const [name = "", state] = line.split("\t");
      const how: Made = state === "begun" || state === "anew" ? state : "made";
      // A longer one can be no host name, nor a directory.
      return /^[a-z0-9_][a-z0-9_.-]{0,252}$/.test(name) ? [[name, how] as const] : [];
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

/**
 * The handshakes that gave a certificate before the last installation and are owed since: those of a
 * run that was cut off, or that ended with them silent.
 */
export function readAnswered(state: string): ReadonlySet<string> {
  return new Set(linesOf(readState(state, "answered")));
}

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
