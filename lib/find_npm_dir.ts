// certsync find-npm-dir: says in which directory the certificate of a name lies.

import { basename, dirname } from "node:path";
import {
  type Choice,
  choiceWarnings,
  chooseLineage,
  type Lineage,
  liveDirectories,
  readableHint,
  readLineages,
} from "./chain/npm_dir.ts";
import { hintAtVolumes } from "./chain/npm_volume.ts";
import type { Presentation } from "./cli/terminal.ts";
import { type FindConfig, findConfig } from "./config/push_config.ts";
import { quote, quoteAll } from "./failure.ts";
import type { RunContext } from "./run_context.ts";
import { namesCover } from "./values/host_name.ts";
import { formatTime } from "./values/time.ts";

export interface Match {
  readonly hostname: string;
  /** The directory, or null. */
  readonly match: string | null;
}

export interface FindReport {
  /** The first of the names, where there is one, and its directory. */
  readonly hostname: string | null;
  readonly match: string | null;
  readonly matches: readonly Match[];
  readonly candidates: readonly Candidate[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

export interface Candidate {
  readonly dir: string;
  readonly subject: string | null;
  readonly names: readonly string[];
  readonly notAfter: string | null;
  readonly issuer: string | null;
  readonly covers: boolean;
  readonly state: Lineage["state"];
}

/** What is reported of a run that came to nothing. */
function emptyFindReport(config: FindConfig | null): FindReport {
  const matches = (config?.hostNames ?? []).map((hostname) => ({ hostname, match: null }));
  return { ...firstOf(matches), matches, candidates: [], warnings: [] };
}

function firstOf([first]: readonly Match[]): Pick<FindReport, "hostname" | "match"> {
  return first ?? { hostname: null, match: null };
}

/** Throws a Failure where the live directories cannot be looked into. */
export function findNpmDir(
  { hostNames, live, liveKey, commands }: FindConfig,
  { now }: RunContext,
): FindReport {
  const directories = liveDirectories(live, liveKey);
  const lineages = readLineages(directories, now);
  const choices = hostNames.map((name) => ({ name, ...chooseLineage(lineages, name) }));
  const matches = choices.map(({ name, best }): Match => ({
    hostname: name,
    match: best?.directory ?? null,
  }));
  const report: FindReport = {
    ...firstOf(matches),
    matches,
    candidates: lineages.map((lineage) => describeCandidate(lineage, hostNames)),
    warnings: [
      ...(lineages.length > 0 ? [] : [`no npm-* in ${directories.map(quote).join(", ")}`]),
      ...lineages.flatMap(({ problem }) => problem === null ? [] : [`skipped: ${problem}`]),
      ...new Set(
        choices.flatMap(({ name, ...choice }) =>
          warningsOf(choice, lineages, name).map((warning) =>
            choices.length === 1 ? warning : `${name}: ${warning}`
          )
        ),
      ),
    ],
  };
  const without = matches.filter(({ match }) => match === null);
  if (without.length === 0) return report;
  const names = quoteAll(without.map(({ hostname }) => hostname));
  const unreadable = lineages.filter(({ isUnreadable }) => isUnreadable);
  if (unreadable.length > 0) {
    return {
      ...report,
      error: `cannot tell which directory holds a certificate for ${names}: ` +
        `${unreadable.length} of ${lineages.length} may not be read by this user`,
      hint: readableHint(),
    };
  }
  return {
    ...report,
    error: `no certificate for ${names} among ${lineages.length} directories`,
    hint: lineages.length === 0
      ? misplaced(directories, liveKey)
      : `see what they hold with: ${commands.find}`,
  };
}

/** Where no directory holds any, what it should be. */
function misplaced(directories: readonly string[], liveKey: string): string {
  const lineage = directories.find((directory) => /^npm-\d+$/.test(basename(directory)));
  return lineage === undefined
    ? `name the directory that holds npm-* with ${liveKey}`
    : `name the directory above it, ${quote(dirname(lineage))}, with ${liveKey}`;
}

function warningsOf(choice: Choice, lineages: readonly Lineage[], hostName: string): string[] {
  const { best } = choice;
  return [
    ...choiceWarnings(lineages, hostName, choice),
    ...(best === null || best.state === "valid"
      ? []
      : [`${quote(best.directory)} is ${best.state}`]),
  ];
}

function describeCandidate(lineage: Lineage, hostNames: readonly string[]): Candidate {
  const { directory, subject, names, notAfter, issuer, state } = lineage;
  return {
    dir: directory,
    subject,
    names,
    notAfter: notAfter && formatTime(notAfter),
    issuer,
    covers: hostNames.some((hostName) => namesCover(names, hostName) !== null),
    state,
  };
}

/**
 * With a hostname the directory alone, for `cd "$(…)"`, with several each behind its name; otherwise,
 * or for all, a list.
 */
function describeFind(
  { matches, candidates }: FindReport,
  { all }: Pick<Presentation, "all">,
): string[] {
  if (matches.length > 0 && !all) {
    return matches.flatMap(({ hostname, match }) => {
      if (match === null) return [];
      return matches.length === 1 ? [match] : [`${hostname} ${match}`];
    });
  }
  const used = new Set(matches.map(({ match }) => match));
  return candidates.flatMap(({ dir, subject, names, notAfter, issuer, state }) => [
    `${dir}${used.has(dir) ? "  (the one to use)" : ""}`,
    `  state    ${state}`,
    ...(state === "broken" ? [] : [
      `  names    ${names.join(" ")}`,
      `  subject  ${subject}`,
      `  issuer   ${issuer}`,
      `  expires  ${notAfter}`,
    ]),
  ]);
}

/** How main runs it. */
export const findCommand = {
  config: findConfig,
  run: async (config: FindConfig, context: RunContext) => {
    try {
      return findNpmDir(config, context);
    } catch (error) {
      const where = config.liveKey.startsWith("--") ? "flags" : "config";
      throw await hintAtVolumes(error, context, where);
    }
  },
  empty: emptyFindReport,
  words: (report: FindReport, _config: FindConfig | null, presentation: Presentation) =>
    describeFind(report, presentation),
  ending: ({ error }: FindReport) => error === undefined ? "done" as const : "failed" as const,
};
