// Whether a key is a certificate's, seen without a process, and found once for the same two.

import { createHash, createPrivateKey } from "node:crypto";
import type { Certificate } from "./certificate.ts";

/** It takes a hundred times as long as to know them by their hash. */
const found = new Map<string, boolean | null>();

/** What an earlier run found to fit. */
let recalled: ReadonlySet<string> = new Set();

/** Null for keys that node:crypto does not know. */
export function fits(
  { x509, fingerprint }: Pick<Certificate, "x509" | "fingerprint">,
  keyPem: Uint8Array,
): boolean | null {
  const both = createHash("sha256").update(`${fingerprint} `).update(keyPem).digest("hex");
  const before = found.get(both);
  if (before !== undefined) return before;
  const is = recalled.has(both) || checkKey(x509, keyPem);
  found.set(both, is);
  return is;
}

function checkKey(x509: Certificate["x509"], keyPem: Uint8Array): boolean | null {
  try {
    return x509.checkPrivateKey(createPrivateKey(new TextDecoder().decode(keyPem)));
  } catch {
    return null;
  }
}

/** The hashes of those that were found to fit, for the next run. */
export function foundFitting(): string[] {
  return [...found].flatMap(([both, is]) => is === true ? [both] : []);
}

/** Takes the word of an earlier run, which nobody but this user can have written down. */
export function recallFitting(hashes: readonly string[]): void {
  recalled = new Set(hashes);
}
