// What openssl is asked: it is the judge of everything that gets installed.

import type { Trust } from "../config/schema.ts";
import { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { type Endpoint, formatAddress, protocols } from "../values/endpoint_url.ts";
import { scanPem } from "../values/pem.ts";
import {
  BrokenProgram,
  type Completion,
  type Invocation,
  lastWords,
  ProgramFailure,
  run,
} from "./run.ts";

const TIMEOUT_MS = 20_000;

/**
 * Debian links OpenSSL's default CA file to its whole bundle, and openssl loads it at every call,
 * which takes ten times as long as the call itself: so not where no trust is asked for.
 */
const withoutBundle = { SSL_CERT_FILE: "/dev/null", SSL_CERT_DIR: "/dev/null" };

type Bytes = Uint8Array<ArrayBuffer>;

export interface LeafJudgement {
  /** The SubjectPublicKeyInfo in DER, as openssl writes it. */
  readonly publicKey: Bytes;
  /** SHA-256, as everywhere. */
  readonly fingerprint: string;
  readonly coversHost: boolean;
}

/** What openssl itself says that it cannot read: a "no", not a program that failed. */
export class Unreadable extends Failure {}

/** Of the first certificate in the chain file. Throws Unreadable where that is none. x509(1) */
export async function judgeLeaf(
  chainPem: Uint8Array,
  hostName: string,
  context: RunContext,
): Promise<LeafJudgement> {
  return parseLeafJudgement(
    await openssl(
      ["x509", "-noout", "-pubkey", "-fingerprint", "-sha256", "-checkhost", hostName],
      { stdin: chainPem, timeoutMs: TIMEOUT_MS, environment: withoutBundle },
      context,
    ),
  );
}

/** Pure. */
export function parseLeafJudgement(completion: Completion): LeafJudgement {
  const { code, stdout } = completion;
  const publicKey = publicKeyIn("x509", completion);
  const fingerprint = /^sha256 fingerprint=([0-9A-F:]{95})$/im.exec(stdout)?.[1];
  // Before 3.2 a mismatch is told by the words alone; the exit code stays 0.
  const answer = / does( NOT)? match certificate\s*$/.exec(stdout);
  if (fingerprint === undefined || answer === null) throw couldNotTell("x509", completion);
  return { publicKey, fingerprint, coversHost: code === 0 && answer[1] === undefined };
}

/** How openssl is to check a key against itself. */
export type KeyForm = "ec" | "other";

/**
 * The public half in DER. Of an elliptic curve, where the file holds both halves, only if they belong
 * together. Throws Unreadable where there is no key that can be read without asking. pkey(1)
 */
export async function publicKeyOf(
  keyPem: Uint8Array,
  form: KeyForm,
  context: RunContext,
): Promise<Bytes> {
  const check = form === "ec" ? ["-check"] : [];
  return publicKeyIn(
    "pkey",
    await openssl(
      ["pkey", "-pubout", ...check, "-passin", "pass:"], // an encrypted key must not prompt
      { stdin: keyPem, timeoutMs: TIMEOUT_MS, environment: withoutBundle },
      context,
    ),
  );
}

function publicKeyIn(command: "x509" | "pkey", completion: Completion): Bytes {
  const { code, stdout, stderr } = completion;
  const isUnreadable = /^(unable to load|could not (read|find)|key is invalid)/im.test(stderr) &&
    !/malloc failure/.test(stderr);
  if (code === 1 && isUnreadable) throw new Unreadable(lastWords(stderr));
  const block = /^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----$/m.exec(
    stdout,
  );
  const der = block && scanPem(new TextEncoder().encode(block[0])).blocks[0]?.der;
  if (!der) throw couldNotTell(command, completion);
  return der;
}

/** It ended as no working one does: what that means for the certificate, nobody knows. */
function couldNotTell(command: string, { code, stdout, stderr }: Completion): BrokenProgram {
  const words = lastWords(stderr) || lastWords(stdout);
  return new BrokenProgram(
    `openssl ${command} could not tell: it ended with code ${code}${words && ": " + words}`,
    { hint: OPENSSL_HINT },
  );
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
export function parseChainError(completion: Completion): ChainError | null {
  const { code, stderr, stdout } = completion;
  if (code === 0 && /: OK\s*$/.test(stdout)) return null;
  const error = /^error (\d+) at (\d+) depth lookup: *(.+)$/m.exec(stderr + stdout);
  if (error !== null) {
    return { code: Number(error[1]), depth: Number(error[2]), words: error[3] ?? "" };
  }
  const [words = ""] = stderr.split("\n"); // what follows is where in openssl
  if (code === 0 || words === "") throw couldNotTell("verify", completion);
  return { code: null, words };
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

const OPENSSL_HINT =
  "see whether this works here: openssl version; and whether memory ran out: dmesg";

/** 1 and 2 are openssl's own ways to say no; it ends with nothing else unless something ends it. */
async function openssl(
  args: string[],
  invocation: Invocation,
  context: RunContext,
): Promise<Completion> {
  const completion = await run("openssl", args, invocation, context).catch((error) => {
    const isMute = error instanceof ProgramFailure && error.hint === undefined;
    if (!isMute || args[0] === "s_client") throw error; // a server may be to blame
    throw new BrokenProgram(error.message, { hint: OPENSSL_HINT, cause: error });
  });
  if (completion.code > 2) throw couldNotTell(args[0] ?? "", completion);
  return completion;
}
