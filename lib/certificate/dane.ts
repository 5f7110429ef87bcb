// DANE for SMTP (RFC 6698, 7671, 7672): which TLSA records count, and whether a chain fits them.

import { Buffer } from "node:buffer";
import { createHash, createPublicKey } from "node:crypto";
import { namesCover } from "../values/host_name.ts";
import { type Certificate, parseDer, timeState } from "./certificate.ts";
import { readElement } from "./der.ts";

export interface TlsaRecord {
  readonly usage: number;
  readonly selector: number;
  readonly matching: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** What is given to a sender, or is to be. */
export interface Chain {
  readonly leaf: Certificate;
  readonly chain: readonly Certificate[];
}

/** At one of the addresses that senders go to. */
export interface ChainAt extends Chain {
  readonly ip: string;
}

const USAGES = { trustAnchor: 2, endEntity: 3 } as const;
const SELECTORS = { certificate: 0, publicKey: 1 } as const;
const FULL = 0;
const WEAKEST = 1;

/** By matching type; the higher type is the stronger digest, as senders rank them. */
const digests: Readonly<Record<number, { readonly name: string; readonly bytes: number }>> = {
  1: { name: "sha256", bytes: 32 },
  2: { name: "sha512", bytes: 64 },
};

/** Reads `3 1 1 hex`, with blanks in the hex or none, as dig prints it; null where it is not that. */
export function parseTlsaRecord(text: string): TlsaRecord | null {
  const [, usage, selector, matching, hex = ""] =
    /^(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+([0-9A-Fa-f\s]+)$/.exec(text.trim()) ?? [];
  const digits = hex.replace(/\s/g, "");
  if (digits === "" || digits.length % 2 !== 0) return null;
  return {
    usage: Number(usage),
    selector: Number(selector),
    matching: Number(matching),
    data: Uint8Array.fromHex(digits),
  };
}

export function formatTlsaRecord({ usage, selector, matching, data }: TlsaRecord): string {
  return `${usage} ${selector} ${matching} ${data.toHex()}`;
}

/**
 * The record that lets senders take the chain, beside what is published: of its key, or of its
 * issuer where only issuers are published and that is enough. A weaker digest than the strongest at
 * that place would be passed over.
 */
export function lackingRecord(
  published: readonly TlsaRecord[],
  { leaf, chain }: Chain,
  name: string,
  now: Date,
): TlsaRecord {
  const counted = countedRecords(published);
  const [, issuer] = chain;
  if (isByIssuer(counted) && issuer !== undefined) {
    const record = keyRecord(USAGES.trustAnchor, issuer, counted);
    if (judgeDane([...published, record], chain, name, now).kind === "fits") return record;
  }
  return keyRecord(USAGES.endEntity, leaf, counted);
}

/** Whoever publishes issuers alone is free to change the key. */
export function isByIssuer(published: readonly TlsaRecord[]): boolean {
  const counted = countedRecords(published);
  return counted.length > 0 && counted.every(({ usage }) => usage === USAGES.trustAnchor);
}

/** Whether who sees the leaf alone could be wrong about the chain. */
export function needsIssuers(published: readonly TlsaRecord[]): boolean {
  return countedRecords(published).some(({ usage }) => usage === USAGES.trustAnchor);
}

function keyRecord(
  usage: number,
  { publicKey }: Certificate,
  counted: readonly TlsaRecord[],
): TlsaRecord {
  const { publicKey: selector } = SELECTORS;
  const matching = Math.max(
    WEAKEST,
    ...counted.filter((record) => record.usage === usage && record.selector === selector)
      .map((record) => record.matching),
  );
  const digest = createHash(digests[matching]?.name ?? "").update(publicKey).digest();
  return { usage, selector, matching, data: Uint8Array.from(digest) };
}

/**
 * Those that senders go by: usage 2 and 3, well formed, and of the digests for one usage and selector
 * the strongest alone. What is left out is as if it were not published.
 */
export function countedRecords(records: readonly TlsaRecord[]): readonly TlsaRecord[] {
  const usable = records.filter(isUsable);
  return usable.filter((record) =>
    record.matching === FULL ||
    !usable.some(({ usage, selector, matching }) =>
      usage === record.usage && selector === record.selector && matching > record.matching
    )
  );
}

function isUsable({ usage, selector, matching, data }: TlsaRecord): boolean {
  if (usage !== USAGES.trustAnchor && usage !== USAGES.endEntity) return false;
  if (selector !== SELECTORS.certificate && selector !== SELECTORS.publicKey) return false;
  if (matching !== FULL) return digests[matching]?.bytes === data.length;
  return selector === SELECTORS.certificate ? asCertificate(data) !== null : isPublicKey(data);
}

function asCertificate(der: Uint8Array<ArrayBuffer>): Certificate | null {
  try {
    readElement(der);
    return parseDer(der);
  } catch {
    return null; // whatever stands in a zone
  }
}

function isPublicKey(der: Uint8Array<ArrayBuffer>): boolean {
  try {
    readElement(der);
    publicKeyOf(der);
    return true;
  } catch {
    return false;
  }
}

function publicKeyOf(der: Uint8Array<ArrayBuffer>) {
  return createPublicKey({ key: Buffer.from(der), format: "der", type: "spki" });
}

/** What a sender makes of a chain. */
export type DaneFit =
  /** No record counts: to a sender there is no DANE. */
  | { readonly kind: "no-dane" }
  | { readonly kind: "fits"; readonly record: TlsaRecord }
  | { readonly kind: "misfit"; readonly counted: readonly TlsaRecord[] };

/**
 * Whether a sender that knows these validated records takes the chain, leaf first, for the MX host
 * `name`. Usage 3 asks for neither name nor dates, usage 2 for both and for an issuer that is served.
 */
export function judgeDane(
  records: readonly TlsaRecord[],
  chain: readonly Certificate[],
  name: string,
  now: Date,
): DaneFit {
  const counted = countedRecords(records);
  const [leaf] = chain;
  if (counted.length === 0) return { kind: "no-dane" };
  const record = leaf &&
    (counted.find((record) => record.usage === USAGES.endEntity && holds(record, leaf)) ??
      findAnchor(counted, leaf, chain.slice(1), name, now));
  return record ? { kind: "fits", record } : { kind: "misfit", counted };
}

/** Where a new chain takes the place of another one. */
export interface Change {
  /** What was given until now, or where that is not known, what lay there; else nothing. */
  readonly before: readonly Chain[];
  readonly next: Chain;
  /** What the name's addresses give by now; nothing where they were not asked, or are silent. */
  readonly reached: readonly ChainAt[];
}

/** What becomes of DANE. `lacking`: what no record fits, ours without an address. */
export type DaneChange =
  | { readonly kind: "no-dane" | "fits" }
  /** All senders go to another host, and the records are that one's. */
  | { readonly kind: "anothers"; readonly hosts: readonly ChainAt[] }
  /** `breaks`: what was there before did fit, or nobody knows. */
  | { readonly kind: "breaks" | "neither"; readonly lacking: readonly (Chain | ChainAt)[] };

export function daneChange(
  records: readonly TlsaRecord[],
  { before, next, reached }: Change,
  name: string,
  now: Date,
): DaneChange {
  const fit = judgeDane(records, next.chain, name, now).kind;
  if (fit !== "misfit") return { kind: fit };
  const fits = ({ chain }: Chain) => judgeDane(records, chain, name, now).kind === "fits";
  const breaks = before.length === 0 || before.some(fits);
  const ours = new Set([next, ...before].map(({ leaf }) => leaf.fingerprint));
  const others = reached.filter(({ leaf }) => !ours.has(leaf.fingerprint));
  const isReached = reached.length === 0 || others.length < reached.length;
  const wrong = others.filter((other) => !fits(other));
  if (!breaks && !isReached && wrong.length === 0) return { kind: "anothers", hosts: others };
  return {
    kind: breaks ? "breaks" : "neither",
    lacking: [...(breaks || isReached ? [next] : []), ...wrong],
  };
}

function holds(
  { selector, matching, data }: TlsaRecord,
  { x509, publicKey }: Certificate,
): boolean {
  const part = selector === SELECTORS.certificate ? x509.raw : publicKey;
  const digest = digests[matching];
  const expected = digest === undefined ? part : createHash(digest.name).update(part).digest();
  return expected.length === data.length && data.every((byte, index) => byte === expected[index]);
}

/** Goes up from the leaf, issuer by issuer, to the first that a record of usage 2 names. */
function findAnchor(
  counted: readonly TlsaRecord[],
  leaf: Certificate,
  served: readonly Certificate[],
  name: string,
  now: Date,
): TlsaRecord | undefined {
  const anchors = counted.filter(({ usage }) => usage === USAGES.trustAnchor);
  if (anchors.length === 0 || namesCover(leaf.names, name) === null) return undefined;
  let left = [...served, ...anchors.flatMap((anchor) => publishedIssuer(anchor) ?? [])];
  let below = leaf;
  while (timeState(below, now) === "valid") {
    const issuer = left.find((issuer) => hasIssued(issuer, below));
    if (issuer === undefined) return anchors.find((anchor) => hasSigned(anchor, below));
    const anchor = anchors.find((anchor) => holds(anchor, issuer));
    if (anchor !== undefined) return anchor; // whose own dates OpenSSL asks for no more
    left = left.filter((other) => other !== issuer);
    below = issuer;
  }
  return undefined;
}

/** `2 0 0` brings the whole certificate, which then need not be served. */
function publishedIssuer({ selector, matching, data }: TlsaRecord): Certificate | null {
  return selector === SELECTORS.certificate && matching === FULL ? asCertificate(data) : null;
}

/** By name and key identifier; whether the chain verifies is openssl's to say. */
function hasIssued({ x509 }: Certificate, subject: Certificate): boolean {
  return x509.ca && subject.x509.checkIssued(x509);
}

/** `2 1 0` brings the key that signed the topmost certificate. */
function hasSigned({ selector, matching, data }: TlsaRecord, { x509 }: Certificate): boolean {
  if (selector !== SELECTORS.publicKey || matching !== FULL) return false;
  try {
    return x509.verify(publicKeyOf(data));
  } catch {
    return false; // node:crypto throws for curves that it does not know
  }
}
