// certsync verify: compares every copy of the certificate that can be reached from here.

import { inDirectory } from "../chain/in_directory.ts";
import type { Presentation } from "../cli/terminal.ts";
import { type VerifyConfig, verifyConfig } from "../config/verify_config.ts";
import { composeCommand } from "../programs/compose.ts";
import { type InstalledTimer, readTimers } from "../programs/systemctl.ts";
import type { RunContext } from "../run_context.ts";
import { readLegs, type Sight } from "./legs.ts";
import { isForeign, type Leg } from "./leg.ts";
import { formatNagios } from "./nagios.ts";
import { type Knowledge, type NamedVerdict, nextSteps } from "./next_step.ts";
import { formatPrometheus } from "./prometheus.ts";
import { emptyVerifyReport, reportLeg, type VerifyReport } from "./report.ts";
import { describeVerify } from "./text.ts";
import { judgeLegs, referenceIn, type Verdict, worst } from "./verdict.ts";

export async function verify(config: VerifyConfig, context: RunContext): Promise<VerifyReport> {
  // Its name is looked up, it is asked, and where it has another kind of key, once more.
  using _told = context.wait("looking at every copy of the certificate", 3 * config.timeoutMs);
  const [sight, timers] = await Promise.all([readLegs(config, context), readTimers(context)]);
  return reportSight(config, sight, timers, knowledge(config, sight, context.now));
}

/** Pure. */
export function reportSight(
  config: Parameters<typeof reportAsSaid>[0],
  sight: Parameters<typeof reportAsSaid>[1],
  timers: readonly InstalledTimer[],
  known: Knowledge,
): VerifyReport {
  const report = reportAsSaid(config, sight, timers, known);
  const { mailcow } = known;
  return mailcow === null ? report : followable(report, mailcow);
}

/** From whatever directory somebody reads it in. */
function followable(
  report: VerifyReport,
  mailcow: NonNullable<Knowledge["mailcow"]>,
): VerifyReport {
  const tell = (words: string) => inDirectory(words, mailcow);
  const advise = <A extends { readonly hint?: string }>(one: A): A =>
    one.hint === undefined ? one : { ...one, hint: tell(one.hint) };
  return {
    ...advise(report),
    legs: report.legs.map(advise),
    next: report.next.map((step) => ({ ...step, command: tell(step.command) })),
    warnings: report.warnings.map(tell),
  };
}

function reportAsSaid(
  config: Pick<VerifyConfig, "legs" | "warn" | "critical">,
  sight: Pick<Sight, "strands" | "mailcow" | "furtherDirectories" | "doubts" | "warnings">,
  timers: readonly InstalledTimer[],
  known: Knowledge,
): VerifyReport {
  const judged = judgeStrands(config, sight, known);
  const [{ verdict }] = judged;
  const status = worst(judged.map(({ verdict }) => verdict.status));
  // A fault of this host's own takes nothing from what is critical, and is worse than all else.
  const [doubt, ...others] = status === "critical" ? [] : sight.doubts;
  const unseen = judged.find(({ verdict }) => verdict.status === "unknown");
  return {
    status: doubt === undefined ? status : "unknown",
    domain: judged[0].name,
    staleAt: verdict.staleAt,
    certificates: judged.map(({ name, verdict: { status, staleAt } }) => ({
      ...{ name, staleAt },
      status: doubt === undefined ? status : "unknown",
    })),
    legs: judged.flatMap(({ name, verdict }) => verdict.legs.map((leg) => reportLeg(leg, name))),
    next: nextSteps(judged, known),
    timers: timers
      .filter(({ unit, isEnabled }) =>
        isEnabled || (known.roles.push && unit.startsWith("mailcow-cert-push.")) ||
        (known.roles.deploy && unit.startsWith("mailcow-cert-deploy."))
      )
      .map(({ unit, active, next }) => ({ unit, active, next })),
    warnings: [
      ...(doubt === undefined ? sight.doubts : others).map(({ message }) => message),
      ...sight.warnings,
      ...new Set(judged.flatMap(({ verdict }) => verdict.warnings)),
    ],
    ...(doubt !== undefined
      ? { error: doubt.message, ...(doubt.hint && { hint: doubt.hint }) }
      : status === "unknown" && unseen !== undefined &&
        nothingSeen(
          unseen.verdict,
          isComparing(config, unseen.verdict.legs.map(({ leg }) => leg)) ? "compared" : "seen",
        )),
  };
}

/** Where somebody named legs and there is one kind of them, it is compared with nothing. */
function isComparing({ legs: named }: Pick<VerifyConfig, "legs">, legs: readonly Leg[]): boolean {
  if (named === null) return true;
  const kinds = legs.filter((leg) => !isForeign(leg)).map(({ leg }) => leg);
  return new Set(named).size > 1 && new Set(kinds).size !== 1;
}

function judgeStrands(
  { legs: named, warn, critical }: Pick<VerifyConfig, "legs" | "warn" | "critical">,
  { strands, mailcow, furtherDirectories }: Parameters<typeof reportSight>[1],
  { now, unhelped, made }: Knowledge,
): readonly [NamedVerdict, ...NamedVerdict[]] {
  const holders = strands.flatMap(({ name, isFurther, legs }) => {
    const reference = referenceIn(legs);
    // What lies in one directory for two names is not the one's for being served for the other.
    return reference === null || (isFurther && reference.leg === "deployed")
      ? []
      : [[reference.fingerprint ?? "", { name: name ?? "the domain", isFurther }] as const];
  });
  const top = mailcow?.deployed.pair?.leaf.fingerprint ?? "";
  const hostname = mailcow?.conf.hostname ?? "the domain";
  const judged = strands.map(({ name, isFurther, legs }): NamedVerdict => ({
    ...{ name, isFurther },
    verdict: judgeLegs(legs, {
      ...{ name, isFurther, warn, critical, now, unhelped, made, furtherDirectories },
      isComparing: isComparing({ legs: named }, legs),
      sniDirectories: mailcow?.sniDirectories ?? [],
      // What lies at the top is the domain's, whoever else is covered by it.
      others: new Map([
        ...holders.filter(([, holder]) => holder.name !== name).toReversed(),
        [top, { name: hostname, isFurther: false }],
      ]),
    }),
  }));
  const [first, ...others] = judged;
  if (first === undefined) throw new TypeError("there is always a name, if it is not known");
  return [first, ...others];
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

function knowledge({ added }: VerifyConfig, sight: Sight, now: Date): Knowledge {
  const { mailcow, compose, memory, roles } = sight;
  return {
    mailcow: mailcow && {
      directory: mailcow.directory,
      compose: composeCommand({ version: compose }),
      skipsLetsEncrypt: mailcow.conf.skipsLetsEncrypt,
    },
    loaded: new Map(memory === null ? [] : [[null, memory.loaded], ...memory.loadedFor]),
    rejected: new Set(memory?.rejected.keys()),
    unhelped: new Set(
      [...memory?.unhelped.values() ?? []].map(({ service, leaf }) => `${service} ${leaf}`),
    ),
    made: new Set(memory?.made.keys()),
    added,
    roles,
    now,
  };
}

function nothingSeen(
  { legs }: Verdict,
  deed: "compared" | "seen",
): Pick<VerifyReport, "error" | "hint"> {
  const unread = legs.flatMap(({ leg }) => leg.error === null ? [] : [leg]);
  const told = unread.find(({ hint }) => hint !== null) ?? unread[0];
  if (told === undefined) {
    return {
      error: "nothing could be compared: no copy of the certificate can be read from here",
      hint: "run it as root on the NPM or the mail host, or name --domain, --source and --endpoint",
    };
  }
  const more = unread.length === 1 ? "" : `, and ${unread.length - 1} more`;
  return {
    error: `nothing could be ${deed}: ${told.where}: ${told.error}${more}`,
    ...(told.hint && { hint: told.hint }),
  };
}
