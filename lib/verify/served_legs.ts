// What is served: each endpoint at every address of its name, with SNI of each name, and without.

import { isIP } from "node:net";
import type { Certificate } from "../certificate/certificate.ts";
import { serviceOf } from "../chain/mailcow.ts";
import { type Ask, hasRoute, keyKindOf, takingTurns } from "../chain/served.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import { Failure } from "../failure.ts";
import { addressesOf } from "../programs/getent.ts";
import type { KeyKind } from "../programs/openssl.ts";
import { TimedOut } from "../programs/run.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { type Endpoint, formatEndpoint } from "../values/endpoint_url.ts";
import { attempt, type Leg, type LegFacts, makeLeg } from "./leg.ts";
import type { Subject } from "./subject.ts";

export interface Surroundings {
  readonly config: VerifyConfig;
  /** Where mailcow's services are to be had on this host; null where it is not here. */
  readonly own: readonly Endpoint[] | null;
  /** The same, also where others are to be asked. */
  readonly published: readonly Endpoint[];
  readonly domain: string | null;
  readonly subjects: readonly Subject[];
  /** The legs that are not on the wire: what should be served is not known before they are read. */
  filed(subject: Subject): Promise<readonly Leg[]>;
}

/** By the name that is asked for; without SNI a client gets the domain's. */
export async function servedLegs(
  around: Surroundings,
  context: RunContext,
): Promise<ReadonlyMap<Subject, readonly Leg[]>> {
  const { config, own, domain } = around;
  const configured = config.endpoints ?? config.deploy.endpoints;
  const standard = own ??
    (domain === null ? [] : [{ protocol: "imaps", host: domain, port: 993 } as const]);
  const ask = takingTurns();
  const legs = await allEnded(
    (configured ?? standard).map(async (endpoint) => {
      const questions = await questionsOf(endpoint, configured !== null, around, context);
      return await allEnded(
        questions.map(async ({ subject, ...question }) => {
          if (question.ip === undefined) return { subject, leg: makeLeg(question) };
          const place = { ...endpoint, host: question.ip };
          const filed = () => around.filed(subject);
          const { timeoutMs } = config;
          return {
            subject,
            leg: await readEndpoint(place, question, { ask, filed, timeoutMs }, context),
          };
        }),
      );
    }),
  );
  const bySubject = Map.groupBy(legs.flat(), ({ subject }) => subject);
  return new Map(
    Array.from(bySubject, ([subject, seen]) => [subject, seen.map(({ leg }) => leg)] as const),
  );
}

type Asked = LegFacts & { readonly subject: Subject };

/** Without an address there is nothing to be asked, and the question is its own answer. */
async function questionsOf(
  endpoint: Endpoint,
  isConfigured: boolean,
  { config, subjects, own, published }: Surroundings,
  context: RunContext,
): Promise<Asked[]> {
  const service = serviceOf(endpoint.protocol);
  const facts = { leg: "served", where: formatEndpoint(endpoint), isConfigured, service } as const;
  const addresses = await readAddresses(endpoint.host, config.timeoutMs, context);
  if (!Array.isArray(addresses)) {
    return subjects.map((subject) => ({ ...facts, ...addresses, subject, obstacle: "silent" }));
  }
  const named = isIP(endpoint.host) === 0 ? endpoint.host : null;
  const isDefault = !isConfigured && own !== null;
  const isMailcows = published.some((each) => formatEndpoint(each) === facts.where);
  return addresses.flatMap((ip) =>
    subjects.flatMap((subject) =>
      namesToAskFor(subject, named).map((sni) => ({
        ...facts,
        subject,
        sni,
        ip,
        isMailcows,
        mayBeAnother: endpoint.protocol === "https" && sni === null && !isDefault,
      }))
    )
  );
}

/** `host` is the endpoint's, where it is a name. */
function namesToAskFor({ name, isFurther }: Subject, host: string | null): (string | null)[] {
  if (isFurther) return [name];
  const sni = name ?? host;
  return sni === null ? [null] : [sni, null];
}

async function readEndpoint(
  endpoint: Endpoint,
  question: LegFacts,
  { ask, filed, timeoutMs }: {
    readonly ask: Ask;
    readonly filed: () => Promise<readonly Leg[]>;
    readonly timeoutMs: number;
  },
  context: RunContext,
): Promise<Leg> {
  const asked = { endpoint, sni: question.sni ?? null };
  return await attempt(question, context, async () => {
    const served = await ask(asked, timeoutMs, context);
    if (served.kind === "none") {
      const isUnrouted = mayLackRoute.test(served.reason);
      const isGiven = question.where === formatEndpoint(endpoint);
      const lacksRoute = !isGiven && isUnrouted &&
        !await hasRoute(endpoint, context);
      return {
        error: served.reason,
        hint: isUnrouted ? `see why there is no way: ip route get ${endpoint.host}` : null,
        obstacle: lacksRoute ? "no-route" : served.reason === REFUSED ? "refused" : "silent",
      };
    }
    const given = { certificate: served.leaf, chain: served.chain };
    const keyKind = otherKind(served.leaf, await filed());
    if (keyKind === null) return given;
    const second = await ask({ ...asked, keyKind }, timeoutMs, context);
    return second.kind === "none"
      ? given
      : { certificate: second.leaf, chain: second.chain, beside: served.leaf };
  });
}

const REFUSED = "connection refused";
const mayLackRoute = /unreachable|no route|assign requested address|family not supported/i;

/** The kind of key of what should be served, where this is of another kind: both may be there. */
function otherKind(leaf: Certificate, filed: readonly Leg[]): KeyKind | null {
  const expected = filed.find(({ certificate }) => certificate !== null)?.certificate ?? null;
  if (expected === null || expected.fingerprint === leaf.fingerprint) return null;
  const kind = keyKindOf(expected);
  return kind === keyKindOf(leaf) ? null : kind;
}

/** The addresses, or why there are none. */
async function readAddresses(
  name: string,
  timeoutMs: number,
  context: RunContext,
): Promise<string[] | Required<Pick<Leg, "error" | "hint">>> {
  try {
    const addresses = await addressesOf(name, timeoutMs, context);
    return addresses.length > 0 ? addresses : noAddress(`${name} has no address`);
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof TimedOut) {
      return noAddress(`no address of ${name} within ${timeoutMs / 1_000} s`);
    }
    if (error instanceof Failure) return { error: error.message, hint: error.hint ?? null };
    throw error;
  }
}

function noAddress(error: string): Required<Pick<Leg, "error" | "hint">> {
  return { error, hint: "correct the name of the endpoint, or give it an address in the DNS" };
}
