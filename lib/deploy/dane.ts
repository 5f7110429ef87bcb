// What senders that check DANE make of new keys: foreseen before these are installed. RFC 7672

import type { Certificate } from "../certificate/certificate.ts";
import {
  countedRecords,
  daneChange,
  judgeDane,
  parseTlsaRecord,
  tlsaLine,
  type TlsaRecord,
} from "../certificate/dane.ts";
import type { Scene } from "../chain/scene.ts";
import { readServed, type Served } from "../chain/served.ts";
import { claimants } from "../chain/sni.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure } from "../failure.ts";
import { explainUnasked, readTlsa, type TlsaAnswer } from "../programs/dig.ts";
import { addressesOf } from "../programs/getent.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { type Endpoint, formatAddress } from "../values/endpoint_url.ts";
import { formatDuration } from "../values/time.ts";
import { carriers, type DeployFacts, type Plan, servedPlaces } from "./plan.ts";
import type { DeployReport } from "./report.ts";

/** A name with the chain that port 25 is to give for it. */
export interface Renewal {
  readonly name: string;
  readonly next: readonly Certificate[];
  /** What lies there now; port 25 may give another one. */
  readonly deployed: readonly Certificate[] | null;
}

/** Nothing of it holds a certificate back: an expired one is worse. */
export interface Foresight {
  /** Mail will be held back: each with the record to add. */
  readonly errors: readonly string[];
  readonly hint: string | null;
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}

const NOTHING_FORESEEN: Foresight = { errors: [], hint: null, warnings: [], notes: [] };

/** None where Postfix goes on with the certificate of an SNI directory. Pure. */
export function renewalOf(facts: DeployFacts): Renewal[] {
  const { domain: name, candidate, mailcow } = facts;
  const ahead = claimants({ service: "postfix-mailcow", name }, servedPlaces(facts));
  const carrying = carriers(facts);
  if (ahead.length > 0 && ahead.every(({ directory }) => !carrying.includes(directory))) return [];
  return [{ name, next: candidate.chain, deployed: mailcow.deployed.pair?.chain ?? null }];
}

/** Asks for the records of the names that get a new key, all at once. */
export async function foreseeDane(
  renewals: readonly Renewal[],
  { published, compose }: Pick<Scene, "published" | "compose">,
  { resolver }: Pick<DeployConfig, "resolver">,
  context: RunContext,
): Promise<Foresight> {
  const ports = published.filter(({ protocol }) => protocol === "smtp");
  const seen = await allEnded(renewals.map((renewal) => keyChange(renewal, ports, context)));
  const changes = seen.filter((change) => change !== null);
  if (changes.length === 0) return NOTHING_FORESEEN;
  const names = changes.map(({ name }) => name);
  const lookup = await readTlsa(names, { resolver, mailcow: compose }, context);
  if (lookup.kind === "unasked") {
    // That there is no such program is for status to say, once.
    const isMissing = lookup.tried.every(({ kind }) => kind === "no-program");
    const words = `DANE is not known here: ${explainUnasked(lookup.tried).words}`;
    return { ...NOTHING_FORESEEN, notes: isMissing ? [] : [words] };
  }
  const told = await allEnded(changes.map(async (change) => {
    const answer = lookup.answers.get(change.name) ?? { kind: "none" };
    const isHere = ports.length > 0;
    const isOdd = answer.kind === "secure" && isHere &&
      becomes(change, parseAll(answer.records), context.now) === "neither";
    const others = isOdd ? await askAddresses(change.name, context) : [];
    return { name: change.name, ...foretell(change, answer, { isHere, others }, context.now) };
  }));
  const of = (kind: Word["kind"]) => told.flatMap((word) => word.kind === kind ? [word.words] : []);
  const broken = told.filter(({ kind }) => kind === "error").map(({ name }) => name);
  return {
    errors: of("error"),
    hint: broken.length === 0 ? null : keepTheKey(broken),
    warnings: of("warning"),
    notes: of("note"),
  };
}

interface KeyChange extends Pick<Renewal, "name" | "next"> {
  /** What port 25 gives, or where it gives nothing, what lies there. */
  readonly installed: readonly Certificate[] | null;
}

async function keyChange(
  { name, next, deployed }: Renewal,
  ports: readonly Endpoint[],
  context: RunContext,
): Promise<KeyChange | null> {
  const [port] = ports;
  const served = port === undefined ? null : await askPort(port, name, context);
  const installed = served?.kind === "certificate" ? served.chain : deployed;
  const [key, before] = [next[0]?.publicKey, installed?.[0]?.publicKey];
  return key?.toString() === before?.toString() ? null : { name, next, installed };
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

/** What openssl itself suffers is no reason to hold anything back. */
async function askPort(
  endpoint: Endpoint,
  sni: string,
  context: RunContext,
): Promise<Served | null> {
  try {
    return await readServed({ endpoint, sni }, HANDSHAKE_TIMEOUT_MS, context);
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof Failure) return null;
    throw error;
  }
}

/** A chain that one of the name's addresses gives on port 25. */
export interface Other {
  readonly ip: string;
  readonly chain: readonly Certificate[];
}

async function askAddresses(name: string, context: RunContext): Promise<Other[]> {
  const addresses = await addressesOf(name, HANDSHAKE_TIMEOUT_MS, context).catch((error) => {
    context.stop.throwIfAborted();
    if (error instanceof Failure) return [];
    throw error;
  });
  const given = await allEnded(addresses.map(async (ip) => {
    const served = await askPort({ protocol: "smtp", host: ip, port: 25 }, name, context);
    return served?.kind === "certificate" ? [{ ip, chain: served.chain }] : [];
  }));
  return given.flat();
}

function parseAll(records: readonly string[]): TlsaRecord[] {
  return records.flatMap((text) => parseTlsaRecord(text) ?? []);
}

function becomes({ name, next, installed }: KeyChange, records: TlsaRecord[], now: Date) {
  return daneChange(records, { installed, next }, name, now);
}

export interface Word {
  readonly kind: "error" | "warning" | "note" | "nothing";
  readonly words: string;
}

const NOTHING: Word = { kind: "nothing", words: "" };

/** What is to be said of one name. Pure. */
export function foretell(
  change: KeyChange,
  answer: TlsaAnswer,
  { isHere, others }: {
    /** Whether mailcow's port 25 is published on this host. */
    readonly isHere: boolean;
    readonly others: readonly Other[];
  },
  now: Date,
): Word {
  const { name, next } = change;
  const note = (words: string): Word => ({ kind: "note", words });
  if (answer.kind === "none") return NOTHING;
  if ("words" in answer) return note(`DANE of ${name} is not known: ${answer.words}`);
  if (answer.kind === "insecure") {
    return note(`DANE: the TLSA records of ${name} are not signed, so senders pass them over`);
  }

  const records = parseAll(answer.records);
  const isAnothers = (where: string) =>
    note(`the TLSA records of ${name} are another host's: ${where}`);
  if (!isHere && countedRecords(records).length > 0) {
    return isAnothers("port 25 of mailcow is published nowhere on this host");
  }
  const kind = isHere ? becomes(change, records, now) : "no-dane";
  if (kind === "no-dane" || kind === "fits") return NOTHING;
  const other = others.find(({ chain }) => judgeDane(records, chain, name, now).kind === "fits");
  if (kind === "neither" && other !== undefined) {
    return isAnothers(`they fit what ${formatAddress(other.ip, 25)} gives`);
  }
  const [leaf] = next;
  const line = leaf === undefined ? "" : tlsaLine(answer.owner, leaf, records);
  const cost = `senders that check DANE hold mail to ${name} back until they see it (TTL ${
    formatDuration(answer.ttlSeconds * 1_000)
  })`;
  return kind === "breaks"
    ? { kind: "error", words: `no TLSA record fits the new key: publish ${line}; ${cost}` }
    : {
      kind: "warning",
      words: `no TLSA record of ${name} fits, before or with the new key: publish ${line}; ${cost}`,
    };
}

function keepTheKey(names: readonly string[]): string {
  return "to keep the key at the renewals to come, put the line reuse_key = True right below " +
    "[renewalparams] in Nginx Proxy Manager's renewal/npm-N.conf; N is told on that host by: " +
    names.map((name) => `certsync find-npm-dir ${name}`).join("; ");
}

/** Of what was not done yet. Pure. */
export function withWarning(
  report: DeployReport,
  { errors, warnings, notes }: Foresight,
): DeployReport {
  return {
    ...report,
    warnings: [...report.warnings, ...errors, ...warnings],
    notes: [...report.notes, ...notes],
  };
}

/** What was foreseen has come true, unless the new pair is not there. Pure. */
export function withForesight(
  report: DeployReport,
  { directories }: Pick<Plan, "directories">,
  { errors, hint, warnings, notes }: Foresight,
): DeployReport {
  const isThere = directories.length === 0 || report.installed.length > 0;
  if (!isThere || report.outcome === "rolled-back") return report;
  const all = [report.error, ...errors].filter((words) => words !== undefined);
  const hints = [report.hint, hint].filter((words) => words !== undefined && words !== null);
  return {
    ...report,
    warnings: [...report.warnings, ...warnings],
    notes: [...report.notes, ...notes],
    ...(all.length > 0 && { error: all.join("; ") }),
    ...(hints.length > 0 && { hint: hints.join("; ") }),
  };
}
