// SNI directories: for whom each of mailcow's services serves them, and whose certificate belongs there.

import { type Certificate, timeState } from "../certificate/certificate.ts";
import { namesCover } from "../values/host_name.ts";
import type { Service, SniDirectory } from "./mailcow.ts";

/** Every word of a file "domains", in lower case. */
export function wordsOf(domainsText: string): string[] {
  return split(domainsText.toLowerCase(), /\s+/);
}

function split(text: string, blanks: RegExp): string[] {
  return text.split(blanks).filter((word) => word !== "");
}

/**
 * The names for which a service serves a directory, each read as its start-up script reads the file:
 * Postfix takes the first line alone and knows no wildcards, nginx passes over a directory that
 * holds the mail hostname, the others over hidden ones. A carriage return behind a name is none to
 * any of them but Dovecot 2.3; one with a trailing dot is asked for by nobody. Pure.
 */
export function namesServed(
  { name, domainsText }: Pick<SniDirectory, "name" | "domainsText">,
  service: Service,
  hostname: string,
): string[] {
  const words = wordsOf(domainsText);
  if (service === "nginx-mailcow") return words.includes(hostname) ? [] : words;
  if (isHidden(name)) return [];
  if (service !== "postfix-mailcow") return words;
  const [first = ""] = domainsText.toLowerCase().split("\n", 1);
  return split(first.replace(/\r$/, ""), / +/).filter((word) => !word.startsWith("*"));
}

/** nginx takes a wildcard for any number of labels, Dovecot for one. */
function isServedFor(name: string, names: readonly string[], service: Service): boolean {
  if (service !== "nginx-mailcow") return namesCover(names, name) !== null;
  return names.some((one) => one === name || (one.startsWith("*.") && name.endsWith(one.slice(1))));
}

/** Read by nginx alone: the others look for their directories with a shell's `*`. */
export function isHidden(name: string): boolean {
  return name.startsWith(".");
}

/** What lies in mailcow's directories, as far as clients are concerned. */
export interface ServedPlaces {
  /** The leaf of the top-level pair; null where there is none. */
  readonly top: Pick<Certificate, "fingerprint" | "notAfter"> | null;
  readonly sniDirectories: readonly SniDirectory[];
  /** Under which mailcow serves mail and its own site. */
  readonly hostname: string;
}

/**
 * The directories that the service may serve to a client that asks for the name, ahead of the
 * top-level pair: may, because it knows those alone that were there when it started. `name` is null
 * for a client without SNI. Pure.
 */
export function claimants(
  { service, name }: { readonly service: Service; readonly name: string | null },
  { sniDirectories, hostname }: Pick<ServedPlaces, "sniDirectories" | "hostname">,
): SniDirectory[] {
  // nginx's own site has the mail hostname for its exact name, which goes before any wildcard.
  if (name === null || (service === "nginx-mailcow" && name === hostname)) return [];
  return sniDirectories.filter((directory) =>
    isServedFor(name, namesServed(directory, service, hostname), service)
  );
}

/**
 * The fingerprints of the leaves that are right where a client of the service asks for the name
 * (null: without SNI): the top-level one, and those of the directories that answer for the name. An
 * expired one never is, so there may be none. Pure.
 */
export function rightLeaves(
  question: { readonly service: Service; readonly name: string | null },
  places: ServedPlaces,
  now: Date,
): string[] {
  const own = claimants(question, places).map(({ pair }) => pair?.leaf ?? null);
  const leaves = [places.top, ...own].filter((leaf) => leaf !== null && now <= leaf.notAfter);
  return [...new Set(leaves.flatMap((leaf) => leaf === null ? [] : [leaf.fingerprint]))];
}

/** Whether only HTTPS uses the name, where nginx passes over a directory that holds the mail hostname. */
function isHttpsOnly(name: string): boolean {
  return /^(autodiscover|autoconfig|mta-sts)\./.test(name);
}

/** An SNI directory whose pair another one may take the place of. */
export interface Holding {
  /** What it is served for. */
  readonly domains: readonly string[];
  /** The leaf that lies there. */
  readonly own: Pick<Certificate, "names" | "notBefore" | "notAfter"> | null;
  /** Whether that came from here in the place of the directory's own. */
  readonly isTaken: boolean;
}

/**
 * Which SNI directories the domain's certificate belongs into: `names` are those of it, `hostname` is
 * the mail hostname. Pure.
 */
export function belongsInto(
  holding: Holding,
  names: readonly string[],
  hostname: string,
  now: Date,
): boolean {
  const { domains } = holding;
  if (domains.length === 0) return false;
  const needed = namesCover(domains, hostname) === null ? domains : [];
  return mayTake(holding, { names, needed, hostname }, now);
}

/**
 * Whether a certificate of the names may take the place of what lies there: it covers all that the
 * directory is served for, but for what only HTTPS asks for and nginx does not serve from there; or
 * it covers what is needed, and what lies there has expired, or was taken over when something had,
 * and is renewed from then on. Pure.
 */
export function mayTake(
  { domains, own, isTaken }: Holding,
  { names, needed, hostname }: {
    readonly names: readonly string[];
    readonly needed: readonly string[];
    readonly hostname: string;
  },
  now: Date,
): boolean {
  const missing = uncovered(domains, names);
  if (missing.length === 0) return true;
  if (namesCover(domains, hostname) !== null && missing.every(isHttpsOnly)) return true;
  if (own === null || uncovered(needed, names).length > 0) return false;
  return timeState(own, now) === "expired" || (isTaken && uncovered(missing, own.names).length > 0);
}

/** The domains that the certificate's names do not cover. Pure. */
export function uncovered(domains: readonly string[], names: readonly string[]): string[] {
  return domains.filter((domain) => namesCover(names, domain) === null);
}

/** The SNI directory that is a name's own, or why none can be. */
export type OwnDirectory =
  | { readonly kind: "none" }
  | { readonly kind: "own"; readonly directory: SniDirectory }
  /** Each service would take another one of them. */
  | { readonly kind: "several"; readonly directories: readonly SniDirectory[] }
  /** The services do not read its file alike; `line` is what it should hold. */
  | { readonly kind: "unlike"; readonly directory: SniDirectory; readonly line: string }
  /** nginx alone reads it. */
  | { readonly kind: "hidden"; readonly directory: SniDirectory };

/** The directory whose `domains` holds the name exactly, as whoever wrote it meant it. Pure. */
export function ownDirectory(name: string, sniDirectories: readonly SniDirectory[]): OwnDirectory {
  const holding = holdersIn(sniDirectories).get(name) ?? [];
  const [directory, ...others] = holding;
  if (directory === undefined) return { kind: "none" };
  if (others.length > 0) return { kind: "several", directories: holding };
  if (isHidden(directory.name)) return { kind: "hidden", directory };
  const line = domainsLine(directory);
  return isReadAlike(directory) ? { kind: "own", directory } : { kind: "unlike", directory, line };
}

/** Those that are names' own, or that they quarrel about. Pure. */
export function claimedDirectories(owns: readonly OwnDirectory[]): Set<string> {
  return new Set(owns.flatMap((own) => {
    if (own.kind === "none") return [];
    const directories = own.kind === "several" ? own.directories : [own.directory];
    return directories.map(({ directory }) => directory);
  }));
}

/** By each name, looked through once: a hundred names ask the same hundred directories. */
const holders = new WeakMap<readonly SniDirectory[], ReadonlyMap<string, SniDirectory[]>>();

function holdersIn(
  sniDirectories: readonly SniDirectory[],
): ReadonlyMap<string, readonly SniDirectory[]> {
  const known = holders.get(sniDirectories);
  if (known !== undefined) return known;
  const byName = new Map<string, SniDirectory[]>();
  for (const directory of sniDirectories) {
    // A dot behind it makes it another name to every service.
    const meant = new Set(directory.domains.flatMap((word) => [word, word.replace(/\.$/, "")]));
    for (const name of meant) {
      const before = byName.get(name);
      if (before === undefined) byName.set(name, [directory]);
      else before.push(directory);
    }
  }
  holders.set(sniDirectories, byName);
  return byName;
}

/** Whether the three services find the same names in the file: one line, single words, no other space. */
export function isReadAlike(
  { domainsText, domains }: Pick<SniDirectory, "domainsText" | "domains">,
) {
  const [first = "", ...rest] = domainsText.split("\n");
  const isOneLine = rest.every((line) => line.trim() === "");
  return isOneLine && !/[^\S ]/.test(first) && domains.every((word) => !word.endsWith("."));
}

/** What the file should hold for all of them to read the same. Pure. */
export function domainsLine({ domains }: Pick<SniDirectory, "domains">): string {
  return [...new Set(domains.map((word) => word.replace(/\.$/, "")))].join(" ");
}
