// A certificate: what it says of itself, read from PEM without any outside program.

import { createHash, X509Certificate } from "node:crypto";
import { Failure } from "../failure.ts";
import { OTHER_TEXT, type PemBlock, scanPem } from "../values/pem.ts";
import { MAX_PARTS, objectIdentifier, readElement, readElements, readTime, tags } from "./der.ts";

export interface Certificate {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly x509: X509Certificate;
  /** SHA-256 over the DER: upper-case hex pairs joined by colons. */
  readonly fingerprint: string;
  /** RFC 2253, as `openssl -nameopt RFC2253` prints it; empty where there is none. */
  readonly subject: string;
  readonly issuer: string;
  /** The DNS names it stands for: its SANs, or the CN where it has no DNS SAN. */
  readonly names: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** The SubjectPublicKeyInfo in DER: what a TLSA record with selector 1 is made from. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

/** Far above any real chain, far below what parsing would notice. */
const MAX_CHAIN_LENGTH = 32;

/** Whether a text that two readers could read differently is refused, or read as OpenSSL reads it. */
export type Reading = "strict" | "lenient";

/**
 * Reads a chain file, leaf first. Throws a Failure, beginning with what is wrong with `where`, unless
 * it holds certificates and nothing but certificates.
 */
export function parseChain(
  bytes: Uint8Array,
  where: string,
  reading: Reading = "strict",
): [Certificate, ...Certificate[]] {
  const { blocks, doubt } = scanPem(bytes);
  if (blocks.some(isPrivateKey)) {
    throw new Failure(`a private key is in the chain file: ${where}`, {
      hint: "keep the key in privkey.pem alone, and replace it if others could read that file",
    });
  }
  const wrong = reading === "strict" ? doubt : null;
  const [leaf, ...others] = blocks;
  if (leaf === undefined) {
    throw new Failure(`not a certificate: ${where} ${wrong ?? "holds no certificate"}`, WHOLE);
  }
  if (blocks.some(({ label }) => label !== "CERTIFICATE")) {
    throw foreign(`${where} holds another kind of block`); // its name could be anything
  }
  if (wrong === OTHER_TEXT) throw foreign(`${where} ${wrong}`);
  if (wrong !== null) throw twoReadings("certificate", `${where} ${wrong}`);
  if (blocks.length > MAX_CHAIN_LENGTH) {
    throw new Failure(`not a certificate chain: ${where} holds ${blocks.length} certificates`, {
      hint:
        `leave the leaf and its intermediates in it: no client takes ${MAX_CHAIN_LENGTH} of them`,
    });
  }
  return [parseBlock(leaf, where), ...others.map((block) => parseIssuer(block, where))];
}

const WHOLE = {
  hint:
    "it is damaged, or none at all: put a whole fullchain.pem there; where it was pushed, run on " +
    "the NPM host: certsync push --force",
};

function foreign(what: string): Failure {
  return new Failure(`anything but certificates in the chain file: ${what}`, {
    hint: "leave only the blocks from BEGIN CERTIFICATE to END CERTIFICATE in it",
  });
}

export function twoReadings(what: string, why: string): Failure {
  return new Failure(`not a ${what} that every program reads alike: ${why}`, {
    hint: "write the file anew, in plain PEM with nothing else in it",
  });
}

/** A CA signs with a handful of keys, so that a host's hundred chains have the same few in them. */
const knownIssuers = new Map<string, Certificate>();
const MOST_KNOWN = 16;

function parseIssuer(block: PemBlock, where: string): Certificate {
  const der = block.der === null ? null : new TextDecoder("latin1").decode(block.der);
  const known = der === null ? undefined : knownIssuers.get(der);
  if (known !== undefined) return known;
  const issuer = parseBlock(block, where);
  if (der !== null && knownIssuers.size < MOST_KNOWN) knownIssuers.set(der, issuer);
  return issuer;
}

/** Reads the first certificate in a text that may hold anything around it. */
export function parseFirst(bytes: Uint8Array, where: string): Certificate {
  const block = scanPem(bytes).blocks.find(({ label }) => label === "CERTIFICATE");
  if (block === undefined) throw new Failure(`not a certificate: ${where}`);
  return parseBlock(block, where);
}

export function isPrivateKey({ label }: PemBlock): boolean {
  return label.endsWith("PRIVATE KEY");
}

function parseBlock({ der }: PemBlock, where: string): Certificate {
  try {
    if (der === null) throw new RangeError("not base64");
    return parseDer(der);
  } catch (cause) {
    throw new Failure(`not a certificate: ${where} cannot be parsed`, { ...WHOLE, cause });
  }
}

/**
 * Throws where it is none. node:crypto judges the encoding. Dates and names are read here (RFC 5280, 4.1
 * and 4.2.1.6), because it takes years that openssl reads differently, and joins the names to one string
 * in which one can pass for several.
 */
export function parseDer(der: Uint8Array<ArrayBuffer>): Certificate {
  const [tbs] = readElements(readElement(der).content);
  if (tbs === undefined) throw new RangeError("empty certificate");
  const fields = readElements(tbs.content);
  if (fields[0]?.tag === 0xa0) fields.shift(); // version
  const [, , issuer, validity, subject, publicKey] = fields;
  if (!issuer || !validity || !subject || !publicKey) {
    throw new RangeError("certificate lacks a field");
  }
  const [notBefore, notAfter] = readElements(validity.content).map(readTime);
  if (!notBefore || !notAfter) throw new RangeError("certificate lacks a time");
  const extensions = fields.find((field) => field.tag === 0xa3);
  const sans = extensions ? readDnsNames(extensions.content) : [];
  const [subjectName, issuerName] = [formatName(subject.content), formatName(issuer.content)];
  const x509 = new X509Certificate(der); // last: what is too large for us is not decoded there
  return {
    der,
    x509,
    fingerprint: x509.fingerprint256,
    subject: subjectName,
    issuer: issuerName,
    names: sans.length > 0 ? sans : commonNames(subject.content),
    notBefore,
    notAfter,
    publicKey: Uint8Array.from(publicKey.encoded),
  };
}

const SUBJECT_ALT_NAME = "2.5.29.17";
const DNS_NAME_TAG = 0x82;

function readDnsNames(extensions: Uint8Array): string[] {
  const names: string[] = [];
  for (const extension of readElements(readElement(extensions).content)) {
    const parts = readElements(extension.content);
    const [oid] = parts, value = parts.at(-1);
    if (oid === undefined || value === undefined) continue;
    if (objectIdentifier(oid.content) !== SUBJECT_ALT_NAME) continue;
    for (const name of readElements(readElement(value.content).content)) {
      if (name.tag === DNS_NAME_TAG) names.push(latin1(name.content));
    }
  }
  return names;
}

const COMMON_NAME = "2.5.4.3";

const attributeNames: Record<string, string> = {
  [COMMON_NAME]: "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
};

interface Attribute {
  readonly oid: string;
  readonly value: string;
}

/** The relative distinguished names, in the order of the encoding. */
function readName(name: Uint8Array): Attribute[][] {
  const rdns = readElements(name).map((rdn) => readElements(rdn.content));
  const count = rdns.reduce((sum, rdn) => sum + rdn.length, 0);
  if (count > MAX_PARTS) throw new RangeError("a name of too many attributes");
  return rdns.map((rdn) =>
    rdn.map((attribute) => {
      const [oid, value] = readElements(attribute.content);
      if (oid === undefined || value === undefined) throw new RangeError("attribute lacks a part");
      return { oid: objectIdentifier(oid.content), value: decodeString(value.tag, value.content) };
    })
  );
}

function commonNames(subject: Uint8Array): string[] {
  return readName(subject).flat().filter(({ oid }) => oid === COMMON_NAME).map(({ value }) =>
    value
  );
}

/** Backwards, as RFC 2253 has it, and as openssl does also within a part of several values. */
function formatName(name: Uint8Array): string {
  return readName(name).reverse().map((rdn) =>
    rdn.reverse().map(({ oid, value }) => `${attributeNames[oid] ?? oid}=${escapeValue(value)}`)
      .join("+")
  ).join(",");
}

/** RFC 2253, 2.4; what is not printable ASCII becomes `\XX` for each byte of its UTF-8. */
function escapeValue(value: string): string {
  return value
    .replace(/[\\,+"<>;]|^[# ]| $/g, "\\$&")
    .replace(/[^ -~]/gu, (character) =>
      Array.from(
        new TextEncoder().encode(character),
        (byte) => `\\${byte.toString(16).toUpperCase().padStart(2, "0")}`,
      ).join(""));
}

function decodeString(tag: number, content: Uint8Array): string {
  if (tag === tags.utf8String) return new TextDecoder().decode(content);
  if (tag === tags.bmpString) return new TextDecoder("utf-16be").decode(content);
  return latin1(content);
}

function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** Whether the certificate's time has come and is not over. */
export function timeState(
  certificate: Pick<Certificate, "notBefore" | "notAfter">,
  now: Date,
): "valid" | "expired" | "not-yet-valid" {
  if (now > certificate.notAfter) return "expired";
  return now < certificate.notBefore ? "not-yet-valid" : "valid";
}

/** The part of its whole life that is left, 1 at its beginning, 0 or less when it is over. */
export function lifeLeft({ notBefore, notAfter }: Certificate, now: Date): number {
  return (notAfter.getTime() - now.getTime()) / (notAfter.getTime() - notBefore.getTime());
}

/** Its owner should have renewed it long ago: probably no one renews it any more. */
export const OVERDUE = 0.25;

/** Then deploy takes an older one that lives longer in its place. */
export function isOverdue(certificate: Certificate, now: Date): boolean {
  return lifeLeft(certificate, now) < OVERDUE;
}

/** DANE's `3 1 1` (RFC 6698): SHA-256 of the public key, whatever certificate carries it. */
export function tlsaRecord({ publicKey }: Certificate): string {
  return `3 1 1 ${createHash("sha256").update(publicKey).digest("hex")}`;
}

/** Let's Encrypt's staging issuers begin so. */
export function isStagingIssuer({ issuer }: Pick<Certificate, "issuer">): boolean {
  return /(^|[,+])(CN|O)=\(STAGING\)/.test(issuer);
}
