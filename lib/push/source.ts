// The pair that push sends, read as one snapshot while a renewal may be under way.

import { join } from "node:path";
import { keyFits, type Pair, parsePair } from "../certificate/pair.ts";
import {
  chooseLineage,
  liveDirectories,
  namedLineage,
  readLineages,
  tieWarnings,
} from "../chain/npm_dir.ts";
import type { SourceConfig } from "../config/config.ts";
import { Failure, firstFew, quote } from "../failure.ts";
import { FileProblem, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";
import { pause, type RunContext } from "../run_context.ts";

/** Where the pair was read, and the pair, or why what was read there is none. */
export interface Source {
  readonly directory: string;
  readonly warnings: readonly string[];
  readonly pair: Pair | Failure;
  /** Whether key and certificate belong together, as far as can be told without a process. */
  readonly keyFits: boolean;
}

const ATTEMPTS = 40;
const BETWEEN_MS = 100;

/**
 * certbot replaces the links of a lineage one by one, so what does not fit together is read again
 * for a few seconds. Then it is returned as it is, for the judge. Throws a Failure where there is
 * nothing to read.
 */
export async function readSource(
  config: SourceConfig & { readonly domain: string },
  context: RunContext,
): Promise<Source> {
  for (let attempt = 1;; attempt++) {
    const isLast = attempt === ATTEMPTS;
    try {
      const choice = chooseDirectory(config, context.now);
      if (isLast || !choice.isChanging) {
        const pair = readPair(choice.directory);
        const fits = !(pair instanceof Failure) && keyFits(pair);
        if (isLast || fits) {
          return { directory: choice.directory, warnings: choice.warnings, pair, keyFits: fits };
        }
      }
    } catch (error) {
      if (isLast || !(error instanceof Passing)) throw error;
    }
    await pause(BETWEEN_MS, context);
  }
}

/** A failure that a renewal causes while it lasts. */
class Passing extends Failure {
  override name = "Passing";
}

interface DirectoryChoice {
  readonly directory: string;
  readonly isChanging: boolean;
  readonly warnings: readonly string[];
}

function chooseDirectory(
  { live, source, domain }: SourceConfig & { readonly domain: string },
  now: Date,
): DirectoryChoice {
  if (source.kind === "directory") {
    return { directory: source.name, isChanging: false, warnings: [] };
  }
  const hint = "see what is there with: certsync find-npm-dir";
  const lineages = readLineages(liveDirectories(live), now);
  if (source.kind === "lineage") {
    const lineage = namedLineage(lineages, source.name, domain);
    if (lineage !== null) {
      return { directory: lineage.directory, isChanging: false, warnings: [] };
    }
    throw new Failure(`there is no ${source.name} in the live directories`, { hint });
  }
  const { best, equals } = chooseLineage(lineages, domain);
  const isChanging = lineages.some((lineage) => lineage.isChanging);
  if (best !== null) {
    return { directory: best.directory, isChanging, warnings: tieWarnings(best, equals) };
  }
  const skipped = lineages.flatMap(({ problem }) => problem ?? []);
  const none = `no certificate for ${quote(domain)} in the live directories` +
    (skipped.length === 0 ? "" : `; skipped: ${firstFew(skipped).join("; ")}`);
  throw isChanging ? new Passing(none, { hint }) : new Failure(none, { hint });
}

function readPair(directory: string): Pair | Failure {
  const paths = { chain: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
  const files = { chainPem: readSourceFile(paths.chain), keyPem: readSourceFile(paths.key) };
  try {
    return parsePair(files, paths);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

function readSourceFile(path: string): Uint8Array<ArrayBuffer> {
  try {
    return readFile(path, { follow: true, maxBytes: MAX_PEM_BYTES }).bytes;
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const message = `source unreadable: ${quote(path)} ${error.detail}`;
    if (error.kind === "unreadable") {
      throw new Failure(message, { hint: "live/ and archive/ are 0700: run this as root" });
    }
    const hint = "see which directory holds the certificate with: certsync find-npm-dir";
    const mayPass = ["missing", "symlink", "changing"].includes(error.kind);
    throw mayPass ? new Passing(message, { hint }) : new Failure(message, { hint });
  }
}
