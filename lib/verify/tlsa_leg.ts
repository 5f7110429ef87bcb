// Whether the DANE records of port 25 fit what senders are given there. RFC 7672

import type { Certificate } from "../certificate/certificate.ts";
import {
  countedRecords,
  judgeDane,
  parseTlsaRecord,
  tlsaLine,
  type TlsaRecord,
} from "../certificate/dane.ts";
import { type Ask, takingTurns } from "../chain/served.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import { Failure } from "../failure.ts";
import type { Compose } from "../programs/compose.ts";
import { explainUnasked, readTlsa, type TlsaAnswer } from "../programs/dig.ts";
import { addressesOf } from "../programs/getent.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import type { Endpoint } from "../values/endpoint_url.ts";
import { formatDuration } from "../values/time.ts";
import { type DaneSight, type Leg, makeLeg } from "./leg.ts";

export interface Surroundings {
  readonly config: VerifyConfig;
  readonly names: readonly string[];
  /** Null where mailcow is not on this host. */
  readonly mailcow: Compose | null;
  /** Where mailcow's own port 25 is to be had on this host. */
  readonly ports: readonly Endpoint[];
  readonly filed: Promise<readonly Leg[]>;
}

/** None for a name that has no DANE, or of which that is not known, unless somebody asked for it. */
export async function tlsaLegs(around: Surroundings, context: RunContext): Promise<Leg[]> {
  const { config, names, mailcow } = around;
  const isAsked = config.legs !== null;
  if (names.length === 0 || (config.deploy.dane === "off" && !isAsked)) return [];
  const lookup = await readTlsa(names, { resolver: config.resolver, mailcow }, context);
  if (lookup.kind === "unasked") {
    const { words, hint } = explainUnasked(lookup.tried);
    const why = unknown(`not known: ${words}; ${hint}`);
    return isAsked ? names.map((name) => legOf(name, why, null)) : [];
  }
  const ask = takingTurns();
  const legs = await allEnded(names.map(async (name) => {
    const answer = lookup.answers.get(name) ?? { kind: "none" };
    const silence = explainNone(answer);
    if (silence !== null) {
      return answer.kind !== "none" || isAsked ? [legOf(name, unknown(silence), null)] : [];
    }
    const seen = await whatIsGiven(name, around, ask, context);
    return [legOf(name, judgeSeen(answer, seen, name, context.now), seen.chains[0]?.[0] ?? null)];
  }));
  return legs.flat();
}

function legOf(name: string, dane: DaneSight, leaf: Certificate | null): Leg {
  const fingerprint = leaf?.fingerprint ?? null;
  return makeLeg({ leg: "tlsa", where: `_25._tcp.${name}`, fingerprint, dane });
}

function unknown(words: string): DaneSight {
  return { fit: "unknown", words, publish: "" };
}

/** Why senders go by no record; null where they do. Pure. */
export function explainNone(answer: TlsaAnswer): string | null {
  if (answer.kind === "none") return "none published";
  if ("words" in answer) return `not known: ${answer.words}`;
  if (answer.kind === "insecure") return "not signed: senders pass it over";
  return countedRecords(parseAll(answer.records)).length === 0
    ? "no record that senders go by"
    : null;
}

function parseAll(records: readonly string[]): TlsaRecord[] {
  return records.flatMap((text) => parseTlsaRecord(text) ?? []);
}

/** What a sender gets, or in its place what it should get. */
export interface Given {
  readonly from: "port 25" | "deployed" | "nowhere";
  readonly chains: readonly (readonly Certificate[])[];
  /** The leaf alone was to be seen. */
  readonly isLeafAlone: boolean;
}

/** At the addresses that senders go to, before the port that is mailcow's on this host. */
async function whatIsGiven(
  name: string,
  { config: { timeoutMs }, ports, filed }: Surroundings,
  ask: Ask,
  context: RunContext,
): Promise<Given> {
  const chainsAt = async (endpoints: readonly Endpoint[]) => {
    const given = await allEnded(endpoints.map(async (endpoint) => {
      const served = await orNull(ask({ endpoint, sni: name }, timeoutMs, context), context);
      return served?.kind === "certificate" ? [served.chain] : [];
    }));
    return given.flat();
  };
  const [outside, inside] = await allEnded([
    orNull(addressesOf(name, timeoutMs, context), context).then((addresses) =>
      chainsAt((addresses ?? []).map((host) => ({ protocol: "smtp", host, port: 25 })))
    ),
    chainsAt(ports),
  ]);
  const chains = outside.length > 0 ? outside : inside;
  if (chains.length > 0) return { from: "port 25", chains, isLeafAlone: false };
  const deployed = (await filed).find(({ leg, certificate }) =>
    leg === "deployed" && certificate !== null
  );
  if (!deployed?.certificate) return { from: "nowhere", chains: [], isLeafAlone: false };
  const { certificate, chain } = deployed;
  return { from: "deployed", chains: [chain ?? [certificate]], isLeafAlone: chain === null };
}

/** What this host cannot do is no answer. */
async function orNull<T>(answer: Promise<T>, context: RunContext): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof Failure) return null;
    throw error;
  }
}

const TRUST_ANCHOR = 2;

/** Senders may go to any of the addresses: at each of them a record has to fit. Pure. */
export function judgeSeen(
  answer: TlsaAnswer,
  { from, chains, isLeafAlone }: Given,
  name: string,
  now: Date,
): DaneSight {
  if (from === "nowhere" || !("records" in answer)) {
    return unknown("not compared: port 25 cannot be reached from here");
  }
  const records = parseAll(answer.records);
  const misfit = chains.find((chain) => judgeDane(records, chain, name, now).kind !== "fits");
  const what = from === "deployed" ? " what is deployed: port 25 cannot be reached from here" : "";
  const [leaf] = misfit ?? [];
  if (leaf === undefined) {
    return { fit: "fits", words: what === "" ? "ok" : `fits${what}`, publish: "" };
  }
  if (isLeafAlone && countedRecords(records).some(({ usage }) => usage === TRUST_ANCHOR)) {
    return unknown("not compared: the issuer of what is deployed is not seen from here");
  }
  const ttl = formatDuration(answer.ttlSeconds * 1_000);
  return {
    fit: "misfit",
    words: `no record fits${what}`,
    publish: `publish ${tlsaLine(answer.owner, leaf, records)} (seen by all after ${ttl}, its TTL)`,
  };
}
