// Directories of which nobody can tell what services serve from there: they are left as they are, and
// nothing is started while they are there. Pure.

import { asRoot, quote } from "../failure.ts";
import type { Mailcow } from "./mailcow.ts";

export interface UnclearDirectory {
  readonly directory: string;
  /** What is wrong with it. */
  readonly words: string;
  readonly wayOut: string;
  /** That the disk, or whoever keeps this user from it, does not give it, for who knows how long. */
  readonly isUnread: boolean;
}

/** Those that cannot be looked into, and those of whose files one cannot be read. */
export function unclearDirectories(
  { sniDirectories, closedDirectories }: Pick<Mailcow, "sniDirectories" | "closedDirectories">,
): UnclearDirectory[] {
  const lookAtDisk = asRoot("look at the disk, and at lsattr: dmesg tells more");
  const closed = closedDirectories.map((directory) => ({
    ...{ directory, wayOut: lookAtDisk, isUnread: true },
    words: `cannot look into ${quote(directory)}, from which certificates may be served`,
  }));
  const unreadable = sniDirectories.filter(({ isReadable }) => !isReadable);
  return [
    ...closed,
    ...unreadable.map(({ directory, problem, isTooLarge }) => {
      const isUnread = isTooLarge !== true;
      return {
        ...{ directory, isUnread, wayOut: isUnread ? lookAtDisk : MEND_FILE },
        words: `the deployed pair in ${quote(directory)} ${problem}`,
      };
    }),
  ];
}

/** The one at the name's own place, or any where a new one is to be made; null where there is none. */
export function unclearFor(
  { place, isMaking }: {
    /** Where the name's own directory is, or would be. */
    readonly place: string;
    readonly isMaking: boolean;
  },
  mailcow: Pick<Mailcow, "sniDirectories" | "closedDirectories">,
): UnclearDirectory | null {
  const unclear = unclearDirectories(mailcow);
  const own = unclear.find(({ directory }) => directory === place);
  return own ?? (isMaking ? unclear[0] ?? null : null);
}

const MEND_FILE = "mend that file, or move the directory out of data/assets/ssl";
