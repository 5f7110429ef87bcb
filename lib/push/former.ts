// What a target has already, where certbot still keeps it: its key may be the very one that is sent.

import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseChain, tlsaRecord } from "../certificate/certificate.ts";
import { deliveredPaths } from "../certificate/pair.ts";
import { realDirectory } from "../chain/lineage_file.ts";
import { Failure, quote } from "../failure.ts";
import { FileProblem, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";

/** Of the newest: what was pushed last is the one before, as a rule. */
const MAX_READ = 20;

/** The record of the leaf with that fingerprint, an earlier one of the lineage; null where it is not known. */
export function formerRecord(directory: string, fingerprint: string | null): string | null {
  if (fingerprint === null) return null;
  const path = deliveredPaths(directory).chain;
  const archives = new Set([
    dirname(realDirectory(path)),
    join(realDirectory(directory), "../../archive", basename(realDirectory(directory))),
  ]);
  for (const archive of archives) {
    for (const file of chainsIn(archive).slice(0, MAX_READ)) {
      const leaf = leafIn(join(archive, file));
      if (leaf?.fingerprint === fingerprint) return tlsaRecord(leaf);
    }
  }
  return null;
}

/** The newest first. */
function chainsIn(archive: string): string[] {
  try {
    const names = fs.readdirSync(archive).filter((name) => /^fullchain\d+\.pem$/.test(name));
    const number = (name: string) => Number(/\d+/.exec(name));
    return names.sort((one, other) => number(other) - number(one));
  } catch (error) {
    if (error instanceof Error && "code" in error) return [];
    throw error;
  }
}

function leafIn(path: string) {
  try {
    const { bytes } = readFile(path, { follow: true, maxBytes: MAX_PEM_BYTES });
    return parseChain(bytes, quote(path), "lenient")[0];
  } catch (error) {
    if (error instanceof FileProblem || error instanceof Failure) return null;
    throw error;
  }
}
