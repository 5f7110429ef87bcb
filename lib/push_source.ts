// The pair that push sends, read as one snapshot while a renewal may be under way.

import { join } from "node:path";
import type { SourceConfig } from "./config.ts";
import { Failure, quote } from "./failure.ts";
import { FileProblem, readFile } from "./file.ts";
import { type Host, pause } from "./host.ts";
import { chooseLineage, type Lineage, liveDirectories, readLineages } from "./npm_dir.ts";
import { keyFits, type Pair, parsePair } from "./pair.ts";

export interface SourcePair {
  readonly directory: string;
  readonly pair: Pair;
  readonly warnings: readonly string[];
}

const ATTEMPTS = 40;
const BETWEEN_MS = 100;

/**
 * certbot replaces the links of a lineage one by one, so what does not fit together is read again
 * for a few seconds. Then a pair whose key does not fit is returned as it is, for the judge.
 */
export async function readSource(
  config: SourceConfig & { readonly domain: string },
  host: Host,
): Promise<SourcePair> {
  for (let attempt = 1;; attempt++) {
    const isLast = attempt === ATTEMPTS;
    try {
      const choice = chooseDirectory(config, host.now);
      if (isLast || !choice.isChanging) {
        const pair = readPair(choice.directory);
        if (isLast || keyFits(pair)) {
          return { directory: choice.directory, pair, warnings: choice.warnings };
        }
      }
    } catch (error) {
      if (isLast || !(error instanceof Failure) || error instanceof Lasting) throw error;
    }
    await pause(BETWEEN_MS, host);
  }
}

/** A failure that reading again will not cure. */
class Lasting extends Failure {
  override name = "Lasting";
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
  const lineages = readLineages(liveDirectories(live), now);
  if (source.kind === "lineage") {
    const named = lineages.find(({ directory }) => directory.endsWith(`/${source.name}`));
    if (named !== undefined) return { directory: named.directory, isChanging: false, warnings: [] };
    throw new Lasting(`there is no ${source.name} in the live directories`, {
      hint: "see what is there with: certsync find-npm-dir",
    });
  }
  const { best, equals } = chooseLineage(lineages, domain);
  const isChanging = lineages.some((lineage) => lineage.isChanging);
  if (best !== null) {
    return { directory: best.directory, isChanging, warnings: tieWarnings(best, equals) };
  }
  const none = `no certificate for ${quote(domain)} in the live directories`;
  const hint = "see what is there with: certsync find-npm-dir";
  throw isChanging ? new Failure(none, { hint }) : new Lasting(none, { hint });
}

export function tieWarnings(best: Lineage, equals: readonly Lineage[]): string[] {
  return equals.map(({ directory }) =>
    `${quote(directory)} holds an equally good certificate; ${quote(best.directory)} is used`
  );
}

function readPair(directory: string): Pair {
  const chain = join(directory, "fullchain.pem");
  const key = join(directory, "privkey.pem");
  return parsePair({ chainPem: readSourceFile(chain), keyPem: readSourceFile(key) }, { chain, key });
}

function readSourceFile(path: string): Uint8Array<ArrayBuffer> {
  try {
    return readFile(path, { follow: true }).bytes;
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const message = `source unreadable: ${quote(path)} ${error.detail}`;
    if (error.kind === "unreadable") {
      throw new Lasting(message, { hint: "live/ and archive/ are 0700: run this as root" });
    }
    throw new Failure(message, {
      hint: "see which directory holds the certificate with: certsync find-npm-dir",
    });
  }
}
