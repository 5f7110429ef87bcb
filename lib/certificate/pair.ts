// A certificate with its key: read as bytes once, installed as those very bytes.

import { createPrivateKey } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";
import { Failure, quote } from "../failure.ts";
import { syncDirectory, TEMPORARY_PREFIX, writeSynced } from "../files/write_file.ts";
import { type Certificate, parseChain } from "./certificate.ts";
import { type PemBlock, scanPem } from "./pem.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Pair {
  readonly chainPem: Bytes;
  readonly keyPem: Bytes;
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

/**
 * The paths are for messages. Throws a Failure where the chain or the key file is none. Servers pass
 * over text between the blocks; `text` says whether it may be there.
 */
export function parsePair(
  files: { chainPem: Bytes; keyPem: Bytes },
  paths: PairPaths,
  { text }: { text: "allowed" | "refused" } = { text: "refused" },
): Pair {
  const chain = parseChain(files.chainPem, quote(paths.chain), { text });
  checkKeyFile(files.keyPem, quote(paths.key), { text });
  return { ...files, chain, leaf: chain[0] };
}

const keyLabels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/** One key that can be read without a passphrase, and nothing else but its curve's parameters. */
function checkKeyFile(
  keyPem: Bytes,
  where: string,
  { text }: { text: "allowed" | "refused" },
): void {
  const pem = scanPem(keyPem);
  if (pem.kind === "binary") throw new Failure(`not a private key: ${where} is not PEM text`);
  const isEncrypted = (block: PemBlock) =>
    block.label === "ENCRYPTED PRIVATE KEY" ||
    (keyLabels.includes(block.label) && block.hasHeaders);
  if (pem.blocks.some(isEncrypted)) {
    throw new Failure(`the private key is encrypted: ${where}`, {
      hint: "no mail service can ask for a passphrase; store the key without one",
    });
  }
  const others = pem.blocks.filter(({ label }) => label !== "EC PARAMETERS");
  const keys = others.filter(({ label }) => keyLabels.includes(label));
  if (keys.length === 0) throw new Failure(`not a private key: ${where} holds none`);
  if (others.length > 1 || (pem.hasOtherText && text === "refused")) {
    throw new Failure(`anything but one private key in the key file: ${where}`, {
      hint: "leave only the block from BEGIN PRIVATE KEY to END PRIVATE KEY in it",
    });
  }
}

/**
 * Whether the key is the leaf's, seen without a process: for waiting and for telling that all is
 * well. openssl judges what is installed, and knows curves that node:crypto does not.
 */
export function keyFits({ leaf, keyPem }: Pair): boolean {
  // The block alone: node:crypto takes nothing before it, such as the parameters of the curve.
  const [key] = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^-]+-----END \1-----/.exec(
    new TextDecoder().decode(keyPem),
  ) ?? [];
  if (key === undefined) return false;
  try {
    return leaf.x509.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false; // node:crypto throws for keys that it does not know
  }
}

/** Whether two pairs hold the same bytes. */
export function sameBytes(a: Pair, b: Pair): boolean {
  return areEqual(a.chainPem, b.chainPem) && areEqual(a.keyPem, b.keyPem);
}

/** In a time that tells nothing of where they differ; their lengths are no secret. */
function areEqual(a: Bytes, b: Bytes): boolean {
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
      for (const path of [newKey, newCertificate, oldKey]) fs.rmSync(path, { force: true });
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

/** A second name for the old key, or for the link in its place, under which it can be put back. */
function keepKey({ key, oldKey }: Place): void {
  fs.rmSync(oldKey, { force: true });
  if (isThere(key)) fs.linkSync(key, oldKey);
}

function renameBoth({ key, newKey, certificate, newCertificate, oldKey }: Place): void {
  fs.renameSync(newKey, key);
  try {
    fs.renameSync(newCertificate, certificate);
  } catch (error) {
    if (isThere(oldKey)) fs.renameSync(oldKey, key);
    else fs.rmSync(key); // there was none
    throw error;
  }
}

/** Also where it is a link that leads nowhere. */
function isThere(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** A rename cannot replace a directory, and half of the renames would be done by then. */
function checkReplaceable(path: string): void {
  if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new Failure(`there is a directory where a file belongs: ${quote(path)}`, {
    hint: "remove it; docker makes one where a file that it should mount is missing",
  });
}
