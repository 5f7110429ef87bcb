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

/** What the disk does not give may be good: it must neither be replaced by an older one nor be lost. Pure. */
export function whyUnclear(mailcow: Mailcow): Failure | null {
  const { directory, problem, isReadable } = mailcow.deployed;
  if (!isReadable) {
    return new Failure(`the deployed pair in ${quote(directory)} ${problem}`, {
      hint: asRoot("look at the disk, and at lsattr: dmesg tells more"),
    });
  }
  const unread = unclearDirectories(mailcow).find(({ isUnread }) => isUnread);
  return unread === undefined ? null : new Failure(unread.words, { hint: unread.wayOut });
}
