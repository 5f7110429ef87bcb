// What push reports, for programs and in words.

import { headline } from "../certificate/headline.ts";
import { tlsaRecord } from "../certificate/certificate.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Change } from "../chain/history.ts";
import { domainMeant } from "../config/domain_meant.ts";
import type { PushConfig } from "../config/push_config.ts";
import { Failure } from "../failure.ts";
import type { PushTarget } from "../values/push_target.ts";
import { formatTime } from "../values/time.ts";
import { namesOf } from "./names.ts";
import type { Source } from "./pair_at.ts";
import type { Sending } from "./send.ts";

/** From the best to the worst. */
const outcomes = ["unchanged", "would-push", "pushed", "refused", "failed"] as const;

export type Outcome = typeof outcomes[number];

/** What became of one name. */
export interface CertificateReport {
  /** Null where nobody can tell what the domain is. */
  readonly name: string | null;
  readonly outcome: Outcome;
  /** The directory that the certificate was read from. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  /** The leaf that those it is sent to had, where that is one and the same. */
  readonly replaces: string | null;
  readonly notAfter: string | null;
  readonly tlsa: string | null;
  /** That of what it would take the place of, where that is known. */
  readonly replacesTlsa?: string;
  readonly targets: readonly TargetReport[];
  readonly error?: string;
  readonly hint?: string;
}

/** What is at the top is the domain's alone. */
export interface PushReport extends Omit<CertificateReport, "name"> {
  readonly domain: string | null;
  /** The worst outcome of all. */
  readonly result: Outcome;
  /** Every name, the domain first. */
  readonly certificates: readonly CertificateReport[];
  readonly warnings: readonly string[];
}

export interface TargetReport {
  readonly to: string;
  readonly outcome: Outcome;
  readonly error?: string;
  readonly hint?: string;
}

/** What is reported of a run that came to nothing. */
export function emptyPushReport(
  config: PushConfig | null,
  argv: readonly string[] = [],
): PushReport {
  const names = config === null ? [domainMeant(argv)] : namesOf(config).map(({ name }) => name);
  return reportOf(names.map(emptyOf), []);
}

export function emptyOf(name: string | null): CertificateReport {
  return {
    name,
    outcome: "failed",
    source: null,
    fingerprint: null,
    replaces: null,
    notAfter: null,
    tlsa: null,
    targets: [],
  };
}

export function reportOf(
  certificates: readonly CertificateReport[],
  warnings: readonly string[],
): PushReport {
  const [{ name, ...own } = { ...emptyOf(""), name: null }] = certificates;
  const worst = Math.max(...certificates.map(({ outcome }) => outcomes.indexOf(outcome)));
  return {
    ...{ outcome: own.outcome, domain: name },
    ...own,
    result: outcomes[worst] ?? "failed",
    certificates,
    warnings,
  };
}

/** Before anything is known of what comes of it. */
export function describeSource(name: string, { directory, pair }: Source): CertificateReport {
  const report = { ...emptyOf(name), source: directory };
  return pair instanceof Failure ? report : { ...report, ...describeLeaf(pair) };
}

function describeLeaf({ leaf }: Pair) {
  return {
    fingerprint: leaf.fingerprint,
    notAfter: formatTime(leaf.notAfter),
    tlsa: tlsaRecord(leaf),
  };
}

/** There is nothing to judge. */
export function failed(
  report: CertificateReport,
  { message: error, hint }: Failure,
): CertificateReport {
  return { ...report, outcome: "failed", error, ...(hint && { hint }) };
}

export function refused(
  report: CertificateReport,
  { message: error, hint }: Failure,
  { to }: PushConfig,
): CertificateReport {
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
  report: CertificateReport,
  outcome: "unchanged" | "would-push",
  stale: readonly PushTarget[],
  { to }: PushConfig,
): CertificateReport {
  const targets = to.map((target) => ({
    to: target.text,
    outcome: stale.includes(target) ? outcome : "unchanged" as const,
  }));
  return { ...report, outcome, targets };
}

/** `sendings` are those of this name. */
export function summarize(
  report: CertificateReport,
  sendings: readonly Sending[],
  { to }: PushConfig,
): CertificateReport {
  const targets = to.map(({ text }): TargetReport => {
    const sending = sendings.find(({ target }) => target.text === text);
    if (sending === undefined) return { to: text, outcome: "unchanged" };
    if (sending.failure === null) return { to: text, outcome: "pushed" };
    const { error, hint } = sending.failure;
    return { to: text, outcome: "failed", error, ...(hint && { hint }) };
  });
  const lacking = targets.filter(({ outcome }) => outcome === "failed");
  if (lacking.length === 0) return { ...report, outcome: "pushed", targets };
  const hints = new Set(lacking.flatMap(({ hint }) => hint ?? []));
  return {
    ...report,
    outcome: "failed",
    targets,
    error: lacking.map(({ to, error }) => `${to}: ${error}`).join("; "),
    ...(hints.size > 0 && { hint: [...hints].join("; ") }),
  };
}

/** Of a run that the operator ended: `lacking` are the targets that may not have it. */
export function stopped(
  report: CertificateReport,
  lacking: readonly PushTarget[],
  { message }: Failure,
  { to, commands }: PushConfig,
): CertificateReport {
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
    hint: `what is not there yet is sent with: ${commands.again}`,
  };
}

export function ending({ result, error, certificates }: PushReport): "idle" | "done" | "failed" {
  if (error !== undefined || certificates.some(({ error }) => error !== undefined)) return "failed";
  return result === "unchanged" ? "idle" : "done";
}

/** What the history says of it; a fault that is no name's is the domain's. Pure. */
export function changesOf({ certificates, error }: PushReport): Change[] {
  const isCommon = error !== undefined && certificates.every(({ error }) => error === undefined);
  const [domain] = certificates;
  const told = isCommon ? domain === undefined ? [] : [{ ...domain, error }] : certificates;
  return told.flatMap(({ name, outcome, replaces, fingerprint, error }) => {
    if (outcome === "would-push") return [];
    const words = error === undefined ? {} : { error };
    return [{ name, outcome, old: replaces, new: fingerprint, ...words }];
  });
}

/** The report in words, a line each: what changed goes first, and to where. */
export function describePush(
  { certificates, result }: PushReport,
  config: Pick<PushConfig, "quiet"> | null = null,
): string[] {
  const known = certificates.filter(({ fingerprint }) => fingerprint !== null);
  if (result === "unchanged") return describeNothing(known);
  const tried = known.filter(({ outcome }) => outcome !== "unchanged" && outcome !== "refused");
  const groups = Map.groupBy(tried, ({ targets }) => JSON.stringify(targets));
  const isTold = ({ outcome }: CertificateReport) => outcome === "unchanged" && !config?.quiet;
  const [one, ...rest] = known.filter(isTold);
  return [
    ...[...groups.values()].flatMap((group) => describeSent(group, certificates.length)),
    ...(one === undefined
      ? []
      : [`unchanged: ${rest.length === 0 ? one.name : countNames(rest.length + 1)}`]),
    ...tried.filter(hasNewKey).map(describeRecord),
  ];
}

/** What the targets have already has the same key, and so may what they have had before. */
function hasNewKey({ outcome, replaces, fingerprint, ...report }: CertificateReport): boolean {
  return outcome === "would-push" && replaces !== fingerprint &&
    report.replacesTlsa !== report.tlsa;
}

/** Once the mail host has it, it is late: what senders have cached stays for a TTL. */
function describeRecord({ name, tlsa }: CertificateReport): string {
  return `TLSA ${tlsa} is its key: where _25._tcp.${name} has TLSA records, add it to them, in ` +
    "the digest that is there, two TTLs before this is pushed";
}

function describeNothing([first, ...others]: readonly CertificateReport[]): string[] {
  if (first === undefined) return [];
  const [soonest] = others.flatMap(({ notAfter }) => notAfter ?? []).sort();
  return [
    headline(`nothing to do: every target has ${first.name}`, first),
    ...(soonest === undefined ? [] : [
      `and ${countNames(others.length)}, the first of which ends on ${soonest.slice(0, 10)}`,
    ]),
  ];
}

/** Of names that went the same way. */
function describeSent(group: readonly CertificateReport[], ofAll: number): string[] {
  const [{ name, targets } = emptyOf("")] = group;
  const having = (wanted: readonly Outcome[]) =>
    targets.filter(({ outcome }) => wanted.includes(outcome)).map(({ to }) => to);
  const sent = having(["pushed", "would-push"]);
  const verb = having(["pushed"]).length > 0 ? "pushed" : "would push";
  const what = group.length > 1 ? "them" : ofAll > 1 ? name : "it";
  return [
    ...(sent.length === 0 ? [] : group.flatMap((report) => [
      headline(`${verb} ${report.name}`, report),
      ...(ofAll > 1 ? [] : [`fingerprint ${report.fingerprint}`]),
    ])),
    ...sent.map((to) => `to ${to}`),
    ...having(["unchanged"]).map((to) => `unchanged: ${to} has ${what} already`),
  ];
}

function countNames(count: number): string {
  return count === 1 ? "1 other name" : `${count} other names`;
}
