// certsync verify: compares every copy of the certificate that can be reached from here.

import type { VerifyConfig } from "./config.ts";
import type { Host } from "./host.ts";
import { readTimers, type Timer } from "./systemctl.ts";
import { formatTime } from "./time.ts";
import { type LegName, readLegs } from "./verify_legs.ts";
import { judgeLegs, type LegVerdict, type Status } from "./verify_verdict.ts";

export interface VerifyReport {
  readonly status: Status;
  readonly domain: string | null;
  readonly staleAt: LegName | null;
  readonly legs: readonly LegReport[];
  readonly timers: readonly Timer[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

export interface LegReport {
  readonly leg: LegName;
  readonly where: string;
  readonly sni?: string;
  readonly ip?: string;
  readonly fingerprint: string | null;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly names: readonly string[];
  readonly match: boolean;
  readonly error?: string;
  readonly status: LegVerdict["status"];
  readonly verdict: string;
}

/** What is reported of a run that came to nothing. */
export function emptyVerifyReport(config: VerifyConfig | null): VerifyReport {
  return {
    status: "unknown",
    domain: config?.domain ?? null,
    staleAt: null,
    legs: [],
    timers: [],
    warnings: [],
  };
}

export async function verify(config: VerifyConfig, host: Host): Promise<VerifyReport> {
  const [{ domain, legs }, timers] = await Promise.all([readLegs(config, host), readTimers(host)]);
  const verdict = judgeLegs(legs, { ...config, domain, now: host.now });
  return {
    status: verdict.status,
    domain,
    staleAt: verdict.staleAt,
    legs: verdict.legs.map(reportLeg),
    timers,
    warnings: verdict.warnings,
    ...(verdict.status === "unknown" && NOTHING_COMPARED),
  };
}

const NOTHING_COMPARED = {
  error: "nothing could be compared: no copy of the certificate can be read from here",
  hint: "run it as root on the NPM or the mail host, or name --domain, --source and --endpoint",
};

function reportLeg({ leg, match, status, words }: LegVerdict): LegReport {
  const { certificate } = leg;
  return {
    leg: leg.leg,
    where: leg.where,
    ...(leg.sni && { sni: leg.sni }),
    ...(leg.ip && { ip: leg.ip }),
    fingerprint: leg.fingerprint,
    notBefore: certificate && formatTime(certificate.notBefore),
    notAfter: certificate && formatTime(certificate.notAfter),
    subject: certificate?.subject ?? null,
    issuer: certificate?.issuer ?? null,
    names: certificate?.names ?? [],
    match,
    ...(leg.error !== null && { error: leg.error }),
    status,
    verdict: words,
  };
}

/** How a word of the report is painted on a terminal. */
export type Paint = (text: string, status: Status) => string;

/** A table of the legs, the timers, and a last line that says what to do next. */
export function describeVerify(report: VerifyReport, paint: Paint): string[] {
  const rows = report.legs.map((leg) => ({
    cells: [leg.leg, describePlace(leg), abbreviate(leg.fingerprint), leg.notAfter?.slice(0, 10) ?? "-"],
    leg,
  }));
  const header = ["leg", "where", "fingerprint", "expires"];
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map(({ cells }) => cells[column]?.length ?? 0))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  return [
    ...(rows.length === 0 ? [] : [`${line(header)}  verdict`]),
    ...rows.map(({ cells, leg }) => `${line(cells)}  ${paint(leg.verdict, leg.status)}`),
    ...report.timers.map(({ unit, active, next }) =>
      `timer ${unit}: ${active ? `active, next run ${next ?? "unknown"}` : "NOT ACTIVE"}`
    ),
    ...(report.legs.length === 0 ? [] : [paint(lastLine(report), report.status)]),
  ];
}

const MAX_PLACE_WIDTH = 48;

/** Cut in the middle, where paths differ least. */
function describePlace({ leg, where, sni, ip }: LegReport): string {
  const host = ip !== undefined && !where.includes(ip) ? ` ${ip}` : "";
  const mark = leg !== "served" ? "" : sni === undefined ? " no SNI" : " SNI";
  const room = MAX_PLACE_WIDTH - host.length - mark.length;
  const place = where.length <= room
    ? where
    : `${where.slice(0, Math.ceil(room / 2) - 1)}…${where.slice(-Math.floor(room / 2))}`;
  return place + host + mark;
}

function abbreviate(fingerprint: string | null): string {
  return fingerprint === null ? "-" : `${fingerprint.slice(0, 11)}…`;
}

function lastLine(report: VerifyReport): string {
  const readable = report.legs.filter(({ fingerprint }) => fingerprint !== null);
  const matching = readable.filter(({ match }) => match);
  if (report.staleAt !== null) {
    return `${matching.length} of ${readable.length} match, stale at ${report.staleAt}: ` +
      nextStep(report.staleAt);
  }
  const worst = report.legs.find(({ status }) => status === report.status);
  const trouble = report.status === "ok" || worst === undefined
    ? ""
    : `; ${report.status}: ${describePlace(worst).trim()}: ${worst.verdict}`;
  return readable.length === 0 ? "nothing could be compared" : `all ${readable.length} match${trouble}`;
}

function nextStep(staleAt: LegName): string {
  switch (staleAt) {
    case "source":
    case "pushed":
      return "run on the NPM host: certsync push";
    case "staged":
      return "run on the NPM host: certsync push --force";
    case "deployed":
      return "run on the mail host: certsync deploy";
    case "sni":
    case "served":
      return "run on the mail host: certsync deploy --force";
  }
}
