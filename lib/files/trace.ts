// What of files and directories tells that they were changed.

import * as fs from "node:fs";

/** A text that is another one once something there was changed, made or removed; no link is followed. */
export function traceOf(paths: readonly string[]): string {
  return paths.map((path) => {
    try {
      const { dev, ino, size, ctimeMs } = fs.lstatSync(path);
      return `${dev} ${ino} ${size} ${ctimeMs}`;
    } catch (error) {
      if (error instanceof Error && "code" in error) return String(error.code);
      throw error;
    }
  }).join("\n");
}
