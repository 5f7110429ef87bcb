// Whether a pair may be used: the questions that push and deploy both ask before anything moves.

import { join } from "node:path";
import type { Trust } from "../config/schema.ts";
import { explain, Failure, quote, quoteAll } from "../failure.ts";
import { makeScratch } from "../files/state.ts";
import { writeSynced } from "../files/write_file.ts";
import {
  type ChainError,
  judgeLeaf,
  publicKeyOf,
  Unreadable,
  verifyChain,
} from "../programs/openssl.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { formatTime } from "../values/time.ts";
import { type Certificate, isStagingIssuer, timeState } from "./certificate.ts";
import { keyFits, type Pair, type PairPaths } from "./pair.ts";

export interface Demands {
  readonly domain: string;
  readonly trust: Trust;
  /** How messages call the key of the config file that sets `trust`. */
  readonly trustKey: "push.trust" | "deploy.trust";
  /** What to do about a key that does not match, if not to wait. */
  readonly mismatchHint?: string | undefined;
}

/** A refusal that push can do something about. */
export class Refusal extends Failure {
  override name = "Refusal";

  constructor(readonly about: "key" | "chain", { message, hint }: Failure) {
    super(message, { hint });
  }
}

/** Why the pair must not be used, or null. `state` is where temporary files may be made. */
export async function judgePair(
  pair: Pair,
  paths: PairPaths,
  demands: Demands,
  state: string | null,
  context: RunContext,
): Promise<Failure | null> {
  const [leaf, keyPublic, chainError] = await allEnded([
    orUnreadable(judgeLeaf(pair.chainPem, demands.domain, context)),
    orUnreadable(publicKeyOf(pair.keyPem, pair.keyForm, context)),
    judgeChain(pair, demands.trust, state, context),
  ]);
  if (leaf instanceof Unreadable) {
    return new Failure(`not a certificate: ${quote(paths.chain)}: ${leaf.message}`);
  }
  if (keyPublic instanceof Unreadable) {
    return new Failure(`not a private key: ${quote(paths.key)}: ${keyPublic.message}`);
  }
  if (leaf.fingerprint !== pair.leaf.fingerprint) {
    return new Failure(`openssl reads another certificate than certsync: ${quote(paths.chain)}`, {
      hint: `openssl reads ${leaf.fingerprint}; have the certificate issued anew`,
    });
  }
  if (!sameKey(leaf.publicKey, keyPublic)) {
    return mismatch(pair, paths, keyPublic, demands.mismatchHint);
  }
  return timeRefusal(pair.leaf, paths, context.now) ??
    nameRefusal(pair.leaf, paths, demands.domain, leaf.coversHost) ??
    (chainError && new Refusal("chain", chainRefusal(pair, paths, demands, chainError))) ??
    (demands.trust.kind === "none" ? null : authorityRefusal(pair, paths));
}

/**
 * Whether key and certificate belong together, whatever else is wrong with them. Throws a Failure
 * where openssl cannot tell.
 */
export async function keyMatches(pair: Pair, context: RunContext): Promise<boolean> {
  if (keyFits(pair)) return true;
  const [leaf, keyPublic] = await allEnded([
    orUnreadable(judgeLeaf(pair.chainPem, "localhost", context)),
    orUnreadable(publicKeyOf(pair.keyPem, pair.keyForm, context)),
  ]);
  if (leaf instanceof Unreadable || keyPublic instanceof Unreadable) return false;
  return sameKey(leaf.publicKey, keyPublic);
}

async function orUnreadable<T>(asked: Promise<T>): Promise<T | Unreadable> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Unreadable) return error;
    throw error;
  }
}

function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

async function judgeChain(
  pair: Pair,
  trust: Trust,
  state: string | null,
  context: RunContext,
): Promise<ChainError | null> {
  if (trust.kind === "none") return null;
  using scratch = makeScratch(state);
  const file = join(scratch.directory, "chain.pem");
  try {
    writeSynced(file, pair.chainPem, 0o600);
  } catch (error) {
    throw explain(error, `write ${quote(file)}`);
  }
  return await verifyChain(file, trust, context);
}

function mismatch(
  pair: Pair,
  paths: PairPaths,
  keyPublic: Uint8Array,
  hint = "a renewal or a push may be under way; run this again in a minute",
): Failure {
  if (pair.chain.slice(1).some(({ publicKey }) => sameKey(publicKey, keyPublic))) {
    return new Failure(`the leaf is not first in the chain file: ${quote(paths.chain)}`, {
      hint: "the certificate of the key comes first, then its intermediates, as in fullchain.pem",
    });
  }
  const refusal = new Failure(`key does not match certificate: ${quote(paths.key)}`, { hint });
  return new Refusal("key", refusal);
}

/** Pure. */
function timeRefusal(leaf: Certificate, paths: PairPaths, now: Date): Failure | null {
  switch (timeState(leaf, now)) {
    case "valid":
      return null;
    case "expired":
      return new Failure(
        `certificate expired at ${formatTime(leaf.notAfter)}: ${quote(paths.chain)}`,
        { hint: "renew it in Nginx Proxy Manager, or see why it was not renewed there" },
      );
    case "not-yet-valid":
      return new Failure(
        `certificate is not yet valid before ${formatTime(leaf.notBefore)}: ${quote(paths.chain)}`,
        { hint: "is the clock of this host right? see timedatectl" },
      );
  }
}

/** openssl also takes partial wildcards; this program's own rule takes none, and both must agree. */
function nameRefusal(
  leaf: Certificate,
  paths: PairPaths,
  domain: string,
  opensslAgrees: boolean,
): Failure | null {
  if (opensslAgrees && namesCover(leaf.names, domain) !== null) return null;
  return new Failure(`certificate does not cover ${quote(domain)}: ${quote(paths.chain)}`, {
    hint: `it is for ${quoteAll(leaf.names) || "no name at all"}`,
  });
}

/** Whoever has its key could issue a certificate for any name below the same anchor. */
function authorityRefusal({ leaf }: Pair, paths: PairPaths): Failure | null {
  if (!leaf.x509.ca) return null;
  return new Failure(`the leaf is the certificate of a CA: ${quote(paths.chain)}`, {
    hint: "a server's certificate has basicConstraints CA:FALSE; issue one",
  });
}

const ISSUER_UNKNOWN = [2, 19, 20, 21];

const ISSUE_ANEW = "have the certificate issued anew, and take its intermediates from the CA";

/** By verify(1)'s numbers. */
const chainHints: Readonly<Record<number, string>> = {
  7: "the file is damaged, or an intermediate in it only has the right one's name: have the " +
    "certificate issued anew, and take its intermediates from the CA",
  66: "have the certificate issued anew with a stronger key: RSA of 2048 bits at least, or ECDSA",
};

/** Which certificate of the chain is at fault, by its place in the file and its subject. */
function placeIn(chain: Pair["chain"], depth: number): string {
  let at = chain[0];
  for (let level = 0; level < depth; level++) {
    at = chain.find(({ subject }) => subject === at?.issuer);
  }
  if (at === undefined) return `an issuer above the chain (${depth} above the leaf)`;
  return `certificate ${chain.indexOf(at) + 1} of ${chain.length}, ${quote(at.subject)}`;
}

function chainRefusal(
  { chain, leaf }: Pair,
  paths: PairPaths,
  { trust, trustKey }: Demands,
  { code, words, depth = 0 }: ChainError,
): Failure {
  const top = chain.at(-1) ?? leaf;
  const what = `certificate chain does not verify: ${quote(paths.chain)}: ` +
    (code === null ? words : `${placeIn(chain, depth)}: ${words}`);
  if (isStagingIssuer(leaf)) {
    return new Failure(what, {
      hint: "Let's Encrypt's staging environment issued it; issue a real one",
    });
  }
  if (code === 18) {
    return new Failure(what, { hint: `it is self-signed; if it shall be, set ${trustKey}` });
  }
  if (code === null && trust.kind === "file") {
    return new Failure(what, {
      hint: `see whether ${quote(trust.path)}, which ${trustKey} names, is a CA file in PEM`,
    });
  }
  if (code === null || !ISSUER_UNKNOWN.includes(code)) {
    return new Failure(what, { hint: chainHints[code ?? 0] ?? ISSUE_ANEW });
  }
  const leafAlone = "the chain file holds the leaf alone; it must hold its intermediates too " +
    "(fullchain.pem)";
  if (trust.kind === "file") {
    const notVouched = `${trustKey} is ${quote(trust.path)}, which does not vouch for ` +
      quote(top.issuer);
    return new Failure(what, {
      hint: chain.length === 1 ? `${leafAlone}: ${notVouched}` : notVouched,
    });
  }
  if (chain.length === 1) return new Failure(what, { hint: leafAlone });
  return new Failure(what, {
    hint:
      `this host's CA bundle does not know ${quote(top.issuer)}: install or update the package ` +
      `ca-certificates, or set ${trustKey} to the file of your own CA`,
  });
}
