// Which SNI directories the certificate belongs into: mailcow serves them ahead of the top-level pair.

import { type Certificate, timeState } from "../certificate/certificate.ts";
import { namesCover } from "../values/host_name.ts";

/** Names that only HTTPS uses, where nginx passes over such a directory. */
const ONLY_HTTPS = /^(autodiscover|autoconfig|mta-sts)\./;

/**
 * `domains` is what the directory is served for, `own` the leaf that lies there, `isTaken` whether
 * that came from here in the place of the directory's own; `names` are those of the certificate in
 * question, `hostname` is the mail hostname. Pure.
 */
export function belongsInto(
  { domains, own, isTaken }: {
    readonly domains: readonly string[];
    readonly own: Pick<Certificate, "names" | "notBefore" | "notAfter"> | null;
    readonly isTaken: boolean;
  },
  names: readonly string[],
  hostname: string,
  now: Date,
): boolean {
  if (domains.length === 0) return false;
  const missing = uncovered(domains, names);
  if (missing.length === 0) return true;
  if (!domains.includes(hostname)) return false;
  if (missing.every((name) => ONLY_HTTPS.test(name))) return true;
  if (own === null) return false;
  // What was taken over when its own had expired is renewed from then on.
  return timeState(own, now) === "expired" || (isTaken && uncovered(missing, own.names).length > 0);
}

/** The domains that the certificate's names do not cover. Pure. */
export function uncovered(domains: readonly string[], names: readonly string[]): string[] {
  return domains.filter((domain) => namesCover(names, domain) === null);
}
