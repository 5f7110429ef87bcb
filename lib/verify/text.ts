// What verify prints: a table of the legs, the timers, and a last line that says what to do next.

import { legNames } from "../config/verify_config.ts";
import type { Timer } from "../programs/systemctl.ts";
import { isForeign } from "./leg.ts";
import { firstFew } from "../failure.ts";
import { formatSteps } from "./next_step.ts";
import type { LegReport, VerifyReport } from "./report.ts";
import { describeLegs, type Look } from "./table.ts";

export function describeVerify(report: VerifyReport, look: Look): string[] {
  const timers = report.timers.map(describeTimer);
  if (report.legs.length === 0) return timers;
  return [
    ...describeLegs(report, look),
    ...describeErrors(report.legs),
    ...timers,
    ...describeUnseen(report),
    ...lastLine(report).map((line) => look.paint(line, report.status)),
  ];
}

/** Why nothing could be compared is told on stderr, to whoever watches that. */
function lastLine(report: VerifyReport): string[] {
  if (report.status !== "unknown") return [summarize(report)];
  return report.next.length === 0 ? [] : [formatSteps(report.next)];
}

/** In full what the table only calls by few words; a line each, which nobody breaks. */
function describeErrors(legs: readonly LegReport[]): string[] {
  return [
    ...new Set(
      legs.filter(needsWords).flatMap(({ where, ip, status, error, hint }) => [
        ...(error === undefined ? [] : [`  ${where}${describeAddress(where, ip)}: ${error}`]),
        ...(hint === undefined || status === "ok" ? [] : [`  hint: ${hint}`]),
      ]),
    ),
  ];
}

/** Of the records also what kept them from being looked at. */
function needsWords({ leg, status, verdict, error }: LegReport): boolean {
  return status !== "ok" || (leg === "tlsa" && error !== verdict);
}

function describeAddress(where: string, ip: string | undefined): string {
  return ip === undefined || where.includes(ip) ? "" : ` at ${ip}`;
}

function describeTimer({ unit, active, next }: Timer): string {
  if (!active) return `${unit}: NOT ACTIVE`;
  return unit.endsWith(".path")
    ? `${unit}: active`
    : `${unit}: active, next run ${next ?? "not known"}`;
}

/** Advice that was given without having seen a leg says so. */
function describeUnseen({ legs, next }: VerifyReport): string[] {
  // What not every mail host has is not missed.
  const unseen = legNames.filter((name) =>
    name !== "sni" && name !== "tlsa" && !legs.some(({ leg }) => leg === name)
  );
  return next.length === 0 || unseen.length === 0
    ? []
    : [`not seen from here: ${unseen.join(", ")}`];
}

/** How many copies match, and what to do next: the last line. */
export function summarize(report: VerifyReport): string {
  const { status, staleAt, certificates, legs, next } = report;
  const count = describeCount(legs, status === "ok");
  const leg = legs.find(({ stale }) => stale) ?? legs.find((leg) => leg.status === status);
  if (status === "ok" || leg === undefined) return count;

  // What keeps deploy from helping may be said at another leg of the name.
  const others = legs.filter((other) => other.name === leg.name && other.status === status);
  const hint = others.find(({ hint }) => hint !== undefined)?.hint;
  const steps = formatSteps(next) || leg.hint || leg.error || hint || "see above";
  if (certificates.length > 1) return `${count}; ${describeNames(report)}: ${steps}`;
  return staleAt === null
    ? `${count}; ${leg.where}: ${leg.verdict}: ${steps}`
    : `${count}, stale at ${staleAt}: ${steps}`;
}

/** Of the names that are not well what is the matter, each in few words. */
function describeNames({ certificates, legs }: VerifyReport): string {
  const words = certificates.flatMap(({ name, status, staleAt }, index) => {
    if (status === "ok") return [];
    if (staleAt !== null) return [`${name} stale at ${staleAt}`];
    // What lies in directories of other names counts with the domain.
    const own = legs.filter((leg) => leg.name === name || (index === 0 && isForeign(leg)));
    const leg = own.find((leg) => leg.status === status);
    return [leg === undefined ? `${name} ${status}` : `${leg.name}: ${leg.verdict}`];
  });
  return firstFew(words).join(", ");
}

/**
 * Of those that are compared at all, or should be: where all is well, what is right although it is another
 * is not.
 */
function describeCount(legs: readonly LegReport[], isWell: boolean): string {
  const isCompared = legs.some(({ match }) => match !== null);
  const matching = legs.filter(({ match }) => match).length;
  const compared = legs.filter((leg) =>
    leg.match !== null || (!leg.noted && !isForeign(leg) &&
      (leg.fingerprint === null || (!isWell && leg.leg !== "tlsa")))
  );
  if (!isCompared) return "not compared";
  return isWell && matching === compared.length
    ? `all ${matching} match`
    : `${matching} of ${compared.length} match`;
}
