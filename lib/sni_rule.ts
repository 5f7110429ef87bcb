// Which SNI directories the certificate belongs into: mailcow serves them ahead of the top-level pair.

import { type Certificate, timeState } from "./certificate.ts";
import { namesCover } from "./host_name.ts";

/** Names that only HTTPS uses, where nginx passes over such a directory. */
const ONLY_HTTPS = /^(autodiscover|autoconfig|mta-sts)\./;

/**
 * `domains` is what the directory is served for, `own` the leaf that lies there; `names` are those of
 * the certificate in question, `hostname` is the mail hostname. Pure.
 */
export function belongsInto(
  { domains, own }: {
    readonly domains: readonly string[];
    readonly own: Pick<Certificate, "notBefore" | "notAfter"> | null;
  },
  names: readonly string[],
  hostname: string,
  now: Date,
): boolean {
  if (domains.length === 0) return false;
  const missing = uncovered(domains, names);
  if (missing.length === 0) return true;
  if (!domains.includes(hostname)) return false;
  return missing.every((name) => ONLY_HTTPS.test(name)) ||
    (own !== null && timeState(own, now) === "expired");
}

/** The domains that the certificate's names do not cover. Pure. */
export function uncovered(domains: readonly string[], names: readonly string[]): string[] {
  return domains.filter((domain) => namesCover(names, domain) === null);
}
