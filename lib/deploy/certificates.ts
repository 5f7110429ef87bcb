// What deploy reports of each name, and in how many words.

import { type Certificate, tlsaRecord } from "../certificate/certificate.ts";
import { daysLeft, headline } from "../certificate/headline.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Scene } from "../chain/scene.ts";
import type { Failure } from "../failure.ts";
import { formatTime } from "../values/time.ts";
import type { DeployFacts } from "./facts.ts";
import { leafOfPlan, type NamePlan } from "./name_plan.ts";
import { isOwed } from "./owed.ts";
import { outcomesFor } from "./questions.ts";
import { judgeOutcomes } from "./trouble.ts";
import type { ServiceOutcome } from "./wire.ts";

/** From the best to the worst. */
const outcomes = [
  "unchanged",
  "repaired",
  "deployed",
  "would-deploy",
  "refused",
  "rolled-back",
  "stale",
  "failed",
] as const;

export type Outcome = typeof outcomes[number];

/** What became of one name. */
export interface CertificateReport {
  /** Null where nobody can tell what the domain is. */
  readonly name: string | null;
  readonly outcome: Outcome;
  readonly fingerprint: string | null;
  /** The leaf that lay there before, where another one takes its place. */
  readonly replaces: string | null;
  /** Whole days; below zero: it has expired. */
  readonly replacesDaysLeft: number | null;
  readonly notAfter: string | null;
  readonly tlsa: string | null;
  readonly error?: string;
  readonly hint?: string;
}

/** Pure. */
export function worstOutcome(certificates: readonly Pick<CertificateReport, "outcome">[]): Outcome {
  const worst = Math.max(...certificates.map(({ outcome }) => outcomes.indexOf(outcome)));
  return outcomes[worst] ?? "failed";
}

/** What is reported of a run that came to nothing. */
export function emptyCertificate(name: string | null): CertificateReport {
  const nothing = { fingerprint: null, replaces: null, replacesDaysLeft: null };
  return { name, outcome: "failed", ...nothing, notAfter: null, tlsa: null };
}

/** Before anything is known of what comes of it. Pure. */
export function reportName(plan: NamePlan, now: Date): CertificateReport {
  const leaf = leafOfPlan(plan);
  const { former, serving, deed, refusal } = plan;
  const isChanging = deed !== "none" && former !== null && serving !== null &&
    former.leaf.fingerprint !== serving.leaf.fingerprint;
  return {
    name: plan.name,
    outcome: refusal === null ? "unchanged" : "refused",
    ...describeLeaf(leaf),
    replaces: isChanging ? former.leaf.fingerprint : null,
    replacesDaysLeft: isChanging ? daysLeft(former.leaf.notAfter, now) : null,
    ...(refusal !== null && faultOf(refusal)),
  };
}

/** What was refused is told by the leaf that was to come, as ever of the domain. Pure. */
export function withOffers(
  certificates: readonly CertificateReport[],
  offers: readonly { readonly name: string; readonly candidate: Pair | Failure }[],
): CertificateReport[] {
  const offered = new Map<string | null, Pair | Failure>(
    offers.map(({ name, candidate }) => [name, candidate]),
  );
  return certificates.map((one) => {
    const candidate = offered.get(one.name);
    if (one.outcome !== "refused" || candidate === undefined) return one;
    return { ...one, ...describeLeaf("leaf" in candidate ? candidate.leaf : null) };
  });
}

function describeLeaf(leaf: Certificate | null) {
  return {
    fingerprint: leaf?.fingerprint ?? null,
    notAfter: leaf === null ? null : formatTime(leaf.notAfter),
    tlsa: leaf === null ? null : tlsaRecord(leaf),
  };
}

function faultOf(
  { message, hint }: { readonly message: string; readonly hint?: string | undefined },
) {
  return { error: message, ...(hint && { hint }) };
}

/** Where its pair could not be put where it belongs. Pure. */
export function withFailure(
  report: CertificateReport,
  failure: Pick<Failure, "message" | "hint"> | undefined,
): CertificateReport {
  return failure === undefined ? report : { ...report, outcome: "failed", ...faultOf(failure) };
}

/** What came of it, as far as its own questions go. Pure. */
export function summarizeName(
  plan: NamePlan,
  outcomes: readonly ServiceOutcome[],
  facts: DeployFacts,
  { scene, changesTop }: {
    readonly scene: Pick<Scene, "compose" | "foreignMounts">;
    readonly changesTop: boolean;
  },
): CertificateReport {
  const report = reportName(plan, facts.now);
  const own = outcomesFor(plan.name, outcomes, facts);
  const trouble = judgeOutcomes(own, scene, "new");
  if (plan.refusal !== null) {
    const error = [plan.refusal.message, trouble?.error].filter(Boolean).join("; ");
    return { ...report, error };
  }
  if (trouble !== null) return { ...report, ...trouble };
  const isOther = plan.directory === null ? changesTop : plan.deed !== "none" &&
    plan.former?.leaf.fingerprint !== plan.serving?.leaf.fingerprint;
  const isSeen = own.some(({ isConfirmed, checks }) =>
    isConfirmed && checks.some(({ verdict }) => verdict === "ok")
  );
  const isLoadedNow = own.some(({ service }) =>
    facts.memory.loadedFor.get(plan.name)?.get(service) !== plan.serving?.leaf.fingerprint
  );
  const hasRestarted = own.some(({ service, hasStarted }) =>
    hasStarted && isOwed(service, plan.name, facts)
  );
  const isMended = plan.deed !== "none" || hasRestarted || (isSeen && isLoadedNow);
  return { ...report, outcome: isOther ? "deployed" : isMended ? "repaired" : "unchanged" };
}

/** In lines: those of which there is something to tell, and how many others there are. Pure. */
export function describeCertificates(
  certificates: readonly CertificateReport[],
  isBack: (name: string | null) => boolean,
): { readonly changed: readonly string[]; readonly unchanged: readonly string[] } {
  const quiet = certificates.filter(({ outcome }) => outcome === "unchanged");
  const told = certificates.filter(({ outcome }) =>
    outcome === "deployed" || outcome === "repaired" || outcome === "would-deploy"
  );
  const words = ({ name, outcome }: CertificateReport) => {
    if (outcome === "would-deploy") {
      return isBack(name) ? `would roll back ${name} to` : `would deploy ${name}`;
    }
    return outcome === "deployed" && isBack(name) ? `rolled back ${name} to` : `${outcome} ${name}`;
  };
  const [first] = quiet;
  return {
    changed: told.map((one) => headline(words(one), one)),
    unchanged: first === undefined ? [] : [
      quiet.length === 1
        ? headline(`unchanged: ${first.name}`, first)
        : `unchanged: ${quiet.length} further names`,
    ],
  };
}
