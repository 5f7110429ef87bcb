// What whoever runs it wants of a name: --force, --rollback and --only. Pure.

import type { DeployConfig } from "../config/deploy_config.ts";

/** What the run is to do about a name: as ever, whatever speaks against it, or back to what it had. */
export type Wish = "take" | "force" | "rollback";

/** Null is the domain. */
export function wishFor(
  name: string | null,
  { force, rollback, only }: Pick<DeployConfig, "force" | "rollback" | "only">,
  domain: string,
): Wish {
  const isMeant = only === "all" ||
    (only.length === 0 ? name === null : only.includes(name ?? domain));
  if (!isMeant) return "take";
  return rollback ? "rollback" : force ? "force" : "take";
}
