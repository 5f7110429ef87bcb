// Puts pairs into mailcow's directories, and keeps those that they take the place of.

import { keyMatches } from "../certificate/judgement.ts";
import { installPair, type Pair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import { explain, Failure, quote } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import type { DeployFacts } from "./facts.ts";
import { confirmMade, makeDirectory, unmakeDirectory } from "./make.ts";
import { installsOf, type NamePlan } from "./name_plan.ts";
import type { Installation, Plan } from "./plan.ts";
import { keepPrevious, previousDirectory, previousOfName } from "./previous.ts";

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

/** Keeps each good pair that another one takes the place of. */
export async function keepReplaced(
  replaced: readonly Replaced[],
  rejected: Rejected,
  context: RunContext,
): Promise<void> {
  for (const { pair, by, directory } of replaced) {
    if (pair === null || rejected.has(pair.leaf.fingerprint)) continue;
    if (pair.leaf.fingerprint === by.leaf.fingerprint) continue;
    if (await keyMatches(pair, context)) keepPrevious(pair, directory);
  }
}

/** Returns the paths of what was installed. */
export function installAll(installations: readonly Installation[]): string[] {
  return installations.flatMap(({ pair, directories }) => {
    try {
      return installPair(pair, directories);
    } catch (error) {
      throw explain(error, `install the certificate in ${directories.map(quote).join(", ")}`);
    }
  });
}

export interface Installed {
  /** The paths. */
  readonly installed: readonly string[];
  /** By name, why its pair could not be put where it belongs: that stops no other's. */
  readonly failures: ReadonlyMap<string, Failure>;
}

/** The same for further names, whose directories are made where there are none. */
export function installNames(plans: readonly NamePlan[], state: string): Installed {
  const installed: string[] = [];
  const failures = new Map<string, Failure>();
  const written = installsOf(plans);
  for (const plan of [...plans.filter(({ deed }) => deed === "unmake"), ...written]) {
    try {
      installed.push(...installName(plan, state));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const alike = plans.filter(({ directory }) => directory === plan.directory);
      alike.forEach(({ name }) => failures.set(name, error));
    }
  }
  return { installed, failures };
}

function installName({ name, serving, directory, deed }: NamePlan, state: string): string[] {
  if (directory === null) return [];
  if (deed === "unmake") unmakeDirectory(name, directory, state);
  if (serving === null || deed === "unmake") return [];
  if (deed === "make") return makeDirectory(name, serving, directory, state);
  const installed = installAll([{ pair: serving, directories: [directory] }]);
  confirmMade(name, state);
  return installed;
}
