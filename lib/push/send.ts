// Sends the pair to its targets, side by side.

import * as fs from "node:fs";
import { join } from "node:path";
import { CERTIFICATE_MODE, KEY_MODE, type Pair } from "../certificate/pair.ts";
import { type LastPushed, lastPushedPath, writeLastPushed } from "../chain/last_fp.ts";
import type { Destination, PushConfig } from "../config/push_config.ts";
import { explain, Failure, quote } from "../failure.ts";
import { makeScratch } from "../files/state.ts";
import { writeSynced } from "../files/write_file.ts";
import { forcedCommandLine } from "../programs/forced_command.ts";
import { type Mode, readGreeting, transfer } from "../programs/rsync.ts";
import { explainTransfer, type TransferFailure } from "../programs/rsync_words.ts";
import { judgeIdentity, readPeer } from "../programs/ssh_peer.ts";
import { allEnded, pause, type RunContext } from "../run_context.ts";

export interface Sending {
  readonly target: Destination;
  readonly failure: { readonly error: string; readonly hint?: string | undefined } | null;
  /** Whether it went only as the documentation's forced command has it, without compression. */
  readonly isUncompressed: boolean;
  readonly warning?: string;
}

/** Remembers each target as soon as it has the pair, so that nothing cuts that off. */
export async function send(
  pair: Pair,
  targets: readonly Destination[],
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
    try {
      return { ...sending, warning: await forcedCommandWarning(target, context) };
    } catch (error) {
      if (!(error instanceof Failure) || !context.stop.aborted) throw error;
      return sending; // it is there
    }
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
  target: Destination,
  from: string,
  config: PushConfig,
  context: RunContext,
): Promise<Sending> {
  const failed = (failure: Sending["failure"]) => ({ target, failure, isUncompressed: false });
  try {
    const unusable = await judgeIdentity(target, target.ssh, context);
    if (unusable !== null) return failed({ error: unusable.cause, hint: unusable.hint });
    let first = await attempt("-azL", target, from, config, context);
    for (let more = 0; more < FOR_WORDS && first?.isWordless; more++) {
      first = await attempt("-azL", target, from, config, context);
    }
    // The documentation of the chain gives a forced command without z for a client with it.
    if (!first?.mayBeForcedCommand) return failed(first);
    const second = await attempt("-aL", target, from, config, context);
    if (second === null) return { target, failure: null, isUncompressed: true };
    return failed(second.mayBeForcedCommand ? first : second);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return failed({ error: error.message, hint: error.hint });
  }
}

/** How often a failure is provoked again whose words were cut off, so that it can be explained. */
const FOR_WORDS = 4;

/** Null, or why it failed. */
async function attempt(
  mode: Mode,
  target: Destination,
  from: string,
  { timeoutMs }: PushConfig,
  context: RunContext,
): Promise<TransferFailure | null> {
  const { ssh } = target;
  const files = ["fullchain.pem", "privkey.pem"];
  const ending = await transfer(mode, { files, from, target, ssh, timeoutMs }, context);
  if (ending.code === 0) return null;
  const peer = await readPeer(target, ssh, ending.stderr, context);
  const facts = { target, peer, timeoutMs };
  const failure = explainTransfer(ending, { ...facts, greeting: null });
  // rsync swallows what it does not understand; the other attempt may still do.
  if (!failure.mayBeExplained || (failure.mayBeForcedCommand && mode === "-azL")) {
    return failure;
  }
  return explainTransfer(ending, {
    ...facts,
    greeting: await readGreeting({ target, ssh }, context),
  });
}

async function forcedCommandWarning(target: Destination, context: RunContext): Promise<string> {
  return `the forced command of ${target.text} is for rsync without -z, so the pair was sent without ` +
    `compression, at the second try; this line in authorized_keys would match: ` +
    await forcedCommandLine(target, context);
}
