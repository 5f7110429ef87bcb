// What verify prints: a table of the legs, the timers, and a last line that says what to do next.

import { isIP } from "node:net";
import type { Timer } from "../programs/systemctl.ts";
import type { LegReport, VerifyReport } from "./report.ts";
import type { Status } from "./verdict.ts";

/** How a word of the report is painted on a terminal. */
export type Paint = (text: string, status: Status) => string;

/** No line is wider. */
const WIDTH = 100;

export function describeVerify(report: VerifyReport, paint: Paint): string[] {
  if (report.legs.length === 0) return report.timers.map(describeTimer);
  return [
    ...describeLegs(report, paint),
    ...describeErrors(report.legs),
    ...report.timers.map(describeTimer),
    paint(summarize(report), report.status),
  ];
}

const header = ["", "leg", "where", "fingerprint", "expires"];

function describeLegs({ legs }: VerifyReport, paint: Paint): string[] {
  const first = legs.find(({ stale }) => stale);
  const rows = legs.map((leg) => [
    leg === first ? ">" : leg.stale ? "|" : "",
    leg.leg,
    describePlace(leg),
    leg.fingerprint?.slice(0, "AA:BB:CC:DD".length) ?? "-",
    leg.notAfter?.slice(0, "2026-01-31".length) ?? "-",
  ]);
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((cells) => cells[column]?.length ?? 0))
  );
  const align = (cells: readonly string[]) =>
    cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  const indent = widths[0] === 0 ? 2 : 0; // where nothing is marked there is no column for it
  return [
    `${align(header)}  verdict`.slice(indent),
    ...legs.map((leg, index) =>
      `${align(rows[index] ?? [])}  ${paint(leg.verdict, leg.status)}`.slice(indent)
    ),
  ];
}

/** What the other columns leave, at their widest. */
const PLACE_WIDTH = WIDTH -
  "|  deployed    AA:BB:CC:DD  2026-01-31  another certificate".length;

function describePlace({ leg, where, sni, ip }: LegReport): string {
  const family = ip === undefined || where.includes(ip) ? "" : ` IPv${isIP(ip)}`;
  const mark = leg !== "served" || ip === undefined ? "" : sni === undefined ? " no SNI" : " SNI";
  return cut(where, PLACE_WIDTH - family.length - mark.length) + family + mark;
}

/** Cut in the middle, where paths differ least. */
function cut(text: string, width: number): string {
  if (text.length <= width) return text;
  const kept = width - "...".length;
  return `${text.slice(0, Math.ceil(kept / 2))}...${text.slice(-Math.floor(kept / 2))}`;
}

/** In full what the table only calls "cannot be read" or "no certificate". */
function describeErrors(legs: readonly LegReport[]): string[] {
  const texts = legs.flatMap(({ where, error, hint }) => [
    ...(error === undefined ? [] : [`${where}: ${error}`]),
    ...(hint === undefined ? [] : [`hint: ${hint}`]),
  ]);
  return [...new Set(texts)].flatMap((text) => wrap(text, "  "));
}

/** Breaks between words, or within one that is wider than a line. */
function wrap(text: string, indent: string): string[] {
  const room = WIDTH - indent.length;
  const lines = text.match(new RegExp(`\\S.{0,${room - 1}}(?=\\s|$)|\\S{1,${room}}`, "gu")) ?? [];
  return lines.map((line) => indent + line.trimEnd());
}

function describeTimer({ unit, active, next }: Timer): string {
  return `${unit}: ${active ? `active, next run ${next ?? "not known"}` : "NOT ACTIVE"}`;
}

/** How many copies match, and what to do next: the last line. */
export function summarize({ status, staleAt, legs }: VerifyReport): string {
  const matching = legs.filter(({ match }) => match).length;
  const count = matching === legs.length
    ? `all ${matching} match`
    : `${matching} of ${legs.length} match`;
  if (status === "unknown") return "nothing could be compared";
  const leg = legs.find(({ stale }) => stale) ?? legs.find((leg) => leg.status === status);
  if (status === "ok" || leg === undefined) return count;

  const next = leg.next ?? "see above";
  if (staleAt !== null) return `${count}, stale at ${staleAt}: ${next}`;
  const lines = [
    `${count}; ${leg.where}: ${leg.verdict}: ${next}`,
    `${count}; ${leg.leg}: ${leg.verdict}: ${next}`,
    `${count}; ${leg.leg}: ${leg.verdict}: do what the hint above says`,
  ] as const;
  return lines.find((line) => line.length <= WIDTH) ?? lines[2];
}
