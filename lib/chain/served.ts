// What an endpoint serves on the wire: the source of truth, whatever the files say.

import { type Certificate, parseChain } from "../certificate/certificate.ts";
import { Failure } from "../failure.ts";
import { connect, connectDatagram, type KeyKind } from "../programs/openssl.ts";
import {
  BrokenProgram,
  type Completion,
  lastWords,
  MissingProgram,
  TimedOut,
} from "../programs/run.ts";
import { turns } from "../programs/turns.ts";
import { allEnded, pause, type RunContext } from "../run_context.ts";
import { type Endpoint, formatAddress, protocols } from "../values/endpoint_url.ts";
import { scanPem } from "../values/pem.ts";

/**
 * To answer means to give a certificate in a handshake that was finished, in which the server proved
 * that it has the key: without one there is only a reason. `chain` is what the server sent, in its
 * order, leaf first; nothing in it was verified.
 */
export type Served =
  | {
    readonly kind: "certificate";
    readonly leaf: Certificate;
    readonly chain: readonly [Certificate, ...Certificate[]];
  }
  | { readonly kind: "none"; readonly reason: string };

/** A client's question: by which name it asks, null for none. */
export interface Question {
  readonly endpoint: Endpoint;
  readonly sni: string | null;
  /**
   * The client takes a key of this kind alone: only worth asking where it was given one of another
   * kind, since to a server without such a key it looks like death.
   */
  readonly keyKind?: KeyKind | null;
}

/** What openssl can be told to ask for; null for a kind that it is not asked for by. */
export function keyKindOf({ x509 }: Pick<Certificate, "x509">): KeyKind | null {
  try {
    const kind = x509.publicKey.asymmetricKeyType;
    return kind === "rsa" || kind === "ec" || kind === "ed25519" ? kind : null;
  } catch {
    return null; // node:crypto throws for curves that it does not know
  }
}

/** Postfix's word for a client that has too many connections open, which these end soon. */
const TOO_MANY = /^421 /;
const BEFORE_ASKING_AGAIN_MS = 500;

/** Makes one handshake; another one where the server has too many of them. */
export async function readServed(
  question: Question,
  timeoutMs: number,
  context: RunContext,
): Promise<Served> {
  const end = performance.now() + timeoutMs;
  let busy: Served | null = null;
  for (;;) {
    const served = await shakeHands(
      question,
      Math.max(1, end - performance.now()),
      timeoutMs,
      context,
    );
    if (served.kind === "certificate") return served;
    if (TOO_MANY.test(served.reason)) busy = served;
    // Its own words say more than that the time was over when it was asked again.
    else return performance.now() < end ? served : busy ?? served;
    if (performance.now() + BEFORE_ASKING_AGAIN_MS > end) return served;
    await pause(BEFORE_ASKING_AGAIN_MS, context);
  }
}

/** At a time: more would be taken for an attack, and take this host's memory. */
const AT_ONCE = { inAll: 32, inOnePlace: 10 };

export type Ask = (question: Question, timeoutMs: number, context: RunContext) => Promise<Served>;

/** What asks as many at a time as do no harm, each within the time from its own start. */
export function takingTurns(): Ask {
  const takeTurn = turns(AT_ONCE);
  return (question, timeoutMs, host) => {
    const place = formatAddress(question.endpoint.host, question.endpoint.port);
    return takeTurn(place, () => readServed(question, timeoutMs, host));
  };
}

export function readAllServed(
  questions: readonly Question[],
  timeoutMs: number,
  context: RunContext,
): Promise<Served[]> {
  const ask = takingTurns();
  return allEnded(questions.map((question) => ask(question, timeoutMs, context)));
}

async function shakeHands(
  { endpoint, sni, keyKind }: Question,
  leftMs: number,
  timeoutMs: number,
  context: RunContext,
): Promise<Served> {
  try {
    return parseHandshake(await connect(endpoint, sni, keyKind ?? null, leftMs, context), endpoint);
  } catch (error) {
    context.stop.throwIfAborted();
    if (!(error instanceof Failure)) throw error;
    // What openssl itself suffers says nothing of the endpoint.
    if (error instanceof MissingProgram || error instanceof BrokenProgram) throw error;
    const reason = error instanceof TimedOut
      ? explainTimeOut(error.message, timeoutMs, endpoint)
      : error.message;
    return { kind: "none", reason };
  }
}

/** Pure. Throws a Failure where what was served is no certificate. */
export function parseHandshake(
  { stdout, stderr }: Pick<Completion, "stdout" | "stderr">,
  endpoint: Endpoint,
): Served {
  // Of the chain alone: what the server says after the handshake may look like a certificate too.
  const [said = ""] = stdout.split("\nServer certificate\n", 1);
  const shown = new TextEncoder().encode(said);
  if (!scanPem(shown).blocks.some(({ label }) => label === "CERTIFICATE")) {
    return { kind: "none", reason: explainSilence(stdout, stderr, endpoint) };
  }
  // The certificates are public: anyone can show them.
  if (!/^(New|Reused), [^\n,]+, Cipher is (?!\(NONE\))/m.test(stdout)) {
    return { kind: "none", reason: explainUnfinished(stdout + stderr) };
  }
  const chain = parseChain(shown, "what it served", "lenient");
  return { kind: "certificate", leaf: chain[0], chain };
}

/** What openssl says where the server showed a certificate, and then did not sign with its key. */
function explainUnfinished(words: string): string {
  return /bad signature|wrong signature|signature verif|decrypt error|bad decrypt|data too/i.test(
      words,
    )
    ? "showed a certificate whose key it does not have"
    : "showed a certificate, but did not finish the TLS handshake";
}

/** The first that fits; openssl complains of a missing STARTTLS also where nothing came at all. */
const reasons: readonly [RegExp, string][] = [
  [/Connection refused/, "connection refused"],
  [/Connection timed out/, "connection timed out"],
  [/No route to host/, "no route to host"],
  [/Network is unreachable/, "network is unreachable"],
  [/has read 0 bytes/, "closed the connection without a word"],
  [/Didn't find STARTTLS|STARTTLS not supported/, "STARTTLS is not offered"],
  [/wrong version number|packet length too long|http request/, "answered, but not with TLS"],
  [/alert/, "refused the TLS handshake"],
  [/unexpected eof|errno=/, "closed the connection during the TLS handshake"],
];

function explainSilence(stdout: string, stderr: string, endpoint: Endpoint): string {
  const said = refusalIn(plainTextIn(stdout));
  // Those of a server that takes no client now; the others may only answer what openssl tried anyway.
  if (said !== null && (/^(4\d\d|\* BYE|BYE)/.test(said) || !/Didn't find STARTTLS/.test(stderr))) {
    return said;
  }
  const reason = reasons.find(([pattern]) => pattern.test(stderr) || pattern.test(stdout))?.[1];
  if (reason === "answered, but not with TLS" && protocols[endpoint.protocol].starttls !== null) {
    return "answered STARTTLS, but not with TLS";
  }
  return reason ?? (lastWords(stderr).slice(-200) || "no certificate");
}

/** What the server said before TLS, from the dump of what was read. s_client -debug */
function plainTextIn(stdout: string): string {
  const reads = stdout.split(/^(?=read from |write to )/m).filter((part) =>
    part.startsWith("read")
  );
  const bytes = reads.flatMap((read) =>
    Array.from(
      read.matchAll(/^[0-9a-f]{4,} - ((?:[0-9a-f]{2}[ -]){1,16})/gm),
      ([, hex = ""]) => hex.match(/[0-9a-f]{2}/g) ?? [],
    ).flat()
  );
  return String.fromCharCode(...bytes.slice(0, 16_384).map((hex) => parseInt(hex, 16)));
}

/** The first line by which a server refuses: SMTP, POP3, ManageSieve and IMAP. */
function refusalIn(plainText: string): string | null {
  const line = /^(?:[45]\d\d[ -]|-ERR\b|NO\b|BYE\b|\* BYE\b|[A-Za-z.0-9]+ (?:NO|BAD)\b)[ -~]*/m
    .exec(plainText)?.[0];
  return line?.trim().slice(0, 200) ?? null;
}

function explainTimeOut(words: string, timeoutMs: number, { protocol }: Endpoint): string {
  // openssl tries STARTTLS anyway, and may then wait for an answer that never comes.
  return protocols[protocol].starttls !== null && words.includes("Didn't find STARTTLS")
    ? "STARTTLS is not offered"
    : `no certificate within ${timeoutMs / 1_000} s`;
}

/**
 * Whether this host knows a way to the endpoint, where it was "unreachable": a router says that too.
 * To connect a datagram socket is to look into this host's own tables.
 */
export async function hasRoute(endpoint: Endpoint, context: RunContext): Promise<boolean> {
  try {
    return !/connect:errno=/.test((await connectDatagram(endpoint, context)).stderr);
  } catch (error) {
    if (error instanceof TimedOut) return true; // it is on its way
    throw error;
  }
}
