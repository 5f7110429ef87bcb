// Whether what is wrong with a source may pass by itself, and what ends it where it does not.

import { basename } from "node:path";
import { changedMs } from "../chain/lineage_file.ts";
import { liveDirectories, readLineages } from "../chain/npm_dir.ts";
import { Failure, quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Wanted, whatElse } from "./choice.ts";
import { isWritten, whatEndsIt } from "./cut_off.ts";
import { plainCommands, readAt, type Source } from "./pair_at.ts";

const FRESH_MS = 10_000;
const LASTING_MS = 600_000;

/** Written a moment ago, or since this run began. */
export function isFresh({ directory }: Source, { now }: RunContext): boolean {
  return changedMs(directory) > now.getTime() - FRESH_MS;
}

/** Of a pair that does not fit together: whether that is no renewal under way, but lasts. */
export function isLasting({ directory }: Source, { now }: RunContext): boolean {
  return changedMs(directory) < now.getTime() - LASTING_MS;
}

/** What certbot left there, and the lineage that would do instead, where push can be told of one. */
export function lastingHint(
  source: Source,
  { commands = plainCommands, ...wanted }: Wanted & { readonly further: string | null },
  { now }: RunContext,
): string {
  const others = wanted.source.kind === "directory"
    ? othersThan(source.directory, wanted, now)
    : source.others;
  const instead = others.find((directory) => readFits(directory));
  return (isWritten(source.directory)
    ? `upload certificate and key of ${basename(source.directory)} together once more, in Nginx ` +
      "Proxy Manager"
    : `a renewal was cut off there: ${whatEndsIt(source.directory)}`) +
    (instead === undefined || wanted.further !== null
      ? ""
      : `; or send ${quote(instead)}, which is whole: ${commands.push} ` +
        `--source ${shellWord(instead)}`);
}

/** Where a directory is named, nobody has looked into the live ones, if there are any. */
function othersThan(directory: string, { live, domain }: Wanted, now: Date): string[] {
  try {
    return whatElse(readLineages(liveDirectories(live), now), domain, directory);
  } catch (error) {
    if (error instanceof Failure) return [];
    throw error;
  }
}

function readFits(directory: string): boolean {
  try {
    return readAt(directory, { warnings: [], others: [] }).keyFits;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}
