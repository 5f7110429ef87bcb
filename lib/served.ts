// What an endpoint serves on the wire: the source of truth, whatever the files say.

import { type Certificate, parseFirst } from "./certificate.ts";
import { type Endpoint, protocols } from "./endpoint_url.ts";
import { Failure } from "./failure.ts";
import type { Host } from "./host.ts";
import { connect } from "./openssl.ts";
import { scanPem } from "./pem.ts";
import { lastWords, TimedOut } from "./run.ts";

/** To answer means to give a certificate: without one there is only a reason. */
export type Served =
  | { readonly kind: "certificate"; readonly leaf: Certificate; readonly chainLength: number }
  | { readonly kind: "none"; readonly reason: string };

/** Makes one handshake, with SNI unless it is null. */
export async function readServed(
  endpoint: Endpoint,
  sni: string | null,
  timeoutMs: number,
  host: Host,
): Promise<Served> {
  try {
    const { stdout, stderr } = await connect(endpoint, sni, timeoutMs, host);
    const text = stdout.slice(0, stdout.indexOf("\nServer certificate"));
    const pem = new TextEncoder().encode(certificateBlocks(text || stdout));
    const scanned = scanPem(pem);
    const chainLength = scanned.kind === "text" ? scanned.blocks.length : 0;
    if (chainLength === 0) return { kind: "none", reason: explainSilence(stdout + stderr, endpoint) };
    return { kind: "certificate", leaf: parseFirst(pem, "what was served"), chainLength };
  } catch (error) {
    if (error instanceof TimedOut) {
      return { kind: "none", reason: `no certificate within ${timeoutMs / 1000} s` };
    }
    if (error instanceof Failure && error.message.startsWith("not a certificate")) {
      return { kind: "none", reason: error.message };
    }
    throw error;
  }
}

function certificateBlocks(text: string): string {
  return (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).join("\n");
}

const reasons: readonly [RegExp, string][] = [
  [/Connection refused|errno=111/, "connection refused"],
  [/Connection timed out|errno=110/, "connection timed out"],
  [/No route to host|errno=113/, "no route to host"],
  [/Network is unreachable|errno=101/, "network is unreachable"],
  [/Name or service not known|nodename nor servname|Temporary failure in name/, "no such host name"],
  [/unexpected eof|errno=104|Connection reset|errno=0|write:errno|read:errno/, "closed without TLS"],
  [/wrong version number|packet length too long|http request/, "answered, but not with TLS"],
  [/alert/, "refused the TLS handshake"],
];

function explainSilence(words: string, { protocol }: Endpoint): string {
  if (protocols[protocol].starttls !== null && /Didn't find|STARTTLS|starttls|STLS/.test(words)) {
    return "STARTTLS is not offered";
  }
  return reasons.find(([pattern]) => pattern.test(words))?.[1] ??
    (lastWords(words).slice(-200) || "no certificate");
}
