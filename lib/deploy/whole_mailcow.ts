// mailcow's directories, where all that certificates may be served from can be seen.

import { type Mailcow, readMailcow } from "../chain/mailcow.ts";
import { unclearDirectories } from "../chain/unclear.ts";
import { asRoot, Failure, quote } from "../failure.ts";

/**
 * As readMailcow, in the midst of a run. Throws a Failure where something cannot be read that could be
 * read before: what is served from there would be taken for what is not.
 */
export function readWholeMailcow(before: Mailcow): Mailcow {
  const mailcow = readMailcow(before.directory);
  const known = new Set(unclearDirectories(before).map(({ directory }) => directory));
  const lost = unclearDirectories(mailcow).find(({ directory }) => !known.has(directory));
  const why = whyUnclear(mailcow) ??
    (lost && new Failure(lost.words, { hint: lost.wayOut })) ?? null;
  if (why !== null) throw why;
  return mailcow;
}

/** The pair at the top level may be good: it must neither be replaced by an older one nor be lost. Pure. */
export function whyUnclear({ deployed }: Pick<Mailcow, "deployed">): Failure | null {
  const { directory, problem, isReadable } = deployed;
  if (isReadable) return null;
  return new Failure(`the deployed pair in ${quote(directory)} ${problem}`, {
    hint: asRoot("look at the disk, and at lsattr: dmesg tells more"),
  });
}
