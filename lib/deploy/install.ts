// Puts pairs into mailcow's directories.

import { installPair } from "../certificate/pair.ts";
import { explain, Failure, quote } from "../failure.ts";
import { confirmMade, makeDirectory, unmakeDirectory } from "./make.ts";
import { installsOf, type NamePlan } from "./name_plan.ts";
import type { Installation } from "./plan.ts";

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

export interface Written {
  /** The paths. */
  readonly installed: readonly string[];
  /** By name, why its pair could not be put where it belongs: that stops no other's. */
  readonly failures: ReadonlyMap<string | null, Failure>;
}

/** The same for further names, whose directories are made where there are none. */
export function installNames(plans: readonly NamePlan[], state: string): Written {
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
