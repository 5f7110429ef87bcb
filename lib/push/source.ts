// The pair that push sends, read as one snapshot while a renewal may be under way.

import { basename, join } from "node:path";
import { parseChain } from "../certificate/certificate.ts";
import { keyFits, type Pair, parsePair } from "../certificate/pair.ts";
import { changedMs, leftByCertbot, readLineageFile, targetOf } from "../chain/lineage_file.ts";
import {
  choiceWarnings,
  chooseLineage,
  type Lineage,
  lineageDirectories,
  liveDirectories,
  maySucceed,
  namedLineage,
  rankLineages,
  readLineages,
  RUN_AS_ROOT,
  standardLiveDirectories,
} from "../chain/npm_dir.ts";
import type { CommandsToTell, PushConfig, SourceConfig } from "../config/push_config.ts";
import { Failure, firstFew, quote } from "../failure.ts";
import { FileProblem } from "../files/read_file.ts";
import { pause, type RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { shellWord } from "../values/shell_word.ts";

/** Where the pair was read, and the pair, or why what was read there is none. */
export interface Source {
  readonly directory: string;
  readonly warnings: readonly string[];
  readonly pair: Pair | Failure;
  /** Whether key and certificate belong together, as far as can be told without a process. */
  readonly keyFits: boolean;
  /** What else could be sent for the name, the best one first. */
  readonly others: readonly string[];
}

type Wanted = SourceConfig & Partial<Pick<PushConfig, "commands">> & { readonly domain: string };

const plainCommands: CommandsToTell = { push: "certsync push", find: "certsync find-npm-dir" };

const ATTEMPTS = 40;
const BETWEEN_MS = 100;

/**
 * certbot replaces the links of a lineage one by one, so what does not fit together is read again
 * for a few seconds, also where another lineage would do meanwhile. Then it is returned as it is,
 * for the judge. `pushed` holds the leaves that the targets have. Throws a Failure where there is
 * nothing to read.
 */
export async function readSource(
  config: Wanted,
  context: RunContext,
  pushed: ReadonlySet<string> = new Set(),
): Promise<Source> {
  const seen = new Set<string>();
  for (let attempt = 1;; attempt++) {
    const isLast = attempt === ATTEMPTS;
    try {
      const choice = chooseDirectory(config, pushed, context.now);
      if (isLast || !choice.isChanging) {
        const better = choice.changing.find((directory) => seen.has(directory));
        if (better !== undefined) throw beingWritten(better);
        const source = readAt(choice.directory, choice, config.commands);
        if (isLast || source.keyFits) return source;
      }
      seen.add(choice.directory);
    } catch (error) {
      if (isLast || !(error instanceof Passing)) throw error;
    }
    await pause(BETWEEN_MS, context);
  }
}

/** A failure that a renewal causes while it lasts. */
class Passing extends Failure {
  override name = "Passing";
}

/** There is none for the name any more, or never was. */
export class NoLineage extends Failure {
  override name = "NoLineage";
}

function beingWritten(directory: string): Passing {
  return new Passing(`the certificate is being written at this moment: ${quote(directory)}`, {
    hint: "run this again when that has ended",
  });
}

interface DirectoryChoice extends Pick<Source, "directory" | "warnings" | "others"> {
  /** Directories that cannot be read, and changed a moment ago. */
  readonly changing: readonly string[];
  readonly isChanging: boolean;
}

function chooseDirectory(
  { live, source, domain, commands = plainCommands }: Wanted,
  pushed: ReadonlySet<string>,
  now: Date,
): DirectoryChoice {
  const alone = { warnings: [], others: [], changing: [], isChanging: false };
  if (source.kind === "directory") return { ...alone, directory: source.name };
  const hint = `see what is there with: ${commands.find}`;
  const lineages = readLineages(liveDirectories(live), now);
  if (source.kind === "lineage") {
    const lineage = namedLineage(lineages, source.name, domain);
    if (lineage !== null) {
      const others = whatElse(lineages, domain, lineage.directory);
      return { ...alone, directory: lineage.directory, others };
    }
    throw new NoLineage(`there is no ${source.name} in the live directories`, { hint });
  }
  const changing = lineages.filter(({ isChanging }) => isChanging)
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
    };
  }
  const unreadable = lineages.find(({ isUnreadable }) => isUnreadable);
  if (unreadable !== undefined) {
    throw new Failure(`source unreadable: ${unreadable.problem}`, { hint: RUN_AS_ROOT });
  }
  const malformed = malformedFor(lineages, domain);
  if (malformed !== null) {
    const { directory, isChanging } = malformed;
    return { ...alone, directory, isChanging };
  }
  const skipped = lineages.flatMap(({ problem }) => problem ?? []);
  const none = `no certificate for ${quote(domain)} in the live directories` +
    (skipped.length === 0 ? "" : `; skipped: ${firstFew(skipped).join("; ")}`);
  const cut = lineages.find(({ state, directory }) =>
    state === "broken" && leftByCertbot(directory).length > 0
  );
  const Kind = changing.length > 0 ? Passing : skipped.length > 0 ? Failure : NoLineage;
  throw new Kind(none, { hint: cut === undefined ? hint : whatMayEndIt(cut.directory) });
}

/** What else could be sent for the name, the best one first. */
function whatElse(lineages: readonly Lineage[], domain: string, chosen: string): string[] {
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
  const text = new TextDecoder("latin1").decode(readLineageFile(pathsIn(directory).chain).bytes);
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

/** Reads the pair there once. Throws a Failure where there is nothing to read. */
export function readAt(
  directory: string,
  { warnings, others }: Pick<Source, "warnings" | "others">,
  { find } = plainCommands,
): Source {
  const paths = pathsIn(directory);
  const chain = readSourceFile(paths.chain, find), key = readSourceFile(paths.key, find);
  const told = [chain.warning, key.warning].flatMap((warning) => warning ?? []);
  const facts = { directory, others, warnings: [...new Set([...warnings, ...told])] };
  try {
    const pair = parsePair({ chainPem: chain.bytes, keyPem: key.bytes }, paths);
    return { ...facts, pair, keyFits: keyFits(pair) };
  } catch (error) {
    if (error instanceof Failure) return { ...facts, pair: error, keyFits: false };
    throw error;
  }
}

/** The key file and the certificate file, as messages name them. */
export function pathsIn(directory: string) {
  return { chain: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
}

function readSourceFile(path: string, find: string) {
  try {
    return readLineageFile(path);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const message = `source unreadable: ${quote(path)} ${error.detail}`;
    if (error.kind === "unreadable") {
      throw new Failure(message, { hint: RUN_AS_ROOT });
    }
    const directory = join(path, "..");
    const hint = leftByCertbot(directory).length > 0
      ? whatMayEndIt(directory)
      : `see which directory holds the certificate with: ${find}`;
    const mayPass = ["missing", "symlink", "changing"].includes(error.kind);
    throw mayPass ? new Passing(message, { hint }) : new Failure(message, { hint });
  }
}

/** All whose change may mean that there is something to push: every lineage, and certbot's renewal/. */
export function whatPushReads({ live, source }: SourceConfig): string[] {
  const lineages = source.kind === "directory"
    ? [source.name]
    : (live ?? standardLiveDirectories).flatMap(lineagesOrNone);
  const files = lineages.flatMap((directory) => [directory, ...Object.values(pathsIn(directory))]);
  if (source.kind === "directory") return files;
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

/** What ends a state that lasts: what certbot left there, and the lineage that would do instead. */
export function lastingHint(
  source: Source,
  { commands = plainCommands, ...wanted }: Wanted,
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
    (instead === undefined ? "" : `; or send ${quote(instead)}, which is whole: ${commands.push} ` +
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

/** Whether somebody put plain files there, and not certbot its links. */
function isWritten(directory: string): boolean {
  return linksIn(directory).length === 0 && leftByCertbot(directory).length === 0;
}

function linksIn(directory: string): string[] {
  return ["fullchain.pem", "privkey.pem"].flatMap((file) => {
    const target = targetOf(join(directory, file));
    return target === null ? [] : [`${file} leads to ${basename(target)}`];
  });
}

function whatMayEndIt(directory: string): string {
  return `a renewal is under way there, or was cut off; where it stays so: ${
    whatEndsIt(directory)
  }`;
}

function whatEndsIt(directory: string): string {
  const left = leftByCertbot(directory);
  const found = [
    ...linksIn(directory),
    ...(left.length === 0 ? [] : [`certbot left ${left.join(" ")}`]),
  ];
  return `${found.join(", ")}; renew ${basename(directory)} once more in Nginx Proxy Manager: ` +
    "certbot then clears it up";
}
