// certsync push: sends the certificate of Nginx Proxy Manager to every target that lacks it.

import { join } from "node:path";
import { timeState, tlsaRecord } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import { type LastPushed, readLastPushed } from "../chain/last_fp.ts";
import { type PushConfig, pushConfig } from "../config/config.ts";
import { Failure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { holdState } from "../files/state.ts";
import type { RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import type { PushTarget } from "../values/push_target.ts";
import { formatTime } from "../values/time.ts";
import type { Sending } from "./send.ts";
import { readSource, type Source } from "./source.ts";

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

/** Throws a Failure where it does not come to a decision. */
export async function push(config: PushConfig, context: RunContext): Promise<PushReport> {
  using _lock = config.dryRun ? null : await holdState(config.state, context);

  const source = await readSource(config, context);
  const { pair } = source;
  if (pair instanceof Failure) return refuse(reportOf(source, config), pair, config);
  const report = { ...reportOf(source, config), ...describeLeaf(pair) };

  const pushed = readLastPushed(config.state, config.to);
  const stale = targetsLacking(pair, pushed, config);
  const unchanged = {
    ...report,
    outcome: "unchanged",
    targets: all(config.to, "unchanged"),
  } as const;
  if (stale.length === 0 && source.keyFits && isSound(pair, config, context.now)) return unchanged;

  // Loaded where there is work: reading it takes longer than finding that there is none.
  const { judgePair } = await import("../certificate/judgement.ts");
  const refusal = await judgePair(
    pair,
    pathsIn(source),
    {
      domain: config.domain,
      trust: config.trust,
      trustKey: "push.trust",
    },
    config.dryRun ? null : config.state,
    context,
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
  const { send } = await import("./send.ts");
  return summarize(report, await send(pair, stale, pushed, config, context), config);
}

function reportOf({ directory, warnings }: Source, config: PushConfig): PushReport {
  const exposed = exposure(config.state);
  return {
    ...emptyPushReport(config),
    source: directory,
    warnings: exposed === null ? warnings : [exposed, ...warnings],
  };
}

function describeLeaf({ leaf }: Pair) {
  return {
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: tlsaRecord(leaf),
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
function targetsLacking(
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

/** Pure. */
function summarize(
  report: PushReport,
  sendings: readonly Sending[],
  config: PushConfig,
): PushReport {
  const warnings = [...report.warnings, ...sendings.flatMap(({ warning }) => warning ?? [])];
  const targets = config.to.map(({ text }): TargetReport => {
    const sending = sendings.find(({ target }) => target.text === text);
    if (sending === undefined) return { to: text, outcome: "unchanged" };
    if (sending.failure === null) return { to: text, outcome: "pushed" };
    const { error, hint } = sending.failure;
    return { to: text, outcome: "failed", error, ...(hint && { hint }) };
  });
  const failed = targets.filter(({ outcome }) => outcome === "failed");
  if (failed.length === 0) return { ...report, outcome: "pushed", targets, warnings };
  const hints = new Set(failed.flatMap(({ hint }) => hint ?? []));
  return {
    ...report,
    outcome: "failed",
    targets,
    warnings,
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

/** How main runs it. */
export const pushCommand = {
  config: pushConfig,
  run: push,
  empty: emptyPushReport,
  words: describePush,
  ending({ error, outcome }: PushReport) {
    if (error !== undefined) return "failed" as const;
    return outcome === "unchanged" ? "idle" as const : "done" as const;
  },
};
