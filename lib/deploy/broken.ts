// A directory with which nginx would not start. Pure.

import { keyIsAnothers } from "../certificate/pair.ts";
import type { Installed } from "../chain/mailcow.ts";
import type { UnclearDirectory } from "../chain/unclear.ts";
import { quote } from "../failure.ts";

export function describeBroken(directory: string, problem: string): string {
  return `${quote(directory)} holds no pair: ${problem}; nginx would not start with it: ` +
    "mend it, or move it out of data/assets/ssl";
}

/** Of which nobody can tell what is served from there. */
export function describeUnclear({ words, wayOut }: UnclearDirectory): string {
  return `${words}: it is left as it is, and no service is restarted while it is so: ${wayOut}`;
}

/** What certsync made, and for what nothing good is left. */
export function describeUnmade(
  directory: string,
  problem: string | null,
  ours: "domains" | "pair",
): string {
  const what = problem === null ? "what was rolled back" : `no pair: ${problem}`;
  return `${quote(directory)} holds ${what}, and nothing that is staged or kept can take its ` +
    `place: it goes out of service (its ${
      ours === "pair" ? "pair" : "file domains"
    } is removed) until there is a good pair`;
}

/** Null where there is a pair that fits, as far as it can be seen without a process. */
export function problemIn({ pair, problem }: Pick<Installed, "pair" | "problem">): string | null {
  if (pair === null) return problem;
  return keyIsAnothers(pair) ? "its key does not match its certificate" : null;
}
