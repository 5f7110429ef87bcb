// The DANE record that belongs to a certificate's key (RFC 6698).

import type { Certificate } from "./certificate.ts";

/** The data of a TLSA record `3 1 1`: SHA-256 of the public key, whatever certificate carries it. */
export async function tlsaRecord({ publicKey }: Certificate): Promise<string> {
  // Not at the top: its WebAssembly takes longer to load than most runs take in all.
  const { crypto } = await import("@std/crypto/crypto");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", publicKey));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `3 1 1 ${hex}`;
}
