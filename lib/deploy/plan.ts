// The whole policy of deploy: what is to be installed where, or why nothing is. Pure.

import { timeState } from "../certificate/certificate.ts";
import { keyFits, keyIsAnothers, type Pair, samePair } from "../certificate/pair.ts";
import type { DeployMemory } from "../chain/deploy_memory.ts";
import {
  type Installed,
  type Mailcow,
  type Service,
  serviceNames,
  type SniDirectory,
} from "../chain/mailcow.ts";
import { belongsInto, isHidden, type ServedPlaces, uncovered } from "../chain/sni.ts";
import { Failure, quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { formatTime } from "../values/time.ts";

/** What there is, whatever is to be installed. */
export interface Situation {
  readonly mailcow: Mailcow;
  readonly memory: DeployMemory;
  /** The names of the SNI directories whose pair was replaced before. */
  readonly taken: ReadonlySet<string>;
  readonly domain: string;
  readonly now: Date;
}

export interface DeployFacts extends Situation {
  /** The pair to install: what push delivered, what is gone back to, or what is kept. */
  readonly candidate: Pair;
}

export interface Plan {
  readonly kind: "install";
  /** Where cert.pem and key.pem are to be replaced. */
  readonly directories: readonly string[];
  /** Which services are to load them. */
  readonly services: readonly Service[];
  /** Whether the top-level leaf becomes another one. */
  readonly changesLeaf: boolean;
  readonly warnings: readonly string[];
}

export type Decision = Plan | { readonly kind: "refuse"; readonly why: Failure };

/** Whether all is as it should be, so that no outside program need be asked. */
export function isSettled(facts: DeployFacts): boolean {
  const { mailcow, candidate, memory, domain, now } = facts;
  return mailcow.conf.skipsLetsEncrypt &&
    timeState(candidate.leaf, now) === "valid" &&
    namesCover(candidate.leaf.names, domain) !== null &&
    keyFits(candidate) &&
    directoriesLacking(facts).length === 0 &&
    !isRejected(candidate, facts) && straySniDirectories(facts).length === 0 &&
    serviceNames.every((service) => memory.loaded.get(service) === candidate.leaf.fingerprint);
}

/**
 * `unfit` is what judging the candidate found, `deployedIsFit` whether the deployed one passes
 * the same judgement.
 */
export function planDeploy(
  facts: DeployFacts,
  { unfit, deployedIsFit, force }: {
    readonly unfit: Failure | null;
    readonly deployedIsFit: boolean;
    readonly force: boolean;
  },
): Decision {
  const { mailcow, candidate, memory } = facts;
  const why = acmeRefusal(mailcow) ?? unfit ??
    (force ? null : ageRefusal(facts, deployedIsFit)) ??
    (force || isServedWell(facts) ? null : rejectedRefusal(candidate, memory));
  if (why !== null) return { kind: "refuse", why };

  const directories = force ? carriers(facts) : directoriesLacking(facts);
  const isLoaded = (service: Service) => memory.loaded.get(service) === candidate.leaf.fingerprint;
  return {
    kind: "install",
    directories,
    services: directories.length > 0 || straySniDirectories(facts).length > 0
      ? serviceNames
      : serviceNames.filter((service) => !isLoaded(service)),
    changesLeaf: mailcow.deployed.pair?.leaf.fingerprint !== candidate.leaf.fingerprint,
    warnings: [...lostNames(candidate, mailcow.deployed), ...sniWarnings(facts)],
  };
}

function acmeRefusal({ conf, directory }: Mailcow): Failure | null {
  if (conf.skipsLetsEncrypt) return null;
  const read = conf.skipsLetsEncryptText === null
    ? "mailcow.conf does not set it"
    : `mailcow.conf says ${quote(conf.skipsLetsEncryptText)}`;
  const what =
    `SKIP_LETS_ENCRYPT is not yes, ${read}: mailcow's own ACME client would overwrite it`;
  return new Failure(what, {
    hint: `set SKIP_LETS_ENCRYPT=y in ${directory}/mailcow.conf, then: docker compose up -d`,
  });
}

/** Whether it began before the deployed one; only worth asking where that is fit itself. */
export function isOlder(candidate: Pair, { pair }: Pick<Installed, "pair">): boolean {
  return pair !== null && candidate.leaf.notBefore < pair.leaf.notBefore;
}

/**
 * Only certsync's own work is kept from an older one: what somebody else put there, or what signed
 * itself, is what it came to replace. Near its end it gives way to one that lasts longer.
 */
function ageRefusal(facts: DeployFacts, deployedIsFit: boolean): Failure | null {
  const { candidate, memory, now, mailcow: { deployed } } = facts;
  if (!deployedIsFit || deployed.pair === null || !isOlder(candidate, deployed)) return null;
  const { fingerprint, subject, issuer, notAfter } = deployed.pair.leaf;
  const isOurs = [...memory.loaded.values()].includes(fingerprint) && subject !== issuer;
  const isOutlived = isNearEnd(deployed.pair.leaf, now) && notAfter < candidate.leaf.notAfter;
  if (!isOurs || isOutlived) return null;
  return new Failure(
    `the staged certificate is older (${
      formatTime(candidate.leaf.notBefore)
    }) than the deployed one ` +
      `(${formatTime(deployed.pair.leaf.notBefore)}), which is good`,
    { hint: "if the older one shall be served, run: certsync deploy --force" },
  );
}

/** Deployed, and seen to be served by all: whatever was wrong with it is over. */
function isServedWell(facts: DeployFacts): boolean {
  const { candidate, memory } = facts;
  return directoriesLacking(facts).length === 0 &&
    serviceNames.every((service) => memory.loaded.get(service) === candidate.leaf.fingerprint);
}

function rejectedRefusal({ leaf }: Pair, { rejected }: DeployMemory): Failure | null {
  const time = rejected.get(leaf.fingerprint);
  if (time === undefined) return null;
  return new Failure(`this certificate was rolled back before: ${leaf.fingerprint}, at ${time}`, {
    hint: "see why in the journal; then push another one, or run: certsync deploy --force",
  });
}

/** The pair that is to be served where no new one is taken; null where there is none. */
export function planRecovery(
  situation: Situation,
  { deployed, previous }: {
    /** The pairs whose key matches. */
    readonly deployed: Pair | null;
    readonly previous: Pair | null;
  },
): Pair | null {
  const usable = previous !== null && situation.now <= previous.leaf.notAfter ? previous : null;
  if (deployed === null) return usable;
  // A rollback was cut off before it came to that.
  const isReturning = isRejected(deployed, situation) && usable !== null &&
    !isRejected(usable, situation);
  return isReturning ? usable : deployed;
}

/** What a crash left to be done so that the pair is served, and why; null where that is nothing. */
export function planHealing(
  facts: DeployFacts,
  { mismatched, isOwed }: {
    /** The directories whose certificate and key do not match. */
    readonly mismatched: readonly string[];
    /** An earlier run was cut off, or ended, before everything was served again. */
    readonly isOwed: boolean;
  },
): Plan | null {
  const { mailcow, candidate, memory } = facts;
  const { fingerprint } = candidate.leaf;
  const changesLeaf = mailcow.deployed.pair?.leaf.fingerprint !== fingerprint;
  const returning = [mailcow.deployed, ...mailcow.sniDirectories].filter(({ pair }) =>
    pair !== null && pair.leaf.fingerprint !== fingerprint &&
    memory.rejected.has(pair.leaf.fingerprint)
  ).map(({ directory }) => directory);
  const isGood = timeState(candidate.leaf, facts.now) !== "expired";
  const skipped = isOwed && isGood ? directoriesLacking(facts) : [];
  const reasons = new Map([
    ...skipped.map((directory) => [directory, "an earlier run did not come to"] as const),
    ...returning.map((directory) => [directory, "a rollback did not come to"] as const),
    ...mismatched.map((directory) => [directory, "certificate and key did not match in"] as const),
  ]);
  const directories = carriers(facts).filter((directory) => reasons.has(directory));
  const services = directories.length > 0 || straySniDirectories(facts).length > 0
    ? serviceNames
    : serviceNames.filter((service) => isOwed && memory.loaded.get(service) !== fingerprint);
  if (services.length === 0) return null;
  const byReason = Map.groupBy(directories, (directory) => reasons.get(directory));
  const warnings = Array.from(
    byReason,
    ([why, where]) => `${why} ${where.map((directory) => quote(directory)).join(", ")}`,
  );
  if (directories.length === 0) {
    warnings.push(`${services.join(", ")} was not seen to serve the deployed certificate yet`);
  }
  return { kind: "install", directories, services, changesLeaf, warnings };
}

export interface Installation {
  readonly pair: Pair;
  readonly directories: readonly string[];
}

/**
 * The pair goes into the directories; and an SNI directory that it does not belong into, but that
 * still holds a leaf which was rejected, gets back what it held before that. `kept` is what was kept
 * of the SNI directory of a name.
 */
export function planInstallations(
  facts: DeployFacts,
  directories: readonly string[],
  kept: (name: string) => Pair | null,
): Installation[] {
  const returns = straySniDirectories(facts).map(({ name, directory }) => {
    const own = kept(name);
    const isGood = own !== null && keyFits(own) && !isRejected(own, facts) &&
      timeState(own.leaf, facts.now) !== "expired";
    return { pair: isGood ? own : facts.candidate, directories: [directory] };
  });
  return [{ pair: facts.candidate, directories }, ...returns]
    .filter(({ directories }) => directories.length > 0);
}

function straySniDirectories(facts: DeployFacts): SniDirectory[] {
  const belongs = carriers(facts);
  return facts.mailcow.sniDirectories.filter(({ pair, directory }) =>
    pair !== null && isRejected(pair, facts) && !belongs.includes(directory) &&
    pair.leaf.fingerprint !== facts.candidate.leaf.fingerprint
  );
}

function isRejected({ leaf }: Pair, { memory }: Pick<Situation, "memory">): boolean {
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

function directoriesLacking(facts: DeployFacts): string[] {
  const { deployed, sniDirectories } = facts.mailcow;
  const lacks = (installed: Installed) =>
    !installed.isTidy || installed.pair === null || !samePair(installed.pair, facts.candidate);
  const wanted = new Set(carriers(facts));
  return [...sniDirectories, deployed]
    .filter((installed) => wanted.has(installed.directory) && lacks(installed))
    .map(({ directory }) => directory);
}

type ServedFacts = Omit<DeployFacts, "memory">;

function shallCarry({ name, domains, pair }: SniDirectory, facts: ServedFacts): boolean {
  if (isHidden(name)) return false;
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

/** What needs a person, and is said by every run until somebody has seen to it. */
export function standingWarnings(facts: DeployFacts): string[] {
  const unseen = [...facts.memory.unseen].map((service) =>
    `${service} was told of the certificate, and not seen to serve it: none of its endpoints gave one`
  );
  return [...sniWarnings(facts), ...unseen];
}

function sniWarnings(facts: DeployFacts): string[] {
  return facts.mailcow.sniDirectories
    .filter((directory) => !shallCarry(directory, facts))
    .flatMap((directory) => {
      const problem = problemIn(directory);
      if (problem !== null) {
        return [
          `${
            quote(directory.directory)
          } holds no pair: ${problem}; nginx would not start with it: ` +
          "mend it, or move it out of data/assets/ssl",
        ];
      }
      return isHidden(directory.name) ? [] : [keptWarning(directory, facts)];
    });
}

function problemIn({ pair, problem }: SniDirectory): string | null {
  if (pair === null) return problem;
  return keyIsAnothers(pair) ? "its key does not match its certificate" : null;
}

function keptWarning({ directory, domains, pair }: SniDirectory, facts: DeployFacts): string {
  const { candidate, now } = facts;
  if (domains.length === 0) {
    return `${
      quote(directory)
    } keeps its own certificate: its file "domains" names none; write the ` +
      "names into it for which it is to be served, or move the directory out of data/assets/ssl, " +
      `and restart ${serviceNames.join(" ")}`;
  }
  const names = quoteAll(uncovered(domains, candidate.leaf.names));
  const but = namesCover(domains, mailHostname(facts)) !== null
    ? "; mail clients that ask for the mail hostname still get its own certificate"
    : "";
  const kept = `${quote(directory)} keeps its own certificate`;
  const why = `because the new one does not cover ${names}${but}`;
  if (pair === null || !isNearEnd(pair.leaf, now)) return `${kept}, ${why}`;
  const ends = timeState(pair.leaf, now) === "expired" ? "expired" : "ends";
  return `${kept}, which ${ends} at ${
    formatTime(pair.leaf.notAfter)
  }, ${why}; mailcow's own ACME ` +
    "client is off and does not renew it: have the new one cover these names, or move the " +
    `directory out of data/assets/ssl and restart ${serviceNames.join(" ")}`;
}

/** Less than a quarter of its life is left: any client that renews would have done so. */
function isNearEnd({ notBefore, notAfter }: Pair["leaf"], now: Date): boolean {
  return notAfter.getTime() - now.getTime() < (notAfter.getTime() - notBefore.getTime()) / 4;
}

function lostNames({ leaf }: Pair, { pair }: Installed): string[] {
  const lost =
    pair?.leaf.names.filter((name) => namesCover(leaf.names, name.toLowerCase()) === null) ?? [];
  if (lost.length === 0) return [];
  return [`the new certificate lacks names of the deployed one: ${quoteAll(lost)}`];
}

/** What the services serve once the candidate is what lies in the directories that carry it. */
export function servedPlaces(facts: Omit<DeployFacts, "memory">): ServedPlaces {
  const { sniDirectories } = facts.mailcow;
  return { top: facts.candidate.leaf, sniDirectories, hostname: mailHostname(facts) };
}
