// A certificate with its key: judged as DER, and installed as that very DER, written anew.

import * as fs from "node:fs";
import { join } from "node:path";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";
import { Failure, quote } from "../failure.ts";
import {
  removeTemporary,
  syncDirectory,
  TEMPORARY_PREFIX,
  writeSynced,
} from "../files/write_file.ts";
import type { KeyForm } from "../programs/openssl.ts";
import { formatPem, OTHER_TEXT, scanPem } from "../values/pem.ts";
import {
  type Certificate,
  isPrivateKey,
  parseChain,
  type Reading,
  twoReadings,
} from "./certificate.ts";
import { objectIdentifier, readElement, readElements, tags } from "./der.ts";
import { fits } from "./key_fit.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Pair {
  /** In the one form that everybody reads alike, from the DER of `chain` and of the key. */
  readonly chainPem: Bytes;
  readonly keyPem: Bytes;
  readonly keyForm: KeyForm;
  readonly chain: readonly Certificate[];
  readonly leaf: Certificate;
}

/** Where a pair lies. */
export interface PairPaths {
  readonly chain: string;
  readonly key: string;
}

/** In a directory of mailcow's, under the names by which its services read them. */
export function installedPaths(directory: string): PairPaths {
  return { chain: join(directory, "cert.pem"), key: join(directory, "key.pem") };
}

/** In a directory of certbot's or of the staging, under the names that certbot gave them. */
export function deliveredPaths(directory: string): PairPaths {
  return { chain: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
}

/** As they were read. */
export interface PairFiles {
  readonly chainPem: Uint8Array<ArrayBuffer>;
  readonly keyPem: Uint8Array<ArrayBuffer>;
}

/** The paths are for messages. Throws a Failure where the chain or the key file is none. */
export function parsePair(
  files: { chainPem: Uint8Array; keyPem: Uint8Array },
  paths: PairPaths,
  reading: Reading = "strict",
): Pair {
  return pairWithKey(
    parseChain(files.chainPem, quote(paths.chain), reading),
    files.keyPem,
    paths,
    reading,
  );
}

/** Of a chain that was parsed already, leaf first. Throws a Failure where the key file is none. */
export function pairWithKey(
  chain: readonly [Certificate, ...Certificate[]],
  keyPem: Uint8Array,
  paths: PairPaths,
  reading: Reading = "strict",
): Pair {
  const key = parseKey(keyPem, quote(paths.key), reading);
  return {
    chainPem: formatPem(chain.map(({ der }) => ({ label: "CERTIFICATE", der }))),
    keyPem: formatPem([key]),
    keyForm: key.form,
    chain,
    leaf: chain[0],
  };
}

/** Whether everybody would read both files alike. */
export function isPlain({ chainPem, keyPem }: { chainPem: Uint8Array; keyPem: Uint8Array }) {
  return [chainPem, keyPem].every((file) => scanPem(file).doubt === null);
}

interface Key {
  readonly label: string;
  readonly der: Bytes;
  readonly form: KeyForm;
}

/** One key that can be read without a passphrase, and nothing else but its curve's parameters. */
function parseKey(keyPem: Uint8Array, where: string, reading: Reading): Key {
  const { blocks, doubt } = scanPem(keyPem);
  const keys = blocks.filter(isPrivateKey);
  const [key] = keys;
  const wrong = reading === "strict" ? doubt : null;
  if (key === undefined) throw notAKey(`${where} ${wrong ?? "holds none"}`);
  if (keys.some(({ label, hasHeaders }) => label === "ENCRYPTED PRIVATE KEY" || hasHeaders)) {
    throw new Failure(`the private key is encrypted: ${where}`, {
      hint: "no mail service can ask for a passphrase; store the key without one",
    });
  }
  const hasParameters = blocks[0]?.label === "EC PARAMETERS" && key.label === "EC PRIVATE KEY";
  if (blocks.length > (hasParameters ? 2 : 1) || wrong === OTHER_TEXT) {
    throw new Failure(`anything but one private key in the key file: ${where}`, {
      hint: "leave only the block from BEGIN PRIVATE KEY to END PRIVATE KEY in it",
    });
  }
  if (wrong !== null) throw twoReadings("private key", `${where} ${wrong}`);
  try {
    if (key.der === null) throw new RangeError("not base64");
    return { label: key.label, der: key.der, form: formOf(key.label, key.der) };
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw notAKey(`${where} cannot be parsed`, cause);
  }
}

function notAKey(what: string, cause?: unknown): Failure {
  return new Failure(`not a private key: ${what}`, {
    hint:
      "put the whole privkey.pem of that certificate there; where it was pushed, run on the NPM " +
      "host: certsync push --force",
    cause,
  });
}

/** How each begins. */
const keyShapes: Readonly<Record<string, readonly number[]>> = {
  "PRIVATE KEY": [tags.integer, tags.sequence, tags.octetString],
  "EC PRIVATE KEY": [tags.integer, tags.octetString],
  "RSA PRIVATE KEY": [tags.integer, tags.integer, tags.integer],
};

/** RSA, RSA-PSS, elliptic curves, Ed25519 and Ed448: of others openssl may take minutes to read one. */
const keyAlgorithms: Readonly<Record<string, KeyForm>> = {
  "1.2.840.113549.1.1.1": "other",
  "1.2.840.113549.1.1.10": "other",
  "1.2.840.10045.2.1": "ec",
  "1.3.101.112": "other",
  "1.3.101.113": "other",
};

/** Of RFC 5958, 5915 or 8017, as the label says: by the wrong one some readers would find another. */
function formOf(label: string, der: Bytes): KeyForm {
  const parts = readElements(readElement(der).content);
  const shape = keyShapes[label];
  if (!shape?.every((tag, index) => parts[index]?.tag === tag)) throw new RangeError("another key");
  const [, second] = parts;
  if (label !== "PRIVATE KEY" || !second) return label === "EC PRIVATE KEY" ? "ec" : "other";
  const [algorithm] = readElements(second.content);
  const kind = algorithm && keyAlgorithms[objectIdentifier(algorithm.content)];
  if (kind === undefined) throw new RangeError("a kind of key that no mail server has");
  return kind;
}

/**
 * Whether the key is the leaf's, seen without a process: for waiting and for telling that all is
 * well. openssl judges what is installed, and knows curves that node:crypto does not.
 */
export function keyFits({ leaf, keyPem }: Pair): boolean {
  return fits(leaf, keyPem) === true;
}

/** Whether the key is seen to be another's; of kinds that openssl alone knows none is. */
export function keyIsAnothers({ leaf, keyPem }: Pair): boolean {
  return fits(leaf, keyPem) === false;
}

/** Whether the key is of none of the certificates, as after one half of a push or of a renewal. */
export function isMixed({ chain, keyPem }: Pair): boolean {
  return chain.every((certificate) => fits(certificate, keyPem) === false);
}

/** Whether two pairs are the same DER. */
export function samePair(a: Pair, b: Pair): boolean {
  return sameBytes(a.chainPem, b.chainPem) && sameBytes(a.keyPem, b.keyPem);
}

/** In a time that tells nothing of where they differ; their lengths are no secret. */
function sameBytes(a: Bytes, b: Bytes): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export const CERTIFICATE_MODE = 0o644;
export const KEY_MODE = 0o600;

/**
 * Puts cert.pem and key.pem into each directory: every file is written and synced beside its place
 * first, then all are renamed back to back, key before certificate, then the directories synced.
 * Whatever stands in a place is replaced, a symbolic link too. Where that fails, each directory
 * holds its old pair or the new one. Returns the paths.
 */
export function installPair(pair: Pair, directories: readonly string[]): string[] {
  const places = directories.map(placeIn);
  for (const { key, certificate } of places) [key, certificate].forEach(checkReplaceable);
  try {
    for (const place of places) {
      writeSynced(place.newKey, pair.keyPem, KEY_MODE);
      writeSynced(place.newCertificate, pair.chainPem, CERTIFICATE_MODE);
      keepKey(place);
    }
    places.forEach(renameBoth);
    for (const { oldKey } of places) fs.rmSync(oldKey, { force: true });
  } catch (error) {
    for (const { newKey, newCertificate, oldKey } of places) {
      [newKey, newCertificate, oldKey].filter((path) => !isDirectory(path))
        .forEach((path) => fs.rmSync(path, { force: true }));
    }
    throw error;
  }
  directories.forEach(syncDirectory);
  return places.flatMap(({ key, certificate }) => [certificate, key]).sort();
}

function placeIn(directory: string) {
  const temporary = (name: string) => join(directory, TEMPORARY_PREFIX + name);
  const { chain: certificate, key } = installedPaths(directory);
  return {
    key,
    certificate,
    newKey: temporary("key.pem"),
    newCertificate: temporary("cert.pem"),
    oldKey: temporary("old-key.pem"),
  };
}

type Place = ReturnType<typeof placeIn>;

/**
 * A second name for the old key, under which it can be put back. A link is made anew: without
 * CAP_FOWNER nobody can give a second name to that of another user.
 */
function keepKey({ key, oldKey }: Place): void {
  removeTemporary(oldKey);
  const stat = fs.lstatSync(key, { throwIfNoEntry: false });
  if (stat?.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(key), oldKey);
  else if (stat?.isFile()) fs.linkSync(key, oldKey);
}

function renameBoth({ key, newKey, certificate, newCertificate, oldKey }: Place): void {
  fs.renameSync(newKey, key);
  try {
    fs.renameSync(newCertificate, certificate);
  } catch (error) {
    if (isThere(oldKey)) fs.renameSync(oldKey, key);
    else fs.rmSync(key); // there was none, or nothing that could be read
    throw error;
  }
}

/** Also where it is a link that leads nowhere. */
function isThere(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** A rename cannot replace a directory, and half of the renames would be done by then. */
function checkReplaceable(path: string): void {
  if (!isDirectory(path)) return;
  throw new Failure(`there is a directory where a file belongs: ${quote(path)}`, {
    hint: "remove it; docker makes one where a file that it should mount is missing",
  });
}

function isDirectory(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
