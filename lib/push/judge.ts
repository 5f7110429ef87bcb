// Which pairs may be sent: what was read, or where its chain is refused, the next one that passes.

import { judgePair, Refusal } from "../certificate/judgement.ts";
import { deliveredPaths, type Pair, samePair } from "../certificate/pair.ts";
import type { PushConfig } from "../config/push_config.ts";
import { Failure, quote } from "../failure.ts";
import { pause, type RunContext } from "../run_context.ts";
import { isFresh, isLasting, lastingHint } from "./lasting.ts";
import type { Name } from "./names.ts";
import { questionOf } from "./names.ts";
import { readAt, type Source } from "./pair_at.ts";
import { readSources } from "./source.ts";

/** What was read for a name. */
export interface Candidate {
  readonly name: Name;
  readonly source: Source;
}

export interface Judged {
  readonly name: Name;
  /** Where nothing could be read any more, why. */
  readonly source: Source | Failure;
  readonly refusal: Failure | null;
}

const LOOKS = 4;

/** One after the other: each takes as many processes at once as a small host has processors. */
export async function judgeAll(
  candidates: readonly Candidate[],
  config: PushConfig,
  context: RunContext,
): Promise<Judged[]> {
  const judged = new Map<Name, Judged>();
  let open = candidates;
  for (let look = 1; open.length > 0; look++) {
    const again: Candidate[] = [];
    for (const candidate of open) {
      const refusal = await refusalOf(candidate, config, context);
      judged.set(candidate.name, { ...candidate, refusal });
      if (look < LOOKS && mayPass(candidate, refusal, context)) again.push(candidate);
    }
    if (again.length === 0) break;
    await pause(1_000, context);
    open = await readAgain(again, judged, config, context);
  }
  const ends: Judged[] = [];
  for (const { name } of candidates) {
    const end = judged.get(name);
    if (end !== undefined) ends.push(await orNext(end, config, context));
  }
  return ends;
}

/** A chain that was written a moment ago may be half of it: it is refused once it stays so. */
function mayPass({ source }: Candidate, refusal: Failure | null, context: RunContext): boolean {
  return refusal instanceof Refusal && refusal.about === "chain" && isFresh(source, context);
}

/** Those that are others by now; what cannot be read any more is judged by that. */
async function readAgain(
  candidates: readonly Candidate[],
  judged: Map<Name, Judged>,
  config: PushConfig,
  context: RunContext,
): Promise<Candidate[]> {
  const questions = candidates.map(({ name }) => questionOf(name, new Map(), config));
  const sources = await readSources(questions, context);
  return candidates.flatMap(({ name, source: before }, index) => {
    const source = sources[index];
    if (source === undefined) return [];
    if (source instanceof Failure) {
      judged.set(name, { name, source, refusal: null });
      return [];
    }
    return isSame(before.pair, source.pair) ? [] : [{ name, source }];
  });
}

function isSame(a: Pair | Failure, b: Pair | Failure): boolean {
  if (a instanceof Failure || b instanceof Failure) {
    return a instanceof Failure && b instanceof Failure;
  }
  return samePair(a, b);
}

async function orNext(end: Judged, config: PushConfig, context: RunContext): Promise<Judged> {
  const { name, source, refusal } = end;
  if (source instanceof Failure || !(refusal instanceof Refusal)) return end;
  const { wanted } = questionOf(name, new Map(), config);
  if (refusal.about === "key") {
    if (!isLasting(source, context)) return end;
    const hint = lastingHint(source, { ...wanted, further: name.further }, context);
    return { ...end, refusal: new Failure(refusal.message, { hint }) };
  }
  for (const directory of wanted.source.kind === "auto" ? source.others : []) {
    const other = readOther(directory, source);
    if (other === null) continue;
    if (await refusalOf({ name, source: other }, config, context) !== null) continue;
    const warning = `${quote(directory)} is used instead of ${quote(source.directory)}: ` +
      refusal.message;
    return {
      ...{ name, refusal: null },
      source: { ...other, warnings: [...source.warnings, warning] },
    };
  }
  return end;
}

async function refusalOf(
  { name, source: { pair, directory } }: Candidate,
  config: PushConfig,
  context: RunContext,
): Promise<Failure | null> {
  if (pair instanceof Failure) return pair;
  const demands = { domain: name.name, trust: config.trust, trustKey: "push.trust" } as const;
  return await judgePair(
    pair,
    deliveredPaths(directory),
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
