// certsync verify: compares every copy of the certificate that can be reached from here.

import type { Presentation } from "../cli/terminal.ts";
import { type VerifyConfig, verifyConfig } from "../config/verify_config.ts";
import { readStateOrNothing } from "../files/state.ts";
import { composeCommand } from "../programs/compose.ts";
import { type InstalledTimer, readTimers } from "../programs/systemctl.ts";
import type { RunContext } from "../run_context.ts";
import { readLegs, type Sight } from "./legs.ts";
import { formatNagios } from "./nagios.ts";
import { type Knowledge, nextSteps } from "./next_step.ts";
import { formatPrometheus } from "./prometheus.ts";
import { emptyVerifyReport, reportLeg, type VerifyReport } from "./report.ts";
import { describeVerify } from "./text.ts";
import { judgeLegs, type Verdict } from "./verdict.ts";

export async function verify(config: VerifyConfig, context: RunContext): Promise<VerifyReport> {
  const [sight, timers] = await Promise.all([readLegs(config, context), readTimers(context)]);
  return reportSight(config, sight, timers, knowledge(config, sight, context.now));
}

/** Pure. */
export function reportSight(
  config: Pick<VerifyConfig, "legs" | "warn" | "critical">,
  { domain, legs, mailcow, roles, doubts, warnings }: Omit<Sight, "compose">,
  timers: readonly InstalledTimer[],
  known: Knowledge,
): VerifyReport {
  const isComparing = config.legs === null || new Set(config.legs).size > 1;
  const verdict = judgeLegs(legs, {
    ...{ domain, warn: config.warn, critical: config.critical, now: known.now },
    isComparing,
    unhelped: known.unhelped,
    sniDirectories: mailcow?.sniDirectories ?? [],
  });
  // A fault of this host's own takes nothing from what is critical, and is worse than all else.
  const [doubt, ...others] = verdict.status === "critical" ? [] : doubts;
  return {
    status: doubt === undefined ? verdict.status : "unknown",
    domain,
    staleAt: verdict.staleAt,
    legs: verdict.legs.map(reportLeg),
    next: nextSteps(verdict, known),
    timers: timers
      .filter(({ unit, isEnabled }) =>
        isEnabled || (roles.push && unit.startsWith("mailcow-cert-push.")) ||
        (roles.deploy && unit.startsWith("mailcow-cert-deploy."))
      )
      .map(({ unit, active, next }) => ({ unit, active, next })),
    warnings: [
      ...(doubt === undefined ? doubts : others).map(({ message }) => message),
      ...warnings,
      ...verdict.warnings,
    ],
    ...(doubt !== undefined
      ? { error: doubt.message, ...(doubt.hint && { hint: doubt.hint }) }
      : verdict.status === "unknown" && nothingSeen(verdict, isComparing ? "compared" : "seen")),
  };
}

/** How main runs it. */
export const verifyCommand = {
  config: verifyConfig,
  run: verify,
  empty: emptyVerifyReport,
  words,
  ending: ({ status }: VerifyReport) => status,
};

/** In the form that was asked for; thresholds are null where the configuration is at fault. */
export function words(
  report: VerifyReport,
  thresholds: Pick<VerifyConfig, "warn" | "critical"> | null,
  presentation: Presentation,
): string[] {
  const { format, now } = presentation;
  switch (format) {
    case "nagios":
      return formatNagios(report, thresholds && { ...thresholds, now });
    case "prometheus":
      return formatPrometheus(report, now);
    default:
      return describeVerify(report, {
        ...presentation,
        paint: (text, status) => presentation.paint(text, colours[status]),
      });
  }
}

const colours = { ok: "green", warning: "yellow", critical: "red", unknown: "magenta" } as const;

function knowledge({ deploy }: VerifyConfig, sight: Sight, now: Date): Knowledge {
  const { domain, mailcow, compose } = sight;
  const lines = (name: string) => readStateOrNothing(deploy.state, name).split("\n");
  return {
    domain,
    mailcow: mailcow && {
      directory: mailcow.directory,
      compose: composeCommand({ version: compose }),
      skipsLetsEncrypt: mailcow.conf.skipsLetsEncrypt,
    },
    loaded: new Map(
      lines("loaded").flatMap((line) => {
        const [service, fingerprint] = line.split(" ");
        return service && fingerprint ? [[service, fingerprint] as const] : [];
      }),
    ),
    rejected: new Set(lines("rejected").map((line) => line.split(" ")[0] ?? "")),
    unhelped: new Set(
      lines("unhelped").map((line) => line.split("\t"))
        .map(([service, _probe, leaf]) => `${service} ${leaf}`),
    ),
    now,
  };
}

function nothingSeen(
  { legs }: Verdict,
  deed: "compared" | "seen",
): Pick<VerifyReport, "error" | "hint"> {
  const [first, ...others] = legs.flatMap(({ leg: { where, error } }) =>
    error === null ? [] : [`${where}: ${error}`]
  );
  if (first === undefined) {
    return {
      error: "nothing could be compared: no copy of the certificate can be read from here",
      hint: "run it as root on the NPM or the mail host, or name --domain, --source and --endpoint",
    };
  }
  const more = others.length === 0 ? "" : `, and ${others.length} more`;
  const hint = legs.find(({ leg }) => leg.hint !== null)?.leg.hint;
  return {
    error: `nothing could be ${deed}: ${first}${more}`,
    ...(hint && { hint }),
  };
}
