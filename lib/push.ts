// certsync push: sends the certificate of Nginx Proxy Manager to every target that lacks it.

import { join } from "node:path";
import { timeState } from "./certificate.ts";
import type { PushConfig } from "./config.ts";
import { explain, Failure } from "./failure.ts";
import { readFileIfAny } from "./file.ts";
import type { Host } from "./host.ts";
import { namesCover } from "./host_name.ts";
import { judgePair } from "./judgement.ts";
import { formatLastPushed, type LastPushed, parseLastPushed } from "./last_fp.ts";
import { CERTIFICATE_MODE, KEY_MODE, keyFits, type Pair, writeSynced } from "./pair.ts";
import { readSource, type SourcePair } from "./push_source.ts";
import type { PushTarget } from "./push_target.ts";
import { type Mode, serverCommand, transfer } from "./rsync.ts";
import { holdState, makeScratch, readState, writeState } from "./state.ts";
import { formatTime } from "./time.ts";
import { tlsaRecord } from "./tlsa.ts";

export interface PushReport {
  readonly outcome: "pushed" | "unchanged" | "would-push" | "refused" | "failed";
  readonly domain: string | null;
  /** The directory that the certificate was read from. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  readonly notAfter: string | null;
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
  const pushed = parseLastPushed(readState(config.state, STATE_FILE), config.to);
  const report = await reportOf(source, config);

  const stale = targetsLacking(source.pair, pushed, config);
  if (stale.length === 0 && isSound(source.pair, config, host.now)) {
    return { ...report, outcome: "unchanged", targets: all(config.to, "unchanged") };
  }

  const state = config.dryRun ? null : config.state;
  const refusal = await judgePair(source.pair, pathsIn(source), {
    domain: config.domain,
    trust: config.trust,
    trustKey: "push.trust",
  }, state, host);
  if (refusal !== null) {
    const { message: error, hint } = refusal;
    const targets = all(config.to, "refused");
    return { ...report, outcome: "refused", targets, error, ...(hint && { hint }) };
  }
  if (stale.length === 0) {
    return { ...report, outcome: "unchanged", targets: all(config.to, "unchanged") };
  }
  if (config.dryRun) {
    const targets = config.to.map((target) => ({
      to: target.text,
      outcome: stale.includes(target) ? "would-push" as const : "unchanged" as const,
    }));
    return { ...report, outcome: "would-push", targets };
  }
  return summarize(report, await send(source.pair, stale, pushed, config, host), config);
}

async function reportOf(source: SourcePair, config: PushConfig): Promise<PushReport> {
  return {
    ...emptyPushReport(config),
    source: source.directory,
    fingerprint: source.pair.leaf.fingerprint,
    notAfter: formatTime(source.pair.leaf.notAfter),
    tlsa: await tlsaRecord(source.pair.leaf),
    warnings: source.warnings,
  };
}

function all(targets: readonly PushTarget[], outcome: TargetReport["outcome"]): TargetReport[] {
  return targets.map(({ text }) => ({ to: text, outcome }));
}

function pathsIn({ directory }: SourcePair) {
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
    namesCover(pair.leaf.names, domain) !== null && keyFits(pair);
}

interface Sending {
  readonly target: PushTarget;
  readonly error: string | null;
  readonly hint?: string;
  readonly warnings: readonly string[];
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
  try {
    writeSynced(join(outgoing.directory, "fullchain.pem"), pair.chainPem, CERTIFICATE_MODE);
    writeSynced(join(outgoing.directory, "privkey.pem"), pair.keyPem, KEY_MODE);
  } catch (error) {
    throw explain(error, "copy the certificate for sending");
  }
  const memory = new Map(pushed);
  return await Promise.all(targets.map(async (target) => {
    const sending = await sendTo(target, outgoing.directory, config, host);
    if (sending.error === null) {
      memory.set(target.text, pair.leaf.fingerprint);
      writeState(config.state, STATE_FILE, formatLastPushed(memory));
    }
    return sending;
  }));
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
    if (first === null) return { target, error: null, warnings: [] };
    // The documentation of the chain gives a forced command without z for a client with it.
    const second = first.mayBeForcedCommand ? await attempt("-aL") : first;
    if (second !== null) {
      return { target, error: first.error, hint: first.hint, warnings: [] };
    }
    return { target, error: null, warnings: [await forcedCommandWarning(target, config, host)] };
  } catch (error) {
    if (!(error instanceof Failure) || host.stop.aborted) throw error;
    const { message, hint } = error;
    return { target, error: message, ...(hint && { hint }), warnings: [] };
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
    `command="${command ?? "rsync --server …"}",restrict ${publicKey}`;
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
function summarize(report: PushReport, sendings: readonly Sending[], config: PushConfig): PushReport {
  const targets = config.to.map(({ text }): TargetReport => {
    const sending = sendings.find(({ target }) => target.text === text);
    if (sending === undefined) return { to: text, outcome: "unchanged" };
    if (sending.error === null) return { to: text, outcome: "pushed" };
    const { error, hint } = sending;
    return { to: text, outcome: "failed", error, ...(hint && { hint }) };
  });
  const failed = targets.filter(({ outcome }) => outcome === "failed");
  const warnings = [...report.warnings, ...sendings.flatMap(({ warnings }) => warnings)];
  const [first] = failed;
  if (first === undefined) return { ...report, outcome: "pushed", targets, warnings };
  return {
    ...report,
    outcome: "failed",
    targets,
    warnings,
    error: failed.map(({ to, error }) => `${to}: ${error}`).join("; "),
    ...(first.hint && { hint: first.hint }),
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
