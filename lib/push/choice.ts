// Which directory push reads for a name, of all that Nginx Proxy Manager has.

import { parseChain } from "../certificate/certificate.ts";
import { deliveredPaths } from "../certificate/pair.ts";
import { leftByCertbot, readLineageFile } from "../chain/lineage_file.ts";
import {
  choiceWarnings,
  chooseLineage,
  type Lineage,
  maySucceed,
  namedLineage,
  rankLineages,
  readableHint,
} from "../chain/npm_dir.ts";
import type { CommandsToTell, SourceConfig } from "../config/push_config.ts";
import { Failure, firstFew, quote } from "../failure.ts";
import { namesCover } from "../values/host_name.ts";
import { whatMayEndIt } from "./cut_off.ts";
import { Passing, plainCommands, readAt, type Source } from "./pair_at.ts";

/** Which certificate is looked for, and among what. */
export interface Wanted extends SourceConfig {
  readonly domain: string;
  readonly commands?: CommandsToTell;
}

/** There is none for the name any more, or never was. */
export class NoLineage extends Failure {
  override name = "NoLineage";
}

export interface DirectoryChoice extends Pick<Source, "directory" | "warnings" | "others"> {
  /** Directories that cannot be read, and changed a moment ago. */
  readonly changing: readonly string[];
  readonly isChanging: boolean;
  /** What was seen there; null where nobody has looked. */
  readonly lineage: Lineage | null;
}

/** Throws a Failure where there is none to read. */
export function chooseDirectory(
  { source, domain, commands = plainCommands }: Wanted,
  pushed: ReadonlySet<string>,
  look: () => readonly Lineage[],
): DirectoryChoice {
  const alone = { warnings: [], others: [], changing: [], isChanging: false, lineage: null };
  if (source.kind === "directory") return { ...alone, directory: source.name };
  const hint = `see what is there with: ${commands.find}`;
  const all = look();
  const lineages = all.filter(({ names }) => namesCover(names, domain) !== null);
  if (source.kind === "lineage") {
    const lineage = namedLineage(all, source.name, domain);
    if (lineage !== null) {
      const others = whatElse(lineages, domain, lineage.directory);
      return { ...alone, directory: lineage.directory, lineage, others };
    }
    throw new NoLineage(`there is no ${source.name} in the live directories`, { hint });
  }
  const changing = all.filter(({ isChanging }) => isChanging)
    .map(({ directory }) => directory);
  const choice = chooseLineage(lineages, domain);
  const { best } = choice;
  if (best !== null) {
    const ranked = rankLineages(lineages, domain);
    const served = ranked.find((lineage) => isRefusedAfter(best, lineage, pushed));
    const chosen = served ?? best;
    return {
      directory: chosen.directory,
      warnings: served === undefined
        ? choiceWarnings(lineages, domain, choice)
        : [keptWarning(best, served)],
      others: whatElse(lineages, domain, chosen.directory),
      changing,
      isChanging: changing.length > 0,
      lineage: chosen,
    };
  }
  const unreadable = all.find(({ isUnreadable }) => isUnreadable);
  if (unreadable !== undefined) {
    throw new Failure(`source unreadable: ${unreadable.problem}`, { hint: readableHint() });
  }
  const malformed = malformedFor(all, domain);
  if (malformed !== null) {
    const { directory, isChanging } = malformed;
    return { ...alone, directory, isChanging };
  }
  const skipped = all.flatMap(({ problem }) => problem ?? []);
  const none = `no certificate for ${quote(domain)} in the live directories` +
    (skipped.length === 0 ? "" : `; skipped: ${firstFew(skipped).join("; ")}`);
  const cut = all.find(({ state, directory }) =>
    state === "broken" && leftByCertbot(directory).length > 0
  );
  const Kind = changing.length > 0 ? Passing : skipped.length > 0 ? Failure : NoLineage;
  throw new Kind(none, { hint: cut === undefined ? hint : whatMayEndIt(cut.directory) });
}

/** What else could be sent for the name, the best one first. */
export function whatElse(lineages: readonly Lineage[], domain: string, chosen: string): string[] {
  return rankLineages(lineages, domain)
    .filter(({ directory, state }) => directory !== chosen && state === "valid")
    .map(({ directory }) => directory);
}

/**
 * Of the lineages that are refused for their form, the one that would be chosen: whose certificates
 * name the host, or the only one, where it holds none at all.
 */
function malformedFor(lineages: readonly Lineage[], domain: string): Lineage | null {
  const malformed = lineages.filter(({ state, directory }) =>
    state === "broken" && isMalformed(directory)
  ).map((lineage) => ({ lineage, names: namesIn(lineage.directory) }));
  const named = malformed.findLast(({ names }) => namesCover(names ?? [], domain) !== null);
  const [first] = malformed;
  const isOnly = lineages.length === 1 && first?.names === null;
  return named?.lineage ?? (isOnly ? first.lineage : null);
}

function isMalformed(directory: string): boolean {
  try {
    return readAt(directory, { warnings: [], others: [] }).pair instanceof Failure;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}

/** The names in whatever certificates lie there, for nothing but to tell it; null without any. */
function namesIn(directory: string): readonly string[] | null {
  const text = new TextDecoder("latin1").decode(
    readLineageFile(deliveredPaths(directory).chain).bytes,
  );
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  for (const block of blocks) {
    try {
      const [{ names }] = parseChain(new TextEncoder().encode(`${block}\n`), quote(directory));
      if (names.length > 0) return names;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
  }
  return null;
}

function isRefusedAfter(best: Lineage, other: Lineage, pushed: ReadonlySet<string>): boolean {
  return other.fingerprint !== null && other.fingerprint !== best.fingerprint &&
    pushed.has(other.fingerprint) && !maySucceed(best, other);
}

function keptWarning(best: Lineage, served: Lineage): string {
  return `${quote(best.directory)} would be chosen, but is older than what was pushed from ` +
    `${quote(served.directory)}: deploy takes it only once that one nears its end`;
}
