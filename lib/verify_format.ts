// The forms in which verify reports: for a person, for Nagios, for Prometheus.

import { quote, UsageFailure } from "./failure.ts";
import { formatNagios, type Thresholds } from "./nagios.ts";
import { formatPrometheus } from "./prometheus.ts";
import type { VerifyReport } from "./verify.ts";
import { describeVerify, type Paint } from "./verify_text.ts";

export const formats = ["text", "nagios", "prometheus"] as const;

export type Format = typeof formats[number];

export function isFormat(text: string | undefined): text is Format {
  return formats.some((format) => format === text);
}

export function parseFormat(text: string, what: string): Format {
  if (isFormat(text)) return text;
  throw new UsageFailure(`${what} is not a format: ${quote(text)}`, {
    hint: `the formats are ${formats.join(", ")}`,
  });
}

/** Lines without control characters. `thresholds` is null where the configuration is at fault. */
export function formatVerify(
  format: Format,
  report: VerifyReport,
  thresholds: Thresholds | null,
  paint: Paint,
): string[] {
  switch (format) {
    case "text":
      return describeVerify(report, paint);
    case "nagios":
      return formatNagios(report, thresholds);
    case "prometheus":
      return formatPrometheus(report);
  }
}
