// What to do next: the commands, each with its host, in their order, from what was seen. Pure.

import { timeState } from "../certificate/certificate.ts";
import { serviceNames } from "../chain/mailcow.ts";
import type { LegName } from "../config/verify_config.ts";
import type { Finding } from "./finding.ts";
import { isForeign, isReplaceable, type Leg } from "./leg.ts";
import { adviseBeforehand } from "./tlsa_leg.ts";
import type { LegVerdict, Verdict } from "./verdict.ts";

export interface Step {
  readonly host: "Nginx Proxy Manager" | "NPM host" | "mail host" | "DNS" | "this host, as root";
  /** In words where no command does it: in Nginx Proxy Manager, and in the DNS. */
  readonly command: string;
}

/** What is known besides the legs. */
export interface Knowledge {
  readonly domain: string | null;
  /** How its services are started anew, where mailcow is on this host. */
  readonly mailcow: {
    readonly directory: string;
    readonly compose: string;
    /** Else deploy does nothing: mailcow's own ACME client would overwrite it. */
    readonly skipsLetsEncrypt: boolean;
  } | null;
  /** What deploy remembers here: nothing where it cannot be seen. */
  readonly loaded: ReadonlyMap<string, string>;
  readonly rejected: ReadonlySet<string>;
  /** `<service> <fingerprint>`: what a restart did not end. */
  readonly unhelped: ReadonlySet<string>;
  readonly now: Date;
}

/** Nothing where no command helps: then the legs' own words do. */
export function nextSteps(verdict: Verdict, knowledge: Knowledge): readonly Step[] {
  const wrong = verdict.legs.filter(({ status }) => status !== "ok");
  const isForbidden = wrong.some(({ leg }) => leg.obstacle === "forbidden");
  if (isForbidden && verdict.staleAt === null) {
    return [{ host: "this host, as root", command: "certsync verify" }];
  }
  const repair = repairSteps(verdict, knowledge);
  const records = recordSteps(verdict, repair.length > 0, knowledge);
  // A new key's record must be there before the key; what is yet to be issued has none.
  if (repair.length > 0) {
    return repair.some(({ host }) => host === "Nginx Proxy Manager")
      ? repair
      : [...records, ...repair];
  }
  return [...reviveSteps(verdict.legs, knowledge), ...clearSteps(wrong, knowledge), ...records];
}

/** The DANE records that are lacking: for what will be given, where what lags behind is mended. */
function recordSteps(
  { legs, reference }: Verdict,
  isMended: boolean,
  { now }: Knowledge,
): Step[] {
  const stale = new Set(legs.flatMap(({ leg, isStale }) => isStale ? leg.fingerprint ?? [] : []));
  const lacking = legs.flatMap(({ leg, findings }) => {
    const isReplaced = isMended && leg.fingerprint !== null && stale.has(leg.fingerprint);
    if (leg.dane && isReplaced && reference !== null) {
      return adviseBeforehand(leg.dane, reference, leg.where, now) ?? [];
    }
    return findings.flatMap(({ kind, advice }) => kind === "dane" ? advice ?? [] : []);
  });
  return [...new Set(lacking)].map((command) => ({ host: "DNS", command }));
}

/** Each stage of the chain, as far as it was seen. */
function repairSteps({ legs, reference }: Verdict, knowledge: Knowledge): Step[] {
  if (reference === null) return [];
  const of = (...names: LegName[]) => legs.filter(({ leg }) => names.includes(leg.leg));
  const isBad = (...names: LegName[]) => of(...names).some((each) => needsRepair(each));
  const isSeen = (...names: LegName[]) =>
    of(...names).some(({ leg }) => leg.fingerprint !== null || isReplaceable(leg));
  const isFromSource = reference.leg === "source";

  const isOlderStaged = reference.leg === "staged" && replacesGood();
  // What lies at the end is not what is to be brought there, where nothing was staged.
  const isLast = isBad("staged") && !isFromSource && reference.leg !== "staged";
  // A good newer one is not to give way: a newer one yet is what ends it.
  const isOlderSource = isFromSource && replacesGood();
  const renew = !isLast && !isOlderStaged && (isOlderSource || isFaulty(legs, reference));
  const isServedWrong = isBad("deployed", "sni", "served");
  const push = planPush();
  const deploys = isServedWrong || (isBad("staged") && !isFromSource) ||
    (renew && isSeen("staged", "deployed", "sni", "served"));
  return [
    ...(renew ? [renewal(legs, reference, { domain: knowledge.domain, isOlderSource })] : []),
    ...blocked(of("staged", "deployed")),
    ...(push === null ? [] : [{ host: "NPM host", command: push } as const]),
    ...(deploys ? permission(knowledge) : []),
    ...(deploys ? [{ host: "mail host", command: deployCommand() } as const] : []),
  ];

  function planPush(): string | null {
    if (renew) return PUSH;
    if (isBad("pushed")) {
      const isHalf = isBad("staged") && of("pushed").some((each) => each.match === true);
      return isHalf ? PUSH_ANYWAY : PUSH;
    }
    if (isBad("staged")) {
      // An older one was probably not pushed yet; whatever else is there was, and got lost.
      const isOlder = of("staged").every(({ leg }) => leg.certificate !== null) &&
        !has(of("staged"), "chain", "key");
      return isFromSource && !isSeen("pushed") && isOlder ? PUSH : PUSH_ANYWAY;
    }
    // Brought again, the newest that there is takes the place of one older than what is deployed.
    if (isSeen("staged")) return isOlderStaged ? PUSH_ANYWAY : null;
    // What mailcow made for itself was not pushed: deploy takes the place of it.
    const pushed = of("deployed", "sni", "served").filter(({ leg: { certificate } }) =>
      certificate?.subject !== certificate?.issuer
    );
    if (isServedWrong && has(pushed, "chain") && !isStaleAnywhere()) {
      return PUSH_ANYWAY; // push looks at the leaf alone
    }
    const hasArrived = isSeen("pushed") ||
      of("deployed", "sni", "served").some(({ match }) => match === true);
    return isServedWrong && isFromSource && !hasArrived ? PUSH : null;
  }

  function deployCommand(): string {
    if (renew || reference === null) return DEPLOY;
    const { loaded, rejected } = knowledge;
    const fingerprint = reference.fingerprint ?? "";
    const isLoaded = of("served").some((each) =>
      needsRepair(each) && each.leg.service !== undefined &&
      loaded.get(each.leg.service) === fingerprint
    );
    const isOwed = isBad("staged", "deployed", "sni");
    const needsForce = (rejected.has(fingerprint) && !isOlderStaged) || (isLoaded && !isOwed);
    return needsForce ? DEPLOY_ANYWAY : DEPLOY;
  }

  /** deploy does not put an older certificate in the place of a newer one of ours that is good. */
  function replacesGood(): boolean {
    const ends = (leg: Leg) => leg.certificate?.notAfter.getTime() ?? 0;
    return of("deployed", "served").some(({ leg, findings }) =>
      findings.some(({ kind }) => kind === "newer") &&
      !findings.some(({ kind }) => kind === "chain" || kind === "key" || kind === "wrong-name") &&
      isOurs(leg) && leg.certificate !== null &&
      leg.certificate.issuer !== leg.certificate.subject &&
      timeState(leg.certificate, knowledge.now) === "valid" &&
      !(isOverdue(leg, knowledge.now) && reference !== null && ends(leg) < ends(reference))
    );
  }

  /** Whether deploy brought it there, as far as anybody can tell from here. */
  function isOurs({ fingerprint }: Leg): boolean {
    return knowledge.mailcow === null || fingerprint === null ||
      [...knowledge.loaded.values()].includes(fingerprint);
  }

  function isStaleAnywhere(): boolean {
    return legs.some(({ isStale }) => isStale);
  }
}

const PUSH = "certsync push";
const PUSH_ANYWAY = "certsync push --force";
const DEPLOY = "certsync deploy";
const DEPLOY_ANYWAY = "certsync deploy --force";

/** Less than a quarter of its life left: then deploy takes an older one that lives longer. */
function isOverdue({ certificate }: Leg, now: Date): boolean {
  if (certificate === null) return false;
  const { notBefore, notAfter } = certificate;
  return (notAfter.getTime() - now.getTime()) / (notAfter.getTime() - notBefore.getTime()) < 0.25;
}

function needsRepair({ leg, match, isStale, findings }: LegVerdict): boolean {
  if (isForeign(leg) || findings.some(({ kind }) => kind === "unhelped")) return false;
  if (isStale || ((match !== null || leg.leg === "pushed") && isReplaceable(leg))) return true;
  return leg.leg !== "source" &&
    findings.some(({ kind }) => kind === "chain" || kind === "key");
}

function has(verdicts: readonly LegVerdict[], ...kinds: Finding["kind"][]): boolean {
  return verdicts.some(({ findings }) => findings.some(({ kind }) => kinds.includes(kind)));
}

/** What deploy asks for before it does anything. */
function permission({ mailcow }: Knowledge): Step[] {
  if (mailcow === null || mailcow.skipsLetsEncrypt) return [];
  const cd = `cd ${word(mailcow.directory)} &&`;
  const edit = "sed -i -e '$a SKIP_LETS_ENCRYPT=y' -e '/^SKIP_LETS_ENCRYPT=/d' mailcow.conf";
  return [
    { host: "mail host", command: `${cd} ${edit}` },
    { host: "mail host", command: `${cd} ${mailcow.compose} up -d` },
  ];
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
  legs: readonly LegVerdict[],
  reference: Leg,
  { domain, isOlderSource }: { readonly domain: string | null; readonly isOlderSource: boolean },
): Step {
  const kinds = legs.flatMap(({ findings }) => findings);
  const lacking = kinds.flatMap(({ lacking = [] }) => lacking);
  const name = domain ?? reference.certificate?.names[0] ?? "this name";
  const what = kinds.some(({ kind }) => kind === "wrong-name") || lacking.length > 0
    ? `request a certificate for ${[...new Set([name, ...lacking])].join(" ")}`
    : `renew the certificate for ${name}`;
  const unless = isOlderSource
    ? ", unless another npm-N has the newer one: then name that as the source"
    : reference.leg === "source"
    ? ""
    : ", unless that is done";
  return { host: "Nginx Proxy Manager", command: `${what}${unless}` };
}

/** A rename puts nothing in the place of a directory. */
function blocked(verdicts: readonly LegVerdict[]): Step[] {
  return verdicts.filter(({ leg }) => leg.obstacle === "blocked")
    .map(({ leg }) => ({ host: "mail host", command: `rm -r ${word(leg.where)}` }));
}

/** A service none of whose endpoints answers, here where it runs, and where it has what to serve. */
function reviveSteps(legs: readonly LegVerdict[], { mailcow }: Knowledge): Step[] {
  const hasPair = legs.some(({ leg }) => leg.leg === "deployed" && leg.fingerprint !== null);
  if (mailcow === null || !hasPair) return [];
  const silent = legs.filter(({ findings }) => findings.some(({ kind }) => kind === "silent"));
  const answers = (service: string) =>
    legs.some(({ leg }) => leg.service === service && leg.certificate !== null);
  const services = [
    ...new Set(silent.flatMap(({ leg }) => leg.isMailcows ? leg.service ?? [] : [])),
  ];
  const dead = services.filter((service) => !answers(service));
  return dead.length === 0 ? [] : [restart(dead, mailcow)];
}

/** A removed directory is out of what the services serve only after their restart. */
function clearSteps(wrong: readonly LegVerdict[], { mailcow, now }: Knowledge): Step[] {
  const expired = wrong.filter(({ leg, findings }) =>
    findings.some(({ kind }) => kind === "abandoned") && leg.certificate !== null &&
    timeState(leg.certificate, now) === "expired"
  );
  if (mailcow === null || expired.length === 0) return [];
  const directories = expired.flatMap(({ leg }) => leg.directory ?? []).map(word).join(" ");
  return [{ host: "mail host", command: `rm -r ${directories}` }, restart(serviceNames, mailcow)];
}

function restart(
  services: readonly string[],
  { directory, compose }: NonNullable<Knowledge["mailcow"]>,
): Step {
  const command = `cd ${word(directory)} && ${compose} restart ${services.join(" ")}`;
  return { host: "mail host", command };
}

/** As a shell reads it. */
function word(text: string): string {
  return /^[\w./:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** `on the NPM host: certsync push; then on the mail host: certsync deploy` */
export function formatSteps(steps: readonly Step[]): string {
  return steps.map(({ host, command }, index) => {
    const then = index === 0 ? "" : "; then ";
    if (host === "Nginx Proxy Manager") return `${then}in ${host}: ${command}`;
    if (host === "DNS") return `${then}in the ${host}: ${command}`;
    const where = host.startsWith("this") ? `on ${host}` : `on the ${host}`;
    return `${then}${index === 0 ? "run " : ""}${where}: ${command}`;
  }).join("");
}
