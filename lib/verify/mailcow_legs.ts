// What lies on the mail host: staged, deployed, and in the directories that are served ahead of that.

import { join } from "node:path";
import {
  deliveredPaths,
  installedPaths,
  isMixed,
  type Pair,
  type PairPaths,
} from "../certificate/pair.ts";
import type { DeployMemory } from "../chain/deploy_memory.ts";
import { type Installed, type Mailcow, readMailcow, type SniDirectory } from "../chain/mailcow.ts";
import { placeOf, refusePlace, servedByTop } from "../chain/name_place.ts";
import {
  refuseAcme,
  refuseHidden,
  refuseSeveral,
  refuseUnclear,
  refuseUnlike,
} from "../chain/name_refusals.ts";
import { claimedDirectories, ownDirectory } from "../chain/sni.ts";
import { readStaged, stagedDirectory } from "../chain/staging.ts";
import { unclearFor } from "../chain/unclear.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import { Failure, orFailure } from "../failure.ts";
import { lookAt } from "../files/look_at.ts";
import { isMissing } from "../files/read_file.ts";
import type { RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { holding } from "./chain_file.ts";
import { attempt, type Leg, type LegFacts, makeLeg, unread } from "./leg.ts";
import { locationLeg } from "./location_leg.ts";
import { furtherName, type Subject } from "./subject.ts";

export function readMailcowIfAny({ deploy }: VerifyConfig): Mailcow | Failure | null {
  if (!deploy.isConfigured && isMissing(join(deploy.mailcow, "mailcow.conf"))) return null;
  return orFailure(() => readMailcow(deploy.mailcow));
}

export async function stagedLegs(
  subject: Subject,
  { deploy }: VerifyConfig,
  context: RunContext,
): Promise<Leg[]> {
  if (!deploy.isConfigured && isMissing(deploy.staging)) return [];
  const name = furtherName(subject);
  const directory = stagedDirectory(deploy.staging, name);
  const where = deliveredPaths(directory).chain;
  const facts = { leg: "staged", where, ...whatStands(deploy.staging, name) } as const;
  return [
    await attempt(facts, context, () => {
      const pair = readStaged(deploy.staging, name);
      const keyError = keyErrorOf({ pair });
      return { certificate: pair.leaf, chain: pair.chain, keyError, obstacle: null };
    }),
  ];
}

/** What push puts the pair in the place of, where it is none: rsync makes way for a directory. */
function whatStands(
  staging: string,
  name: string | null,
): Pick<LegFacts, "obstacle" | "directory" | "inTheWay"> {
  const top = lookAt(staging);
  if (top === null && isMissing(staging)) return { obstacle: "lost", directory: staging };
  if (top?.isDirectory() === false) return { obstacle: "unknown" };
  const directory = stagedDirectory(staging, name);
  if (name !== null && isMissing(directory)) return { obstacle: "unasked" };
  const stat = name === null ? null : lookAt(directory);
  if (stat?.isDirectory() === false) return { obstacle: "spoilt" };
  // Nor could push write into it.
  if (stat && top && stat.uid !== top.uid) {
    return { obstacle: "blocked", inTheWay: [directory] };
  }
  const paths = deliveredPaths(directory);
  const inTheWay = directoriesAmong(paths);
  if (inTheWay.length > 0) return { obstacle: "blocked", inTheWay };
  return isMissing(paths.chain) ? { obstacle: "empty" } : {};
}

/** No file can be renamed to where one stands. */
function directoriesAmong({ chain, key }: PairPaths): string[] {
  return [chain, key].filter((path) => lookAt(path)?.isDirectory());
}

/** Nothing where the key may not be read: whoever may not has not seen that it is wrong. */
function keyErrorOf(
  { pair, problem, isReadable }: { readonly pair: Pair | null } & Partial<Installed>,
): string | null {
  if (pair !== null) return isMixed(pair) ? "the key beside it is not the certificate's" : null;
  return isReadable ? problem ?? null : null;
}

/** What deploy goes by besides files. */
export interface DeployFacts {
  /** What it remembers of the directories that it made; null where this user cannot see it. */
  readonly made: DeployMemory["made"] | null;
  /** Whether deploy replaced a pair of the name's before. */
  wasReplaced(name: string): boolean;
  /** Whether the running acme-mailcow would move a new directory away; null where docker did not tell. */
  isAcmeBehind(): Promise<boolean | null>;
}

export async function deployedLegs(
  subject: Subject,
  config: VerifyConfig,
  mailcow: Mailcow | Failure | null,
  facts: DeployFacts,
  context: RunContext,
): Promise<Leg[]> {
  if (config.deployed !== null) {
    // Which of its files holds a further name's certificate, a host elsewhere does not say.
    return subject.isFurther
      ? []
      : [await locationLeg("deployed", config.deployed, config, context)];
  }
  if (mailcow === null) return [];
  if (mailcow instanceof Failure) {
    const leg = unread({ leg: "deployed", where: config.deploy.mailcow }, mailcow);
    // Whether anything is deployed there cannot be told without mailcow's own settings.
    return [leg.obstacle === "forbidden" ? leg : { ...leg, obstacle: "unknown" }];
  }
  const name = furtherName(subject);
  if (name === null) return [await topLeg(mailcow, context)];
  const { staging } = config.deploy;
  return [await ownLeg(name, mailcow, { ...facts, staging }, context)];
}

function topLeg({ deployed, sslDirectory }: Mailcow, context: RunContext): Promise<Leg> {
  return readLeg({ leg: "deployed", directory: sslDirectory }, deployed, context);
}

/** That of the name's own directory, or the top-level pair where that is what is served for it. */
async function ownLeg(
  name: string,
  mailcow: Mailcow,
  facts: DeployFacts & { readonly staging: string },
  context: RunContext,
): Promise<Leg> {
  const own = ownDirectory(name, mailcow.sniDirectories);
  switch (own.kind) {
    case "own":
      return await readLeg(
        { ...sniFacts("deployed", own.directory, mailcow), wasReplaced: facts.wasReplaced(name) },
        own.directory,
        context,
      );
    case "several":
      return unclear(mailcow.sslDirectory, refuseSeveral(name, own.directories));
    case "unlike":
      return unclear(own.directory.directory, refuseUnlike(own.directory, own.line));
    case "hidden":
      return unclear(own.directory.directory, refuseHidden(name, own.directory));
    case "none":
      return await legWithout(name, mailcow, facts, context);
  }
}

/** Where no directory is the name's own, with why deploy would make none. */
async function legWithout(
  name: string,
  mailcow: Mailcow,
  facts: DeployFacts & { readonly staging: string },
  context: RunContext,
): Promise<Leg> {
  const top = await topLeg(mailcow, context);
  if (top.obstacle === "forbidden") return top;
  const isCovered = top.certificate !== null && namesCover(top.certificate.names, name) !== null;
  const staged = orFailure(() => readStaged(facts.staging, name));
  const isEnough = staged instanceof Failure
    ? isCovered
    : servedByTop(name, staged, mailcow.deployed.pair) !== null;
  const isStaged = !(staged instanceof Failure);
  const refusal = isEnough ? null : await refusalToMake({ name, isStaged }, mailcow, facts);
  const refused = refusal === null
    ? {}
    : { isRefused: true, error: refusal.message, hint: refusal.hint ?? null };
  if (isCovered) return { ...top, ...refused };
  const where = installedPaths(join(mailcow.sslDirectory, name)).chain;
  const missing = { leg: "deployed", where, obstacle: "empty", error: "does not exist" } as const;
  return makeLeg({ ...missing, ...refused });
}

async function refusalToMake(
  { name, isStaged }: { readonly name: string; readonly isStaged: boolean },
  mailcow: Mailcow,
  { made, isAcmeBehind }: DeployFacts,
): Promise<Failure | null> {
  if (made === null) return null;
  const own = made.get(name) ?? null;
  const unclear = unclearFor(
    { place: join(mailcow.sslDirectory, name), isMaking: isStaged },
    mailcow,
  );
  if (unclear !== null) return refuseUnclear(name, unclear);
  const place = placeOf(name, mailcow, own !== null);
  const refusal = refusePlace({ name, place, made: own, isForced: false }, mailcow.sslDirectory);
  // Where mailcow.conf does not say it either, deploy asks for that first.
  if (refusal !== null || !isStaged || !mailcow.conf.skipsLetsEncrypt) return refusal;
  const isBehind = await isAcmeBehind();
  return isBehind === false ? null : refuseAcme(name, isBehind);
}

function unclear(directory: string, { message: error, hint }: Failure): Leg {
  const where = installedPaths(directory).chain;
  return makeLeg({ leg: "deployed", where, obstacle: "unclear", error, hint: hint ?? null });
}

/**
 * Those that hold the domain, and those of other names, which have no `sni`; that of a further name is
 * what is deployed for it.
 */
export function sniLegs(
  { name, isFurther }: Subject,
  also: readonly string[],
  mailcow: Mailcow | Failure | null,
  context: RunContext,
): Promise<Leg[]> {
  if (mailcow === null || mailcow instanceof Failure || name === null || isFurther) {
    return Promise.resolve([]);
  }
  const taken = directoriesOf(also, mailcow);
  const others = mailcow.sniDirectories.filter(({ directory }) => !taken.has(directory));
  return Promise.all(others.map((installed) => {
    const own = namesCover(installed.domains, name) === null ? {} : { sni: name };
    const facts = { hostname: name, ...sniFacts("sni", installed, mailcow), ...own };
    return readLeg(facts, installed, context);
  }));
}

/** The directories that are further names' own, or that they quarrel about. */
export function directoriesOf(
  also: readonly string[],
  { sniDirectories }: Mailcow,
): ReadonlySet<string> {
  return claimedDirectories(also.map((name) => ownDirectory(name, sniDirectories)));
}

type PlaceFacts = Omit<LegFacts, "where">;

function sniFacts(
  leg: "deployed" | "sni",
  { directory, domains }: SniDirectory,
  { conf }: Mailcow,
): PlaceFacts {
  return { leg, directory, domains, ...(conf.hostname !== null && { hostname: conf.hostname }) };
}

function readLeg(facts: PlaceFacts, installed: Installed, context: RunContext): Promise<Leg> {
  const paths = installedPaths(installed.directory);
  const where = paths.chain;
  return attempt({ ...facts, where, inTheWay: directoriesAmong(paths) }, context, () => ({
    ...holding(installed.pair?.chain, where),
    keyError: keyErrorOf(installed),
  }));
}
