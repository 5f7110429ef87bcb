// Where push is to look, and what of that the config file should say.

import type { ConfigFile } from "../config/config_file.ts";
import { standardLiveDirectories } from "../config/standard.ts";
import { isMissing } from "../files/read_file.ts";
import { liveList } from "../programs/npm_container.ts";
import type { Setting } from "./missing.ts";

export interface SourceSetup {
  /** Where push looks, and what is watched. */
  readonly live: readonly string[];
  /** Those of containers, which nobody has named yet: push.live is to name them. */
  readonly found: readonly string[];
}

/** `volumes` are the live directories of containers that run here. */
export function sourceSetup(
  { push = {} }: ConfigFile,
  volumes: readonly string[],
): SourceSetup & { readonly lines: readonly Setting[] } {
  const { live, source } = push;
  const found = live === undefined ? volumes : [];
  const isLacking = found.length > 0 && standardLiveDirectories.every((path) => isMissing(path));
  return {
    live: source?.kind === "directory"
      ? [source.name]
      : live ?? (found.length > 0 ? found : standardLiveDirectories),
    found,
    lines: isLacking ? [["live", liveList(found), undefined]] : [],
  };
}
