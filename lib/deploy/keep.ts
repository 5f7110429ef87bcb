// Keeps the pairs that others take the place of, each owner's for itself.

import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import { Failure } from "../failure.ts";
import type { PreparedFile } from "../files/write_file.ts";
import type { RunContext } from "../run_context.ts";
import type { DeployFacts } from "./facts.ts";
import type { NamePlan } from "./name_plan.ts";
import type { Plan } from "./plan.ts";
import { checkKept, preparePrevious, previousDirectory, previousOfName } from "./previous.ts";

/** A pair that is replaced, with where it is kept, and by which leaf it is replaced. */
interface Replaced {
  readonly pair: Pair | null;
  readonly by: Pair;
  readonly directory: string;
}

/** Where the domain's pair replaces another one, at the top level and in SNI directories. Pure. */
export function replacedByDomain(
  { directories }: Plan,
  { mailcow, candidate: by }: DeployFacts,
  state: string,
): Replaced[] {
  return [
    { ...mailcow.deployed, name: null },
    ...mailcow.sniDirectories.filter(({ directory }) => directories.includes(directory)),
  ].map(({ pair, name }) => ({ pair, by, directory: previousDirectory(state, name) }));
}

/** Where the pair of a further name replaces another one. Pure. */
export function replacedByName({ name, former: pair, serving: by }: NamePlan, state: string) {
  return by === null ? [] : [{ pair, by, directory: previousOfName(state, name) }];
}

/** What the pairs of one owner take the place of; null is the domain. */
export interface Replacement {
  readonly name: string | null;
  readonly all: readonly Replaced[];
}

export interface Keeping extends Disposable {
  /** By owner, why what it has cannot be kept: that stops no other's. */
  readonly failures: ReadonlyMap<string | null, Failure>;
  /** Those of these owners take the place of what was kept before. */
  putInPlace(isMeant: (name: string | null) => boolean): void;
}

/** Writes each good pair that another one takes the place of beside what was kept before. */
export async function prepareKeeping(
  replacements: readonly Replacement[],
  { state, rejected }: { readonly state: string; readonly rejected: Rejected },
  context: RunContext,
): Promise<Keeping> {
  using stack = new DisposableStack();
  const prepared: { readonly name: string | null; readonly file: PreparedFile }[] = [];
  const failures = new Map<string | null, Failure>();
  for (const { name, all } of replacements) {
    try {
      for (const { pair, by, directory } of all) {
        if (pair === null || rejected.has(pair.leaf.fingerprint)) continue;
        if (pair.leaf.fingerprint === by.leaf.fingerprint) continue;
        if (!await keyMatches(pair, context)) continue;
        if (name !== null) checkKept(state, name);
        prepared.push({ name, file: stack.use(preparePrevious(pair, directory)) });
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      context.stop.throwIfAborted();
      failures.set(name, error);
    }
  }
  const written = stack.move();
  return {
    failures,
    putInPlace: (isMeant) =>
      prepared.filter(({ name }) => !failures.has(name) && isMeant(name))
        .forEach(({ file }) => file.putInPlace()),
    [Symbol.dispose]: () => written.dispose(),
  };
}
