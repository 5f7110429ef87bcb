// What to write into the config file where Nginx Proxy Manager runs in a container of this host.

import { Failure } from "../failure.ts";
import { findVolumes, liveList } from "../programs/npm_container.ts";
import type { RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { NoLiveDirectory } from "./npm_dir.ts";

/** The same error, with the line to write where that would end it; anything else is handed back. */
export async function hintAtVolumes(
  error: unknown,
  context: RunContext,
  where: "config" | "flags" = "config",
): Promise<unknown> {
  if (!(error instanceof NoLiveDirectory)) return error;
  const live = await findVolumes(context);
  if (live.length === 0) return error;
  const told = where === "flags"
    ? `give ${live.map((path) => `--live ${shellWord(path)}`).join(" ")}`
    : `write below push: in the config file: live: ${liveList(live)}`;
  return new Failure(error.message, {
    hint: `it runs in a container here: ${told}`,
    cause: error,
  });
}
