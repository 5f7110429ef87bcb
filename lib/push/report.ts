// What push reports, for programs and in words.

import { headline } from "../certificate/headline.ts";
import { tlsaRecord } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Change } from "../chain/history.ts";
import type { PushConfig } from "../config/push_config.ts";
import type { Failure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import type { PushTarget } from "../values/push_target.ts";
import { formatTime } from "../values/time.ts";
import type { Sending } from "./send.ts";
import type { Source } from "./source.ts";

export interface PushReport {
  readonly outcome: "pushed" | "unchanged" | "would-push" | "refused" | "failed";
  readonly domain: string | null;
  /** The directory that the certificate was read from. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  /** The leaf that those it is sent to had, where that is one and the same. */
  readonly replaces: string | null;
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
    replaces: null,
    notAfter: null,
    tlsa: null,
    targets: [],
    warnings: [],
  };
}

export function reportOf({ directory, warnings, pair }: Source, config: PushConfig): PushReport {
  const exposed = exposure(config.state);
  const report = {
    ...emptyPushReport(config),
    source: directory,
    warnings: exposed === null ? warnings : [exposed, ...warnings],
  };
  return "leaf" in pair ? { ...report, ...describeLeaf(pair) } : report;
}

function describeLeaf({ leaf }: Pair) {
  return {
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: tlsaRecord(leaf),
  };
}

export function refused(
  report: PushReport,
  { message: error, hint }: Failure,
  { to }: PushConfig,
): PushReport {
  return {
    ...report,
    outcome: "refused",
    targets: to.map(({ text }) => ({ to: text, outcome: "refused" })),
    error,
    ...(hint && { hint }),
  };
}

/** Of targets that nothing was sent to. */
export function settled(
  report: PushReport,
  outcome: "unchanged" | "would-push",
  stale: readonly PushTarget[],
  { to }: PushConfig,
): PushReport {
  const targets = to.map((target) => ({
    to: target.text,
    outcome: stale.includes(target) ? outcome : "unchanged" as const,
  }));
  return { ...report, outcome, targets };
}

export function summarize(
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

/** Of a run that the operator ended: `lacking` are the targets that may not have it. */
export function stopped(
  report: PushReport,
  lacking: readonly PushTarget[],
  { message }: Failure,
  { to, commands }: PushConfig,
): PushReport {
  const targets = to.map(({ text }): TargetReport =>
    lacking.some((target) => target.text === text)
      ? { to: text, outcome: "failed", error: message }
      : report.targets.find((target) => target.to === text) ?? { to: text, outcome: "unchanged" }
  );
  return {
    ...report,
    outcome: "failed",
    targets,
    error: `${message}: not pushed to ${lacking.map(({ text }) => text).join(", ")}`,
    hint: `what is not there yet is sent with: ${commands.push}`,
  };
}

/** What the history says of it. Pure. */
export function changesOf(
  { outcome, domain, replaces, fingerprint, error }: PushReport,
): Change[] {
  if (outcome === "unchanged" || outcome === "would-push") return [];
  const words = error === undefined ? {} : { error };
  return [{ name: domain, outcome, old: replaces, new: fingerprint, ...words }];
}

/** The report in words, a line each. */
export function describePush(report: PushReport): string[] {
  const { outcome, domain, fingerprint, targets } = report;
  if (outcome === "refused" || fingerprint === null) return [];
  if (outcome === "unchanged") {
    return [headline(`nothing to do: every target has ${domain}`, report)];
  }
  const having = (wanted: PushReport["outcome"]) =>
    targets.filter(({ outcome }) => outcome === wanted).map(({ to }) => to);
  const [sent, verb] = outcome === "would-push"
    ? [having("would-push"), "would push"]
    : [having("pushed"), "pushed"];
  return [
    ...(sent.length === 0
      ? []
      : [headline(`${verb} ${domain}`, report), `fingerprint ${fingerprint}`]),
    ...sent.map((to) => `to ${to}`),
    ...having("unchanged").map((to) => `unchanged: ${to} has it already`),
  ];
}
