// Where Nginx Proxy Manager keeps the certificate of a name: in one of its numbered directories.

import * as fs from "node:fs";
import { basename, join } from "node:path";
import {
  type Certificate,
  isStagingIssuer,
  lifeLeft,
  parseChain,
  timeState,
} from "../certificate/certificate.ts";
import { explain, Failure, quote } from "../failure.ts";
import { FileProblem, isMissing, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";
import { namesCover } from "../values/host_name.ts";

export type LineageState = "valid" | "expired" | "not-yet-valid" | "staging" | "broken";

export interface Lineage {
  readonly directory: string;
  /** What its fullchain.pem holds, leaf first; null where it is broken. */
  readonly chain: readonly [Certificate, ...Certificate[]] | null;
  readonly state: LineageState;
  readonly problem: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly names: readonly string[];
  readonly notBefore: Date | null;
  readonly notAfter: Date | null;
  /** From 1 at the beginning of its life to 0 at its end. */
  readonly lifeLeft: number;
  /** Changed a moment ago, or since `now`: a renewal replaces its links one by one. */
  readonly isChanging: boolean;
}

export const standardLiveDirectories = ["/etc/nginx/letsencrypt/live", "/etc/letsencrypt/live"];

/** Those that exist of the given directories, or of the standard ones. */
export function liveDirectories(configured: readonly string[] | null): readonly string[] {
  const wanted = configured ?? standardLiveDirectories;
  const existing = wanted.filter((directory) => !isMissing(directory));
  if (existing.length > 0) return existing;
  throw new Failure(`there is no live directory: ${wanted.map(quote).join(", ")}`, {
    hint:
      "name the one of Nginx Proxy Manager with push.live in the config file (it is the host's " +
      "path of /etc/letsencrypt/live in the container; custom certificates: data/custom_ssl)",
  });
}

/** Every `npm-*` in the live directories, judged by its fullchain.pem. Throws a Failure. */
export function readLineages(live: readonly string[], now: Date): Lineage[] {
  return live.flatMap((directory) =>
    lineageDirectories(directory).map((lineage) => readLineage(lineage, now))
  );
}

function lineageDirectories(live: string): string[] {
  try {
    return fs.readdirSync(live, { withFileTypes: true })
      .filter((entry) => /^npm-./.test(entry.name) && !entry.isFile())
      .map(({ name }) => join(live, name))
      .sort((a, b) => compare(number(a), number(b)));
  } catch (error) {
    throw explain(error, `look into ${quote(live)}`);
  }
}

const SETTLING_MS = 10_000;

function readLineage(directory: string, now: Date): Lineage {
  const path = join(directory, "fullchain.pem");
  try {
    const file = readFile(path, { follow: true, maxBytes: MAX_PEM_BYTES });
    const chain = parseChain(file.bytes, quote(path));
    const [leaf] = chain;
    const { subject, issuer, names, notBefore, notAfter } = leaf;
    return {
      directory,
      chain,
      state: leafState(leaf, now),
      problem: null,
      subject,
      issuer,
      names,
      notBefore,
      notAfter,
      lifeLeft: lifeLeft(leaf, now),
      isChanging: false,
    };
  } catch (error) {
    if (!(error instanceof FileProblem || error instanceof Failure)) throw error;
    return {
      directory,
      chain: null,
      state: "broken",
      problem: error instanceof FileProblem ? `${quote(path)} ${error.detail}` : error.message,
      subject: null,
      issuer: null,
      names: [],
      notBefore: null,
      notAfter: null,
      lifeLeft: 0,
      isChanging: changedMs(directory) > now.getTime() - SETTLING_MS,
    };
  }
}

/** When an entry was made or removed in it; 0 where that cannot be seen. */
function changedMs(directory: string): number {
  try {
    return fs.statSync(directory).mtimeMs;
  } catch (error) {
    if (error instanceof Error && "code" in error) return 0;
    throw error;
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

/** The lineage to use for the name. Pure. */
export function chooseLineage(lineages: readonly Lineage[], hostName: string): Choice {
  const [best, ...others] = lineages
    .filter(({ names }) => namesCover(names, hostName) !== null)
    .map((lineage) => ({ lineage, merits: merits(lineage, hostName) }))
    .sort((a, b) =>
      compare(b.merits, a.merits) ||
      compare(number(b.lineage.directory), number(a.lineage.directory))
    );
  if (best === undefined) return { best: null, equals: [] };
  return {
    best: best.lineage,
    equals: others.filter(({ merits }) => compare(merits, best.merits) === 0)
      .map(({ lineage }) => lineage),
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

/** Overdue is what its owner should have renewed long ago: probably no one renews it any more. */
const OVERDUE = 0.25;

/** The first in which two lineages differ decides; more is better. */
function merits(lineage: Lineage, hostName: string): number[] {
  return [
    lineage.state === "valid" || lineage.state === "staging",
    !isStagingIssuer({ issuer: lineage.issuer ?? "" }),
    lineage.lifeLeft >= OVERDUE,
    namesCover(lineage.names, hostName) === "exact",
  ].map(Number).concat(lineage.notBefore?.getTime() ?? 0);
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
