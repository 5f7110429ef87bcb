// What becomes of one further name, and what follows from that for directories and services. Pure.

import type { Certificate } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Owed } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import type { Failure } from "../failure.ts";

/** What becomes of one name. */
export interface NamePlan {
  readonly name: string;
  /** Why its pair is not taken. */
  readonly refusal: Failure | null;
  /** What clients that ask for it are to be given; null where nobody knows, or it is left as it is. */
  readonly serving: Pair | null;
  /** The directory that carries that; null where the top level does. */
  readonly directory: string | null;
  /**
   * `install` where files are to be written, `make` where the directory is not there yet, `unmake`
   * where one that was made is to be served no more.
   */
  readonly deed: "none" | "install" | "make" | "unmake";
  /** What lies there. */
  readonly former: Pair | null;
  readonly warnings: readonly string[];
}

/** What is written anew: each directory once. */
export function installsOf(plans: readonly NamePlan[]): NamePlan[] {
  const written = plans.filter(({ deed }) => deed === "install" || deed === "make");
  const seen = new Set<string | null>();
  return written.filter(({ directory }) => seen.size < seen.add(directory).size);
}

/** The leaf that its directory goes on with, or is to have. */
export function leafOfPlan({ serving, former }: NamePlan): Certificate | null {
  return serving?.leaf ?? former?.leaf ?? null;
}

/** How each service is told: with a directory that is new or gone all are restarted. Pure. */
export function modesFor(
  services: readonly Service[],
  plans: readonly NamePlan[],
  apply: "reload" | "restart",
  owed: Owed = new Map(),
): ReadonlyMap<Service, "reload" | "restart"> {
  if (!changesDirectories(plans)) {
    return new Map(services.map((service) => [service, owed.has(service) ? "restart" : apply]));
  }
  return new Map(serviceNames.map((service) => [service, "restart"]));
}

/** Which directories there are is read at a start alone. */
export function changesDirectories(plans: readonly NamePlan[]): boolean {
  return plans.some(({ deed }) => deed === "make" || deed === "unmake");
}
