// What stands at a path; null where there is nothing, or nothing that this user may see.

import * as fs from "node:fs";

/** The entry itself, and not what a link leads to. */
export function lookAt(path: string): fs.Stats | null {
  return orNothing(() => fs.lstatSync(path));
}

/** What it leads to, where it is a link. */
export function lookThrough(path: string): fs.Stats | null {
  return orNothing(() => fs.statSync(path));
}

function orNothing(look: () => fs.Stats): fs.Stats | null {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && "code" in error) return null; // whoever reads it says so
    throw error;
  }
}
