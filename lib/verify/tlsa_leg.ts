// Whether the DANE records of port 25 fit what senders are given there. RFC 7672

import type { Certificate } from "../certificate/certificate.ts";
import { type Chain, type ChainAt, judgeDane, needsIssuers } from "../certificate/dane.ts";
import {
  askAddresses,
  askPorts,
  chainsOf,
  formatTtl,
  type Given,
  type Published,
  publishWords,
  readPublished,
} from "../chain/mail_exchange.ts";
import type { Mailcow } from "../chain/mailcow.ts";
import { type Ask, takingTurns } from "../chain/served.ts";
import { claimants } from "../chain/sni.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import type { Compose } from "../programs/compose.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { type Endpoint, formatAddress } from "../values/endpoint_url.ts";
import { type DaneSight, type Leg, makeLeg } from "./leg.ts";

/** A name, and the copies that port 25 should give for it, read where it gives nothing. */
export interface DaneName {
  readonly name: string;
  deployed(): Promise<readonly Leg[]>;
}

/** Postfix has the pair of an SNI directory ahead of the top-level one. */
export function daneName(
  name: string,
  mailcow: Mailcow | null,
  read: (leg: "deployed" | "sni") => Promise<readonly Leg[]>,
): DaneName {
  const places = {
    sniDirectories: mailcow?.sniDirectories ?? [],
    hostname: mailcow?.conf.hostname ?? name,
  };
  const ahead = claimants({ service: "postfix-mailcow", name }, places);
  return {
    name,
    deployed: async () =>
      ahead.length === 0
        ? await read("deployed")
        : (await read("sni")).filter((leg) =>
          ahead.some(({ directory }) => directory === leg.directory)
        ),
  };
}

export interface Surroundings {
  readonly config: VerifyConfig;
  readonly names: readonly DaneName[];
  /** Null where mailcow is not on this host. */
  readonly mailcow: Compose | null;
  /** Where mailcow's own port 25 is to be had on this host; read where nobody else gives anything. */
  ports(): Promise<readonly Endpoint[]>;
}

/**
 * By name. None where nothing is published, and where nobody can be asked: for lack of a program, or
 * on a host that has no mailcow, and for which no resolver is named; unless somebody wants this leg.
 */
export async function tlsaLegs(
  around: Surroundings,
  context: RunContext,
): Promise<ReadonlyMap<string, readonly Leg[]>> {
  const { config, names, mailcow } = around;
  const isAsked = config.legs !== null;
  if (names.length === 0 || (config.deploy.dane === "off" && !isAsked)) return new Map();
  const { resolver } = config;
  const lookup = await readPublished(names.map(({ name }) => name), { resolver, mailcow }, context);
  const isExpected = lookup.unasked?.isMissing === false && (mailcow !== null || resolver !== null);
  if (lookup.unasked !== null && !isExpected && !isAsked) return new Map();
  const ask = takingTurns();
  let known: ReturnType<Surroundings["ports"]> | undefined;
  const once = { config, ports: () => known ??= around.ports() };
  const legs = names.map(async (each): Promise<[string, Leg[]]> => {
    const { name } = each;
    const dane = lookup.published.get(name) ?? { kind: "none", words: "none published" };
    if (dane.kind === "records") {
      const seen = await whatIsGiven(each, once, ask, context);
      return [name, judgeGiven(dane, seen, name, context.now)];
    }
    if (dane.kind === "none" && !isAsked) return [name, []];
    const { tried: error = null, hint = null } = lookup.unasked ?? {};
    return [name, [legOf(name, idle(dane), { error, hint })]];
  });
  return new Map(await allEnded(legs));
}

function idle({ kind, words }: Exclude<Published, { kind: "records" }>): DaneSight {
  return { fit: kind === "unknown" ? "unknown" : "none", words, publish: "", records: null };
}

const PREFIX = "_25._tcp.";

/** `error`: what was in the way, in full. */
function legOf(
  name: string,
  dane: DaneSight,
  { error, hint }: Partial<Pick<Leg, "error" | "hint">> = {},
): Leg {
  return makeLeg({
    ...{ leg: "tlsa", where: PREFIX + name, dane },
    error: error ?? (dane.fit === "unknown" ? dane.words : null),
    hint: hint ?? null,
  });
}

/** What a sender gets, or in its place what it should get. */
export type Seen =
  | { readonly from: "port 25"; readonly chains: readonly ChainAt[] }
  | {
    readonly from: "deployed";
    readonly chains: readonly (Pick<Chain, "leaf"> & {
      /** Null where the leaf alone was to be seen. */
      readonly chain: readonly Certificate[] | null;
    })[];
    /** Why it is not what port 25 gives. */
    readonly silence: string;
  };

/** At the addresses that senders go to, before the port that is mailcow's on this host. */
async function whatIsGiven(
  { name, deployed }: DaneName,
  { config: { timeoutMs }, ports }: Pick<Surroundings, "config" | "ports">,
  ask: Ask,
  context: RunContext,
): Promise<Seen> {
  const outside = await askAddresses(name, ask, timeoutMs, context);
  const given = chainsOf(outside);
  if (given.length > 0) return { from: "port 25", chains: given };
  const inside = await askPorts(name, await ports(), ask, timeoutMs, context);
  const own = chainsOf(inside);
  if (own.length > 0) return { from: "port 25", chains: own };
  const chains = (await deployed()).flatMap(({ certificate, chain }) =>
    certificate === null ? [] : [{ leaf: certificate, chain }]
  );
  return { from: "deployed", chains, silence: explainSilence([...outside, ...inside]) };
}

const UNREACHED =
  /^(connection (refused|timed out)|no route|network is unreachable|no certificate within)/;

/** In the servers' own words, where one was reached. Pure. */
export function explainSilence(silent: readonly Given[]): string {
  const said = silent.flatMap(({ endpoint: { host, port }, served }) =>
    served.kind === "none" ? [[served.reason, formatAddress(host, port)] as const] : []
  );
  if (said.length === 0) return "the name has no address here";
  const isReached = said.some(([reason]) => !UNREACHED.test(reason));
  const told = Map.groupBy(
    said.filter(([reason]) => !isReached || !UNREACHED.test(reason)),
    ([reason]) => reason,
  );
  const words = Array.from(
    told,
    ([reason, places]) => `${[...new Set(places.map(([, place]) => place))].join(" ")}: ${reason}`,
  ).join("; ");
  return isReached
    ? `port 25 gives none: ${words}`
    : `port 25 cannot be reached from here: ${words}`;
}

type Records = Extract<Published, { kind: "records" }>;

function advise(dane: Records, chain: Chain, name: string, now: Date): string {
  return `${publishWords(dane, chain, name, now)} (seen by all after ${formatTtl(dane)}, its TTL)`;
}

/** What is to be published before port 25 gives what the other leg holds; null for nothing. Pure. */
export function adviseBeforehand(
  { records: dane }: DaneSight,
  { certificate, chain }: Leg,
  place: string,
  now: Date,
): string | null {
  if (dane === null || certificate === null) return null;
  const name = place.slice(PREFIX.length);
  const whole = { leaf: certificate, chain: chain ?? [certificate] };
  if (judgeDane(dane.records, whole.chain, name, now).kind === "fits") return null;
  // Its issuer may fit where the leaf alone does not.
  return chain === null && needsIssuers(dane.records) ? null : advise(dane, whole, name, now);
}

/** Senders may go to any of the addresses: at each of them a record has to fit. Pure. */
export function judgeGiven(
  dane: Records,
  seen: Seen,
  name: string,
  now: Date,
): Leg[] {
  const { records } = dane;
  const fits = ({ chain }: Pick<Chain, "chain">) =>
    judgeDane(records, chain, name, now).kind === "fits";
  const sight = (fit: DaneSight["fit"], words: string, publish = ""): DaneSight => (
    { fit, words, publish, records: dane }
  );
  if (seen.from === "port 25") {
    const isOne = new Set(seen.chains.map(({ leaf }) => leaf.fingerprint)).size === 1;
    const judged = seen.chains.map((given): Leg => {
      const { leaf: { fingerprint }, ip } = given;
      const where = isOne ? "" : `for what ${formatAddress(ip, 25)} gives, `;
      const words = fits(given)
        ? sight("fits", "ok")
        : sight("misfit", "no record fits", where + advise(dane, given, name, now));
      return { ...legOf(name, words), fingerprint, ...(!isOne && { ip }) };
    });
    // The same everywhere is said once; of one leaf with two chains the worse is.
    if (!isOne) return judged;
    return [judged.find(({ dane }) => dane?.fit === "misfit") ?? judged[0]]
      .filter((leg) => leg !== undefined);
  }
  const { chains, silence } = seen;
  if (chains.length === 0) {
    return [legOf(name, sight("unknown", "not compared"), { error: silence })];
  }
  const [worst] = chains.map(({ leaf, chain }): Leg => {
    const whole = { leaf, chain: chain ?? [leaf] };
    const judged = fits(whole)
      ? sight("fits", "fits what is deployed")
      : chain === null && needsIssuers(records)
      ? sight("unknown", "not compared: the issuer of what is deployed is not seen from here")
      : sight("misfit", "no record fits what is deployed", advise(dane, whole, name, now));
    const error = judged.fit === "unknown" ? `${judged.words}; ${silence}` : silence;
    return { ...legOf(name, judged, { error }), fingerprint: leaf.fingerprint };
  }).toSorted((a, b) => RANK[a.dane?.fit ?? "none"] - RANK[b.dane?.fit ?? "none"]);
  return worst === undefined ? [] : [worst];
}

/** The worst first. */
const RANK = { misfit: 0, unknown: 1, fits: 2, none: 3 } as const;
