// Which targets lack the pair of a name, as far as this host knows.

import * as fs from "node:fs";
import { deliveredPaths, type Pair } from "../certificate/pair.ts";
import { type LastPushed, pushedKey } from "../chain/last_fp.ts";
import { stagedDirectory } from "../chain/staging.ts";
import type { Destination, PushConfig } from "../config/push_config.ts";
import type { Name } from "./names.ts";

/** Those that another leaf was pushed to last, or where what was pushed does not lie any more. */
export function targetsLacking(
  name: Name,
  { leaf }: Pick<Pair, "leaf">,
  pushed: LastPushed,
  { to, force }: Pick<PushConfig, "to" | "force">,
): Destination[] {
  return to.filter((target) =>
    force || pushed.get(pushedKey(target, name.further)) !== leaf.fingerprint ||
    !liesThere(name, target)
  );
}

/** Of another host nobody knows more than what was pushed. */
function liesThere({ further }: Name, target: Destination): boolean {
  if (target.kind === "ssh") return true;
  return Object.values(deliveredPaths(stagedDirectory(target.directory, further))).every((path) =>
    fs.lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false
  );
}

/** What they had, where all of them had the same. */
export function replacedAt(
  name: Name,
  targets: readonly Destination[],
  pushed: LastPushed,
): string | null {
  const [one, ...others] = new Set(
    targets.map((target) => pushed.get(pushedKey(target, name.further)) ?? null),
  );
  return others.length > 0 ? null : one ?? null;
}
