// Further names: whose pair each of their directories is to carry, or why a name's is not taken. Pure.

import { keyIsAnothers, type Pair } from "../certificate/pair.ts";
import type { Made } from "../chain/deploy_memory.ts";
import type { Installed, SniDirectory } from "../chain/mailcow.ts";
import { type Place, refusePlace, servedByTop, type Standing } from "../chain/name_place.ts";
import {
  describeFallback,
  refuseHidden,
  refuseSeveral,
  refuseUncovered,
  refuseUnlike,
} from "../chain/name_refusals.ts";
import {
  belongsInto,
  domainsLine,
  type Holding,
  isReadAlike,
  mayTake,
  type OwnDirectory,
  uncovered,
} from "../chain/sni.ts";
import { NothingStaged } from "../chain/staging.ts";
import { type Failure, quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { describeBroken, describeUnmade, problemIn } from "./broken.ts";
import { lacks } from "./facts.ts";
import type { NamePlan } from "./name_plan.ts";
import { OlderThanDeployed } from "./plan.ts";

/** A further name, with all that is decided by. */
export interface NameFacts {
  readonly name: string;
  /** The pair that may be served for it, or why there is none. */
  readonly candidate: Pair | Failure;
  /** The SNI directory that holds it, or why none can be its own. */
  readonly own: OwnDirectory;
  /** What stands where its own would be made: nothing, what certsync began, or somebody else's. */
  readonly place: Place;
  /** What would be served there with a pair: it is judged as one that is served. */
  readonly standing: Standing | null;
  /** Whether certsync made its directory, and how far it came. */
  readonly made: Made | null;
  /** Whether the pair there is certsync's, in a directory of somebody else's that had none. */
  readonly isFilled: boolean;
  /** Whether certsync replaced a pair of it before. */
  readonly wasReplaced: boolean;
  /** Reads what its directory carried before; null where nothing good was kept. */
  previous(): Pair | null;
  /** Whoever forces it has a directory made anew as often as it goes away. */
  readonly isForced: boolean;
  /** It is to go back by hand to what it had, and to nothing else. */
  readonly isReturning: boolean;
}

/** What all of them are decided by. */
export interface NameCircumstances {
  /** What is, or is to be, at the top level. */
  readonly top: Pair | null;
  readonly sslDirectory: string;
  readonly hostname: string;
  readonly rejected: ReadonlyMap<string, string>;
  readonly now: Date;
}

export function planNames(
  names: readonly NameFacts[],
  circumstances: NameCircumstances,
): NamePlan[] {
  return names.map((one) => {
    switch (one.own.kind) {
      case "own":
        return planOwn(one, one.own.directory, holdersOf(one.own.directory, names), circumstances);
      case "none":
        return planWithout(one, names, circumstances);
      case "several":
        return leftAlone(one, refuseSeveral(one.name, one.own.directories));
      case "unlike":
        return leftAlone(one, refuseUnlike(one.own.directory, one.own.line));
      case "hidden":
        return leftAlone(one, refuseHidden(one.name, one.own.directory));
    }
  });
}

function holdersOf(directory: SniDirectory, names: readonly NameFacts[]): NameFacts[] {
  return names.filter(({ own }) => own.kind === "own" && own.directory === directory);
}

function leftAlone({ name }: NameFacts, refusal: Failure): NamePlan {
  return { ...nothing(name), refusal };
}

function nothing(name: string): NamePlan {
  return {
    ...{ name, refusal: null, serving: null, directory: null, deed: "none", former: null },
    warnings: [],
  };
}

/** The top-level pair serves a name that it covers, where nothing lies ahead of it. */
function planWithout(
  one: NameFacts,
  names: readonly NameFacts[],
  circumstances: NameCircumstances,
): NamePlan {
  const { name, candidate } = one;
  const { top, sslDirectory } = circumstances;
  const directory = `${sslDirectory}/${name}`;
  const byTop: NamePlan = { ...nothing(name), serving: covers(top, [name]) ? top : null };
  if (!isPair(candidate)) {
    const kept = byTop.serving === null ? keptFor(one, names, circumstances) : null;
    if (kept !== null) {
      return { ...nothing(name), refusal: candidate, serving: kept, directory, deed: "make" };
    }
    if (byTop.serving === null || !(candidate instanceof NothingStaged)) {
      return { ...byTop, refusal: candidate };
    }
    return { ...byTop, warnings: [describeFallback(name, candidate)] };
  }
  switch (servedByTop(name, candidate, top)) {
    case "same":
      return byTop;
    case "longer":
      return { ...byTop, warnings: [describeFallback(name, candidate.leaf.notAfter)] };
  }
  const refusal = refusePlace(one, sslDirectory) ??
    refuseStanding(one, candidate, names, circumstances);
  if (refusal !== null) return { ...byTop, refusal };
  const host = one.standing === null && names.find(({ standing }) => holds(standing, name));
  const made = host ? planWithout(host, names, circumstances) : null;
  if (made?.deed === "make") return { ...made, name };
  return { ...nothing(name), serving: candidate, directory, deed: "make" };
}

/** What its directory carried before one of the two files went away; null where that is no good. */
function keptFor(
  one: NameFacts,
  names: readonly NameFacts[],
  circumstances: NameCircumstances,
): Pair | null {
  if (one.standing === null) return null;
  const kept = one.previous();
  if (kept === null || !isUsable(kept, circumstances)) return null;
  return refuseStanding(one, kept, names, circumstances) === null ? kept : null;
}

/** Why what stands there must not be served with the pair. */
function refuseStanding(
  { name, standing }: NameFacts,
  candidate: Pair,
  names: readonly NameFacts[],
  { hostname, now }: NameCircumstances,
): Failure | null {
  if (standing === null) return null;
  if (!isReadAlike(standing)) return refuseUnlike(standing, domainsLine(standing));
  for (const other of names.filter((one) => standing.domains.includes(one.name))) {
    const elsewhere = [
      ...(other.own.kind === "own" ? [other.own.directory] : []),
      ...(other.own.kind === "several" ? other.own.directories : []),
      ...names.flatMap((one) =>
        one.name !== name && one.standing !== null && holds(one.standing, other.name)
          ? [one.standing]
          : []
      ),
    ];
    if (elsewhere.length > 0) return refuseSeveral(other.name, [standing, ...elsewhere]);
  }
  const place = { domains: standing.domains, own: null, isTaken: false };
  const fits = belongs(candidate, place, { wanted: [name], hostname, now });
  return fits ? null : refuseUncovered(name, standing, candidate);
}

function holds(standing: Standing | null, name: string): boolean {
  return standing !== null && standing.domains.includes(name);
}

function planOwn(
  one: NameFacts,
  own: SniDirectory,
  holders: readonly NameFacts[],
  circumstances: NameCircumstances,
): NamePlan {
  const { name, candidate } = one;
  const { top } = circumstances;
  const base: NamePlan = { ...nothing(name), former: own.pair };
  const carry = (pair: Pair, more: Partial<NamePlan> = {}): NamePlan => ({
    ...{ ...base, serving: pair, directory: own.directory },
    deed: lacks(own, pair) ? "install" : "none",
    ...more,
  });
  const chosen = pairFor(own, holders, circumstances);
  const isOurs = isPair(candidate) && chosen === candidate;
  if (chosen !== null && !isOurs && !covers(chosen, [name])) {
    return carry(chosen, { refusal: refusalOf(one, own) });
  }
  if (chosen !== null) {
    if (isOurs || (isPair(candidate) && chosen !== top)) {
      const others = holders.filter(({ isReturning }) => !isReturning).map(({ name }) => name);
      const isAlone = !isOurs || !one.isReturning || others.length === 0;
      return carry(chosen, {
        warnings: isAlone ? [] : [
          `${quoteAll(others)} goes back too: it is served from ${quote(own.directory)} as well`,
        ],
      });
    }
    if (isPair(candidate)) {
      const why = endsSooner(candidate, chosen) ? candidate.leaf.notAfter : null;
      return carry(chosen, { warnings: why === null ? [] : [describeFallback(name, why)] });
    }
    const isMissing = candidate instanceof NothingStaged;
    return carry(chosen, {
      refusal: isMissing ? null : candidate,
      warnings: chosen === top ? [describeFallback(name, candidate)] : [],
    });
  }
  const refused = { refusal: refusalOf(one, own) };
  if (!isBroken(own, circumstances)) return { ...base, ...refused };
  const kept = one.previous();
  if (kept !== null && isUsable(kept, circumstances)) return carry(kept, refused);
  // Nobody knew it before certsync made it, so nobody misses it.
  const problem = problemIn(own);
  const warnings = problem === null ? [] : [describeBroken(own.directory, problem)];
  const isMade = one.made !== null && own.domainsText === `${name}\n` &&
    own.directory === `${circumstances.sslDirectory}/${name}`;
  return !isMade && !one.isFilled ? { ...base, ...refused, warnings } : {
    ...{ ...base, ...refused },
    ...{ deed: "unmake", directory: own.directory },
    warnings: [describeUnmade(own.directory, problem, one.isFilled ? "pair" : "domains")],
  };
}

/** The pair that the directory is to carry; null where what lies there is to stay. */
function pairFor(
  own: SniDirectory,
  holders: readonly NameFacts[],
  circumstances: NameCircumstances,
): Pair | null {
  const { top, hostname, now } = circumstances;
  const pairs = holders.map(({ candidate }) => candidate).filter(isPair);
  const wanted = holders.map(({ name }) => name);
  const { domains } = own;
  const holding = { domains, own: own.pair?.leaf ?? null };
  const isTaken = holders.some(({ wasReplaced }) => wasReplaced);
  const fits = (pair: Pair) => belongs(pair, { ...holding, isTaken }, { wanted, hostname, now });
  const fitting = pairs.filter(fits);
  const [chosen] = latestFirst(fitting.filter((pair) => covers(pair, domains))).concat(fitting);
  if (chosen === undefined && holders.some(keepsWhatItHas)) return null;
  const wholeTop = top !== null && covers(top, domains) ? top : null;
  if (wholeTop !== null && (chosen === undefined || endsSooner(chosen, wholeTop))) return wholeTop;
  if (chosen !== undefined) return chosen;
  const isTops = top !== null &&
    belongsInto({ ...holding, isTaken: false }, top.leaf.names, hostname, now);
  return isTops ? top : null;
}

/** With the mail hostname, where that is served from there too. */
function belongs(
  { leaf: { names } }: Pair,
  holding: Holding,
  { wanted, hostname, now }: {
    readonly wanted: readonly string[];
    readonly hostname: string;
    readonly now: Date;
  },
): boolean {
  const isMailcows = namesCover(holding.domains, hostname) !== null;
  const needed = isMailcows ? [...wanted, hostname] : wanted;
  return mayTake(holding, { names, needed, hostname }, now);
}

/** What it has is better than what would stand in, or was not asked to make room for that. */
function keepsWhatItHas({ candidate, isReturning }: NameFacts): boolean {
  return !isPair(candidate) && (isReturning || candidate instanceof OlderThanDeployed);
}

function refusalOf({ name, candidate }: NameFacts, own: SniDirectory): Failure {
  return isPair(candidate) ? refuseUncovered(name, own, candidate) : candidate;
}

/** No service could start with it, or none is to have it any more. */
function isBroken({ pair }: Installed, { rejected }: NameCircumstances): boolean {
  return pair === null || keyIsAnothers(pair) || rejected.has(pair.leaf.fingerprint);
}

function isUsable(pair: Pair, { rejected, now }: NameCircumstances): boolean {
  const { leaf } = pair;
  return now <= leaf.notAfter && !rejected.has(leaf.fingerprint) && !keyIsAnothers(pair);
}

export function isPair(candidate: Pair | Failure): candidate is Pair {
  return "leaf" in candidate;
}

function covers(pair: Pair | null, names: readonly string[]): pair is Pair {
  return pair !== null && uncovered(names, pair.leaf.names).length === 0;
}

function latestFirst(pairs: readonly Pair[]): Pair[] {
  return pairs.toSorted((one, other) => Number(other.leaf.notAfter) - Number(one.leaf.notAfter));
}

function endsSooner(one: Pair, other: Pair): boolean {
  return one.leaf.notAfter < other.leaf.notAfter;
}
