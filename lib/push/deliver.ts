// Brings to one target what it lacks, and finds out what stands in the way where something does.

import { deliveredPaths } from "../certificate/pair.ts";
import type { Destination, PushConfig, SshDestination } from "../config/push_config.ts";
import { Failure } from "../failure.ts";
import {
  copyHere,
  type Ending,
  GREETING_TIMEOUT_MS,
  type Mode,
  readGreeting,
  type Transfer,
  transfer,
} from "../programs/rsync.ts";
import { blame, type Place } from "../programs/rsync_blame.ts";
import { explainCopy } from "../programs/rsync_here.ts";
import { explainTransfer, type TransferFailure } from "../programs/rsync_words.ts";
import { forcedCommandLine } from "../programs/forced_command.ts";
import { judgeIdentity, readPeer } from "../programs/ssh_peer.ts";
import type { RunContext } from "../run_context.ts";

/** Why something is not there. */
export interface Complaint {
  readonly error: string;
  readonly hint?: string | undefined;
}

/** Pairs in a directory that holds nothing else: null is the one at its top, a name the one there. */
export interface Outgoing {
  readonly from: string;
  readonly places: readonly Place[];
}

export interface Delivery {
  readonly failures: ReadonlyMap<Place, Complaint>;
  readonly warning?: string;
}

/** `arrived` is told of what rsync says that it brought there, and says what is wrong with that. */
export async function deliver(
  { from, places }: Outgoing,
  target: Destination,
  config: PushConfig,
  context: RunContext,
  arrived: (places: readonly Place[]) => Complaint | null,
): Promise<Delivery> {
  const failures = new Map<Place, Complaint>();
  const fail = (all: readonly Place[], why: Complaint) =>
    all.forEach((place) => failures.set(place, why));
  let left = places;
  let mode: Mode = "-azL";
  try {
    for (;;) {
      const end: End = target.kind === "local"
        ? await copy({ from, places: left }, target, config, context)
        : await carry(mode, { from, places: left }, target, config, context);
      if (end.mode !== null) mode = end.mode;
      if (end.failure === null) break;
      if (end.blamed === null) {
        fail(left, end.failure);
        return { failures };
      }
      // What stands in the way of some is no reason not to bring the others: rsync alone knows that
      // they are there once it says so of all that it was given.
      for (const [place, why] of end.blamed) failures.set(place, why);
      left = left.filter((place) => !failures.has(place));
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    fail(left, { error: error.message, hint: error.hint });
    return { failures };
  }
  const unknown = arrived(left);
  if (unknown !== null) fail(left, unknown);
  if (unknown !== null || mode === "-azL" || target.kind === "local") return { failures };
  try {
    return { failures, warning: await forcedCommandWarning(target, context) };
  } catch (error) {
    if (!(error instanceof Failure) || !context.stop.aborted) throw error;
    return { failures }; // it is there
  }
}

/** How a call came to its end. */
interface End {
  readonly failure: Complaint | null;
  /** Those that it alone failed for, where rsync said so. */
  readonly blamed: ReadonlyMap<Place, Complaint> | null;
  /** What the other side takes; null where that is not known. */
  readonly mode: Mode | null;
}

/** What rsync is given for them. */
function filesOf(places: readonly Place[]): string[] {
  const top = Object.values(deliveredPaths(""));
  return [...(places.includes(null) ? top : []), ...places.filter((place) => place !== null)];
}

async function copy(
  { from, places }: Outgoing,
  target: Extract<Destination, { kind: "local" }>,
  { timeoutMs }: PushConfig,
  context: RunContext,
): Promise<End> {
  using _told = context.wait(`copying to ${target.directory}`, timeoutMs);
  const ending = await copyHere({ files: filesOf(places), from, target, timeoutMs }, context);
  if (ending.code === 0) return { failure: null, blamed: null, mode: null };
  const explained = (stderr: string) => explainCopy({ ...ending, stderr }, target, timeoutMs);
  const blamed = blame(ending, places, null);
  return {
    failure: explained(ending.stderr),
    blamed: blamed && mapValues(blamed, explained),
    mode: null,
  };
}

/** In the mode that the documentation calls for; `mode` is what is known to be taken instead. */
async function carry(
  mode: Mode,
  outgoing: Outgoing,
  target: SshDestination,
  config: PushConfig,
  context: RunContext,
): Promise<End> {
  const unusable = await judgeIdentity(target, target.ssh, context);
  if (unusable !== null) {
    return { failure: { error: unusable.cause, hint: unusable.hint }, blamed: null, mode: null };
  }
  let first = await attempt(mode, outgoing, target, config, context);
  for (let more = 0; more < FOR_WORDS && first.failure?.isWordless; more++) {
    first = await attempt(mode, outgoing, target, config, context);
  }
  // The documentation of the chain gives a forced command without z for a client with it.
  if (mode === "-aL" || !first.failure?.mayBeForcedCommand) return first;
  const second = await attempt("-aL", outgoing, target, config, context);
  return second.failure?.mayBeForcedCommand ? first : second;
}

/**
 * How often a failure is provoked again whose words were cut off, so that it can be explained: on a
 * quiet host one in 25 is, on one that is overloaded three in a row were.
 */
const FOR_WORDS = 4;

interface Attempt extends End {
  readonly failure: TransferFailure | null;
}

async function attempt(
  mode: Mode,
  { from, places }: Outgoing,
  target: SshDestination,
  { timeoutMs }: PushConfig,
  context: RunContext,
): Promise<Attempt> {
  const { ssh } = target;
  const files = filesOf(places);
  const ending = await transferTold(mode, { files, from, target, ssh, timeoutMs }, context);
  if (ending.code === 0) return { failure: null, blamed: null, mode };
  const peer = await readPeer(target, ssh, ending.stderr, context);
  const facts = { target, peer, timeoutMs };
  const explained = (ending: Ending) => explainTransfer(ending, { ...facts, greeting: null });
  const failure = explained(ending);
  const blamed = blame(ending, places, peer.view);
  const end = {
    blamed: blamed && mapValues(blamed, (stderr) => explained({ ...ending, stderr })),
    mode: blamed && mode,
  };
  // rsync swallows what it does not understand; the other attempt may still do.
  if (!failure.mayBeExplained || (failure.mayBeForcedCommand && mode === "-azL")) {
    return { ...end, failure };
  }
  using _told = context.wait(`asking ${target.host} what it says instead`, GREETING_TIMEOUT_MS);
  const greeting = await readGreeting({ target, ssh }, context);
  return { ...end, failure: explainTransfer(ending, { ...facts, greeting }) };
}

async function transferTold(mode: Mode, it: Transfer, context: RunContext): Promise<Ending> {
  const how = mode === "-azL" ? "" : " without compression";
  using _told = context.wait(`sending to ${it.target.host}${how}`, it.timeoutMs);
  return await transfer(mode, it, context);
}

function mapValues<Key, From, To>(
  map: ReadonlyMap<Key, From>,
  change: (value: From) => To,
): ReadonlyMap<Key, To> {
  return new Map(Array.from(map, ([key, value]) => [key, change(value)]));
}

async function forcedCommandWarning(
  target: SshDestination,
  context: RunContext,
): Promise<string> {
  return `the forced command of ${target.text} is for rsync without -z, so the pair was sent without ` +
    `compression, at the second try; this line in authorized_keys would match: ` +
    await forcedCommandLine(target, context);
}
