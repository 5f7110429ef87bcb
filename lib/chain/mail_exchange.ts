// What senders find of a name on port 25: which DANE records are published, and what is given there.

import {
  type Chain,
  type ChainAt,
  countedRecords,
  formatTlsaRecord,
  lackingRecord,
  parseTlsaRecord,
  type TlsaRecord,
} from "../certificate/dane.ts";
import { Failure } from "../failure.ts";
import { explainUnasked, readTlsa, type Resolvers, type TlsaAnswer } from "../programs/dig.ts";
import { addressesOf } from "../programs/getent.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import type { Endpoint } from "../values/endpoint_url.ts";
import { formatDuration } from "../values/time.ts";
import type { Ask, Served } from "./served.ts";

/** What senders go by. */
export type Published =
  | {
    readonly kind: "records";
    /** All that are published there, also those that do not count. */
    readonly records: readonly TlsaRecord[];
    /** Where another one has to stand to be seen beside them. */
    readonly owner: string;
    readonly ttlSeconds: number;
  }
  /** Senders take the certificate as it is: nothing is there, it is not signed, or nothing counts. */
  | { readonly kind: "none" | "unsigned" | "idle"; readonly words: string }
  /** It could not be asked, or not be validated. */
  | { readonly kind: "unknown"; readonly words: string };

export interface Lookup {
  readonly published: ReadonlyMap<string, Published>;
  /** Why nobody could be asked about any of them: who was tried, and what would change it. */
  readonly unasked: {
    readonly tried: string;
    readonly hint: string;
    /** There is no program to ask with. */
    readonly isMissing: boolean;
  } | null;
}

/** Never throws a Failure but for the operator's stop. */
export async function readPublished(
  names: readonly string[],
  resolvers: Resolvers,
  context: RunContext,
): Promise<Lookup> {
  const lookup = await readTlsa(names, resolvers, context);
  if (lookup.kind === "asked") {
    const read = (name: string) => explain(lookup.answers.get(name) ?? { kind: "none" });
    return { published: new Map(names.map((name) => [name, read(name)])), unasked: null };
  }
  const { words, hint } = explainUnasked(lookup.tried, resolvers);
  const isAsked = lookup.tried.some(({ kind }) => kind === "not-validating");
  const deed = isAsked ? "validated" : "asked";
  const unknown = { kind: "unknown", words: `un${deed}` } as const;
  return {
    published: new Map(names.map((name) => [name, unknown])),
    unasked: {
      tried: `could not be ${deed}: ${words}`,
      hint,
      isMissing: lookup.tried.every(({ kind }) => kind === "no-program"),
    },
  };
}

/** Pure. */
export function explain(answer: TlsaAnswer): Published {
  if (answer.kind === "none") return { kind: "none", words: "none published" };
  if ("words" in answer) return { kind: "unknown", words: `not known: ${answer.words}` };
  if (answer.kind === "insecure") {
    return { kind: "unsigned", words: "not signed: senders pass it over" };
  }
  const { owner, ttlSeconds } = answer;
  const records = answer.records.flatMap((text) => parseTlsaRecord(text) ?? []);
  return countedRecords(records).length === 0
    ? { kind: "idle", words: "no record that senders go by" }
    : { kind: "records", records, owner, ttlSeconds };
}

/** What a place on port 25 gives to a sender that asks for the name. */
export interface Given {
  readonly endpoint: Endpoint;
  readonly served: Served;
}

/** Those that gave a certificate. */
export function chainsOf(given: readonly Given[]): ChainAt[] {
  return given.flatMap(({ endpoint: { host: ip }, served }) =>
    served.kind === "certificate" ? [{ ip, leaf: served.leaf, chain: served.chain }] : []
  );
}

/** At the addresses that senders go to. */
export async function askAddresses(
  name: string,
  ask: Ask,
  timeoutMs: number,
  context: RunContext,
): Promise<Given[]> {
  const addresses = await addressesOf(name, timeoutMs, context).catch((error) => {
    context.stop.throwIfAborted();
    if (error instanceof Failure) return [];
    throw error;
  });
  const ports = addresses.map((host) => ({ protocol: "smtp", host, port: 25 }) as const);
  return await askPorts(name, ports, ask, timeoutMs, context);
}

export async function askPorts(
  name: string,
  ports: readonly Endpoint[],
  ask: Ask,
  timeoutMs: number,
  context: RunContext,
): Promise<Given[]> {
  return await allEnded(ports.map(async (endpoint) => {
    try {
      return { endpoint, served: await ask({ endpoint, sni: name }, timeoutMs, context) };
    } catch (error) {
      context.stop.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      // What openssl itself suffers is no answer.
      return { endpoint, served: { kind: "none", reason: error.message } };
    }
  }));
}

/**
 * What to do about a chain that none of the records fits. A record of the name's own would hide a
 * wildcard, with all that stands there. Pure.
 */
export function publishWords(
  { records, owner }: Extract<Published, { kind: "records" }>,
  chain: Chain,
  name: string,
  now: Date,
): string {
  const record = formatTlsaRecord(lackingRecord(records, chain, name, now));
  const why = owner.startsWith("*.") ? `, at the wildcard, which _25._tcp.${name} would hide` : "";
  return `publish ${owner}. IN TLSA ${record}${why}`;
}

export function formatTtl({ ttlSeconds }: Extract<Published, { kind: "records" }>): string {
  return formatDuration(ttlSeconds * 1_000);
}
