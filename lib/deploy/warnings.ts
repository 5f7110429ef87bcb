// What needs a person, whatever is installed: SNI directories that keep their own certificate. Pure.

import { isOverdue, timeState } from "../certificate/certificate.ts";
import { serviceNames, type SniDirectory } from "../chain/mailcow.ts";
import { isHidden, uncovered } from "../chain/sni.ts";
import { quote, quoteAll } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { formatTime } from "../values/time.ts";
import { describeBroken, problemIn } from "./broken.ts";
import { type DeployFacts, mailHostname, shallCarry } from "./facts.ts";

/** What needs a person, and is said by every run until somebody has seen to it. */
export function standingWarnings(facts: DeployFacts): string[] {
  const unseen = [...facts.memory.unseen].map((service) =>
    `${service} was told of the certificate, and not seen to serve it: none of its endpoints gave one`
  );
  return [...sniWarnings(facts), ...unseen];
}

export function sniWarnings(facts: DeployFacts): string[] {
  return facts.mailcow.sniDirectories
    .filter(({ directory, isReadable }) => isReadable && !facts.claimed.has(directory))
    .filter((directory) => !shallCarry(directory, facts))
    .flatMap((directory) => {
      const problem = problemIn(directory);
      if (problem !== null) {
        return [
          describeBroken(directory.directory, problem),
        ];
      }
      const isLeft = facts.memory.made.has(directory.name) &&
        directory.domains.includes(directory.name); // of which is told with how to be rid of it
      return isHidden(directory.name) || isLeft ? [] : [keptWarning(directory, facts)];
    });
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
  if (pair === null || !isOverdue(pair.leaf, now)) return `${kept}, ${why}`;
  const ends = timeState(pair.leaf, now) === "expired" ? "expired" : "ends";
  return `${kept}, which ${ends} at ${
    formatTime(pair.leaf.notAfter)
  }, ${why}; mailcow's own ACME ` +
    "client is off and does not renew it: have the new one cover these names, or move the " +
    `directory out of data/assets/ssl and restart ${serviceNames.join(" ")}`;
}
