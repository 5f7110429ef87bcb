// certsync push: sends the certificates of Nginx Proxy Manager to every target that lacks them.

import { timeState } from "../certificate/certificate.ts";
import { recorded } from "../chain/history.ts";
import { type LastPushed, readLastPushed } from "../chain/last_fp.ts";
import { type Destination, type PushConfig, pushConfig } from "../config/push_config.ts";
import { Failure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { holdState } from "../files/state.ts";
import type { RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { NoLineage } from "./choice.ts";
import { formerRecord } from "./former.ts";
import { noteGone } from "./gone.ts";
import type { Candidate, Judged } from "./judge.ts";
import { replacedAt, targetsLacking } from "./lacking.ts";
import { leavesOf, type Name, namesOf, questionOf } from "./names.ts";
import {
  type CertificateReport,
  changesOf,
  describePush,
  describeSource,
  emptyOf,
  emptyPushReport,
  ending,
  failed,
  type PushReport,
  refused,
  reportOf,
  settled,
  stopped,
  summarize,
} from "./report.ts";
import type { Parcel, Sending } from "./send.ts";
import { readSources } from "./source.ts";

/** What is known so far, for whoever stops it. */
interface Progress {
  readonly reports: Map<string | null, CertificateReport>;
  /** The targets that may not have it, of each name that is not settled. */
  readonly lacking: Map<string | null, readonly Destination[]>;
  readonly warnings: Set<string>;
}

/** Throws a Failure where it does not come to a decision. */
export async function push(config: PushConfig, context: RunContext): Promise<PushReport> {
  const names = namesOf(config);
  const progress: Progress = {
    reports: new Map(names.map(({ name }) => [name, emptyOf(name)])),
    lacking: new Map(names.map(({ name }) => [name, config.to])),
    warnings: new Set(),
  };
  const stoppable = async (run: () => Promise<void | PushReport>) => {
    try {
      return await run() ?? summary(progress);
    } catch (error) {
      if (!(error instanceof Failure) || !context.stop.aborted) throw error;
      return stop(progress, error, config);
    }
  };
  return await stoppable(async () => {
    using _lock = config.dryRun ? null : await holdState(config.state, context);
    const state = config.dryRun ? null : config.state;
    return await recorded(
      () => stoppable(() => pushOnce(names, progress, config, context)),
      { state, now: context.now, empty: emptyPushReport(config), changes: changesOf },
    );
  });
}

function summary({ reports, warnings }: Progress): PushReport {
  return reportOf([...reports.values()], [...warnings]);
}

function stop(progress: Progress, why: Failure, config: PushConfig): PushReport {
  for (const [name, lacking] of progress.lacking) {
    const report = progress.reports.get(name) ?? emptyOf(name);
    progress.reports.set(name, stopped(report, lacking, why, config));
  }
  return summary(progress);
}

/** Warnings of a further name begin with it. */
function note({ name, further }: Name, warnings: readonly string[], progress: Progress): void {
  for (const warning of warnings) {
    progress.warnings.add(further === null ? warning : `${name}: ${warning}`);
  }
}

/** Nothing more is done for the name. */
function settle(report: CertificateReport, { reports, lacking }: Progress): void {
  reports.set(report.name, report);
  lacking.delete(report.name);
}

async function pushOnce(
  names: readonly Name[],
  progress: Progress,
  config: PushConfig,
  context: RunContext,
): Promise<void> {
  const exposed = exposure(config.state);
  if (exposed !== null) progress.warnings.add(exposed);
  const pushed = readLastPushed(config.state, config.to);
  const open: Candidate[] = [];
  for (const candidate of await findSources(names, pushed, progress, config, context)) {
    const { name, source } = candidate;
    const report = describeSource(name.name, source);
    if (isSettled(candidate, pushed, config, context.now)) {
      note(name, source.warnings, progress);
      settle(settled(report, "unchanged", [], config), progress);
      continue;
    }
    open.push(candidate);
    progress.reports.set(name.name, report);
    if (source.pair instanceof Failure) continue;
    progress.lacking.set(name.name, targetsLacking(name, source.pair, pushed, config));
  }
  if (open.length === 0) return;
  const { judgeAll } = await import("./judge.ts"); // takes longer than finding nothing to do
  const [judged, { send }] = await Promise.all([
    judgeAll(open, config, context),
    import("./send.ts"), // while openssl is at work
  ]);
  const parcels = judged.flatMap((end) => parcelOf(end, pushed, progress, config) ?? []);
  if (parcels.length === 0) return;
  const sendings = await send(parcels, pushed, config, context);
  for (const { warning } of sendings) if (warning !== undefined) progress.warnings.add(warning);
  for (const { name } of parcels) {
    const own = sendings.filter((sending) => sending.name === name);
    conclude(name, own, progress, config, context);
  }
}

/** What is to be sent of it; null where that is nothing, which is then known. */
function parcelOf(
  { name, source, refusal }: Judged,
  pushed: LastPushed,
  progress: Progress,
  config: PushConfig,
): Parcel | null {
  if (source instanceof Failure) {
    settle(failed(progress.reports.get(name.name) ?? emptyOf(name.name), source), progress);
    return null;
  }
  note(name, source.warnings, progress);
  const report = describeSource(name.name, source);
  const { pair } = source;
  const why = refusal ?? (pair instanceof Failure ? pair : null);
  if (why !== null || pair instanceof Failure) {
    if (why !== null) settle(refused(report, why, config), progress);
    return null;
  }
  const targets = targetsLacking(name, pair, pushed, config);
  if (targets.length === 0) {
    settle(settled(report, "unchanged", [], config), progress);
    return null;
  }
  const told = { ...report, replaces: replacedAt(name, targets, pushed) };
  if (config.dryRun) {
    const former = formerRecord(source.directory, told.replaces);
    settle(
      settled({ ...told, ...(former && { replacesTlsa: former }) }, "would-push", targets, config),
      progress,
    );
    return null;
  }
  progress.reports.set(name.name, told);
  progress.lacking.set(name.name, targets);
  return { name, pair, targets };
}

/** What became of what was sent; where the operator ended the run, what may not be there is told. */
function conclude(
  { name }: Name,
  sendings: readonly Sending[],
  progress: Progress,
  config: PushConfig,
  context: RunContext,
): void {
  const report = summarize(progress.reports.get(name) ?? emptyOf(name), sendings, config);
  const lacking = sendings.filter(({ failure }) => failure !== null).map(({ target }) => target);
  const { aborted, reason } = context.stop;
  settle(
    aborted && lacking.length > 0 ? stopped(report, lacking, reason, config) : report,
    progress,
  );
}

/** What was read; where that was nothing, it is settled. */
async function findSources(
  names: readonly Name[],
  pushed: LastPushed,
  progress: Progress,
  config: PushConfig,
  context: RunContext,
): Promise<Candidate[]> {
  const sources = await readSources(
    names.map((name) => questionOf(name, pushed, config)),
    context,
  );
  const found = names.map((name, index) => ({ name, source: sources[index] }));
  const whole = found.filter((one): one is Candidate =>
    one.source !== undefined && !(one.source instanceof Failure)
  );
  const lost = found.flatMap(({ name, source }) =>
    source instanceof Failure ? [{ name, failure: source }] : []
  );
  const gone = lost.filter(({ name, failure }) =>
    failure instanceof NoLineage && config.started && leavesOf(name, pushed, config).length > 0
  );
  const ends = noteGone(gone, whole.map(({ name }) => name), config, context.now);
  const hinted = new Map<Failure, unknown>();
  for (const { name, failure } of lost) {
    const report = emptyOf(name.name);
    const end = ends.get(name.name) ?? failure;
    if (typeof end === "string") {
      note(name, [end], progress);
      settle(settled(report, "unchanged", [], config), progress);
      continue;
    }
    if (!hinted.has(end)) {
      const { hintAtVolumes } = await import("../chain/npm_volume.ts"); // is not needed as a rule
      hinted.set(end, await hintAtVolumes(end, context));
    }
    const why = hinted.get(end);
    settle(failed(report, why instanceof Failure ? why : end), progress);
  }
  return whole;
}

/** Whether an unchanged pair needs no second look. Pure. */
function isSettled(
  { name, source: { pair, keyFits } }: Candidate,
  pushed: LastPushed,
  config: PushConfig,
  now: Date,
): boolean {
  return !(pair instanceof Failure) && keyFits &&
    targetsLacking(name, pair, pushed, config).length === 0 &&
    timeState(pair.leaf, now) === "valid" &&
    namesCover(pair.leaf.names, name.name) !== null;
}

async function run(config: PushConfig, context: RunContext): Promise<PushReport> {
  if (!config.started) return await push(config, context);
  return await (await import("./started.ts")).pushStarted(config, context, push);
}

/** How main runs it. */
export const pushCommand = {
  config: pushConfig,
  run,
  empty: emptyPushReport,
  words: describePush,
  ending,
};
