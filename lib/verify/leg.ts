// One copy of the certificate, as far as it can be seen from here, or why it cannot.

import type { Certificate } from "../certificate/certificate.ts";
import type { Published } from "../chain/mail_exchange.ts";
import type { Service } from "../chain/mailcow.ts";
import type { LegName } from "../config/verify_config.ts";
import { Unsuitable } from "../chain/unsuitable.ts";
import { Failure } from "../failure.ts";
import { FileProblem } from "../files/read_file.ts";
import type { ChainError } from "../programs/openssl.ts";
import type { RunContext } from "../run_context.ts";

/**
 * What keeps a leg from being read. `empty`: nothing has come this far yet; `lost`: nor is there a place for
 * it; `unasked`: it was never sent, which it may not be; `spoilt`: what stands there is no certificate;
 * `blocked`: nor can it be replaced; `unclear`: the services do not serve it alike; `forbidden`: this user
 * may not read it; `unknown`: nobody can tell from here. On the wire: `refused`, `silent`, and `no-route`
 * where this host has no way to such addresses.
 */
export type Obstacle =
  | "empty"
  | "lost"
  | "unasked"
  | "spoilt"
  | "blocked"
  | "unclear"
  | "forbidden"
  | "unknown"
  | "refused"
  | "silent"
  | "no-route";

export interface Leg {
  readonly leg: LegName;
  readonly where: string;
  /** What is known without the certificate itself: `last_fp` holds no more. */
  readonly fingerprint: string | null;
  readonly certificate: Certificate | null;
  /** What is wrong with the key beside it; nothing where nobody may look at that. */
  readonly keyError?: string | null;
  /** The leaf with all that came with it; null where the leaf alone was looked at. */
  readonly chain: readonly Certificate[] | null;
  readonly chainError: ChainError | null;
  readonly obstacle: Obstacle | null;
  /** The obstacle in words, and what to do about it. */
  readonly error: string | null;
  readonly hint: string | null;
  /** Whether deploy would refuse to put there what is staged: `error` and `hint` are its own. */
  readonly isRefused?: boolean;
  /** What keeps push or deploy from putting a file there. */
  readonly inTheWay?: readonly string[];
  /** Of a further name's directory: whether deploy replaced a pair of it before. */
  readonly wasReplaced?: boolean;
  /** Whether somebody asked for this leg, or it is only looked at because it may be there. */
  readonly isConfigured: boolean;
  readonly sni?: string | null;
  /** Of what mailcow serves: its directory; of an SNI one the names it is for, and mailcow's own. */
  readonly directory?: string;
  readonly domains?: readonly string[];
  readonly hostname?: string;
  /** What is served: by whom, and at which address. */
  readonly service?: Service;
  readonly ip?: string;
  /** Whether it is there, by docker or mailcow.conf, that mailcow's own service is to be had. */
  readonly isMailcows?: boolean;
  /** Also served there, to clients that know no other kind of key. */
  readonly beside?: Certificate | null;
  /** Of the DANE records of port 25: whether they fit what is given there. */
  readonly dane?: DaneSight;
  /** Whether something else than mailcow may answer such a question: another site. */
  readonly mayBeAnother?: boolean;
}

export interface DaneSight {
  /** `none`: senders go by no record. */
  readonly fit: "fits" | "misfit" | "unknown" | "none";
  readonly words: string;
  /** What to do about a misfit: the record that is lacking; else nothing. */
  readonly publish: string;
  /** What they were held against; null where there are none. */
  readonly records: Extract<Published, { kind: "records" }> | null;
}

/** An SNI directory of other names than this one's. */
export function isForeign({ leg, sni }: Pick<Leg, "leg" | "sni">): boolean {
  return leg === "sni" && sni === undefined;
}

/** Nothing has come this far yet. */
export function isNotThere({ obstacle }: Pick<Leg, "obstacle">): boolean {
  return obstacle === "empty" || obstacle === "lost" || obstacle === "unasked";
}

/** What push or deploy put something else in the place of. */
export function isReplaceable({ leg, obstacle }: Leg): boolean {
  return leg !== "source" && leg !== "served" &&
    (isNotThere({ obstacle }) || obstacle === "spoilt" || obstacle === "blocked");
}

export type LegFacts = Partial<Leg> & Pick<Leg, "leg" | "where">;

export function makeLeg(facts: LegFacts): Leg {
  return {
    fingerprint: facts.certificate?.fingerprint ?? null,
    certificate: null,
    chain: null,
    chainError: null,
    obstacle: null,
    error: null,
    hint: null,
    isConfigured: true,
    ...facts,
  };
}

/** Makes a leg of what `read` finds, or of the reason why it finds nothing. */
export async function attempt(
  facts: LegFacts,
  context: RunContext,
  read: () => Promise<Partial<Leg>> | Partial<Leg>,
): Promise<Leg> {
  try {
    return makeLeg({ ...facts, ...await read() });
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof FileProblem || error instanceof Failure) return unread(facts, error);
    throw error;
  }
}

export function unread(facts: LegFacts, why: FileProblem | Failure): Leg {
  const obstacle = facts.obstacle ?? obstacleOf(why);
  if (why instanceof Failure) {
    return makeLeg({ ...facts, obstacle, error: why.message, hint: why.hint ?? null });
  }
  const hint = obstacle === "forbidden" ? forbiddenHint() : null;
  return makeLeg({ ...facts, obstacle, error: why.detail, hint });
}

function obstacleOf(why: unknown): Obstacle {
  if (why instanceof FileProblem && why.kind !== "unreadable") {
    return why.detail === "is a directory" ? "blocked" : obstacles[why.kind];
  }
  if (why instanceof Unsuitable) return "spoilt";
  if (why instanceof Failure && spoilt.test(why.message)) return "spoilt";
  if (!(why instanceof Error)) return "unknown";
  const isRefused = "code" in why && (why.code === "EACCES" || why.code === "EPERM");
  return isRefused ? "forbidden" : obstacleOf(why.cause);
}

const spoilt = /^(not a (certificate|private key)|anything but|the private key is encrypted)\b/;

function forbiddenHint(): string {
  const instead = "look at what is served: --leg served --domain mail.example.org";
  return Deno.uid() === 0
    ? `root may not read it, which lsattr, SELinux or AppArmor explain; or ${instead}`
    : `run this as root, or ${instead}`;
}

const obstacles: Readonly<Record<Exclude<FileProblem["kind"], "unreadable">, Obstacle>> = {
  missing: "empty",
  symlink: "spoilt",
  "not-regular": "spoilt",
  "too-large": "spoilt",
  changing: "unknown",
};
