// What a run that was killed left lying around.

import * as fs from "node:fs";
import { join } from "node:path";
import { TEMPORARY_PREFIX } from "./write_file.ts";

/** Removes our temporary files from the directory. */
export function removeLeftovers(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (name.startsWith(TEMPORARY_PREFIX)) fs.rmSync(join(directory, name), { force: true });
  }
}
