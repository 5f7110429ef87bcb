// What is right where it lies or is served, although it is another certificate than the rest of the
// chain holds. Pure.

import type { SniDirectory } from "../chain/mailcow.ts";
import { belongsInto, claimants, isHidden, mayTake, rightLeaves, uncovered } from "../chain/sni.ts";
import { quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import type { Finding } from "./finding.ts";
import type { Leg } from "./leg.ts";
import type { Subject } from "./subject.ts";

/** Whose certificate another one is. */
export interface Holder {
  readonly name: string;
  readonly isFurther: boolean;
}

export interface Around extends Subject {
  readonly legs: readonly Leg[];
  readonly reference: Leg | null;
  /** What mailcow's services serve ahead of the top-level pair. */
  readonly sniDirectories: readonly SniDirectory[];
  /** Those of them that belong to further names. */
  readonly furtherDirectories: ReadonlySet<string>;
  /** By fingerprint, what the chains of the other names hold. */
  readonly others: ReadonlyMap<string, Holder>;
  readonly now: Date;
}

/** What lies in a further name's place in the stead of its own certificate. */
export interface Kept {
  readonly leg: Leg;
  readonly words: string;
  /** What is to be said of it. */
  readonly finding: Finding | null;
}

/** Null where what lies there is the name's own, or has to give way to that. */
export function keptFor(around: Around): Kept | null {
  const { legs, reference, name, isFurther, others, now } = around;
  const leg = legs.find((leg) => leg.leg === "deployed" && leg.certificate !== null);
  const held = leg?.certificate ?? null;
  if (!isFurther || name === null || leg === undefined || held === null) return null;
  if (now > held.notAfter || namesCover(held.names, name) === null) return null;
  const domains = leg.domains ?? [name];
  const holder = others.get(held.fingerprint);
  const isWhole = uncovered(domains, held.names).length === 0;
  const isReference = reference?.fingerprint === held.fingerprint;
  const wanted = certificateOf(reference, legs);
  if (holder?.isFurther === false && isWhole && (isReference || outlives(held, wanted))) {
    const words = `that of ${holder.name}`;
    return { leg, words, finding: isReference ? null : outlived(name, words) };
  }
  if (isReference || wanted === null || namesCover(wanted.names, name) === null) return null;
  if (holder?.isFurther && isWhole && domains.includes(holder.name)) {
    return { leg, words: `that of ${holder.name}`, finding: null };
  }
  const hostname = leg.hostname ?? "";
  if (belongsInto({ domains, own: held, isTaken: false }, wanted.names, hostname, now)) return null;
  return { leg, ...own(uncovered(domains, wanted.names)) };
}

function outlives(
  held: { readonly notAfter: Date },
  wanted: { readonly notAfter: Date } | null,
): boolean {
  return wanted === null || held.notAfter > wanted.notAfter;
}

function outlived(name: string, words: string): Finding {
  const advice = `it ends later than that of ${name} itself: renew that, or take it out of also`;
  return { kind: "stead", status: "warning", words, advice };
}

/** What was pushed is known by its fingerprint alone, unless it lies elsewhere too. */
function certificateOf(reference: Leg | null, legs: readonly Leg[]) {
  return legs.find((other) => other.certificate?.fingerprint === reference?.fingerprint)
    ?.certificate ?? null;
}

const OWN = "its own certificate";

function own(lacking: readonly string[]): { words: string; finding: Finding } {
  const advice = `the new certificate does not cover ${quoteAll(lacking)}`;
  const finding = { kind: "own", status: "warning", words: OWN, advice, lacking } as const;
  return { words: OWN, finding };
}

/** Why deploy refuses what is staged, although the very same lies there: the directory is for more. */
export function lacksNames(leg: Leg, { isFurther, name, reference, now }: Around): Finding | null {
  const { domains, certificate, hostname = "" } = leg;
  if (!isFurther || name === null || leg.leg !== "deployed" || leg.wasReplaced !== false) {
    return null;
  }
  if (domains === undefined || certificate === null) return null;
  if (certificate.fingerprint !== reference?.fingerprint) return null;
  const needed = namesCover(domains, hostname) === null ? [name] : [name, hostname];
  const { names } = certificate;
  const holding = { domains, own: certificate, isTaken: false };
  if (mayTake(holding, { names, needed, hostname }, now)) return null;
  return { ...own(uncovered(domains, names)).finding, words: "lacks names" };
}

/** What is said of it where the leg is right with another certificate; null where it is not. */
export function explainOwn(
  leg: Leg,
  around: Around,
  kept: Kept | null,
): Omit<Kept, "leg"> | null {
  if (leg.fingerprint === null) return null;
  if (kept !== null && leg.fingerprint === kept.leg.fingerprint) {
    const isOther = leg.fingerprint !== around.reference?.fingerprint;
    if (!isOther || (leg.leg !== "deployed" && leg.leg !== "served")) return null;
    return { words: kept.words, finding: leg.leg === "deployed" ? kept.finding : null };
  }
  if (around.isFurther) return ofAnotherDirectory(leg, around);
  if (!holdsItsOwn(leg, around)) return null;
  const { finding } = own(
    uncovered(leg.domains ?? [], certificateOf(around.reference, around.legs)?.names ?? []),
  );
  return { words: OWN, finding: leg.leg === "sni" ? finding : null };
}

/** Whether it is right with another certificate than the others: that of an SNI directory. */
function holdsItsOwn(leg: Leg, around: Around): boolean {
  const { legs, reference, sniDirectories, furtherDirectories, now } = around;
  const { fingerprint, certificate } = leg;
  if (fingerprint === null || fingerprint === reference?.fingerprint) return false;
  const names = certificateOf(reference, legs)?.names;
  if (names === undefined || certificate === null || now > certificate.notAfter) return false;
  const hostname = hostnameIn(legs);
  const keepers = sniDirectories.filter(({ name, directory, domains, pair }) =>
    isHidden(name) || furtherDirectories.has(directory) ||
    !belongsInto({ domains, own: pair?.leaf ?? null, isTaken: false }, names, hostname, now)
  );
  if (leg.leg === "sni") return keepers.some(({ directory }) => directory === leg.directory);
  if (leg.service === undefined || !leg.sni) return false;
  const places = { top: null, sniDirectories: keepers, hostname };
  return rightLeaves({ service: leg.service, name: leg.sni }, places, now).includes(fingerprint);
}

/** Another directory that answers for the name is as right as its own: deploy cannot change which is given. */
function ofAnotherDirectory(leg: Leg, around: Around): Omit<Kept, "leg"> | null {
  const { legs, reference, sniDirectories, name, now } = around;
  const { fingerprint, service } = leg;
  if (fingerprint === null || service === undefined) return null;
  const own = legs.find((each) => each.leg === "deployed")?.directory;
  if (own === undefined || fingerprint === reference?.fingerprint) return null;
  const giver = sniDirectories.find((each) =>
    each.directory !== own && each.pair?.leaf.fingerprint === fingerprint
  );
  const places = {
    top: null,
    sniDirectories: sniDirectories.filter(({ directory }) => directory !== own),
    hostname: hostnameIn(legs),
  };
  return giver === undefined || !rightLeaves({ service, name }, places, now).includes(fingerprint)
    ? null
    : { words: `that of ${giver.name}`, finding: null };
}

function hostnameIn(legs: readonly Leg[]): string {
  return legs.find((other) => other.hostname !== undefined)?.hostname ?? "";
}

/** Whether the service passes over the further name's directory, and serves the domain's to all. */
export function isPassedOver(leg: Leg, around: Around): boolean {
  const { legs, name, isFurther, sniDirectories, others } = around;
  const deployed = legs.find((each) => each.leg === "deployed");
  if (!isFurther || leg.service === undefined || deployed?.domains === undefined) return false;
  if (others.get(leg.fingerprint ?? "")?.isFurther !== false) return false;
  const places = { sniDirectories, hostname: hostnameIn(legs) };
  return !claimants({ service: leg.service, name }, places)
    .some(({ directory }) => directory === deployed.directory);
}
