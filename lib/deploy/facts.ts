// What deploy decides by, and which directories it makes of that carry the domain's pair. Pure.

import { type Pair, samePair } from "../certificate/pair.ts";
import type { DeployMemory } from "../chain/deploy_memory.ts";
import type { Installed, Mailcow, SniDirectory } from "../chain/mailcow.ts";
import { belongsInto, isHidden, type ServedPlaces } from "../chain/sni.ts";
import type { NamePlan } from "./name_plan.ts";

/** What there is, whatever is to be installed. */
export interface Situation {
  readonly mailcow: Mailcow;
  readonly memory: DeployMemory;
  /** The names of the SNI directories whose pair was replaced before. */
  readonly taken: ReadonlySet<string>;
  /** The SNI directories of further names, which are none of the domain's business. */
  readonly claimed: ReadonlySet<string>;
  readonly domain: string;
  readonly now: Date;
}

export interface DeployFacts extends Situation {
  /** The pair to install: what push delivered, what is gone back to, or what is kept. */
  readonly candidate: Pair;
  /** The further names that this run is about, with what becomes of them. */
  readonly further: readonly NamePlan[];
}

export function straySniDirectories(facts: DeployFacts): SniDirectory[] {
  const belongs = carriers(facts);
  const foreign = facts.mailcow.sniDirectories.filter(({ directory }) =>
    !belongs.includes(directory) && !facts.claimed.has(directory)
  );
  return foreign.filter(({ pair, isReadable }) =>
    isReadable && pair !== null && isRejected(pair, facts) &&
    pair.leaf.fingerprint !== facts.candidate.leaf.fingerprint
  );
}

export function isRejected({ leaf }: Pair, { memory }: Pick<Situation, "memory">): boolean {
  return memory.rejected.has(leaf.fingerprint);
}

/**
 * The directories that carry the pair: SNI directories as far as it serves them, and the top level.
 * That comes last: after a crash in between it still tells whose the leaf in the others was.
 */
export function carriers(facts: DeployFacts): string[] {
  const sni = facts.mailcow.sniDirectories.filter((directory) => shallCarry(directory, facts));
  return [...sni.map(({ directory }) => directory), facts.mailcow.sslDirectory];
}

export function directoriesLacking(facts: DeployFacts): string[] {
  const { deployed, sniDirectories } = facts.mailcow;
  const wanted = new Set(carriers(facts));
  return [...sniDirectories, deployed]
    .filter((installed) => wanted.has(installed.directory) && lacks(installed, facts.candidate))
    .map(({ directory }) => directory);
}

/** Whether the files there are other than what is wanted. */
export function lacks(installed: Installed, pair: Pair): boolean {
  return !installed.isTidy || installed.pair === null || !samePair(installed.pair, pair);
}

type ServedFacts = Omit<DeployFacts, "memory">;

export function shallCarry(sni: SniDirectory, facts: ServedFacts): boolean {
  const { name, directory: path, domains, isReadable } = sni;
  if (!isReadable || isHidden(name) || facts.claimed.has(path)) return false;
  const { pair } = sni;
  const { candidate, mailcow, taken, now } = facts;
  const own = pair?.leaf ?? null;
  const isOurs = [mailcow.deployed.pair, candidate].some((ours) =>
    ours !== null && ours.leaf.fingerprint === own?.fingerprint
  );
  const directory = { domains, own, isTaken: isOurs && taken.has(name) };
  return belongsInto(directory, candidate.leaf.names, mailHostname(facts), now);
}

/** The name under which mailcow serves mail. */
export function mailHostname({ mailcow, domain }: Pick<DeployFacts, "mailcow" | "domain">): string {
  return mailcow.conf.hostname ?? domain;
}

/** What the services serve once the candidate is what lies in the directories that carry it. */
export function servedPlaces(facts: Omit<DeployFacts, "memory">): ServedPlaces {
  const { sniDirectories } = facts.mailcow;
  return { top: facts.candidate.leaf, sniDirectories, hostname: mailHostname(facts) };
}
