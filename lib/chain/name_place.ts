// Where a further name's directory would be made: whether it needs one, and why none can be made.

import * as fs from "node:fs";
import { join } from "node:path";
import { installedPaths, type Pair } from "../certificate/pair.ts";
import type { Failure } from "../failure.ts";
import { FileProblem, isMissing, readFileIfAny } from "../files/read_file.ts";
import { namesCover } from "../values/host_name.ts";
import type { Made } from "./deploy_memory.ts";
import type { Mailcow, SniDirectory } from "./mailcow.ts";
import { refuseForeignPlace, refuseForgotten, refuseLoneKey } from "./name_refusals.ts";
import { wordsOf } from "./sni.ts";

/** What stands there: nothing, what certsync began, somebody else's, or a key alone that is not certsync's. */
export type Place = "free" | "ours" | "foreign" | "keyed";

export function placeOf(
  name: string,
  { sslDirectory }: Pick<Mailcow, "sslDirectory">,
  wasBegun: boolean,
): Place {
  const directory = join(sslDirectory, name);
  const stat = fs.lstatSync(directory, { throwIfNoEntry: false });
  if (stat === undefined) return "free";
  if (!stat.isDirectory()) return "foreign";
  const domains = wordsIn(join(directory, "domains"));
  // One that lacks its pair is the name's nevertheless.
  if (!(domains === null ? wasBegun : domains.includes(name))) return "foreign";
  const { chain, key } = installedPaths(directory);
  return !wasBegun && isMissing(chain) && !isMissing(key) ? "keyed" : "ours";
}

/** A directory that would be served, for whom its file says, once it holds a pair. */
export type Standing = Pick<SniDirectory, "directory" | "domains" | "domainsText">;

/** What stands at the name's own place and has its `domains` already; null where nothing does. */
export function standingAt(
  name: string,
  { sslDirectory }: Pick<Mailcow, "sslDirectory">,
): Standing | null {
  const directory = join(sslDirectory, name);
  const file = readFileIfAny(join(directory, "domains"), { follow: true });
  if (file === null) return null;
  const domainsText = new TextDecoder().decode(file.bytes);
  return { directory, domainsText, domains: wordsOf(domainsText) };
}

/** Null where there is no such file. */
function wordsIn(path: string): string[] | null {
  try {
    const file = readFileIfAny(path, { follow: true });
    return file && wordsOf(new TextDecoder().decode(file.bytes));
  } catch (error) {
    if (error instanceof FileProblem) return [];
    throw error;
  }
}

/** Why no directory of the name's own can be made; null where nothing is in the way. Pure. */
export function refusePlace(
  { name, place, made, isForced }: {
    readonly name: string;
    readonly place: Place;
    /** Whether certsync made it, and how far it came. */
    readonly made: Made | null;
    /** Whoever forces it has it made anew as often as it goes away. */
    readonly isForced: boolean;
  },
  sslDirectory: string,
): Failure | null {
  const directory = `${sslDirectory}/${name}`;
  if (place === "foreign") return refuseForeignPlace(name, directory);
  if (place === "keyed") return refuseLoneKey(name, installedPaths(directory).key);
  return place === "free" && made === "anew" && !isForced ? refuseForgotten(name, directory) : null;
}

/**
 * Whether the name needs no directory, because the top-level pair is its own (`same`), or covers it and
 * ends no sooner (`longer`). Pure.
 */
export function servedByTop(
  name: string,
  candidate: Pair,
  top: Pair | null,
): "same" | "longer" | null {
  if (top === null) return null;
  if (candidate.leaf.fingerprint === top.leaf.fingerprint) return "same";
  const isCovered = namesCover(top.leaf.names, name) !== null;
  return isCovered && candidate.leaf.notAfter < top.leaf.notAfter ? "longer" : null;
}
