// Replaces a file in one step, so that nobody ever reads half of it.

import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { explain, quote } from "./failure.ts";
import { syncDirectory, TEMPORARY_PREFIX, writeSynced } from "./pair.ts";

/** Throws a Failure that names the file. */
export function replaceFile(path: string, text: string, mode: number): void {
  const temporary = join(dirname(path), TEMPORARY_PREFIX + basename(path));
  try {
    try {
      writeSynced(temporary, new TextEncoder().encode(text), mode);
      fs.renameSync(temporary, path);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    }
    syncDirectory(dirname(path));
  } catch (error) {
    throw explain(error, `write ${quote(path)}`);
  }
}
