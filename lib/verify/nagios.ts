// The report of verify as a monitoring plugin prints it: one line, with performance data.
// https://www.monitoring-plugins.org/doc/guidelines.html

import type { Age } from "../values/time.ts";
import type { LegReport, VerifyReport } from "./report.ts";
import { summarize } from "./text.ts";

export interface Thresholds {
  readonly warn: Age;
  readonly critical: Age;
  /** The moment from which days are counted. */
  readonly now: Date;
}

export function formatNagios(report: VerifyReport, thresholds: Thresholds | null): string[] {
  const words = report.error ?? summarize(report);
  const line = `CERTSYNC ${report.status.toUpperCase()} - ${words.replaceAll("|", "/")}`;
  const legs = report.legs.filter(({ noted }) => !noted);
  const data = [
    ...daysLeft(legs, thresholds),
    `legs=${legs.length};;;0`,
    `unread=${legs.filter(({ fingerprint }) => fingerprint === null).length};;;0`,
    `mismatched=${
      legs.filter(({ match, fingerprint }) => match === false && fingerprint !== null).length
    };;;0`,
  ];
  return [`${line} | ${data.join(" ")}`];
}

/** Of the certificate that ends first; its alert ranges are "less than this". */
function daysLeft(legs: readonly LegReport[], thresholds: Thresholds | null): string[] {
  const [first] = legs
    .flatMap(({ notBefore, notAfter }) =>
      notBefore === null || notAfter === null
        ? []
        : [{ notBefore: Date.parse(notBefore), notAfter: Date.parse(notAfter) }]
    )
    .sort((a, b) => a.notAfter - b.notAfter);
  if (first === undefined || thresholds === null) return [];
  const life = first.notAfter - first.notBefore;
  const limit = (age: Age) => `${days("ms" in age ? age.ms : age.lifePart * life)}:`;
  const { warn, critical, now } = thresholds;
  const left = days(first.notAfter - now.getTime());
  return [`days_left=${left};${limit(warn)};${limit(critical)};;${days(life)}`];
}

function days(ms: number): string {
  return (ms / 86_400_000).toFixed(2);
}
