// What can stand in the zone and what can be served, and what a sender makes of it.

import { createHash, X509Certificate } from "node:crypto";
import { type Authority, authority, type Leaf } from "./authority.ts";
import type { ServedPair } from "./tls_backends.ts";

export type Verdict = "fits" | "misfit" | "no-dane";

export type ServedChain =
  | "new"
  | "old"
  | "leaf alone"
  | "with root"
  | "stranger"
  | "expired"
  | "self-signed";

export interface DaneState {
  what: string;
  host: string;
  records: string[];
  served: ServedChain;
  verdict: Verdict;
  /** `openssl s_client` also takes usages 0 and 1, which no sender does. */
  judges: "all" | "senders";
}

export interface DaneStates {
  states: DaneState[];
  chains: Record<ServedChain, ServedPair>;
}

const DOMAIN = "example.org";
const DAY_MS = 86_400_000;

type Part = (pem: string) => Uint8Array;
const certificate: Part = (pem) => new X509Certificate(pem).raw;
const publicKey: Part = (pem) =>
  new Uint8Array(new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" }));

/** What selector and matching type, `1 1`, make of a certificate. */
export function record(usage: number, form: string, pem: string): string {
  const [selector, matching] = form.split(" ");
  const part = (selector === "0" ? certificate : publicKey)(pem);
  const digest = matching === "1" ? "sha256" : matching === "2" ? "sha512" : null;
  const data = digest === null ? part : createHash(digest).update(part).digest();
  return `${usage} ${form} ${new Uint8Array(data).toHex()}`;
}

/** A renewal from an old key to a new one, with everything that DANE can make of it. */
export async function daneStates(ca: Authority): Promise<DaneStates> {
  const names = [`*.${DOMAIN}`, DOMAIN];
  const long = new Date(Date.now() - 100 * DAY_MS);
  await using other = await authority(); // whose issuer bears the same name
  const [old, renewed, expired, own, foreign] = await Promise.all([
    ca.issue({ names }),
    ca.issue({ names }),
    ca.issue({ names, notBefore: long, notAfter: new Date(long.getTime() + 90 * DAY_MS) }),
    ca.issue({ names, signedBy: "self" }),
    other.issue({ names }),
  ]);
  return {
    chains: {
      new: renewed,
      old,
      "leaf alone": { ...renewed, fullchainPem: renewed.certPem },
      "with root": { ...renewed, fullchainPem: renewed.fullchainPem + ca.rootPem },
      stranger: { ...renewed, fullchainPem: renewed.certPem + foreign.chainPem },
      expired,
      "self-signed": own,
    },
    states: rows(ca, { old, renewed, expired, own, foreign }).map((row, index) => ({
      served: "new",
      judges: "all",
      ...row,
      host: `${row.outside ? "not.covered." : ""}state${index}.${DOMAIN}`,
    })),
  };
}

type Row = Pick<DaneState, "what" | "records" | "verdict"> & Partial<DaneState> & {
  /** Its host is none that the certificate stands for. */
  outside?: boolean;
};

type LeafName = "old" | "renewed" | "expired" | "own" | "foreign";

function rows(
  { rootPem }: Authority,
  { old, renewed, expired, own, foreign }: Record<LeafName, Leaf>,
): Row[] {
  const now = (usage: number, form: string) => record(usage, form, renewed.certPem);
  const before = (usage: number, form: string) => record(usage, form, old.certPem);
  const issuer = (form: string) => record(2, form, renewed.chainPem);
  const root = (form: string) => record(2, form, rootPem);
  const anyKey = "ab".repeat(32);
  const [oldKey, newKey] = [before(3, "1 1"), now(3, "1 1")];
  const [fits, misfit, none] = ["fits", "misfit", "no-dane"] as const;
  const senders = { judges: "senders" } as const;
  return [
    { what: "nothing published", records: [], verdict: none },
    { what: "the new key", records: [newKey], verdict: fits },
    { what: "the old key alone", records: [oldKey], verdict: misfit },
    { what: "the old key before the renewal", records: [oldKey], served: "old", verdict: fits },
    { what: "the next key beforehand", records: [oldKey, newKey], served: "old", verdict: fits },
    { what: "both keys after the renewal", records: [oldKey, newKey], verdict: fits },
    { what: "too early without the old key", records: [newKey], served: "old", verdict: misfit },

    { what: "3 0 1", records: [now(3, "0 1")], verdict: fits },
    { what: "3 0 1 of the old certificate", records: [before(3, "0 1")], verdict: misfit },
    { what: "3 1 2", records: [now(3, "1 2")], verdict: fits },
    { what: "3 0 2", records: [now(3, "0 2")], verdict: fits },
    { what: "3 1 0", records: [now(3, "1 0")], verdict: fits },
    { what: "3 0 0", records: [now(3, "0 0")], verdict: fits },
    { what: "3 0 0 of the old certificate", records: [before(3, "0 0")], verdict: misfit },

    { what: "2 1 1", records: [issuer("1 1")], verdict: fits },
    { what: "2 0 1", records: [issuer("0 1")], verdict: fits },
    { what: "2 1 2", records: [issuer("1 2")], verdict: fits },
    { what: "2 0 0", records: [issuer("0 0")], verdict: fits },
    { what: "2 1 0", records: [issuer("1 0")], verdict: fits },
    { what: "2 1 1 before the renewal", records: [issuer("1 1")], served: "old", verdict: fits },
    { what: "2 1 1 beside the old key", records: [oldKey, issuer("1 1")], verdict: fits },
    { what: "2 1 1 of a root that is not served", records: [root("1 1")], verdict: misfit },
    { what: "2 0 0 of a root that is not served", records: [root("0 0")], verdict: fits },
    { what: "2 1 0 of a root that is not served", records: [root("1 0")], verdict: fits },
    {
      what: "2 1 1 of a root that is served",
      records: [root("1 1")],
      served: "with root",
      verdict: fits,
    },
    {
      what: "2 1 1 of nobody that is served",
      records: [record(2, "1 1", foreign.chainPem)],
      served: "with root",
      verdict: misfit,
    },
    { what: "2 1 0 of nobody", records: [record(2, "1 0", foreign.chainPem)], verdict: misfit },
    {
      what: "2 1 1 of an issuer that is not served",
      records: [issuer("1 1")],
      served: "leaf alone",
      verdict: misfit,
    },
    {
      what: "2 0 0 of an issuer that is not served",
      records: [issuer("0 0")],
      served: "leaf alone",
      verdict: fits,
    },
    {
      what: "2 1 1 of an issuer that only bears the name",
      records: [record(2, "1 1", foreign.chainPem)],
      served: "stranger",
      verdict: misfit,
    },
    { what: "2 1 1 of the leaf itself", records: [now(2, "1 1")], verdict: misfit },
    {
      what: "2 1 1 where the name is not covered",
      records: [issuer("1 1")],
      outside: true,
      verdict: misfit,
    },
    {
      what: "3 1 1 where the name is not covered",
      records: [newKey],
      outside: true,
      verdict: fits,
    },
    { what: "2 1 1, expired", records: [issuer("1 1")], served: "expired", verdict: misfit },
    {
      what: "3 1 1, expired",
      records: [record(3, "1 1", expired.certPem)],
      served: "expired",
      verdict: fits,
    },
    {
      what: "3 1 1, self-signed",
      records: [record(3, "1 1", own.certPem)],
      served: "self-signed",
      verdict: fits,
    },
    {
      what: "2 1 1, self-signed",
      records: [record(2, "1 1", own.certPem)],
      served: "self-signed",
      verdict: misfit,
    },

    {
      what: "the old key in the stronger digest",
      records: [newKey, before(3, "1 2")],
      verdict: misfit,
    },
    { what: "the old key in the weaker digest", records: [oldKey, now(3, "1 2")], verdict: fits },
    {
      what: "the old one for the other selector",
      records: [newKey, before(3, "0 2")],
      verdict: fits,
    },
    { what: "the old one for the other usage", records: [newKey, before(2, "1 2")], verdict: fits },
    { what: "the new key whole", records: [now(3, "1 0"), before(3, "1 2")], verdict: fits },
    { what: "a stronger digest that is none", records: [newKey, "3 1 2 abcd"], verdict: fits },
    {
      what: "a stronger digest of no usage",
      records: [newKey, before(1, "1 2")],
      verdict: fits,
      ...senders,
    },

    { what: "usage 0 alone", records: [record(0, "1 1", rootPem)], verdict: none, ...senders },
    { what: "usage 1 alone", records: [now(1, "1 1")], verdict: none, ...senders },
    { what: "usage 1 of the old key", records: [before(1, "1 1")], verdict: none, ...senders },
    {
      what: "usage 1 beside the old key",
      records: [now(1, "1 1"), oldKey],
      verdict: misfit,
      ...senders,
    },
    { what: "a usage nobody knows", records: [`4 1 1 ${anyKey}`], verdict: none },
    { what: "the private usage", records: [`255 1 1 ${anyKey}`], verdict: none },
    { what: "an unknown selector", records: [`3 7 1 ${anyKey}`], verdict: none },
    { what: "an unknown matching type", records: [`3 1 9 ${anyKey}`], verdict: none },
    { what: "a digest too short", records: [`3 1 1 ${anyKey.slice(2)}`], verdict: none },
    { what: "a digest too long", records: [`3 1 1 ${anyKey}ab`], verdict: none },
    { what: "a certificate that is none", records: [`3 0 0 ${anyKey}`], verdict: none },
    { what: "a key that is none", records: [`3 1 0 ${anyKey}`], verdict: none },
    { what: "a key and more", records: [`${now(3, "1 0")}ab`], verdict: none },
    { what: "a certificate and more", records: [`${now(3, "0 0")}ab`], verdict: none },
    { what: "a malformed one beside the new key", records: [newKey, "3 1 1 ab"], verdict: fits },
    { what: "a malformed one beside the old key", records: [oldKey, "3 1 1 ab"], verdict: misfit },
  ];
}
