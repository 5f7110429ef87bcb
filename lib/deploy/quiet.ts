// That nothing was left to do for any further name: as long as all that this was decided by is the same,
// to the byte, nobody parses a hundred certificates to find it again.

import { createHash } from "node:crypto";
import type { PairFiles } from "../certificate/pair.ts";
import { ownDirectory } from "../chain/sni.ts";
import { readStagedFiles } from "../chain/staging.ts";
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
}

/** What is to be told of each name; null where anything is other than it was, or is not known. */
export function quietNames(
  config: DeployConfig,
  beginning: Beginning,
): readonly CertificateReport[] | null {
  if (config.also.length === 0 || config.force || config.rollback) return null;
  const known = parseQuiet(readStateOrNothing(config.state, FILE));
  if (known === null || new Date(known.until) < beginning.now) return null;
  return known.digest === digestOf(config, beginning) ? known.certificates : null;
}

/** For the runs that find all as it is now. */
export function rememberQuiet(
  config: DeployConfig,
  beginning: Beginning,
  certificates: readonly CertificateReport[],
): void {
  if (config.also.length === 0) return;
  const digest = digestOf(config, beginning);
  const ends = certificates.map(({ notAfter }) => notAfter ?? "").sort();
  if (digest === null || ends[0] === undefined || ends[0] === "") return;
  const quiet: Quiet = {
    ...{ digest, until: ends[0] },
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
  const hash = createHash("sha256");
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`);
  const addFiles = (files: PairFiles | null) => {
    for (const bytes of files === null ? [] : [files.chainPem, files.keyPem]) {
      hash.update(`${bytes.length}\n`).update(bytes);
    }
  };
  add([1, also, staging, trust, mailHostname(beginning), mailcow.sslDirectory, [...taken]]);
  add(["loaded", "rejected", "suspects", "names"].map((name) => readStateOrNothing(state, name)));
  add(memory.isAcmeBehind);
  addFiles(mailcow.deployed.files);
  for (const { name, directory, domainsText } of mailcow.sniDirectories) {
    add([name, directory, domainsText]);
  }
  try {
    for (const name of also) {
      const own = ownDirectory(name, mailcow.sniDirectories);
      addFiles(readStagedFiles(staging, name));
      if (own.kind !== "own") {
        add([name, own.kind]);
        continue;
      }
      if (own.directory.files === null || !own.directory.isTidy) return null;
      add([name, own.directory.name]);
      addFiles(own.directory.files);
    }
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
  return hash.digest("hex");
}
