// What becomes of the domain's pair: where it is to be installed, or why it is not. Pure.

import { isOverdue, timeState } from "../certificate/certificate.ts";
import { keyFits, type Pair } from "../certificate/pair.ts";
import type { DeployMemory, Loaded } from "../chain/deploy_memory.ts";
import { type Installed, type Mailcow, type Service, serviceNames } from "../chain/mailcow.ts";
import { Failure, quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { formatTime } from "../values/time.ts";
import {
  carriers,
  type DeployFacts,
  directoriesLacking,
  isRejected,
  straySniDirectories,
} from "./facts.ts";
import { sniWarnings } from "./warnings.ts";

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
    (force ? null : ageRefusal(
      { candidate, deployed: mailcow.deployed, loaded: memory.loaded, now: facts.now },
      deployedIsFit,
    )) ??
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

export function acmeRefusal({ conf, directory }: Mailcow): Failure | null {
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

/** What is deployed is good, and stays. */
export class OlderThanDeployed extends Failure {}

/**
 * Only certsync's own work is kept from an older one: what somebody else put there, or what signed
 * itself, is what it came to replace. Near its end it gives way to one that lasts longer.
 */
export function ageRefusal(
  { candidate, deployed, loaded, now }: {
    readonly candidate: Pair;
    readonly deployed: Pick<Installed, "pair">;
    readonly loaded: Loaded;
    readonly now: Date;
  },
  deployedIsFit: boolean,
  only = "",
): Failure | null {
  if (!deployedIsFit || deployed.pair === null || !isOlder(candidate, deployed)) return null;
  const { fingerprint, subject, issuer, notAfter } = deployed.pair.leaf;
  const isOurs = [...loaded.values()].includes(fingerprint) && subject !== issuer;
  const isOutlived = isOverdue(deployed.pair.leaf, now) && notAfter < candidate.leaf.notAfter;
  if (!isOurs || isOutlived) return null;
  return new OlderThanDeployed(
    `the staged certificate is older (${
      formatTime(candidate.leaf.notBefore)
    }) than the deployed one ` +
      `(${formatTime(deployed.pair.leaf.notBefore)}), which is good`,
    { hint: `if the older one shall be served, run: certsync deploy --force${only}` },
  );
}

/** Deployed, and seen to be served by all: whatever was wrong with it is over. */
function isServedWell(facts: DeployFacts): boolean {
  const { candidate, memory } = facts;
  return directoriesLacking(facts).length === 0 &&
    serviceNames.every((service) => memory.loaded.get(service) === candidate.leaf.fingerprint);
}

export function rejectedRefusal(
  { leaf }: Pair,
  { rejected }: Pick<DeployMemory, "rejected">,
  only = "",
): Failure | null {
  const time = rejected.get(leaf.fingerprint);
  if (time === undefined) return null;
  return new Failure(`this certificate was rolled back before: ${leaf.fingerprint}, at ${time}`, {
    hint:
      "see whether certsync did that or somebody by --rollback, and what it was with: certsync " +
      `status; then push another one, or run: certsync deploy --force${only}`,
  });
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

export function lostNames({ leaf }: Pair, { pair }: Pick<Installed, "pair">): string[] {
  const lost =
    pair?.leaf.names.filter((name) => namesCover(leaf.names, name.toLowerCase()) === null) ?? [];
  if (lost.length === 0) return [];
  return [`the new certificate lacks names of the deployed one: ${quoteAll(lost)}`];
}
