// Why a further name's pair is not taken, and the way out of each.

import type { Pair } from "../certificate/pair.ts";
import { type HalfDirectory, serviceNames, type SniDirectory } from "./mailcow.ts";
import { uncovered } from "./sni.ts";
import type { UnclearDirectory } from "./unclear.ts";
import { Failure, quote, quoteAll } from "../failure.ts";
import { HANGS } from "../programs/compose.ts";
import { shellWord } from "../values/shell_word.ts";
import { formatTime } from "../values/time.ts";

/** In the order in which mailcow itself does it: Postfix asks Dovecot for logins. */
export const RESTART = `docker compose restart ${serviceNames.toSorted().join(" ")}`;

export function refuseUncovered(
  name: string,
  { directory, domains }: Pick<SniDirectory, "directory" | "domains">,
  { leaf }: Pair,
): Failure {
  const missing = uncovered(domains, leaf.names);
  return new Failure(
    `${quote(directory)} is served for ${quoteAll(missing)} too, which the certificate of ` +
      `${quote(name)} does not cover`,
    {
      hint: `add ${missing.join(" ")} to that certificate in Nginx Proxy Manager; or ` +
        `${takeOut(missing.length === 1 ? "it" : "them", directory)}; then: certsync deploy`,
    },
  );
}

export function takeOut(what: string, directory: string): string {
  return `take ${what} out of ${shellWord(`${directory}/domains`)}, then: ${RESTART}`;
}

export function refuseSeveral(
  name: string,
  directories: readonly Pick<SniDirectory, "directory" | "domains">[],
): Failure {
  const where = directories.map(({ directory }) => `${directory}/domains`);
  const isForNobodyElse = directories.some(({ domains }) =>
    domains.every((word) => word.replace(/\.$/, "") === name)
  );
  const emptied = isForNobodyElse
    ? ", and move a directory that is for nobody then out of data/assets/ssl"
    : "";
  return new Failure(
    `${quote(name)} is in several files, of which each service takes another: ${quoteAll(where)}`,
    {
      hint: `take it out of all of them but one${emptied}, then: ${RESTART}; then: certsync deploy`,
    },
  );
}

export function refuseUnlike(
  { directory }: Pick<SniDirectory, "directory">,
  line: string,
): Failure {
  const file = `${directory}/domains`;
  return new Failure(`mailcow's services do not read ${quote(file)} alike`, {
    hint: `it must be one line: printf '%s\\n' ${shellWord(line)} >${shellWord(file)}; then: ` +
      `${RESTART}; then: certsync deploy`,
  });
}

/** What cannot be read may be for the name already: each service would take another one of two. */
export function refuseUnclear(name: string, { words, wayOut }: UnclearDirectory): Failure {
  return new Failure(`nobody can tell what is served for ${quote(name)}: ${words}`, {
    hint: `${wayOut}; then: certsync deploy`,
  });
}

export function refuseHidden(name: string, { directory }: SniDirectory): Failure {
  return new Failure(`${quote(directory)} holds ${quote(name)}, and nginx alone reads it`, {
    hint: `move that directory out of data/assets/ssl, then: ${RESTART}; then: certsync deploy`,
  });
}

export function refuseForeignPlace(name: string, directory: string): Failure {
  return new Failure(`what is in ${quote(directory)} is not for ${quote(name)}`, {
    hint:
      "certsync did not make it; see what it is, and move it out of data/assets/ssl; where its " +
      `file "domains" names anybody, then: ${RESTART}; then: certsync deploy`,
  });
}

/** Somebody may wait for its certificate: it lies nowhere else. */
export function refuseLoneKey(name: string, key: string): Failure {
  return new Failure(
    `${
      quote(key)
    } lies there without a certificate, and certsync did not put it there: the key of ` +
      `${quote(name)} would take its place`,
    {
      hint: `set it aside: mv ${shellWord(key)} ${shellWord(`${key}.kept`)}; then: certsync deploy`,
    },
  );
}

export function refuseForgotten(name: string, directory: string): Failure {
  return new Failure(
    `${quote(directory)} went away again, after it had been made anew`,
    {
      hint: "see who removes it (mailcow's own ACME client moves it to backups/ unless it knows " +
        `SKIP_LETS_ENCRYPT=y); then: certsync deploy --force --only ${name}`,
    },
  );
}

/** Null means that docker did not tell. */
export function refuseAcme(name: string, isBehind: true | null): Failure {
  const command = "docker compose up -d acme-mailcow";
  return isBehind === null
    ? new Failure(
      `no directory can be made for ${
        quote(name)
      } while docker does not tell whether the running ` +
        "acme-mailcow knows SKIP_LETS_ENCRYPT=y",
      { hint: HANGS },
    )
    : new Failure(
      `the running acme-mailcow does not know SKIP_LETS_ENCRYPT=y yet: it would move a directory ` +
        `made for ${quote(name)} to backups/`,
      { hint: `make it anew with: ${command}; then: certsync deploy` },
    );
}

/** Rolled back together with others, so that nobody knows whose fault it was. */
export function refuseTurn(name: string): Failure {
  return new Failure(
    `the certificate of ${
      quote(name)
    } was rolled back together with others, which are tried again ` +
      "one a run",
    {
      hint: "the next one is tried by: certsync deploy; this one at once by: certsync deploy " +
        `--force --only ${name}`,
    },
  );
}

/** Why the top-level certificate serves a name that it covers. */
export function describeFallback(name: string, why: Failure | Date): string {
  const because = why instanceof Date
    ? `its own ends sooner, at ${formatTime(why)}`
    : `of its own: ${why.message}`;
  return `${quote(name)} is served with the certificate of the mail hostname, which covers it: ` +
    because;
}

/** To complete it would make it the second one of a name whose pair goes into another. */
export function describeHalf(
  { name, directory, domains, missing }: HalfDirectory,
  also: readonly string[],
  sniDirectories: readonly Pick<SniDirectory, "domains">[],
): string {
  const isElsewhere = (domain: string) =>
    domain !== name || sniDirectories.some(({ domains }) => domains.includes(domain));
  const rival = domains.find((domain) => also.includes(domain) && isElsewhere(domain));
  const way = rival === undefined
    ? ": put that there, or move the directory out"
    : `, and the pair of ${quote(rival)} goes into that name's own directory: move this one out`;
  return `${quote(directory)} is served for nobody without ${
    missing.map(quote).join(", ")
  }${way} ` +
    `of data/assets/ssl, and restart ${serviceNames.join(" ")}`;
}

/** Still there, and nobody renews what is in it. */
export function describeLeft(name: string, directory: string): string {
  return `${quote(name)} is in also no more, and ${
    quote(directory)
  } that certsync made for it is ` +
    `still served; to be rid of it: rm -r ${shellWord(directory)} && ${RESTART}`;
}
