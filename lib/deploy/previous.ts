// The pair that was served before the one that is deployed, kept for going back to it.

import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { CERTIFICATE_MODE, installedPaths, KEY_MODE, type Pair } from "../certificate/pair.ts";
import { readInstalled } from "../chain/mailcow.ts";
import { explain, Failure, orFailure, quote } from "../failure.ts";
import { isMissing } from "../files/read_file.ts";
import { checkOwn } from "../files/state.ts";
import { type PreparedFile, prepareFile, removeFile, syncDirectory } from "../files/write_file.ts";

/** Outside of mailcow's SSL directory, where it would be served. */
export function previousDirectory(state: string, sni: string | null = null): string {
  return join(state, "previous", sni ?? "");
}

/** That of a further name. */
export function previousOfName(state: string, name: string): string {
  return join(state, NAMES, name);
}

const NAMES = "previous-names";

/** Those that there are: the top level's, those of SNI directories, and those of further names. */
export function previousDirectories(state: string): string[] {
  const sni = previousSniDirectories(state);
  const top = previousDirectory(state);
  const further = previousNames(state).map((name) => previousOfName(state, name));
  return isMissing(top) ? further : [top, ...sni.map((name) => join(top, name)), ...further];
}

/** The names of the SNI directories of which a pair was kept. */
export function previousSniDirectories(state: string): string[] {
  return keptIn(previousDirectory(state));
}

/** The further names of which a pair was kept, where nothing is in the way. */
export function previousNames(state: string): string[] {
  const top = join(state, NAMES);
  try {
    if (isMissing(top) || orFailure(() => checkOwn(top, [])) !== undefined) return [];
    return fs.readdirSync(top).filter((name) => !isMissing(join(top, name)) && isKept(state, name));
  } catch (error) {
    throw explain(error, `look into ${quote(top)}`);
  }
}

/** Throws a Failure that names what is in the way where the name's pair is kept. */
export function checkKept(state: string, name: string): void {
  checkOwn(join(state, NAMES), []);
  checkOwn(previousOfName(state, name), FILES);
}

function isKept(state: string, name: string): boolean {
  return orFailure(() => checkKept(state, name)) === undefined;
}

const FILES = Object.values(installedPaths(""));

function keptIn(top: string): string[] {
  try {
    const stat = fs.lstatSync(top, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    if (!stat.isDirectory()) {
      throw new Failure(
        `there is something else where the previous certificate belongs: ${quote(top)}`,
        {
          hint: "remove it; it is nothing of certsync's",
        },
      );
    }
    const names = fs.readdirSync(top, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
    [top, ...names.map((name) => join(top, name))].forEach((place) => checkOwn(place, FILES));
    return names;
  } catch (error) {
    throw explain(error, `look into ${quote(top)}`);
  }
}

/** Of the top level, or of the SNI directory of that name. */
export function readPrevious(state: string, sni: string | null = null): Pair | null {
  return readInstalled(previousDirectory(state, sni)).pair;
}

/** Null where something else is in the way, too. */
export function readPreviousOfName(state: string, name: string): Pair | null {
  return !isKept(state, name) ? null : readInstalled(previousOfName(state, name)).pair;
}

/**
 * Written beside what is kept there until it is put in its place, one step after the other, each on the
 * disk before the next: a crash leaves no pair rather than a certificate with another one's key.
 */
export function preparePrevious(pair: Pair, directory: string): PreparedFile {
  try {
    const created = fs.mkdirSync(directory, { mode: 0o700, recursive: true });
    if (created !== undefined) [dirname(created), dirname(directory)].forEach(syncDirectory);
    const { chain: certificate, key } = installedPaths(directory);
    using stack = new DisposableStack();
    const newKey = stack.use(prepareFile(key, pair.keyPem, KEY_MODE));
    const newCertificate = stack.use(prepareFile(certificate, pair.chainPem, CERTIFICATE_MODE));
    const written = stack.move();
    return {
      putInPlace() {
        removeFile(certificate);
        newKey.putInPlace();
        newCertificate.putInPlace();
      },
      [Symbol.dispose]: () => written.dispose(),
    };
  } catch (error) {
    throw explain(error, `keep the previous certificate in ${quote(directory)}`);
  }
}

/** Nothing is renewed or pushed there, whatever the hint says for where that is so. */
export function noWayBack({ message }: Failure, only = ""): Failure {
  return new Failure(message, {
    hint: "there is no good pair to go back to: what is deployed stays; certsync deploy, without " +
      `--rollback${only}, takes what is staged`,
  });
}

/** There is nothing that can be put back for the name. */
export function noPreviousOfName(state: string, name: string): Failure {
  const hindrance = orFailure(() => checkKept(state, name));
  return hindrance ?? noPrevious(previousOfName(state, name));
}

/** There is nothing that can be put back. */
export function noPrevious(directory: string): Failure {
  const { problem } = readInstalled(directory);
  const isThere = fs.existsSync(installedPaths(directory).chain);
  return new Failure(
    `there is no previous certificate in ${quote(directory)}${isThere ? `: ${problem}` : ""}`,
    { hint: "deploy keeps one there when it replaces a good certificate by another" },
  );
}
