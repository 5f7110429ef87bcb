// Whether others could change what certsync goes by.

import type { Stats } from "node:fs";
import { quote } from "../failure.ts";
import { lookThrough } from "./look_at.ts";

/**
 * Why anybody but root, or whoever runs this, can write to the file or the directory, as a warning;
 * null where nobody can, or where there is none. In a sticky directory each can change his own files
 * alone.
 */
export function exposure(path: string): string | null {
  const stat = lookThrough(path);
  if (stat === null || !(stat.isFile() || stat.isDirectory())) return null;
  if (stat.uid !== 0 && stat.uid !== Deno.uid()) {
    return `${quote(path)} belongs to uid ${stat.uid}, who can change what certsync does; ` +
      "it should be root's";
  }
  const isSticky = stat.isDirectory() && (stat.mode & 0o1000) !== 0;
  if (!mayOthersWrite(stat) || isSticky) return null;
  return `others can write to ${quote(path)} (mode ${formatMode(stat.mode)}) and so change what ` +
    "certsync does: chmod go-w";
}

/** The group of root's, and the one that is its owner's alone, let nobody else in. */
export function mayOthersWrite({ uid, gid, mode }: Pick<Stats, "uid" | "gid" | "mode">): boolean {
  return (mode & (gid === 0 || gid === uid ? 0o002 : 0o022)) !== 0;
}

export function formatMode(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}
