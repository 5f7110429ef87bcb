// That nothing was left to do for any further name: as long as all that this was decided by is the same,
// to the byte, nobody parses a hundred certificates to find it again.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { foundFitting, recallFitting } from "../certificate/key_fit.ts";
import type { PairFiles } from "../certificate/pair.ts";
import { ownDirectory } from "../chain/sni.ts";
import { readStagedFiles } from "../chain/staging.ts";
import { unclearDirectories } from "../chain/unclear.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure } from "../failure.ts";
import { readStateOrNothing, writeState } from "../files/state.ts";
import type { Beginning } from "./beginning.ts";
import type { CertificateReport } from "./certificates.ts";
import { mailHostname } from "./facts.ts";

const FILE = "quiet";

interface Quiet {
  readonly digest: string;
  /** The end of the first one to expire. */
  readonly until: string;
  readonly certificates: readonly CertificateReport[];
  /** Which keys fit which leaves, for the runs that find something to do for a few of them. */
  readonly fitting?: readonly string[];
}

/** What is to be told of each name; null where anything is other than it was, or is not known. */
export function quietNames(
  config: DeployConfig,
  beginning: Beginning,
): readonly CertificateReport[] | null {
  if (config.also.length === 0 || config.force || config.rollback) return null;
  if (beginning.memory.owed.size > 0) return null;
  const known = parseQuiet(readStateOrNothing(config.state, FILE));
  recallFitting(known?.fitting ?? []);
  if (known === null || new Date(known.until) < beginning.now) return null;
  return known.digest === digestOf(config, beginning) ? known.certificates : null;
}

/** For the runs that find all as it is now. */
export function rememberQuiet(
  config: DeployConfig,
  beginning: Beginning,
  certificates: readonly CertificateReport[],
): void {
  if (config.also.length === 0 || beginning.memory.owed.size > 0) return;
  const digest = digestOf(config, beginning);
  const ends = certificates.map(({ notAfter }) => notAfter ?? "").sort();
  if (digest === null || ends[0] === undefined || ends[0] === "") return;
  const quiet: Quiet = {
    ...{ digest, until: ends[0], fitting: foundFitting() },
    certificates: certificates.map((one) => ({
      ...{ ...one, outcome: "unchanged", replaces: null, replacesDaysLeft: null },
    })),
  };
  writeState(config.state, FILE, `${JSON.stringify(quiet)}\n`);
}

function parseQuiet(text: string): Quiet | null {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Of all that names are decided by; null where something of it cannot be read. */
function digestOf(config: DeployConfig, beginning: Beginning): string | null {
  const { mailcow, memory, taken } = beginning;
  const { also, staging, trust, state } = config;
  const own = also.map((name) => ownDirectory(name, mailcow.sniDirectories));
  const homes = own.flatMap((one) => one.kind === "own" ? [one.directory] : []);
  if (homes.some(({ areOurs }) => !areOurs)) return null;
  try {
    const staged = readStagedFiles(staging, also);
    // What is staged and lies there just so need not be hashed twice.
    const isSame = own.map((one, index) =>
      one.kind === "own" && areSame(one.directory.files, staged[index])
    );
    const files = [
      mailcow.deployed.files,
      ...homes.map(({ files }) => files),
      ...staged.filter((_, index) => !isSame[index]),
    ].flatMap((pair) => pair === null ? [] : [pair.chainPem, pair.keyPem]);
    const words = JSON.stringify([
      ...[also, staging, trust, mailHostname(beginning), mailcow.sslDirectory, [...taken]],
      ["loaded", "rejected", "suspects", "names"].map((name) => readStateOrNothing(state, name)),
      memory.isAcmeBehind,
      mailcow.sniDirectories.map(({ name, directory, domainsText }) => [
        ...[name, directory, domainsText],
      ]),
      unclearDirectories(mailcow),
      own.map((one) => one.kind === "own" ? one.directory.name : one.kind),
      ...[isSame, files.map(({ length }) => length)],
    ]);
    const hash = createHash("sha256").update(words);
    return hash.update(Buffer.concat(files)).digest("hex");
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

function areSame(one: PairFiles | null, other: PairFiles | undefined): boolean {
  return one !== null && other !== undefined &&
    Buffer.compare(one.chainPem, other.chainPem) === 0 &&
    Buffer.compare(one.keyPem, other.keyPem) === 0;
}
