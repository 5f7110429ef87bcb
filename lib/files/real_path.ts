// Where a path leads, whatever links are on the way, also where what it names is yet to be made.

import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** As far as there is one. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}

/** Whether it is that directory, or lies in it. */
export function isPathWithin(inner: string, outer: string): boolean {
  return `${realPath(inner)}/`.startsWith(`${realPath(outer)}/`.replace(/^\/\/$/, "/"));
}
