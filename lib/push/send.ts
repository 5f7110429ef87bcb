// Sends the pairs to their targets, side by side: all that one of them lacks in one call.

import * as fs from "node:fs";
import { join } from "node:path";
import { CERTIFICATE_MODE, deliveredPaths, KEY_MODE, type Pair } from "../certificate/pair.ts";
import { type LastPushed, lastPushedPath, pushedKey, writeLastPushed } from "../chain/last_fp.ts";
import { stagedDirectory } from "../chain/staging.ts";
import type { Destination, PushConfig } from "../config/push_config.ts";
import { explain, Failure, quote } from "../failure.ts";
import { makeScratch } from "../files/state.ts";
import { writeSynced } from "../files/write_file.ts";
import { allEnded, pause, type RunContext } from "../run_context.ts";
import { type Complaint, deliver } from "./deliver.ts";
import type { Name } from "./names.ts";

/** The pair of a name, and who lacks it. */
export interface Parcel {
  readonly name: Name;
  readonly pair: Pair;
  readonly targets: readonly Destination[];
}

/** What became of a parcel at one of its targets. */
export interface Sending {
  readonly name: Name;
  readonly target: Destination;
  readonly failure: Complaint | null;
  readonly warning?: string;
}

/** Remembers what each target has as soon as it has it, so that nothing cuts that off. */
export async function send(
  parcels: readonly Parcel[],
  pushed: LastPushed,
  config: PushConfig,
  context: RunContext,
): Promise<Sending[]> {
  using outgoing = makeScratch(config.state);
  await writeCopies(parcels, outgoing.directory, config.state, context);
  const memory = new Map(pushed);
  const remember = (sent: readonly Parcel[], target: Destination): Complaint | null => {
    for (const { name, pair } of sent) {
      memory.set(pushedKey(target, name.further), pair.leaf.fingerprint);
    }
    try {
      writeLastPushed(config.state, memory);
      return null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { error: `sent, but ${error.message}`, hint: error.hint };
    }
  };
  const targets = config.to.filter((target) =>
    parcels.some((parcel) => parcel.targets.includes(target))
  );
  const sendings = await allEnded(targets.map(async (target) => {
    const due = parcels.filter((parcel) => parcel.targets.includes(target));
    const files = { from: outgoing.directory, places: due.map(({ name }) => name.further) };
    const { failures, warning } = await deliver(files, target, config, context, (places) => {
      const sent = due.filter(({ name }) => places.includes(name.further));
      return remember(sent, target);
    });
    return due.map(({ name }): Sending => ({
      ...{ name, target, failure: failures.get(name.further) ?? null },
      ...(warning !== undefined && { warning }),
    }));
  }));
  return sendings.flat();
}

/**
 * rsync passes over a file of the same size and time, to the second, as the one over there: two
 * keys are often of the same size, so no two pushes may send files of the same second.
 */
async function writeCopies(
  parcels: readonly Parcel[],
  directory: string,
  state: string,
  context: RunContext,
): Promise<void> {
  const chains = parcels.map(({ name }) =>
    deliveredPaths(stagedDirectory(directory, name.further)).chain
  );
  const write = () =>
    parcels.forEach(({ name, pair }) => writeCopy(pair, stagedDirectory(directory, name.further)));
  try {
    for (const { name: { further } } of parcels) {
      if (further !== null) fs.mkdirSync(join(directory, further), { mode: 0o700 });
    }
    write();
    const last = secondOf(lastPushedPath(state));
    if (chains.some((chain) => secondOf(chain) === last)) {
      await pause(1_000, context);
      write();
    }
  } catch (error) {
    throw explain(error, `copy the certificate for sending into ${quote(directory)}`);
  }
}

function writeCopy({ chainPem, keyPem }: Pair, directory: string): void {
  const { chain, key } = deliveredPaths(directory);
  writeSynced(chain, chainPem, CERTIFICATE_MODE);
  writeSynced(key, keyPem, KEY_MODE);
}

/** When the file was last written, in whole seconds; null where there is none. */
function secondOf(path: string): number | null {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? null : Math.floor(stat.mtimeMs / 1_000);
}
