// What needs a person, whatever is installed: SNI directories that keep their own certificate. Pure.

import { timeState } from "../certificate/certificate.ts";
import { keyIsAnothers } from "../certificate/pair.ts";
import { serviceNames, type SniDirectory } from "../chain/mailcow.ts";
import { isHidden, uncovered } from "../chain/sni.ts";
import { quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { formatTime } from "../values/time.ts";
import { type DeployFacts, isNearEnd, mailHostname, shallCarry } from "./facts.ts";

/** What needs a person, and is said by every run until somebody has seen to it. */
export function standingWarnings(facts: DeployFacts): string[] {
  const unseen = [...facts.memory.unseen].map((service) =>
    `${service} was told of the certificate, and not seen to serve it: none of its endpoints gave one`
  );
  return [...sniWarnings(facts), ...unseen];
}

export function sniWarnings(facts: DeployFacts): string[] {
  return facts.mailcow.sniDirectories
    .filter((directory) => !shallCarry(directory, facts))
    .flatMap((directory) => {
      const problem = problemIn(directory);
      if (problem !== null) {
        return [
          `${
            quote(directory.directory)
          } holds no pair: ${problem}; nginx would not start with it: ` +
          "mend it, or move it out of data/assets/ssl",
        ];
      }
      const isOthers = isHidden(directory.name) || facts.claimed.has(directory.directory);
      return isOthers ? [] : [keptWarning(directory, facts)];
    });
}

function problemIn({ pair, problem }: SniDirectory): string | null {
  if (pair === null) return problem;
  return keyIsAnothers(pair) ? "its key does not match its certificate" : null;
}

function keptWarning({ directory, domains, pair }: SniDirectory, facts: DeployFacts): string {
  const { candidate, now } = facts;
  if (domains.length === 0) {
    return `${
      quote(directory)
    } keeps its own certificate: its file "domains" names none; write the ` +
      "names into it for which it is to be served, or move the directory out of data/assets/ssl, " +
      `and restart ${serviceNames.join(" ")}`;
  }
  const names = quoteAll(uncovered(domains, candidate.leaf.names));
  const but = namesCover(domains, mailHostname(facts)) !== null
    ? "; mail clients that ask for the mail hostname still get its own certificate"
    : "";
  const kept = `${quote(directory)} keeps its own certificate`;
  const why = `because the new one does not cover ${names}${but}`;
  if (pair === null || !isNearEnd(pair.leaf, now)) return `${kept}, ${why}`;
  const ends = timeState(pair.leaf, now) === "expired" ? "expired" : "ends";
  return `${kept}, which ${ends} at ${
    formatTime(pair.leaf.notAfter)
  }, ${why}; mailcow's own ACME ` +
    "client is off and does not renew it: have the new one cover these names, or move the " +
    `directory out of data/assets/ssl and restart ${serviceNames.join(" ")}`;
}
