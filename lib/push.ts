// certsync push: sends the certificate of Nginx Proxy Manager to every target that lacks it.

import * as fs from "node:fs";
import { join } from "node:path";
import { allEnded } from "./all_ended.ts";
import { timeState } from "./certificate.ts";
import type { PushConfig } from "./config.ts";
import { explain, Failure, quote } from "./failure.ts";
import { readFileIfAny } from "./file.ts";
import { type Host, pause } from "./host.ts";
import { namesCover } from "./host_name.ts";
import { judgePair } from "./judgement.ts";
import { formatLastPushed, type LastPushed, parseLastPushed } from "./last_fp.ts";
import { CERTIFICATE_MODE, KEY_MODE, type Pair } from "./pair.ts";
import { readSource, type Source } from "./push_source.ts";
import type { PushTarget } from "./push_target.ts";
import { type Mode, serverCommand, transfer, type TransferFailure } from "./rsync.ts";
import { holdState, makeScratch, readState, writeState } from "./state.ts";
import { formatTime } from "./time.ts";
import { tlsaRecord } from "./tlsa.ts";
import { writeSynced } from "./write_file.ts";

export interface PushReport {
  readonly outcome: "pushed" | "unchanged" | "would-push" | "refused" | "failed";
  readonly domain: string | null;
  /** The directory that the certificate was read from. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  readonly notAfter: string | null;
  /** Null unless the report is for a program: no one else is told. */
  readonly tlsa: string | null;
  readonly targets: readonly TargetReport[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

export interface TargetReport {
  readonly to: string;
  readonly outcome: PushReport["outcome"];
  readonly error?: string;
  readonly hint?: string;
}

/** What is reported of a run that came to nothing. */
export function emptyPushReport(config: PushConfig | null): PushReport {
  return {
    outcome: "failed",
    domain: config?.domain ?? null,
    source: null,
    fingerprint: null,
    notAfter: null,
    tlsa: null,
    targets: [],
    warnings: [],
  };
}

const STATE_FILE = "last_fp";

/** Throws a Failure where it does not come to a decision. */
export async function push(config: PushConfig, host: Host): Promise<PushReport> {
  using _lock = config.dryRun ? null : await holdState(config.state, host);

  const source = await readSource(config, host);
  const { pair } = source;
  if (pair instanceof Failure) return refuse(reportOf(source, config), pair, config);
  const report = { ...reportOf(source, config), ...await describeLeaf(pair, config) };

  const pushed = parseLastPushed(readState(config.state, STATE_FILE), config.to);
  const stale = targetsLacking(pair, pushed, config);
  const unchanged = {
    ...report,
    outcome: "unchanged",
    targets: all(config.to, "unchanged"),
  } as const;
  if (stale.length === 0 && source.keyFits && isSound(pair, config, host.now)) return unchanged;

  const refusal = await judgePair(
    pair,
    pathsIn(source),
    {
      domain: config.domain,
      trust: config.trust,
      trustKey: "push.trust",
    },
    config.dryRun ? null : config.state,
    host,
  );
  if (refusal !== null) return refuse(report, refusal, config);
  if (stale.length === 0) return unchanged;

  if (config.dryRun) {
    const targets = config.to.map((target) => ({
      to: target.text,
      outcome: stale.includes(target) ? "would-push" as const : "unchanged" as const,
    }));
    return { ...report, outcome: "would-push", targets };
  }
  const sendings = await send(pair, stale, pushed, config, host);
  const warnings = await allEnded(
    sendings.filter(({ mode, failure }) => mode === "-aL" && failure === null)
      .map(({ target }) => forcedCommandWarning(target, config, host)),
  );
  return summarize({ ...report, warnings: [...report.warnings, ...warnings] }, sendings, config);
}

function reportOf({ directory, warnings }: Source, config: PushConfig): PushReport {
  return { ...emptyPushReport(config), source: directory, warnings };
}

async function describeLeaf({ leaf }: Pair, { json }: PushConfig) {
  return {
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: json ? await tlsaRecord(leaf) : null,
  };
}

function refuse(
  report: PushReport,
  { message: error, hint }: Failure,
  { to }: PushConfig,
): PushReport {
  return {
    ...report,
    outcome: "refused",
    targets: all(to, "refused"),
    error,
    ...(hint && { hint }),
  };
}

function all<Outcome extends TargetReport["outcome"]>(
  targets: readonly PushTarget[],
  outcome: Outcome,
): TargetReport[] {
  return targets.map(({ text }) => ({ to: text, outcome }));
}

function pathsIn({ directory }: Source) {
  return { chain: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
}

/** The targets to send to. Pure. */
export function targetsLacking(
  { leaf }: Pick<Pair, "leaf">,
  pushed: LastPushed,
  { to, force }: Pick<PushConfig, "to" | "force">,
): PushTarget[] {
  return to.filter(({ text }) => force || pushed.get(text) !== leaf.fingerprint);
}

/** Whether an unchanged pair needs no second look. */
function isSound(pair: Pair, { domain }: PushConfig, now: Date): boolean {
  return timeState(pair.leaf, now) === "valid" &&
    namesCover(pair.leaf.names, domain) !== null;
}

interface Sending {
  readonly target: PushTarget;
  /** The one that succeeded, or the last one tried. */
  readonly mode: Mode;
  readonly failure: Pick<TransferFailure, "error"> & { readonly hint?: string | undefined } | null;
}

/** Remembers each target as soon as it has the pair, so that nothing cuts that off. */
async function send(
  pair: Pair,
  targets: readonly PushTarget[],
  pushed: LastPushed,
  config: PushConfig,
  host: Host,
): Promise<Sending[]> {
  using outgoing = makeScratch(config.state);
  await writeCopies(pair, outgoing.directory, config.state, host);
  const memory = new Map(pushed);
  return await allEnded(targets.map(async (target) => {
    const sending = await sendTo(target, outgoing.directory, config, host);
    if (sending.failure !== null) return sending;
    memory.set(target.text, pair.leaf.fingerprint);
    try {
      writeState(config.state, STATE_FILE, formatLastPushed(memory));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { ...sending, failure: { error: `sent, but ${error.message}`, hint: error.hint } };
    }
    return sending;
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
  host: Host,
): Promise<void> {
  const chain = join(directory, "fullchain.pem");
  const key = join(directory, "privkey.pem");
  const write = () => {
    writeSynced(chain, pair.chainPem, CERTIFICATE_MODE);
    writeSynced(key, pair.keyPem, KEY_MODE);
  };
  try {
    write();
    if (secondOf(chain) === secondOf(join(state, STATE_FILE))) {
      await pause(1_000, host);
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
  host: Host,
): Promise<Sending> {
  const attempt = (mode: Mode) =>
    transfer(mode, {
      files: ["fullchain.pem", "privkey.pem"],
      from,
      target,
      ssh: config,
      timeoutMs: config.timeoutMs,
    }, host);
  try {
    const first = await attempt("-azL");
    // The documentation of the chain gives a forced command without z for a client with it.
    if (!first?.mayBeForcedCommand) return { target, mode: "-azL", failure: first };
    const second = await attempt("-aL");
    return { target, mode: "-aL", failure: second && first };
  } catch (error) {
    if (!(error instanceof Failure) || host.stop.aborted) throw error;
    return { target, mode: "-azL", failure: { error: error.message, hint: error.hint } };
  }
}

async function forcedCommandWarning(
  target: PushTarget,
  { identity }: PushConfig,
  host: Host,
): Promise<string> {
  const command = await serverCommand("-azL", target, host);
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

/** Pure. */
function summarize(
  report: PushReport,
  sendings: readonly Sending[],
  config: PushConfig,
): PushReport {
  const targets = config.to.map(({ text }): TargetReport => {
    const sending = sendings.find(({ target }) => target.text === text);
    if (sending === undefined) return { to: text, outcome: "unchanged" };
    if (sending.failure === null) return { to: text, outcome: "pushed" };
    const { error, hint } = sending.failure;
    return { to: text, outcome: "failed", error, ...(hint && { hint }) };
  });
  const failed = targets.filter(({ outcome }) => outcome === "failed");
  if (failed.length === 0) return { ...report, outcome: "pushed", targets };
  const hints = new Set(failed.flatMap(({ hint }) => hint ?? []));
  return {
    ...report,
    outcome: "failed",
    targets,
    error: failed.map(({ to, error }) => `${to}: ${error}`).join("; "),
    ...(hints.size > 0 && { hint: [...hints].join("; ") }),
  };
}

/** The report in words, a line each. */
export function describePush(report: PushReport): string[] {
  const certificate = `the certificate of ${report.domain}, ${report.fingerprint}, ` +
    `valid until ${report.notAfter}`;
  switch (report.outcome) {
    case "unchanged":
      return [`nothing to do: every target has ${certificate}`];
    case "refused":
      return [];
    default:
      return report.targets.filter(({ outcome }) => outcome !== "failed").map(({ to, outcome }) => {
        if (outcome === "unchanged") return `unchanged: ${to} has it already`;
        return `${outcome === "pushed" ? "pushed" : "would push"} ${certificate}, to ${to}`;
      });
  }
}
