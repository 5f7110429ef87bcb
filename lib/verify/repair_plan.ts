// What brings one name's chain to its end: what is to be renewed, pushed and deployed. Pure.

import { isOverdue, timeState } from "../certificate/certificate.ts";
import type { Service } from "../chain/mailcow.ts";
import { takeOut } from "../chain/name_refusals.ts";
import type { LegName } from "../config/verify_config.ts";
import type { Finding } from "./finding.ts";
import { isForeign, isReplaceable, type Leg } from "./leg.ts";
import type { Subject } from "./subject.ts";
import type { LegVerdict, Verdict } from "./verdict.ts";

/** A command in the mild form, or in the one that does it anyway. */
export type Deed = "plain" | "force";

/** Each stage of the chain, as far as it was seen. */
export interface RepairPlan {
  /** What to do in Nginx Proxy Manager, in words. */
  readonly renew: string | null;
  /** The name may not be known there, where it was never sent. */
  readonly isUnasked: boolean;
  /** The name may not be known on the mail host, where it was never served. */
  readonly isUntaken: boolean;
  /** What stands in the way on the mail host, and what push writes into and is not there. */
  readonly blocked: readonly string[];
  readonly lost: readonly string[];
  readonly push: Deed | null;
  readonly deploy: Deed | null;
}

/** What is known of one name besides the legs of its chain. */
export interface NameKnowledge extends Subject {
  /** What deploy remembers here: nothing where it cannot be seen. */
  readonly loaded: ReadonlyMap<Service, string>;
  readonly rejected: ReadonlySet<string>;
  /** Whether mailcow is on this host, so that what deploy remembers can be seen. */
  readonly isMailHost: boolean;
  /** The leaves that are served for the domain. */
  readonly ofDomain: ReadonlySet<string>;
  /** The services that give this name nothing, and others a certificate. */
  readonly deaf: ReadonlySet<Service>;
  readonly now: Date;
}

/** The copies of one name, by the legs that they are. */
type Copies = ReturnType<typeof copiesOf>;

function copiesOf(legs: readonly LegVerdict[], reference: Leg, known: NameKnowledge) {
  const of = (...names: LegName[]) => legs.filter(({ leg }) => names.includes(leg.leg));
  return {
    ...{ legs, reference, known, of },
    isBad: (...names: LegName[]) => of(...names).some((each) => needsRepair(each, known)),
    isSeen: (...names: LegName[]) =>
      of(...names).some(({ leg }) => leg.fingerprint !== null || isReplaceable(leg)),
  };
}

/** What is the matter with the reference, so that it is not simply brought along the chain. */
interface Condition {
  /** A good newer one is not to give way: a newer one yet is what ends it. */
  readonly isOlderSource: boolean;
  readonly isOlderStaged: boolean;
  /** deploy refuses what is staged for what it is. */
  readonly isUnfit: boolean;
  readonly renews: boolean;
}

function conditionOf(copies: Copies): Condition {
  const { legs, reference, known: { now }, of, isBad } = copies;
  const isFromSource = reference.leg === "source";
  const isStaged = reference.leg === "staged";
  const isOlder = (isFromSource || isStaged) && replacesGood(copies);
  const [isOlderSource, isOlderStaged] = [isOlder && isFromSource, isOlder && isStaged];
  // What lies at the end is not what is to be brought there, where nothing was staged.
  const isLast = isBad("staged") && !isFromSource && !isStaged;
  const isUnfit = isStaged && !of("deployed").some(({ match }) => match) &&
    isUnfitToServe(legs, reference, now);
  // What was served before was pushed once: Nginx Proxy Manager has it, or a newer one.
  const isSpoilt = isUnfit && of("deployed").some((each) => isWell(each, now));
  const renews = !isSpoilt &&
    (isOlderStaged || (!isLast && (isOlderSource || isFaulty(legs, reference))));
  return { isOlderSource, isOlderStaged, isUnfit, renews };
}

/** Null where nothing along the chain needs repair, or where deploy would refuse it. */
export function planRepair({ legs, reference }: Verdict, known: NameKnowledge): RepairPlan | null {
  if (reference === null || legs.some(({ leg }) => leg.obstacle === "unclear")) return null;
  if (legs.some(({ leg, isStale }) => leg.isRefused && isStale)) return null;
  if (has(legs, "passed-over")) return null;
  const copies = copiesOf(legs, reference, known);
  const { of, isBad, isSeen } = copies;
  const condition = conditionOf(copies);
  const push = planPush(copies, condition);
  const deploys = isBad("deployed", "sni", "served") ||
    (isBad("staged") && reference.leg !== "source") ||
    (condition.renews && isSeen("staged", "deployed", "sni", "served"));
  const plan: RepairPlan = {
    renew: condition.renews ? renewal(copies, condition) : null,
    isUnasked: push !== null && of("staged").some(({ leg }) => leg.obstacle === "unasked"),
    isUntaken: deploys && known.isFurther && !known.isMailHost &&
      of("served").some(({ leg: { fingerprint }, isStale }) =>
        isStale && fingerprint !== null && known.ofDomain.has(fingerprint)
      ),
    blocked: blocked(of("staged", "deployed", "sni")),
    lost: of("staged").flatMap(({ leg: { obstacle, directory = "" } }) =>
      obstacle === "lost" ? [directory] : []
    ),
    push,
    deploy: deploys ? planDeploy(copies, condition) : null,
  };
  return condition.renews || push !== null || deploys || plan.blocked.length > 0 ? plan : null;
}

function planPush(
  { legs, reference, of, isBad, isSeen }: Copies,
  { isOlderStaged, isUnfit, renews }: Condition,
): Deed | null {
  const isFromSource = reference.leg === "source";
  if (isOlderStaged || isUnfit) return "force"; // what is there may be pushed already
  if (renews) return "plain";
  if (isBad("pushed")) {
    const isHalf = isBad("staged") && of("pushed").some((each) => each.match === true);
    return isHalf ? "force" : "plain";
  }
  if (isBad("staged")) {
    // An older one was probably not pushed yet; whatever else is there was, and got lost.
    const isOlder = of("staged").every(({ leg }) => leg.certificate !== null) &&
      !has(of("staged"), "chain", "key");
    return isFromSource && !isSeen("pushed") && isOlder ? "plain" : "force";
  }
  if (isSeen("staged") || !isBad("deployed", "sni", "served")) return null;
  const served = of("deployed", "sni", "served");
  // What mailcow made for itself was not pushed: deploy takes the place of it.
  const pushed = served.filter(({ leg: { certificate } }) =>
    certificate?.subject !== certificate?.issuer
  );
  // push looks at the leaf alone
  if (has(pushed, "chain") && !legs.some(({ isStale }) => isStale)) return "force";
  const hasArrived = isSeen("pushed") || served.some(({ match }) => match === true);
  return isFromSource && !hasArrived ? "plain" : null;
}

function planDeploy({ reference, known, of, isBad }: Copies, { renews }: Condition): Deed {
  if (renews) return "plain";
  const { loaded, rejected } = known;
  const fingerprint = reference.fingerprint ?? "";
  const isLoaded = of("served").some((each) =>
    needsRepair(each, known) && each.leg.service !== undefined &&
    loaded.get(each.leg.service) === fingerprint
  );
  const isOwed = isBad("staged", "deployed", "sni");
  return rejected.has(fingerprint) || (isLoaded && !isOwed) ? "force" : "plain";
}

/** deploy does not put an older certificate in the place of a newer one of ours that is good. */
function replacesGood({ reference, known, of }: Copies): boolean {
  const ends = (leg: Leg) => leg.certificate?.notAfter.getTime() ?? 0;
  return of("deployed", "served").some(({ leg, findings }) =>
    findings.some(({ kind }) => kind === "newer") &&
    !findings.some(({ kind }) => kind === "chain" || kind === "key" || kind === "wrong-name") &&
    isOurs(leg, known) && leg.certificate !== null &&
    leg.certificate.issuer !== leg.certificate.subject &&
    timeState(leg.certificate, known.now) === "valid" &&
    !(isOverdue(leg.certificate, known.now) && ends(leg) < ends(reference))
  );
}

/** Whether deploy brought it there, as far as anybody can tell from here. */
function isOurs({ fingerprint }: Leg, { isMailHost, loaded }: NameKnowledge): boolean {
  return !isMailHost || fingerprint === null || [...loaded.values()].includes(fingerprint);
}

function needsRepair(
  { leg, match, isStale, findings }: LegVerdict,
  { deaf }: Pick<NameKnowledge, "deaf">,
): boolean {
  if (isForeign(leg) || findings.some(({ kind }) => kind === "unhelped")) return false;
  if (isStale || ((match !== null || leg.leg === "pushed") && isReplaceable(leg))) return true;
  // Its service serves others: a pair of this name's own keeps it from serving this one.
  if (leg.isMailcows && leg.service && deaf.has(leg.service)) return true;
  return leg.leg !== "source" &&
    findings.some(({ kind }) => kind === "chain" || kind === "key");
}

function has(verdicts: readonly LegVerdict[], ...kinds: Finding["kind"][]): boolean {
  return verdicts.some(({ findings }) => findings.some(({ kind }) => kinds.includes(kind)));
}

/** Whether deploy refuses what is staged for what it is. */
function isUnfitToServe(legs: readonly LegVerdict[], reference: Leg, now: Date): boolean {
  const { certificate } = reference;
  return legs.some(({ leg, findings }) =>
    leg === reference &&
    findings.some(({ kind, status }) =>
      kind === "wrong-name" || (kind === "trust" && status === "critical")
    )
  ) || (certificate !== null && timeState(certificate, now) !== "valid");
}

function isWell({ leg: { certificate }, findings }: LegVerdict, now: Date): boolean {
  return certificate !== null && certificate.issuer !== certificate.subject &&
    timeState(certificate, now) === "valid" &&
    findings.every(({ kind }) => kind === "behind" || kind === "newer");
}

/** Whether what is brought along the chain is no good itself, or not good enough. */
function isFaulty(legs: readonly LegVerdict[], reference: Leg): boolean {
  const needsRenewal = ({ kind }: Finding) =>
    kind === "near-end" || kind === "wrong-name" ||
    (kind === "chain" && reference.leg === "source");
  return legs.some(({ leg, findings }) =>
    leg === reference ? findings.some(needsRenewal) : findings.some(({ kind }) => kind === "own")
  );
}

function renewal(
  { legs, reference, known: { name } }: Copies,
  { isOlderSource, isOlderStaged }: Condition,
): string {
  const kinds = legs.flatMap(({ findings }) => findings);
  const lacking = kinds.flatMap(({ lacking = [] }) => lacking);
  const domain = name ?? reference.certificate?.names[0] ?? "this name";
  const what = kinds.some(({ kind }) => kind === "wrong-name") || lacking.length > 0
    ? `request a certificate for ${[...new Set([domain, ...lacking])].join(" ")}`
    : `renew the certificate for ${domain}`;
  const unless = isOlderStaged
    ? ", unless the one there is no older than what is deployed"
    : isOlderSource
    ? ", unless another npm-N has the newer one: then name that as the source"
    : reference.leg === "source"
    ? ""
    : ", unless that is done";
  return `${what}${unless}${legs.map(otherWay).join("")}`;
}

/** What a directory is for may be less than it says. */
function otherWay({ leg: { directory }, findings }: LegVerdict): string {
  const lacking = findings.flatMap(({ kind, lacking = [] }) => kind === "own" ? lacking : []);
  return directory === undefined || lacking.length === 0
    ? ""
    : `, or on the mail host: ${takeOut(lacking.join(" "), directory)}`;
}

/** A rename puts nothing in the place of a directory, and nothing into that of another user. */
function blocked(verdicts: readonly LegVerdict[]): string[] {
  return verdicts.flatMap(({ leg, match }) =>
    isForeign(leg) || (leg.leg === "sni" && match === null) ? [] : leg.inTheWay ?? []
  );
}
