// The report of verify in the form that was asked for.

import type { Format } from "../config/report_format.ts";
import { formatNagios, type Thresholds } from "./nagios.ts";
import { formatPrometheus } from "./prometheus.ts";
import { describeVerify, type Paint } from "./text.ts";
import type { VerifyReport } from "./verify.ts";

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
