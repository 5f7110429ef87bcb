// The line of authorized_keys that lets this host push, and do nothing else.

import type { RunContext } from "../run_context.ts";
import type { SshOptions, SshTarget } from "../values/push_target.ts";
import { serverCommand } from "./rsync.ts";
import { publicKeyLine } from "./ssh_key.ts";

/** With what this host's rsync asks for, as push calls it first. */
export async function forcedCommandLine(
  target: SshTarget & { readonly ssh: SshOptions },
  context: RunContext,
): Promise<string> {
  const command = await serverCommand("-azL", target, context) ?? "rsync --server …";
  const { identity } = target.ssh;
  const publicKey = (identity && publicKeyLine(`${identity}.pub`)) ?? "ssh-ed25519 AAAA…";
  return `command="${command.replaceAll('"', '\\"')}",restrict ${publicKey}`;
}
