// certsync find-npm-dir: says in which directory the certificate of a name lies.

import {
  choiceWarnings,
  chooseLineage,
  type Lineage,
  liveDirectories,
  readLineages,
  RUN_AS_ROOT,
} from "./chain/npm_dir.ts";
import { hintAtVolumes } from "./chain/npm_volume.ts";
import type { Presentation } from "./cli/terminal.ts";
import { type FindConfig, findConfig } from "./config/push_config.ts";
import { quote } from "./failure.ts";
import type { RunContext } from "./run_context.ts";
import { namesCover } from "./values/host_name.ts";
import { formatTime } from "./values/time.ts";

export interface FindReport {
  readonly hostname: string | null;
  /** The directory, or null. */
  readonly match: string | null;
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
export function emptyFindReport(config: FindConfig | null): FindReport {
  return { hostname: config?.hostName ?? null, match: null, candidates: [], warnings: [] };
}

/** Throws a Failure where the live directories cannot be looked into. */
export function findNpmDir(
  { hostName, live, commands }: FindConfig,
  { now }: RunContext,
): FindReport {
  const directories = liveDirectories(live);
  const lineages = readLineages(directories, now);
  const choice = hostName === null ? { best: null, equals: [] } : chooseLineage(lineages, hostName);
  const { best } = choice;
  const report: FindReport = {
    hostname: hostName,
    match: best?.directory ?? null,
    candidates: lineages.map((lineage) => describeCandidate(lineage, hostName)),
    warnings: [
      ...(lineages.length > 0 ? [] : [`no npm-* in ${directories.map(quote).join(", ")}`]),
      ...lineages.flatMap(({ problem }) => problem === null ? [] : [`skipped: ${problem}`]),
      ...choiceWarnings(lineages, hostName ?? "", choice),
      ...(best === null || best.state === "valid"
        ? []
        : [`${quote(best.directory)} is ${best.state}`]),
    ],
  };
  if (hostName === null || best !== null) return report;
  const unreadable = lineages.filter(({ isUnreadable }) => isUnreadable);
  if (unreadable.length > 0) {
    return {
      ...report,
      error: `cannot tell which directory holds a certificate for ${quote(hostName)}: ` +
        `${unreadable.length} of ${lineages.length} may not be read by this user`,
      hint: RUN_AS_ROOT,
    };
  }
  return {
    ...report,
    error: `no certificate for ${quote(hostName)} among ${lineages.length} directories`,
    hint: `see what they hold with: ${commands.find}`,
  };
}

function describeCandidate(lineage: Lineage, hostName: string | null): Candidate {
  const { directory, subject, names, notAfter, issuer, state } = lineage;
  return {
    dir: directory,
    subject,
    names,
    notAfter: notAfter && formatTime(notAfter),
    issuer,
    covers: hostName !== null && namesCover(names, hostName) !== null,
    state,
  };
}

/** With a hostname the directory alone, for `cd "$(…)"`; otherwise, or for all, a list. */
export function describeFind(report: FindReport, { all }: Pick<Presentation, "all">): string[] {
  if (report.hostname !== null && !all) return report.match === null ? [] : [report.match];
  return report.candidates.flatMap(({ dir, subject, names, notAfter, issuer, state }) => [
    `${dir}${dir === report.match ? "  (the one to use)" : ""}`,
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
  run: (config: FindConfig, context: RunContext) => {
    try {
      return findNpmDir(config, context);
    } catch (error) {
      return hintAtVolumes(error, context).then((hinted) => Promise.reject(hinted));
    }
  },
  empty: emptyFindReport,
  words: (report: FindReport, _config: FindConfig | null, presentation: Presentation) =>
    describeFind(report, presentation),
  ending: ({ error }: FindReport) => error === undefined ? "done" as const : "failed" as const,
};
