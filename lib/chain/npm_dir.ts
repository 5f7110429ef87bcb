// Where Nginx Proxy Manager keeps the certificate of a name: in one of its numbered directories.

import * as fs from "node:fs";
import { basename, join } from "node:path";
import {
  type Certificate,
  isStagingIssuer,
  lifeLeft,
  OVERDUE,
  parseChain,
  timeState,
} from "../certificate/certificate.ts";
import { deliveredPaths } from "../certificate/pair.ts";
import { standardLiveDirectories } from "../config/standard.ts";
import { explain, Failure, quote } from "../failure.ts";
import { FileProblem, isMissing } from "../files/read_file.ts";
import { namesCover } from "../values/host_name.ts";
import { changedMs, readLineageFile } from "./lineage_file.ts";

export type LineageState = "valid" | "expired" | "not-yet-valid" | "staging" | "broken";

export interface Lineage {
  readonly directory: string;
  /** What its fullchain.pem holds, leaf first; null where it is broken. */
  readonly chain: readonly [Certificate, ...Certificate[]] | null;
  readonly state: LineageState;
  readonly problem: string | null;
  /** That a link is not taken by its word. */
  readonly warning: string | null;
  readonly fingerprint: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly names: readonly string[];
  readonly notBefore: Date | null;
  readonly notAfter: Date | null;
  /** From 1 at the beginning of its life to 0 at its end. */
  readonly lifeLeft: number;
  /**
   * Cannot be read, and changed a moment ago, or since `now`: a renewal replaces its links one by
   * one, and an upload is written in place.
   */
  readonly isChanging: boolean;
  /** Whether it was this user who may not read it: what it holds, nobody knows. */
  readonly isUnreadable: boolean;
}

/** None of the directories that were looked for exists. */
export class NoLiveDirectory extends Failure {
  override name = "NoLiveDirectory";
}

/** Those that exist of the given directories, or of the standard ones. */
export function liveDirectories(
  configured: readonly string[] | null,
  key = "push.live in the config file",
): readonly string[] {
  const wanted = configured ?? standardLiveDirectories;
  const existing = wanted.filter((directory) => !isMissing(directory));
  if (existing.length > 0) return existing;
  throw new NoLiveDirectory(`there is no live directory: ${wanted.map(quote).join(", ")}`, {
    hint: `name the one of Nginx Proxy Manager with ${key} (it is the host's path of ` +
      "/etc/letsencrypt/live in the container; custom certificates: data/custom_ssl)",
  });
}

/** Every `npm-*` in the live directories, judged by its fullchain.pem. Throws a Failure. */
export function readLineages(live: readonly string[], now: Date): Lineage[] {
  return live.flatMap((directory) =>
    lineageDirectories(directory).map((lineage) => readLineage(lineage, now))
  );
}

/** Every `npm-*` there, in the order of their numbers. Throws a Failure. */
export function lineageDirectories(live: string): string[] {
  try {
    return fs.readdirSync(live, { withFileTypes: true })
      .filter((entry) => /^npm-./.test(entry.name) && !entry.isFile())
      .map(({ name }) => ({ name, number: number(name) }))
      .sort((a, b) => compare(a.number, b.number))
      .map(({ name }) => join(live, name));
  } catch (error) {
    throw explain(error, `look into ${quote(live)}`);
  }
}

/** For whoever may not look into the lineages. */
export function readableHint(): string {
  return Deno.uid() === 0
    ? "root may not read it either: look at lsattr, and at the file system (NFS squashes root)"
    : "live/ and archive/ are 0700: run this as root";
}

const SETTLING_MS = 10_000;

function readLineage(directory: string, now: Date): Lineage {
  const { chain: path } = deliveredPaths(directory);
  try {
    const { bytes, warning } = readLineageFile(path);
    const chain = parseChain(bytes, quote(path));
    const [leaf] = chain;
    const { fingerprint, subject, issuer, names, notBefore, notAfter } = leaf;
    return {
      directory,
      chain,
      state: leafState(leaf, now),
      problem: null,
      warning,
      fingerprint,
      subject,
      issuer,
      names,
      notBefore,
      notAfter,
      lifeLeft: lifeLeft(leaf, now),
      isChanging: false,
      isUnreadable: false,
    };
  } catch (error) {
    if (!(error instanceof FileProblem || error instanceof Failure)) throw error;
    return {
      directory,
      chain: null,
      state: "broken",
      problem: error instanceof FileProblem ? `${quote(path)} ${error.detail}` : error.message,
      warning: null,
      fingerprint: null,
      subject: null,
      issuer: null,
      names: [],
      notBefore: null,
      notAfter: null,
      lifeLeft: 0,
      isChanging: changedMs(directory) > now.getTime() - SETTLING_MS,
      isUnreadable: error instanceof FileProblem && error.kind === "unreadable",
    };
  }
}

function leafState(leaf: Certificate, now: Date): LineageState {
  const state = timeState(leaf, now);
  return state === "valid" && isStagingIssuer(leaf) ? "staging" : state;
}

export interface Choice {
  readonly best: Lineage | null;
  /** Others that nothing but their number sets apart from the best. */
  readonly equals: readonly Lineage[];
}

/** Those that cover the name, the best one first. Pure. */
export function rankLineages(lineages: readonly Lineage[], hostName: string): Lineage[] {
  return lineages.filter(({ names }) => namesCover(names, hostName) !== null)
    .sort((a, b) =>
      compare(merits(b, hostName), merits(a, hostName)) ||
      compare(number(b.directory), number(a.directory))
    );
}

/** The lineage to use for the name. Pure. */
export function chooseLineage(lineages: readonly Lineage[], hostName: string): Choice {
  const [best, ...others] = rankLineages(lineages, hostName);
  if (best === undefined) return { best: null, equals: [] };
  const most = merits(best, hostName);
  return {
    best,
    equals: others.filter((other) => compare(merits(other, hostName), most) === 0),
  };
}

/** Of the lineages of that name (both standard directories may have one), the one to use. Pure. */
export function namedLineage(
  lineages: readonly Lineage[],
  name: string,
  hostName: string | null,
): Lineage | null {
  const named = lineages.filter(({ directory }) => basename(directory) === name);
  const best = hostName === null ? null : chooseLineage(named, hostName).best;
  return best ?? named[0] ?? null;
}

export function tieWarnings(best: Lineage, equals: readonly Lineage[]): string[] {
  return equals.map(({ directory }) =>
    `${quote(directory)} holds an equally good certificate; ${quote(best.directory)} is used`
  );
}

/** What somebody may have expected to be used instead of the best. Pure. */
export function choiceWarnings(
  lineages: readonly Lineage[],
  hostName: string,
  { best, equals }: Choice,
): string[] {
  if (best === null) return [];
  const most = merits(best, hostName);
  const newer = lineages.find((other) => {
    const [validity, trust, freshness, way, notBefore = 0] = merits(other, hostName);
    return namesCover(other.names, hostName) === "wildcard" && way !== most[3] &&
      compare([validity, trust, freshness].map(Number), most.slice(0, 3)) === 0 &&
      notBefore > (most[4] ?? 0);
  });
  return [
    ...(best.warning === null ? [] : [best.warning]),
    ...tieWarnings(best, equals),
    ...(newer === undefined ? [] : [
      `${quote(newer.directory)} holds a newer wildcard certificate; ${quote(best.directory)} is ` +
      "used, because it names the host itself",
    ]),
  ];
}

/** The first in which two lineages differ decides; more is better. */
function merits(lineage: Lineage, hostName: string): number[] {
  return [
    lineage.state === "valid" || lineage.state === "staging",
    isTrustworthy(lineage),
    lineage.lifeLeft >= OVERDUE,
    namesCover(lineage.names, hostName) === "exact",
  ].map(Number).concat(lineage.notBefore?.getTime() ?? 0);
}

/** Neither a testing environment's nor its own issuer's. */
function isTrustworthy({ subject, issuer }: Lineage): boolean {
  return !isStagingIssuer({ issuer: issuer ?? "" }) && subject !== issuer;
}

/**
 * Whether deploy takes it where the other one is served: nothing older than that, unless that is
 * overdue and ends sooner, or is none that it would keep. Pure.
 */
export function maySucceed(next: Lineage, served: Lineage): boolean {
  if (served.state !== "valid" || !isTrustworthy(served)) return true;
  const [begins, ends] = [Number(next.notBefore), Number(next.notAfter)];
  return begins >= Number(served.notBefore) ||
    (served.lifeLeft < OVERDUE && Number(served.notAfter) < ends);
}

/** `npm-5-0001` follows `npm-5`. */
function number(directory: string): number[] {
  return (basename(directory).match(/\d+/g) ?? []).map(Number);
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? -1) - (b[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}
