// certsync push: sends the certificate of Nginx Proxy Manager to every target that lacks it.

import { timeState } from "../certificate/certificate.ts";
import { type Pair, samePair } from "../certificate/pair.ts";
import { recorded } from "../chain/history.ts";
import { type LastPushed, readLastPushed } from "../chain/last_fp.ts";
import { hintAtVolumes } from "../chain/npm_volume.ts";
import { type Destination, type PushConfig, pushConfig } from "../config/push_config.ts";
import { Failure, quote } from "../failure.ts";
import { holdState } from "../files/state.ts";
import { traceOf } from "../files/trace.ts";
import { pause, type RunContext } from "../run_context.ts";
import { pushPace, runRounds } from "../started.ts";
import { namesCover } from "../values/host_name.ts";
import { forgetGone, warnOfGone } from "./gone.ts";
import {
  changesOf,
  describePush,
  emptyPushReport,
  type PushReport,
  refused,
  reportOf,
  settled,
  stopped,
  summarize,
} from "./report.ts";
import {
  isFresh,
  isLasting,
  lastingHint,
  NoLineage,
  pathsIn,
  readAt,
  readSource,
  type Source,
  whatPushReads,
} from "./source.ts";

/** What is known so far, for whoever stops it. */
interface Progress {
  report: PushReport;
  lacking: readonly Destination[];
}

/** Throws a Failure where it does not come to a decision. */
export async function push(config: PushConfig, context: RunContext): Promise<PushReport> {
  const empty = emptyPushReport(config);
  const progress: Progress = { report: empty, lacking: config.to };
  const stoppable = async (run: () => Promise<PushReport>) => {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Failure) || !context.stop.aborted) throw error;
      return stopped(progress.report, progress.lacking, error, config);
    }
  };
  return await stoppable(async () => {
    using _lock = config.dryRun ? null : await holdState(config.state, context);
    const state = config.dryRun ? null : config.state;
    return await recorded(
      () => stoppable(() => pushOnce(config, context, progress)),
      { state, now: context.now, empty, changes: changesOf },
    );
  });
}

async function pushOnce(
  config: PushConfig,
  context: RunContext,
  progress: Progress,
): Promise<PushReport> {
  const pushed = readLastPushed(config.state, config.to);
  const first = await findSource(pushed, config, context);
  if (typeof first === "string") {
    return {
      ...settled(emptyPushReport(config), "unchanged", [], config),
      warnings: [first],
    };
  }
  if (isSettled(first, pushed, config, context.now)) {
    return settled(reportOf(first, config), "unchanged", [], config);
  }

  progress.report = reportOf(first, config);
  if (!(first.pair instanceof Failure)) {
    progress.lacking = targetsLacking(first.pair, pushed, config);
  }

  const { source, refusal } = await judge(first, config, context);
  const { pair } = source;
  const report = reportOf(source, config);
  if (refusal !== null) return refused(report, refusal, config);
  if (pair instanceof Failure) return refused(report, pair, config);

  const stale = targetsLacking(pair, pushed, config);
  if (stale.length === 0) return settled(report, "unchanged", [], config);
  const told = { ...report, replaces: replacedOf(stale, pushed) };
  if (config.dryRun) return settled(told, "would-push", stale, config);
  progress.report = told;
  progress.lacking = stale;
  const { send } = await import("./send.ts");
  const sendings = await send(pair, stale, pushed, config, context);
  const summary = summarize(told, sendings, config);
  const lacking = stale.filter((target) =>
    sendings.some((sending) => sending.target === target && sending.failure !== null)
  );
  if (!context.stop.aborted || lacking.length === 0) return summary;
  return stopped(summary, lacking, context.stop.reason, config);
}

/** The source; or of a lineage that was pushed and is gone, what a started run tells for a day. */
async function findSource(
  pushed: LastPushed,
  config: PushConfig,
  context: RunContext,
): Promise<Source | string> {
  try {
    const source = await readSource(config, context, new Set(pushed.values()));
    if (!config.dryRun) forgetGone(config.state);
    return source;
  } catch (error) {
    const isGone = error instanceof NoLineage && config.started && pushed.size > 0;
    if (!isGone) throw await hintAtVolumes(error, context);
    return warnOfGone(error, config, context.now);
  }
}

/** The targets to send to. Pure. */
function targetsLacking(
  { leaf }: Pick<Pair, "leaf">,
  pushed: LastPushed,
  { to, force }: Pick<PushConfig, "to" | "force">,
): Destination[] {
  return to.filter(({ text }) => force || pushed.get(text) !== leaf.fingerprint);
}

/** What they had, where all of them had the same. Pure. */
function replacedOf(targets: readonly Destination[], pushed: LastPushed): string | null {
  const [one, ...others] = new Set(targets.map(({ text }) => pushed.get(text) ?? null));
  return others.length > 0 ? null : one ?? null;
}

/** Whether an unchanged pair needs no second look. Pure. */
function isSettled(
  { pair, keyFits }: Source,
  pushed: LastPushed,
  config: PushConfig,
  now: Date,
): boolean {
  return !(pair instanceof Failure) && keyFits &&
    targetsLacking(pair, pushed, config).length === 0 &&
    timeState(pair.leaf, now) === "valid" &&
    namesCover(pair.leaf.names, config.domain) !== null;
}

interface Judged {
  readonly source: Source;
  readonly refusal: Failure | null;
}

/** What may be sent: the first choice, or where its chain is refused, the next one that passes. */
async function judge(first: Source, config: PushConfig, context: RunContext): Promise<Judged> {
  const { Refusal } = await import("../certificate/judgement.ts"); // takes longer than finding nothing to do
  const { source, refusal } = await judgeWritten(first, config, context);
  if (!(refusal instanceof Refusal)) return { source, refusal };
  if (refusal.about === "key") {
    if (!isLasting(source, context)) return { source, refusal };
    return {
      source,
      refusal: new Failure(refusal.message, { hint: lastingHint(source, config, context) }),
    };
  }
  for (const directory of config.source.kind === "auto" ? source.others : []) {
    const other = readOther(directory, source);
    if (other === null || await refusalOf(other, config, context) !== null) continue;
    const warning = `${quote(directory)} is used instead of ${quote(source.directory)}: ` +
      refusal.message;
    return { source: { ...other, warnings: [...source.warnings, warning] }, refusal: null };
  }
  return { source, refusal };
}

const LOOKS = 4;

/** A chain that was written a moment ago may be half of it: it is refused once it stays so. */
async function judgeWritten(
  first: Source,
  config: PushConfig,
  context: RunContext,
): Promise<Judged> {
  const { Refusal } = await import("../certificate/judgement.ts");
  let source = first;
  for (let look = 1;; look++) {
    const refusal = await refusalOf(source, config, context);
    const mayPass = refusal instanceof Refusal && refusal.about === "chain";
    if (!mayPass || look === LOOKS || !isFresh(source, context)) return { source, refusal };
    await pause(1_000, context);
    const next = await readSource(config, context);
    if (isSame(source.pair, next.pair)) return { source, refusal };
    source = next;
  }
}

function isSame(a: Pair | Failure, b: Pair | Failure): boolean {
  if (a instanceof Failure || b instanceof Failure) {
    return a instanceof Failure && b instanceof Failure;
  }
  return samePair(a, b);
}

async function refusalOf(
  { pair, directory }: Source,
  config: PushConfig,
  context: RunContext,
): Promise<Failure | null> {
  if (pair instanceof Failure) return pair;
  const { judgePair } = await import("../certificate/judgement.ts");
  const demands = { domain: config.domain, trust: config.trust, trustKey: "push.trust" } as const;
  return await judgePair(
    pair,
    pathsIn(directory),
    demands,
    config.dryRun ? null : config.state,
    context,
  );
}

function readOther(directory: string, { others }: Source): Source | null {
  try {
    return readAt(directory, { warnings: [], others });
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

function ending({ error, outcome }: PushReport) {
  if (error !== undefined) return "failed" as const;
  return outcome === "unchanged" ? "idle" as const : "done" as const;
}

function run(config: PushConfig, context: RunContext): Promise<PushReport> {
  if (!config.started) return push(config, context);
  const work = {
    look: () => traceOf(whatPushReads(config)),
    run: (context: RunContext) => push(config, context),
    words: describePush,
    ending,
  };
  return runRounds(work, pushPace, context);
}

/** How main runs it. */
export const pushCommand = {
  config: pushConfig,
  run,
  empty: emptyPushReport,
  words: describePush,
  ending,
};
