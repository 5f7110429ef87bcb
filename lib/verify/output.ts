// Where the report goes that --output names: a file that is replaced, so a regular one.

import { resolve } from "node:path";
import { Failure, quote } from "../failure.ts";
import { lookThrough } from "../files/look_at.ts";
import { textOrNothing } from "../files/read_file.ts";
import { replaceFile } from "../files/write_file.ts";

/** Throws a Failure that names the file. */
export function replaceOutput(path: string, lines: readonly string[]): void {
  const stat = lookThrough(path); // what stands in the way is said by who writes
  const isKernels = /^\/(dev|proc|sys)\//.test(resolve(path)); // a link there may lead to a file
  if (isKernels || (stat !== null && !stat.isFile())) {
    const what = stat?.isDirectory() ? "a directory" : "not a regular file";
    throw new Failure(`cannot write ${quote(path)}: it is ${what}`, {
      hint: "name a regular file, which is replaced, or leave out --output to print it",
    });
  }
  // Nobody is told of a fault without a name in the place of a report that has one.
  if (lines.some((line) => NAMELESS.test(line)) && NAMED.test(textOrNothing(path))) return;
  replaceFile(path, lines.map((line) => `${line}\n`).join(""), 0o644);
}

const NAMELESS = /^certsync_status\{domain=""\} 3$/;
const NAMED = /^certsync_status\{domain="[^"]/m;
