// What a run that was killed left lying around.

import * as fs from "node:fs";
import { join } from "node:path";
import { TEMPORARY_PREFIX } from "./pair.ts";

/** Removes our temporary files from the directories that there are. Returns their paths. */
export function removeLeftovers(directories: readonly string[]): string[] {
  const paths = directories.filter((directory) => fs.existsSync(directory)).flatMap((directory) =>
    fs.readdirSync(directory)
      .filter((name) => name.startsWith(TEMPORARY_PREFIX))
      .map((name) => join(directory, name))
  );
  for (const path of paths) fs.rmSync(path, { force: true });
  return paths;
}
