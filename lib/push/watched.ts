// All that a push reads: by what changed there a started run knows that it is to look again.

import { join } from "node:path";
import { deliveredPaths } from "../certificate/pair.ts";
import { lineageDirectories } from "../chain/npm_dir.ts";
import { standardLiveDirectories } from "../config/standard.ts";
import type { PushConfig, SourceConfig } from "../config/push_config.ts";
import { Failure } from "../failure.ts";

/** Whose change may mean that there is something to push: every lineage, and certbot's renewal/. */
export function whatPushReads(
  { live, source, also }: SourceConfig & Pick<PushConfig, "also">,
): string[] {
  const named = source.kind === "directory" ? [source.name] : [];
  const isNamed = named.length > 0 && also.length === 0;
  const lineages = isNamed ? [] : (live ?? standardLiveDirectories).flatMap(lineagesOrNone);
  const files = [...named, ...lineages].flatMap((directory) => [
    directory,
    ...Object.values(deliveredPaths(directory)),
  ]);
  if (isNamed) return files;
  return [
    ...(live ?? standardLiveDirectories).flatMap((at) => [at, join(at, "../renewal")]),
    ...files,
  ];
}

function lineagesOrNone(live: string): string[] {
  try {
    return lineageDirectories(live);
  } catch (error) {
    if (error instanceof Failure) return []; // whoever reads it says so
    throw error;
  }
}
