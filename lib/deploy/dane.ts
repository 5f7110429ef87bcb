// What senders that check DANE make of new certificates: foreseen before these are installed. RFC 7672

import { dirname } from "node:path";
import {
  type Chain,
  type ChainAt,
  type Change,
  daneChange,
  isByIssuer,
} from "../certificate/dane.ts";
import {
  askAddresses,
  askPorts,
  chainsOf,
  formatTtl,
  type Published,
  publishWords,
  readPublished,
} from "../chain/mail_exchange.ts";
import type { Scene } from "../chain/scene.ts";
import { type Ask, takingTurns } from "../chain/served.ts";
import { claimants } from "../chain/sni.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatAddress } from "../values/endpoint_url.ts";
import type { CertificateReport } from "./certificates.ts";
import { type DeployFacts, servedPlaces } from "./facts.ts";
import type { NamePlan } from "./name_plan.ts";
import type { Plan } from "./plan.ts";
import type { DeployReport } from "./report.ts";

/** A name with what is to be given for it on port 25, and what lies in its place. */
export interface Renewal {
  readonly name: string;
  /** Null where nothing that can be read lies there; port 25 may give another one. */
  readonly installed: Chain | null;
  readonly next: Chain;
}

/** What is to be told of one name. Nothing of it holds a certificate back: an expired one is worse. */
export interface Foresight {
  /** Mail will be held back: with the record to add. */
  readonly error: string | null;
  readonly hint: string | null;
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}

const NOTHING: Foresight = { error: null, hint: null, warnings: [], notes: [] };

/** None where Postfix goes on with what it gives now. Pure. */
export function renewalsOf(
  facts: DeployFacts,
  { directories }: Pick<Plan, "directories">,
): Renewal[] {
  const { domain: name, candidate: next, mailcow, further } = facts;
  const ahead = claimants({ service: "postfix-mailcow", name }, servedPlaces(facts));
  const replaced = (ahead.length > 0 ? ahead : [mailcow.deployed])
    .filter(({ directory, pair }) => directories.includes(directory) && !isSame(pair, next));
  const installed = replaced.find(({ pair }) => pair !== null)?.pair ?? null;
  const own = replaced.length === 0 ? [] : [{ name, installed, next }];
  const isTopNew = directories.includes(mailcow.sslDirectory);
  return [
    ...own,
    ...further.flatMap(({ name, serving, former, directory, deed }) => {
      if (serving === null || (directory === null ? !isTopNew : deed === "none")) return [];
      // What has no directory yet is served from the top level.
      return [{ name, installed: former ?? mailcow.deployed.pair, next: serving }];
    }),
  ];
}

/** Any record may be of the leaf, or of one of its issuers. */
function isSame(one: Chain | null, other: Chain): boolean {
  const all = ({ chain }: Chain) => chain.map(({ fingerprint }) => fingerprint).join();
  return one !== null && all(one) === all(other);
}

/** Asks for the records of all the names at once; by name, what is to be told. */
export async function foreseeDane(
  renewals: readonly Renewal[],
  { published, compose }: Pick<Scene, "published" | "compose">,
  { resolver, rollback }: Pick<DeployConfig, "resolver" | "rollback">,
  context: RunContext,
): Promise<ReadonlyMap<string, Foresight>> {
  const changing = renewals.filter(({ installed, next }) => !isSame(installed, next));
  const [first] = changing;
  if (first === undefined) return new Map();
  const names = changing.map(({ name }) => name);
  const lookup = await readPublished(names, { resolver, mailcow: compose }, context);
  if (lookup.unasked !== null) {
    const { tried, hint, isMissing } = lookup.unasked;
    // That there is no such program is for status to say, once.
    if (isMissing) return new Map();
    const note = `DANE ${tried}; ${hint}`;
    return new Map([[first.name, { ...NOTHING, notes: [note] }]]);
  }
  const ports = published.filter(({ protocol }) => protocol === "smtp");
  const isHere = ports.length > 0;
  const ask = takingTurns();
  const told = await allEnded(changing.map(async (renewal) => {
    const { name, next } = renewal;
    const dane = lookup.published.get(name) ?? { kind: "none", words: "none published" };
    const blind = { before: knownBefore(renewal, []), next, reached: [] };
    const isOdd = dane.kind === "records" && isHere &&
      "lacking" in daneChange(dane.records, blind, name, context.now);
    const seen = isOdd ? await look(renewal, ports, ask, context) : blind;
    return [
      name,
      foretell(name, dane, seen, { isHere, isRollback: rollback }, context.now),
    ] as const;
  }));
  return new Map(told);
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

async function look(
  renewal: Renewal,
  ports: Scene["published"],
  ask: Ask,
  context: RunContext,
): Promise<Change> {
  const { name, next } = renewal;
  const [here, reached] = await allEnded([
    askPorts(name, ports, ask, HANDSHAKE_TIMEOUT_MS, context),
    askAddresses(name, ask, HANDSHAKE_TIMEOUT_MS, context),
  ]);
  return { before: knownBefore(renewal, chainsOf(here)), next, reached: chainsOf(reached) };
}

/** What port 25 gives, or where it gives nothing, what lies there. */
function knownBefore({ installed }: Renewal, given: readonly Chain[]): readonly Chain[] {
  if (given.length > 0) return given;
  return installed === null ? [] : [installed];
}

export interface Circumstances {
  /** Whether mailcow's port 25 is published on this host. */
  readonly isHere: boolean;
  readonly isRollback: boolean;
}

/** What is to be said of one name. Pure. */
export function foretell(
  name: string,
  dane: Published,
  change: Change,
  { isHere, isRollback }: Circumstances,
  now: Date,
): Foresight {
  const note = (words: string): Foresight => ({ ...NOTHING, notes: [words] });
  if (dane.kind === "unknown") return note(`DANE of ${name} is ${dane.words}`);
  if (dane.kind === "unsigned") {
    return note(`DANE: the TLSA records of ${name} are not signed, so senders pass them over`);
  }
  if (dane.kind !== "records") return NOTHING;

  const isAnothers = (where: string) =>
    note(`the TLSA records of ${name} are another host's: ${where}`);
  if (!isHere) return isAnothers("port 25 of mailcow is published nowhere on this host");
  const becomes = daneChange(dane.records, change, name, now);
  if (becomes.kind === "anothers") {
    const places = becomes.hosts.map(placeOf);
    return isAnothers(`they fit what ${places.join(" and ")} gives`);
  }
  if (!("lacking" in becomes)) return NOTHING;

  const { kind, lacking } = becomes;
  const what = lacking.map((chain) => {
    const words = publishWords(dane, chain, name, now);
    return "ip" in chain ? `for what ${placeOf(chain)} gives, ${words}` : words;
  });
  const isOurs = lacking.some((chain) => !("ip" in chain));
  const next = isRollback ? "certificate that is gone back to" : "new certificate";
  const misfit = kind === "breaks"
    ? `no TLSA record fits the ${next}`
    : isOurs
    ? `no TLSA record of ${name} fits, before or with the ${next}`
    : `no TLSA record of ${name} fits, and another host takes its mail`;
  const words = `${misfit}: ${what.join(", and ")}; senders that check DANE hold mail to ${name} ` +
    `back until they see it (TTL ${formatTtl(dane)})`;
  if (kind === "neither") return { ...NOTHING, warnings: [words] };
  return { ...NOTHING, error: words, hint: lastingCure(name, dane, isRollback) };
}

function placeOf({ ip }: ChainAt): string {
  return formatAddress(ip, 25);
}

function lastingCure(
  name: string,
  { records }: Extract<Published, { kind: "records" }>,
  isRollback: boolean,
): string {
  if (isRollback) {
    return "leave the other records where they are: the certificate that was there comes back " +
      "with a later certsync deploy, and needs them again";
  }
  const keep = "put the line reuse_key = True right below [renewalparams] in Nginx Proxy " +
    `Manager's renewal/npm-N.conf; N is told on that host by: certsync find-npm-dir ${name}`;
  return isByIssuer(records)
    ? "the CA changes its issuers as it likes: publish all that it may use next, or 3 1 1 for a " +
      `key that is kept: ${keep}`
    : `to keep the key at the renewals to come, ${keep}`;
}

/**
 * The domain's in the report itself, that of each further name in its own certificate. Pure. `before`:
 * nothing was done yet, so nothing of it is an error.
 */
export function withForesights(
  report: DeployReport,
  foreseen: ReadonlyMap<string | null, Foresight>,
  when: "before" | "after",
): DeployReport {
  const add = when === "before" ? withWarning : withForesight;
  const own = report.domain === null ? undefined : foreseen.get(report.domain);
  const told = own === undefined ? report : add(report, own);
  const further = told.certificates.map((one) => {
    const { installed } = told;
    const foresight = foreseen.get(one.name);
    if (foresight === undefined) return { one, more: null };
    const { warnings, notes, ...certificate } = add(
      { ...one, installed, warnings: [], notes: [] },
      foresight,
    );
    const { installed: _, ...rest } = certificate;
    return { one: rest, more: { warnings, notes } };
  });
  return {
    ...told,
    certificates: further.map(({ one }) => one),
    warnings: [...told.warnings, ...further.flatMap(({ more }) => more?.warnings ?? [])],
    notes: [...told.notes, ...further.flatMap(({ more }) => more?.notes ?? [])],
  };
}

/** Without those of the names whose pair could not be put where it belongs. Pure. */
export function comeTrue(
  foreseen: ReadonlyMap<string, Foresight>,
  { certificates, installed }: Pick<DeployReport, "installed"> & {
    readonly certificates: readonly Pick<CertificateReport, "name" | "outcome">[];
  },
  further: readonly Pick<NamePlan, "name" | "directory">[],
): ReadonlyMap<string, Foresight> {
  const lacking = new Set(
    further.filter(({ name, directory }) =>
      directory !== null && !installed.some((path) => dirname(path) === directory) &&
      certificates.some((one) => one.name === name && one.outcome === "failed")
    ).map(({ name }) => name),
  );
  return new Map([...foreseen].filter(([name]) => !lacking.has(name)));
}

interface Told {
  readonly outcome: DeployReport["outcome"];
  readonly installed: readonly string[];
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

/** Of what was not done yet. Pure. */
function withWarning<T extends Told>(
  report: T,
  { error, warnings, notes }: Foresight,
): T {
  return {
    ...report,
    warnings: [...report.warnings, ...(error === null ? [] : [error]), ...warnings],
    notes: [...report.notes, ...notes],
  };
}

/** What was foreseen has come true, unless the new pair is not there. Pure. */
export function withForesight<T extends Told>(
  report: T,
  { error, hint, warnings, notes }: Foresight,
): T {
  if (report.installed.length === 0 || report.outcome === "rolled-back") return report;
  const all = [report.error, error].filter((words) => words !== undefined && words !== null);
  const hints = [report.hint, hint].filter((words) => words !== undefined && words !== null);
  return {
    ...report,
    warnings: [...report.warnings, ...warnings],
    notes: [...report.notes, ...notes],
    ...(all.length > 0 && { error: all.join("; ") }),
    ...(hints.length > 0 && { hint: hints.join("; ") }),
  };
}
