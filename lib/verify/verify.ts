// certsync verify: compares every copy of the certificate that can be reached from here.

import type { Presentation } from "../cli/terminal.ts";
import { type VerifyConfig, verifyConfig } from "../config/config.ts";
import { readTimers } from "../programs/systemctl.ts";
import type { RunContext } from "../run_context.ts";
import { readLegs } from "./legs.ts";
import { formatNagios } from "./nagios.ts";
import { formatPrometheus } from "./prometheus.ts";
import { emptyVerifyReport, reportLeg, type VerifyReport } from "./report.ts";
import { describeVerify } from "./text.ts";
import { judgeLegs } from "./verdict.ts";

export async function verify(config: VerifyConfig, context: RunContext): Promise<VerifyReport> {
  const [{ domain, legs }, timers] = await Promise.all([
    readLegs(config, context),
    readTimers(context),
  ]);
  const verdict = judgeLegs(legs, { ...config, domain, now: context.now });
  return {
    status: verdict.status,
    domain,
    staleAt: verdict.staleAt,
    legs: verdict.legs.map(reportLeg),
    timers,
    warnings: verdict.warnings,
    ...(verdict.status === "unknown" && nothingCompared(legs.length)),
  };
}

/** How main runs it. */
export const verifyCommand = {
  config: verifyConfig,
  run: verify,
  empty: emptyVerifyReport,
  words(report: VerifyReport, config: VerifyConfig | null, { format, now, paint }: Presentation) {
    switch (format) {
      case "nagios":
        return formatNagios(report, config && { ...config, now });
      case "prometheus":
        return formatPrometheus(report);
      default:
        return describeVerify(report, (text, status) => paint(text, colours[status]));
    }
  },
  ending: ({ status }: VerifyReport) => status,
};

const colours = { ok: "green", warning: "yellow", critical: "red", unknown: "magenta" } as const;

function nothingCompared(legCount: number): Pick<VerifyReport, "error" | "hint"> {
  const error = "nothing could be compared: no copy of the certificate can be read from here";
  return legCount > 0 ? { error } : {
    error,
    hint: "run it as root on the NPM or the mail host, or name --domain, --source and --endpoint",
  };
}
