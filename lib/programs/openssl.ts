// What openssl is asked: it is the judge of everything that gets installed.

import type { Trust } from "../config/config_file.ts";
import type { RunContext } from "../run_context.ts";
import { type Endpoint, formatAddress, protocols } from "../values/endpoint_url.ts";
import { type Completion, type Invocation, lastWords, run } from "./run.ts";

const TIMEOUT_MS = 20_000;

/**
 * Debian links OpenSSL's default CA file to its whole bundle, and openssl loads it at every call,
 * which takes ten times as long as the call itself: so not where no trust is asked for.
 */
const withoutBundle = { SSL_CERT_FILE: "/dev/null", SSL_CERT_DIR: "/dev/null" };

export interface LeafJudgement {
  /** PEM of the public key; null where openssl cannot read the certificate. */
  readonly publicKey: string | null;
  readonly coversHost: boolean;
  readonly words: string;
}

/** Of the first certificate in the chain file. x509(1) */
export async function judgeLeaf(
  chainPem: Uint8Array,
  hostName: string,
  context: RunContext,
): Promise<LeafJudgement> {
  const completion = await openssl(
    ["x509", "-noout", "-pubkey", "-checkhost", hostName],
    { stdin: chainPem, timeoutMs: TIMEOUT_MS, environment: withoutBundle },
    context,
  );
  return parseLeafJudgement(completion);
}

/** Pure. */
export function parseLeafJudgement({ code, stdout, stderr }: Completion): LeafJudgement {
  return {
    publicKey: publicKeyIn(stdout),
    // Before 3.2 a mismatch is told by the words alone; the exit code stays 0.
    coversHost: code === 0 && / does match certificate\s*$/.test(stdout),
    words: lastWords(stderr),
  };
}

/** PEM of the public half; null where openssl cannot read the key without asking. pkey(1) */
export async function publicKeyOf(keyPem: Uint8Array, context: RunContext): Promise<string | null> {
  const { stdout } = await openssl(
    ["pkey", "-pubout", "-passin", "pass:"], // an encrypted key must not prompt
    { stdin: keyPem, timeoutMs: TIMEOUT_MS, environment: withoutBundle },
    context,
  );
  return publicKeyIn(stdout);
}

function publicKeyIn(stdout: string): string | null {
  return /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/.exec(stdout)?.[0] ?? null;
}

export interface ChainError {
  /** X509_V_ERR_…, as verify(1) numbers them; null where it did not come to that. */
  readonly code: number | null;
  readonly words: string;
  /** How far above the leaf. */
  readonly depth?: number;
}

/**
 * Verifies the first certificate in the file with the others as intermediates. Level 2 takes no RSA
 * key below 2048 bits and no SHA-1. verify(1)
 */
export async function verifyChain(
  chainFile: string,
  trust: Exclude<Trust, { kind: "none" }>,
  context: RunContext,
): Promise<ChainError | null> {
  const anchors = trust.kind === "file" ? ["-CAfile", trust.path, "-no-CApath", "-no-CAstore"] : [];
  const completion = await openssl(
    [
      "verify",
      "-purpose",
      "sslserver",
      "-auth_level",
      "2",
      ...anchors,
      "-untrusted",
      chainFile,
      chainFile,
    ],
    {
      timeoutMs: TIMEOUT_MS,
      environment: trust.kind === "file" ? withoutBundle : {},
    },
    context,
  );
  return parseChainError(completion);
}

/** Pure. */
export function parseChainError({ code, stderr, stdout }: Completion): ChainError | null {
  if (code === 0) return null;
  const error = /^error (\d+) at (\d+) depth lookup: *(.+)$/m.exec(stderr + stdout);
  return error === null
    ? { code: null, words: stderr.split("\n")[0] ?? "" } // what follows is where in openssl
    : { code: Number(error[1]), depth: Number(error[2]), words: error[3] ?? "" };
}

/** The signature algorithms by which a server is asked for a key of that kind. s_client(1) */
const signatureAlgorithms = {
  rsa: "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512",
  ec: "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512",
  ed25519: "ed25519",
} as const;

export type KeyKind = keyof typeof signatureAlgorithms;

/**
 * What the endpoint said in a TLS handshake, with SNI unless it is null; before TLS, where it begins
 * in plain text, every byte of it is in stdout as `-debug` dumps it. s_client(1)
 */
export function connect(
  { protocol, host: address, port }: Endpoint,
  sni: string | null,
  keyKind: KeyKind | null,
  timeoutMs: number,
  context: RunContext,
): Promise<Completion> {
  const { starttls } = protocols[protocol];
  return openssl(
    [
      "s_client",
      "-connect",
      formatAddress(address, port),
      ...(sni === null ? ["-noservername"] : ["-servername", sni]),
      ...(starttls === null ? [] : ["-starttls", starttls, "-debug"]),
      ...(keyKind === null ? [] : ["-sigalgs", signatureAlgorithms[keyKind]]),
      "-showcerts",
    ],
    { timeoutMs, environment: withoutBundle },
    context,
  );
}

/** How a datagram socket takes the address; what would be sent on it is of no interest. s_client(1) */
export function connectDatagram(
  { host: address, port }: Pick<Endpoint, "host" | "port">,
  context: RunContext,
): Promise<Completion> {
  const args = ["s_client", "-dtls", "-connect", formatAddress(address, port)];
  return openssl(args, { timeoutMs: 500, environment: withoutBundle }, context);
}

function openssl(args: string[], invocation: Invocation, context: RunContext): Promise<Completion> {
  return run("openssl", args, invocation, context);
}
