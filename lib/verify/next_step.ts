// What to do next: the commands, each with its host, in their order, from what was seen. Pure.

import { timeState } from "../certificate/certificate.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Deed, type NameKnowledge, planRepair, type RepairPlan } from "./repair_plan.ts";
import type { Finding } from "./finding.ts";
import { isForeign } from "./leg.ts";
import type { Subject } from "./subject.ts";
import { adviseBeforehand } from "./tlsa_leg.ts";
import type { LegVerdict, Verdict } from "./verdict.ts";

/** The last is both of the others, where they are one. */
type Machine = "the NPM host" | "the mail host" | "this machine";

export interface Step {
  readonly host:
    | "Nginx Proxy Manager"
    | "NPM host"
    | "mail host"
    | "this machine"
    | `${"config file" | "SSL directory" | "file system"} of ${Machine}`
    | "DNS"
    | "this host, as root";
  /** In words where no command does it: in Nginx Proxy Manager, in a file or directory, and in the DNS. */
  readonly command: string;
}

/** What is known besides the legs. */
export interface Knowledge {
  /** How its services are started anew, where mailcow is on this host. */
  readonly mailcow: {
    readonly directory: string;
    readonly compose: string;
    /** Else deploy does nothing: mailcow's own ACME client would overwrite it. */
    readonly skipsLetsEncrypt: boolean;
  } | null;
  /** What deploy remembers here, by name (null is the domain's): nothing where it cannot be seen. */
  readonly loaded: ReadonlyMap<string | null, ReadonlyMap<Service, string>>;
  readonly rejected: ReadonlySet<string>;
  /** `<service> <fingerprint>`: what a restart did not end. */
  readonly unhelped: ReadonlySet<string>;
  /** The names whose directories certsync made. */
  readonly made: ReadonlySet<string>;
  /** The names that no config file here holds. */
  readonly added: readonly string[];
  /** Whether push, and deploy, run on this host. */
  readonly roles: { readonly push: boolean; readonly deploy: boolean };
  readonly now: Date;
}

export interface NamedVerdict extends Subject {
  readonly verdict: Verdict;
}

/** Nothing where no command helps: then the legs' own words do. */
export function nextSteps(all: readonly NamedVerdict[], knowledge: Knowledge): readonly Step[] {
  const legs = all.flatMap(({ verdict }) => verdict.legs);
  const isForbidden = all.some(({ verdict }) =>
    verdict.staleAt === null &&
    verdict.legs.some(({ leg, status }) => status !== "ok" && leg.obstacle === "forbidden")
  );
  if (isForbidden && all.every(({ verdict }) => verdict.staleAt === null)) {
    return [{ host: "this host, as root", command: "certsync verify" }];
  }
  const plans = all.map((each) => ({ ...each, plan: planOf(each, all, knowledge) }));
  const repairs = plans.flatMap(({ plan, ...each }) => plan === null ? [] : { ...each, plan });
  const others = plans.filter(({ plan }) => plan === null);
  const left = others.flatMap(({ verdict }) => verdict.legs);
  const steps = [
    // A new key's record must be there before the key; what is yet to be issued has none.
    ...repairs.filter(({ plan }) => plan.renew === null)
      .flatMap(({ verdict }) => recordSteps(verdict, "mended", knowledge)),
    ...repairSteps(repairs, legs, knowledge),
    ...reviveSteps(left, legs, knowledge),
    ...clearSteps(left, legs, knowledge),
    ...others.flatMap(({ verdict }) => recordSteps(verdict, "left", knowledge)),
  ];
  return [...new Map(steps.map((step) => [step.host + step.command, step])).values()];
}

/** The DANE records that are lacking: for what will be given, where what lags behind is mended. */
function recordSteps(
  { legs, reference }: Verdict,
  fate: "mended" | "left",
  { now }: Knowledge,
): Step[] {
  const stale = new Set(legs.flatMap(({ leg, isStale }) => isStale ? leg.fingerprint ?? [] : []));
  const lacking = legs.flatMap(({ leg, findings }) => {
    const isReplaced = fate === "mended" && leg.fingerprint !== null && stale.has(leg.fingerprint);
    if (leg.dane && isReplaced && reference !== null) {
      return adviseBeforehand(leg.dane, reference, leg.where, now) ?? [];
    }
    return findings.flatMap(({ kind, advice }) => kind === "dane" ? advice ?? [] : []);
  });
  return [...new Set(lacking)].map((command) => ({ host: "DNS", command }));
}

function planOf(
  each: NamedVerdict,
  all: readonly NamedVerdict[],
  { loaded, rejected, mailcow, now }: Knowledge,
): RepairPlan | null {
  const { name, isFurther, verdict } = each;
  const answering = (verdicts: readonly NamedVerdict[]) =>
    verdicts.flatMap(({ verdict }) => verdict.legs)
      .flatMap(({ leg: { service, certificate } }) => certificate && service ? [service] : []);
  const own = new Set(answering([each]));
  const domains = all.flatMap(({ isFurther, verdict }) => isFurther ? [] : verdict.legs)
    .flatMap(({ leg: { leg, fingerprint } }) => leg === "served" ? fingerprint ?? [] : []);
  const known: NameKnowledge = {
    ...{ name, isFurther, rejected, now },
    loaded: loaded.get(isFurther ? name : null) ?? new Map(),
    isMailHost: mailcow !== null,
    ofDomain: new Set(domains),
    deaf: new Set(answering(all).filter((service) => !own.has(service))),
  };
  return planRepair(verdict, known);
}

type Repair = Subject & { readonly plan: RepairPlan };

/** Once for all names: push and deploy look after each of them. */
function repairSteps(
  repairs: readonly Repair[],
  all: readonly LegVerdict[],
  knowledge: Knowledge,
): Step[] {
  const { roles, added } = knowledge;
  const plans = repairs.map(({ plan }) => plan);
  const push = harder(plans.map(({ push }) => push));
  const deploy = harder(plans.map(({ deploy }) => deploy));
  const forced = repairs.filter(({ plan }) => plan.deploy === "force");
  const also = (isHere: boolean) => isHere ? added.map((name) => ` --also ${name}`).join("") : "";
  return [
    ...plans.flatMap(({ renew }) =>
      renew === null ? [] : [{ host: "Nginx Proxy Manager", command: renew } as const]
    ),
    ...alsoSteps("NPM", roles.push ? [] : repairs.filter(({ plan }) => plan.isUnasked)),
    ...plans.flatMap(({ blocked }) => blocked).map((path) =>
      ({ host: "mail host", command: `rm -r ${shellWord(path)}` }) as const
    ),
    ...plans.flatMap(({ lost }) => lost).map((path) =>
      ({
        host: "file system of the mail host",
        command:
          `create the directory ${shellWord(path)} with mode 0700 for the user of the push, ` +
          "unless deploy.staging should be another",
      }) as const
    ),
    ...(push === null ? [] : [
      {
        host: "NPM host",
        command: `certsync push${also(roles.push)}${push === "force" ? " --force" : ""}`,
      } as const,
    ]),
    ...alsoSteps("mail", roles.deploy ? [] : repairs.filter(({ plan }) => plan.isUntaken)),
    ...(deploy === null ? [] : [...permission(knowledge), ...unbreakSteps(all)]),
    ...(deploy === null ? [] : [
      {
        host: "mail host",
        command: `certsync deploy${also(roles.deploy)}${
          deploy === "force" ? ` --force${only(forced)}` : ""
        }`,
      } as const,
    ]),
  ];
}

/** Each host goes by the names that its own config file has. */
function alsoSteps(where: "NPM" | "mail", repairs: readonly Repair[]): Step[] {
  const names = repairs.flatMap(({ name }) => name ?? []);
  const command = `name ${names.join(" ")} in also, unless that is done`;
  return names.length === 0 ? [] : [{ host: `config file of the ${where} host`, command }];
}

function harder(deeds: readonly (Deed | null)[]): Deed | null {
  return deeds.includes("force") ? "force" : deeds.includes("plain") ? "plain" : null;
}

/** Alone, --force is about the domain. */
function only(forced: readonly Subject[]): string {
  if (forced.every(({ isFurther }) => !isFurther)) return "";
  return forced.map(({ name }) => ` --only ${name}`).join("");
}

/** What deploy asks for before it does anything. */
function permission({ mailcow }: Knowledge): Step[] {
  if (mailcow === null || mailcow.skipsLetsEncrypt) return [];
  const cd = `cd ${shellWord(mailcow.directory)} &&`;
  const edit = "sed -i -e '$a SKIP_LETS_ENCRYPT=y' -e '/^SKIP_LETS_ENCRYPT=/d' mailcow.conf";
  return [
    { host: "mail host", command: `${cd} ${edit}` },
    { host: "mail host", command: `${cd} ${mailcow.compose} up -d` },
  ];
}

function isKey({ kind }: Finding): boolean {
  return kind === "key";
}

/** While a directory that deploy leaves alone holds no pair, nothing is restarted, nor does nginx reload. */
function unbreakSteps(all: readonly LegVerdict[]): Step[] {
  const broken = all.filter(({ leg, findings }) =>
    leg.leg === "sni" &&
    (isForeign(leg)
      ? leg.obstacle !== null && leg.obstacle !== "forbidden" || findings.some(isKey)
      : findings.some(isKey) && findings.some(({ kind }) => kind === "own"))
  );
  return broken.flatMap(({ leg: { directory } }) =>
    directory === undefined ? [] : [{
      host: "SSL directory of the mail host",
      command: `mend the pair in ${shellWord(directory)}, or move that out of there`,
    }]
  );
}

/** A service none of whose endpoints answers, here where it runs, and where it has what to serve. */
function reviveSteps(
  legs: readonly LegVerdict[],
  all: readonly LegVerdict[],
  { mailcow }: Knowledge,
): Step[] {
  const hasPair = all.some(({ leg }) => leg.leg === "deployed" && leg.fingerprint !== null);
  if (mailcow === null || !hasPair || mayNotStart(all)) return [];
  const silent = legs.filter(({ findings }) => findings.some(({ kind }) => kind === "silent"));
  const answers = (service: string) =>
    all.some(({ leg }) => leg.service === service && leg.certificate !== null);
  const services = [
    ...new Set(silent.flatMap(({ leg }) => leg.isMailcows ? leg.service ?? [] : [])),
  ];
  const dead = services.filter((service) => !answers(service));
  return dead.length === 0 ? [] : [restart(dead, mailcow)];
}

/** With a directory whose key is wrong, nginx does not start any more. */
function mayNotStart(all: readonly LegVerdict[]): boolean {
  return all.some(({ leg, findings }) =>
    leg.leg !== "staged" && findings.some(({ kind }) => kind === "key")
  );
}

/** A removed directory is out of what the services serve only after their restart. */
function clearSteps(
  legs: readonly LegVerdict[],
  all: readonly LegVerdict[],
  { mailcow, now }: Knowledge,
): Step[] {
  const expired = legs.filter(({ leg, findings }) =>
    findings.some(({ kind }) => kind === "abandoned") && leg.certificate !== null &&
    timeState(leg.certificate, now) === "expired"
  );
  if (mailcow === null || expired.length === 0 || mayNotStart(all)) return [];
  const directories = expired.flatMap(({ leg }) => leg.directory ?? []).map(shellWord).join(" ");
  return [{ host: "mail host", command: `rm -r ${directories}` }, restart(serviceNames, mailcow)];
}

function restart(
  services: readonly string[],
  { directory, compose }: NonNullable<Knowledge["mailcow"]>,
): Step {
  const command = `cd ${shellWord(directory)} && ${compose} restart ${services.join(" ")}`;
  return { host: "mail host", command };
}

/** `run on the NPM host: certsync push; then on the mail host: certsync deploy` */
export function formatSteps(steps: readonly Step[]): string {
  return steps.map(({ host, command }, index) => {
    const place = describeHost(host);
    const verb = index > 0 ? "then " : place.startsWith("in ") ? "" : "run ";
    return `${verb}${place}: ${command}`;
  }).join("; ");
}

/** What is done in a place is said in words, what is done on a host is typed there. */
function describeHost(host: Step["host"]): string {
  if (host === "this machine") return "here";
  if (host === "this host, as root") return `on ${host}`;
  if (host === "Nginx Proxy Manager") return `in ${host}`;
  return host === "DNS" || host.includes(" of ") ? `in the ${host}` : `on the ${host}`;
}
