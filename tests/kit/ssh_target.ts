// Targets of push that are reached over ssh, which most tests are about.

import type { Destination, SshDestination } from "../../lib/config/push_config.ts";
import { parsePushTarget, type SshTarget } from "../../lib/values/push_target.ts";

export function sshTarget(text: string): SshTarget {
  const target = parsePushTarget(text, "x");
  if (target.kind !== "ssh") throw new Error(`not over ssh: ${text}`);
  return target;
}

export function overSsh(to: readonly Destination[]): SshDestination[] {
  return to.map((target) => {
    if (target.kind !== "ssh") throw new Error(`not over ssh: ${target.text}`);
    return target;
  });
}
