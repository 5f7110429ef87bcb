// What an endpoint serves on the wire: the source of truth, whatever the files say.

import { type Certificate, parseFirst } from "../certificate/certificate.ts";
import { Failure } from "../failure.ts";
import { connect } from "../programs/openssl.ts";
import { type Completion, lastWords, MissingProgram, TimedOut } from "../programs/run.ts";
import type { RunContext } from "../run_context.ts";
import { type Endpoint, protocols } from "../values/endpoint_url.ts";

/** To answer means to give a certificate: without one there is only a reason. */
export type Served =
  | { readonly kind: "certificate"; readonly leaf: Certificate; readonly chainLength: number }
  | { readonly kind: "none"; readonly reason: string };

/** Makes one handshake, with SNI unless it is null. */
export async function readServed(
  endpoint: Endpoint,
  sni: string | null,
  timeoutMs: number,
  context: RunContext,
): Promise<Served> {
  try {
    return parseHandshake(await connect(endpoint, sni, timeoutMs, context), endpoint);
  } catch (error) {
    context.stop.throwIfAborted();
    if (!(error instanceof Failure) || error instanceof MissingProgram) throw error;
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
  const [leaf, ...others] = certificateBlocks(stdout);
  if (leaf === undefined) {
    return { kind: "none", reason: explainSilence(stdout, stderr, endpoint) };
  }
  return {
    kind: "certificate",
    leaf: parseFirst(new TextEncoder().encode(leaf), "what it served"),
    chainLength: 1 + others.length,
  };
}

/** Of the chain alone: what the server says after the handshake may look like a certificate too. */
function certificateBlocks(stdout: string): string[] {
  const [chain = ""] = stdout.split("\nServer certificate\n", 1);
  const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
  return chain.match(block) ?? [];
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
  const reason = reasons.find(([pattern]) => pattern.test(stderr) || pattern.test(stdout))?.[1];
  if (reason === "answered, but not with TLS" && protocols[endpoint.protocol].starttls !== null) {
    return "answered STARTTLS, but not with TLS";
  }
  return reason ?? (lastWords(stderr).slice(-200) || "no certificate");
}

function explainTimeOut(words: string, timeoutMs: number, { protocol }: Endpoint): string {
  // openssl tries STARTTLS anyway, and may then wait for an answer that never comes.
  return protocols[protocol].starttls !== null && words.includes("Didn't find STARTTLS")
    ? "STARTTLS is not offered"
    : `no certificate within ${timeoutMs / 1_000} s`;
}
