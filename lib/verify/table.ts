// The table of the legs: a row each, one for those that are alike and well, and one for a name that is.

import { isIP } from "node:net";
import { shortFingerprint } from "../certificate/headline.ts";
import type { Status } from "./finding.ts";
import { isForeign } from "./leg.ts";
import type { LegReport, VerifyReport } from "./report.ts";

/** How a word of the report is painted on a terminal. */
export type Paint = (text: string, status: Status) => string;

export interface Look {
  readonly paint: Paint;
  /** Of the table. */
  readonly width: number;
  /** Else no message is broken. */
  readonly isTerminal: boolean;
  /** Each endpoint, also those that are alike and well. */
  readonly all: boolean;
}

interface Row {
  readonly cells: readonly string[];
  /** What of the place is never cut off. */
  readonly suffix: string;
  /** Whether the place is a host name. */
  readonly isName?: boolean;
  readonly words: string;
  readonly status: Status;
}

/** The name of those below it, on a line of its own. */
interface Heading {
  readonly name: string;
}

const header: Row = {
  cells: ["", "leg", "where", "fingerprint", "expires"],
  suffix: "",
  words: "verdict",
  status: "ok",
};
const WHERE = 2;

const FINGERPRINT = 3;
const EXPIRES = 4;

export function describeLegs(report: VerifyReport, look: Look): string[] {
  const entries = entriesOf(report, look.all);
  const rows = [header, ...entries.flatMap((entry) => "name" in entry ? [] : [entry])];
  const { widths, columns, words } = measure(rows, look);
  const line = (row: Row) => {
    const cells = columns.map((column) => {
      const suffix = column === WHERE ? row.suffix : "";
      const room = widths[column] ?? 0;
      const shorten = row.isName ? cutName : cut;
      return (shorten(row.cells[column] ?? "", room - suffix.length) + suffix).slice(0, room)
        .padEnd(room);
    });
    const verdict = cutEnd(row.words, words);
    return `${cells.join("  ")}  ${row === header ? verdict : look.paint(verdict, row.status)}`;
  };
  return [
    line(header),
    ...entries.map((entry) => "name" in entry ? `${entry.name}:` : line(entry)),
  ];
}

function measure(rows: readonly Row[], { width, isTerminal }: Look) {
  const widths = header.cells.map((_, column) =>
    Math.max(
      ...rows.map(({ cells, suffix }) =>
        (cells[column] ?? "").length + (column === WHERE ? suffix.length : 0)
      ),
    )
  );
  const words = Math.max(...rows.map(({ words }) => words.length));
  const filled = header.cells.flatMap((_, column) => widths[column] === 0 ? [] : [column]);
  const besides = (columns: readonly number[]) =>
    columns.filter((column) => column !== WHERE)
      .reduce((sum, column) => sum + (widths[column] ?? 0) + "  ".length, "  ".length);
  // What says less of a leg than its place and its verdict goes first.
  const columns = [[], [FINGERPRINT], [FINGERPRINT, EXPIRES]]
    .map((dropped) => filled.filter((column) => !dropped.includes(column)))
    .find((columns) => besides(columns) + SHORT_WORDS + MIN_PLACE <= width) ??
    filled.filter((column) => column !== FINGERPRINT && column !== EXPIRES);
  const rest = width - besides(columns);
  const minPlace = width < NARROW ? MIN_PLACE_NARROW : MIN_PLACE;
  widths[WHERE] = Math.min(widths[WHERE] ?? 0, Math.max(minPlace, rest - words));
  return { widths, columns, words: isTerminal ? Math.min(words, rest - widths[WHERE]) : words };
}

const MIN_PLACE = 16;
const MIN_PLACE_NARROW = 10;
const NARROW = 60;
/** "cannot be read", for one. */
const SHORT_WORDS = 14;

/** A healthy name among several is one row. */
function entriesOf({ certificates, legs }: VerifyReport, all: boolean): (Row | Heading)[] {
  const rows = (some: readonly LegReport[]) => {
    const first = some.find(({ stale }) => stale);
    const isOne = certificates.length < 2;
    return (all ? some.map((leg) => [leg]) : alike(some, isOne))
      .map((group) => makeRow(group, first));
  };
  if (certificates.length < 2) return rows(legs);
  const named = certificates.flatMap(({ name }) => {
    const own = legs.filter((leg) => leg.name === name && !isForeign(leg));
    const isWell = own.every(({ status, noted, verdict }) =>
      status === "ok" && (noted || verdict === "ok")
    );
    return isWell && !all && own.length > 0
      ? [nameRow(name ?? "-", own)]
      : [{ name: name ?? "-" }, ...rows(own)];
  });
  const foreign = legs.filter(isForeign);
  return foreign.length === 0 ? named : [...named, { name: "other names" }, ...rows(foreign)];
}

function nameRow(name: string, legs: readonly LegReport[]): Row {
  const read = legs.filter(({ fingerprint }) => fingerprint !== null);
  // Of what was pushed the fingerprint alone is known.
  const dated = read.filter(({ notAfter }) => notAfter !== null);
  const { cells } = makeRow(dated.length === 0 ? read : dated, undefined);
  const count = `${read.length} leg${read.length === 1 ? "" : "s"}`;
  return {
    cells: cells.with(1, count).with(WHERE, name),
    ...{ suffix: "", words: "ok", status: "ok", isName: true },
  };
}

/**
 * Endpoints that are alike and well, or all have one fault, and well directories of other names, are one row
 * each.
 */
function alike(legs: readonly LegReport[], isOne: boolean): LegReport[][] {
  const served = legs.filter(({ leg, noted }) => leg === "served" && !noted);
  const faults = new Set(
    served.map(({ fingerprint, verdict, error, stale }) =>
      [fingerprint, verdict, error, stale].join()
    ),
  );
  const isOneFault = faults.size === 1 && served.every(({ stale }) => !stale);
  const groups = Map.groupBy(legs, (leg) => {
    if (isOneFault && served.includes(leg)) return "served alike";
    // Of many names a row for each endpoint would be too many.
    if (!isOne && leg.leg === "served" && !leg.noted) {
      return ["served", leg.fingerprint, leg.verdict, leg.error].join();
    }
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
      first !== undefined && group.includes(first) ? ">" : leg.stale ? "|" : "",
      leg.leg,
      describePlace(group, leg),
      !same ? "several" : leg.fingerprint === null ? "-" : shortFingerprint(leg.fingerprint),
      leg.notAfter?.slice(0, "2026-01-31".length) ?? "-",
    ],
    suffix: describeWay(group, leg),
    words: leg.verdict,
    status: leg.status,
  };
}

const none: LegReport = {
  ...{ leg: "served", name: null, where: "", fingerprint: null, notBefore: null, notAfter: null },
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

/** Names differ at their beginning and at their end. */
function cutName(text: string, width: number): string {
  if (text.length <= width) return text;
  const head = Math.ceil((width - "...".length) / 2);
  return `${text.slice(0, head)}...${text.slice(head + "...".length - width)}`;
}

function cutEnd(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - "...".length)}...`;
}
