// mailcow's directories, where all that certificates may be served from can be seen.

import { type Mailcow, readMailcow } from "../chain/mailcow.ts";
import { asRoot, Failure, quote } from "../failure.ts";

/**
 * As readMailcow, in the midst of a run. Throws a Failure where something cannot be read that could be
 * read before: what is served from there would be taken for what is not.
 */
export function readWholeMailcow(directory: string): Mailcow {
  const mailcow = readMailcow(directory);
  const why = whyUnclear(mailcow);
  if (why !== null) throw why;
  return mailcow;
}

/** What cannot be read now may be good: it must neither be replaced by older nor be lost. Pure. */
export function whyUnclear(
  { deployed, sniDirectories, closedDirectories }: Mailcow,
): Failure | null {
  const [closed] = closedDirectories;
  if (closed !== undefined) {
    return new Failure(`cannot look into ${quote(closed)}, from which certificates may be served`, {
      hint: asRoot("look at the disk, and at lsattr: dmesg tells more"),
    });
  }
  const unreadable = [deployed, ...sniDirectories].find(({ isReadable }) => !isReadable);
  if (unreadable === undefined) return null;
  const { directory, problem } = unreadable;
  return new Failure(`the deployed pair in ${quote(directory)} ${problem}`, {
    hint: problem?.includes("larger than")
      ? "mend that file, or move the directory out of data/assets/ssl"
      : asRoot("look at the disk, and at lsattr: dmesg tells more"),
  });
}
