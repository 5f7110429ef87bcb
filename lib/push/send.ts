// Sends the pair to its targets, side by side.

import * as fs from "node:fs";
import { join } from "node:path";
import { CERTIFICATE_MODE, KEY_MODE, type Pair } from "../certificate/pair.ts";
import { type LastPushed, lastPushedPath, writeLastPushed } from "../chain/last_fp.ts";
import type { PushConfig } from "../config/config.ts";
import { explain, Failure, quote } from "../failure.ts";
import { readFileIfAny } from "../files/read_file.ts";
import { makeScratch } from "../files/state.ts";
import { writeSynced } from "../files/write_file.ts";
import { type Mode, serverCommand, transfer, type TransferFailure } from "../programs/rsync.ts";
import { allEnded, pause, type RunContext } from "../run_context.ts";
import type { PushTarget } from "../values/push_target.ts";

export interface Sending {
  readonly target: PushTarget;
  readonly failure: Pick<TransferFailure, "error"> & { readonly hint?: string | undefined } | null;
  /** Whether it went only as the documentation's forced command has it, without compression. */
  readonly isUncompressed: boolean;
  readonly warning?: string;
}

/** Remembers each target as soon as it has the pair, so that nothing cuts that off. */
export async function send(
  pair: Pair,
  targets: readonly PushTarget[],
  pushed: LastPushed,
  config: PushConfig,
  context: RunContext,
): Promise<Sending[]> {
  using outgoing = makeScratch(config.state);
  await writeCopies(pair, outgoing.directory, config.state, context);
  const memory = new Map(pushed);
  return await allEnded(targets.map(async (target) => {
    const sending = await sendTo(target, outgoing.directory, config, context);
    if (sending.failure !== null) return sending;
    memory.set(target.text, pair.leaf.fingerprint);
    try {
      writeLastPushed(config.state, memory);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { ...sending, failure: { error: `sent, but ${error.message}`, hint: error.hint } };
    }
    if (!sending.isUncompressed) return sending;
    return { ...sending, warning: await forcedCommandWarning(target, config, context) };
  }));
}

/**
 * rsync passes over a file of the same size and time, to the second, as the one over there: two
 * keys are often of the same size, so no two pushes may send files of the same second.
 */
async function writeCopies(
  pair: Pair,
  directory: string,
  state: string,
  context: RunContext,
): Promise<void> {
  const chain = join(directory, "fullchain.pem");
  const key = join(directory, "privkey.pem");
  const write = () => {
    writeSynced(chain, pair.chainPem, CERTIFICATE_MODE);
    writeSynced(key, pair.keyPem, KEY_MODE);
  };
  try {
    write();
    if (secondOf(chain) === secondOf(lastPushedPath(state))) {
      await pause(1_000, context);
      write();
    }
  } catch (error) {
    throw explain(error, `copy the certificate for sending into ${quote(directory)}`);
  }
}

/** When the file was last written, in whole seconds; null where there is none. */
function secondOf(path: string): number | null {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? null : Math.floor(stat.mtimeMs / 1_000);
}

async function sendTo(
  target: PushTarget,
  from: string,
  config: PushConfig,
  context: RunContext,
): Promise<Sending> {
  const attempt = (mode: Mode) =>
    transfer(mode, {
      files: ["fullchain.pem", "privkey.pem"],
      from,
      target,
      ssh: config,
      timeoutMs: config.timeoutMs,
    }, context);
  try {
    const first = await attempt("-azL");
    // The documentation of the chain gives a forced command without z for a client with it.
    if (!first?.mayBeForcedCommand) return { target, failure: first, isUncompressed: false };
    const second = await attempt("-aL");
    return { target, failure: second && first, isUncompressed: second === null };
  } catch (error) {
    if (!(error instanceof Failure) || context.stop.aborted) throw error;
    const failure = { error: error.message, hint: error.hint };
    return { target, failure, isUncompressed: false };
  }
}

async function forcedCommandWarning(
  target: PushTarget,
  { identity }: PushConfig,
  context: RunContext,
): Promise<string> {
  const command = await serverCommand("-azL", target, context);
  const publicKey = (identity && readPublicKey(`${identity}.pub`)) ?? "ssh-ed25519 AAAA…";
  return `the forced command of ${target.text} is for rsync without -z, so the pair was sent without ` +
    `compression, at the second try; this line in authorized_keys would match: ` +
    `command="${(command ?? "rsync --server …").replaceAll('"', '\\"')}",restrict ${publicKey}`;
}

function readPublicKey(path: string): string | null {
  try {
    const file = readFileIfAny(path, { follow: true });
    return file && new TextDecoder().decode(file.bytes).trim();
  } catch {
    return null; // it only serves to print a line that can be pasted
  }
}
