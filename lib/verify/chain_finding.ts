// What is wrong with a chain, from what openssl said of it. Pure.

import { timeState } from "../certificate/certificate.ts";
import { quote } from "../failure.ts";
import type { Finding } from "./finding.ts";
import type { Leg } from "./leg.ts";

/** X509_V_ERR_…: no issuer was found for the certificate at that depth. verify(1) */
const ISSUER_NOT_FOUND = [2, 20, 21];
const SELF_SIGNED_LEAF = 18;
const SELF_SIGNED_ROOT = 19;
const NOT_YET_VALID = 9;
const EXPIRED = 10;

/** The certificate for which openssl found no issuer, where none of that name was there either. */
export function lacksIssuer({ chain, chainError }: Leg): boolean {
  if (chain === null || !ISSUER_NOT_FOUND.includes(chainError?.code ?? -1)) return false;
  const orphan = chain[chainError?.depth ?? 0];
  return orphan !== undefined && !chain.some(({ subject }) => subject === orphan.issuer);
}

export function brokenChain(leg: Leg, now: Date): Finding | null {
  const { chain, chainError } = leg;
  if (chain === null || chainError === null) return null;
  const { code, depth, words } = chainError;
  if (lacksIssuer(leg)) {
    // Some clients fetch a missing intermediate, others fail. A root may be unknown here alone.
    return depth === 0
      ? finding("warning", "no intermediate", "let it serve the whole of fullchain.pem")
      : { kind: "trust", status: "warning", words: "issuer unknown here", advice: UNKNOWN_ROOT };
  }
  if (code === EXPIRED || code === NOT_YET_VALID) {
    if (depth === 0 && timeState(chain[0] ?? { notBefore: now, notAfter: now }, now) !== "valid") {
      return null; // which was said already
    }
    const state = code === EXPIRED ? "expired" : "not yet valid";
    return finding(
      "critical",
      `intermediate ${state}`,
      "issue it anew, with a chain that is valid",
    );
  }
  if (ISSUER_NOT_FOUND.includes(code ?? -1)) {
    return finding("critical", "wrong intermediate", "let it serve fullchain.pem as it was issued");
  }
  if (code === SELF_SIGNED_LEAF) return finding("critical", "self-signed", UNKNOWN_ROOT);
  if (code === SELF_SIGNED_ROOT) {
    const words = "root unknown here";
    return { kind: "trust", status: "critical", words, advice: UNKNOWN_ROOT };
  }
  return finding("critical", "broken chain", words);
}

const UNKNOWN_ROOT =
  "install or update ca-certificates here, or set verify.trust to the file of your own CA";

function finding(status: Finding["status"], words: string, advice: string): Finding {
  return { kind: "chain", status, words, advice };
}

export function describeIncompleteChain({ where, chain, chainError }: Leg): string {
  const issuer = quote(chain?.[chainError?.depth ?? 0]?.issuer ?? "");
  return (chainError?.depth ?? 0) === 0
    ? `${where} serves its leaf without the intermediate ${issuer}: some clients will fail`
    : `the issuer ${issuer} of what is served is not known on this host`;
}
