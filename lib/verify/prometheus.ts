// The report of verify for the textfile collector of Prometheus' node exporter.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import { statuses } from "./finding.ts";
import type { LegReport, VerifyReport } from "./report.ts";

/** Complete whatever failed: a metric that vanishes would look like silence. */
export function formatPrometheus(report: VerifyReport, now: Date): string[] {
  const domain = (name: string | null): Label => ["domain", name ?? ""];
  const labels = (leg: LegReport) => [domain(leg.name), ...labelsOf(leg)];
  const counted = report.legs.filter(({ noted }) => !noted);
  const legs = [...new Map(counted.map((leg) => [formatLabels(labels(leg)), leg])).values()];
  return [
    ...metric(
      "certsync_not_after_seconds",
      "When the certificate of a leg expires, in seconds since the epoch.",
      legs.flatMap((leg) =>
        leg.notAfter === null ? [] : [[labels(leg), Date.parse(leg.notAfter) / 1_000]]
      ),
    ),
    ...metric(
      "certsync_match",
      "Whether a leg holds the certificate of the first one that could be read.",
      legs.flatMap((leg) => leg.match === null ? [] : [[labels(leg), leg.match ? 1 : 0]]),
    ),
    ...metric(
      "certsync_fingerprint_info",
      "The SHA-256 fingerprint of the certificate of a leg.",
      legs.flatMap((leg) =>
        leg.fingerprint === null ? [] : [[[...labels(leg), ["sha256", leg.fingerprint]], 1]]
      ),
    ),
    ...metric(
      "certsync_status",
      "The verdict over all legs of a name: 0 ok, 1 warning, 2 critical, 3 unknown.",
      report.certificates.map(({ name, status }) => [[domain(name)], statuses.indexOf(status)]),
    ),
    ...metric(
      "certsync_run_seconds",
      "When certsync verify looked at all this, in seconds since the epoch.",
      report.certificates.map(({ name }) => [[domain(name)], Math.floor(now.getTime() / 1_000)]),
    ),
  ];
}

type Label = readonly [name: string, value: string];
type Sample = readonly [labels: readonly Label[], value: number];

function metric(name: string, help: string, samples: readonly Sample[]): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} gauge`,
    ...samples.map(([labels, value]) => `${name}${formatLabels(labels)} ${value}`),
  ];
}

/** One series a leg: one that came twice would make the collector drop every file of its kind. */
function labelsOf({ leg, where, sni, ip }: LegReport): Label[] {
  return [["leg", leg], ["where", where], ["sni", sni ?? ""], ["ip", ip ?? ""]];
}

function formatLabels(labels: readonly Label[]): string {
  const pairs = labels.map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return `{${pairs.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
