// What verify prints: a table of the legs, the timers, and a last line that says what to do next.

import { isIP } from "node:net";
import { legNames } from "../config/verify_config.ts";
import type { Timer } from "../programs/systemctl.ts";
import type { Status } from "./finding.ts";
import { isForeign } from "./leg.ts";
import { formatSteps } from "./next_step.ts";
import type { LegReport, VerifyReport } from "./report.ts";

/** How a word of the report is painted on a terminal. */
export type Paint = (text: string, status: Status) => string;

export interface Look {
  readonly paint: Paint;
  /** Of the table. */
  readonly width: number;
  /** Each endpoint, also those that are alike and well. */
  readonly all: boolean;
}

export function describeVerify(report: VerifyReport, look: Look): string[] {
  const timers = report.timers.map(describeTimer);
  if (report.legs.length === 0) return timers;
  return [
    ...describeLegs(report, look),
    ...describeErrors(report.legs),
    ...timers,
    ...describeUnseen(report),
    look.paint(summarize(report), report.status),
  ];
}

interface Row {
  readonly cells: readonly string[];
  /** What of the place is never cut off. */
  readonly suffix: string;
  readonly words: string;
  readonly status: Status;
}

const header: Row = {
  cells: ["", "leg", "where", "fingerprint", "expires"],
  suffix: "",
  words: "verdict",
  status: "ok",
};
const WHERE = 2;

function describeLegs({ legs }: VerifyReport, { paint, width, all }: Look): string[] {
  const first = legs.find(({ stale }) => stale);
  const rows = (all ? legs.map((leg) => [leg]) : alike(legs)).map((group) => makeRow(group, first));
  const shown = [header, ...rows];
  const widths = header.cells.map((_, column) =>
    Math.max(...shown.map((row) => (row.cells[column] ?? "").length + suffixOf(row, column).length))
  );
  const columns = header.cells.flatMap((_, column) => widths[column] === 0 ? [] : [column]);
  const words = Math.max(...shown.map(({ words }) => words.length));
  const rest = columns.filter((column) => column !== WHERE)
    .reduce((sum, column) => sum + (widths[column] ?? 0) + "  ".length, words + "  ".length);
  widths[WHERE] = Math.min(widths[WHERE] ?? 0, Math.max(MIN_PLACE, width - rest));
  return shown.map((row) => {
    const cells = columns.map((column) => {
      const suffix = suffixOf(row, column);
      const room = widths[column] ?? 0;
      return (cut(row.cells[column] ?? "", room - suffix.length) + suffix).padEnd(room);
    });
    return `${cells.join("  ")}  ${row === header ? row.words : paint(row.words, row.status)}`;
  });
}

function suffixOf({ suffix }: Row, column: number): string {
  return column === WHERE ? suffix : "";
}

const MIN_PLACE = 16;

/** Endpoints that are alike and well, or all have one fault, and well directories of other names, are one row each. */
function alike(legs: readonly LegReport[]): LegReport[][] {
  const served = legs.filter(({ leg, noted }) => leg === "served" && !noted);
  const faults = new Set(
    served.map(({ fingerprint, verdict, error, stale }) =>
      [fingerprint, verdict, error, stale].join()
    ),
  );
  const isOneFault = faults.size === 1 && served.every(({ stale }) => !stale);
  const groups = Map.groupBy(legs, (leg) => {
    if (isOneFault && served.includes(leg)) return "served alike";
    const isWell = leg.status === "ok" && leg.verdict === "ok";
    if (!isWell || (leg.leg !== "served" && !isForeign(leg))) return leg;
    return leg.leg === "served" ? `served ${leg.fingerprint}` : "others";
  });
  return [...groups.values()];
}

function makeRow(group: readonly LegReport[], first: LegReport | undefined): Row {
  const [leg = none] = group.toSorted((a, b) => (a.notAfter ?? "") < (b.notAfter ?? "") ? -1 : 1);
  const same = group.every(({ fingerprint }) => fingerprint === leg.fingerprint);
  return {
    cells: [
      leg === first ? ">" : leg.stale ? "|" : "",
      leg.leg,
      describePlace(group, leg),
      same ? leg.fingerprint?.slice(0, "AA:BB:CC:DD".length) ?? "-" : "several",
      leg.notAfter?.slice(0, "2026-01-31".length) ?? "-",
    ],
    suffix: describeWay(group, leg),
    words: leg.verdict,
    status: leg.status,
  };
}

const none: LegReport = {
  ...{ leg: "served", where: "", fingerprint: null, notBefore: null, notAfter: null },
  ...{ subject: null, issuer: null, names: [], match: null, noted: false, stale: false },
  ...{ status: "ok", verdict: "" },
};

function describePlace(group: readonly LegReport[], leg: LegReport): string {
  const count = new Set(group.map(({ where }) => where)).size;
  if (group.length > 1 && isForeign(leg)) return `${count} directories of other names`;
  return count === 1 ? leg.where : `${count} endpoints`;
}

/** By which address, and whether with SNI. */
function describeWay(group: readonly LegReport[], { leg, where, sni, ip }: LegReport): string {
  if (leg === "tlsa" && ip !== undefined) return ` ${ip}`;
  if (leg !== "served" || ip === undefined) return "";
  if (group.length > 1) return ` (${group.length} ways)`;
  const address = where.includes(ip) ? "" : ip.length > MAX_ADDRESS ? ` IPv${isIP(ip)}` : ` ${ip}`;
  return address + (sni === undefined ? " no SNI" : " SNI");
}

const MAX_ADDRESS = "255.255.255.255".length;

/** Cut where it differs least: a path at its beginning, an endpoint in its host. */
function cut(text: string, width: number): string {
  if (text.length <= width) return text;
  const [scheme = ""] = /^[a-z0-9]+:\/\//.exec(text) ?? [];
  const head = scheme.length + "...:12345".length <= width ? scheme : "";
  return `${head}...${text.slice(head.length + "...".length - width)}`;
}

/** In full what the table only calls by few words; a line each, which nobody breaks. */
function describeErrors(legs: readonly LegReport[]): string[] {
  return [
    ...new Set(
      legs.filter(needsWords).flatMap(({ where, ip, status, error, hint }) => [
        ...(error === undefined ? [] : [`  ${where}${describeAddress(where, ip)}: ${error}`]),
        ...(hint === undefined || status === "ok" ? [] : [`  hint: ${hint}`]),
      ]),
    ),
  ];
}

/** Of the records also what kept them from being looked at. */
function needsWords({ leg, status, verdict, error }: LegReport): boolean {
  return status !== "ok" || (leg === "tlsa" && error !== verdict);
}

function describeAddress(where: string, ip: string | undefined): string {
  return ip === undefined || where.includes(ip) ? "" : ` at ${ip}`;
}

function describeTimer({ unit, active, next }: Timer): string {
  if (!active) return `${unit}: NOT ACTIVE`;
  return unit.endsWith(".path")
    ? `${unit}: active`
    : `${unit}: active, next run ${next ?? "not known"}`;
}

/** Advice that was given without having seen a leg says so. */
function describeUnseen({ legs, next }: VerifyReport): string[] {
  // What not every mail host has is not missed.
  const unseen = legNames.filter((name) =>
    name !== "sni" && name !== "tlsa" && !legs.some(({ leg }) => leg === name)
  );
  return next.length === 0 || unseen.length === 0
    ? []
    : [`not seen from here: ${unseen.join(", ")}`];
}

/** How many copies match, and what to do next: the last line. */
export function summarize(report: VerifyReport): string {
  const { status, staleAt, legs, next } = report;
  if (status === "unknown") return report.error ?? "nothing could be compared";
  const count = describeCount(legs);
  const leg = legs.find(({ stale }) => stale) ?? legs.find((leg) => leg.status === status);
  if (status === "ok" || leg === undefined) return count;

  const steps = formatSteps(next) || leg.hint || leg.error || "see above";
  return staleAt === null
    ? `${count}; ${leg.where}: ${leg.verdict}: ${steps}`
    : `${count}, stale at ${staleAt}: ${steps}`;
}

/** Of those that are compared at all, or should be. */
function describeCount(legs: readonly LegReport[]): string {
  const isCompared = legs.some(({ match }) => match !== null);
  const matching = legs.filter(({ match }) => match).length;
  const compared = legs.filter((leg) =>
    leg.match !== null || (leg.fingerprint === null && !leg.noted && !isForeign(leg))
  );
  if (!isCompared) return "not compared";
  return matching === compared.length
    ? `all ${matching} match`
    : `${matching} of ${compared.length} match`;
}
