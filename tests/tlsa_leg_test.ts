// What verify makes of the DANE records of a name, and of what port 25 gives for it or not. Pure.

import { deepEqual, equal, match } from "node:assert/strict";
import { type Certificate, parseChain } from "../lib/certificate/certificate.ts";
import { parseTlsaRecord } from "../lib/certificate/dane.ts";
import { makeLeg } from "../lib/verify/leg.ts";
import { adviseBeforehand, explainSilence, judgeGiven, type Seen } from "../lib/verify/tlsa_leg.ts";
import { authority } from "./kit/authority.ts";
import { record } from "./kit/dane_states.ts";

const NAME = "mail.example.org";
const now = new Date();

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [leaf, other] = await Promise.all([ca.issue({ names: [NAME] }), ca.issue({ names: [NAME] })]);

function chainOf({ fullchainPem }: { fullchainPem: string }) {
  const chain = parseChain(new TextEncoder().encode(fullchainPem), "it");
  return { leaf: chain[0], chain };
}
const [ours, others] = [chainOf(leaf), chainOf(other)];

function published(...texts: string[]) {
  return {
    kind: "records" as const,
    records: texts.flatMap((text) => parseTlsaRecord(text) ?? []),
    owner: `_25._tcp.${NAME}`,
    ttlSeconds: 3_600,
  };
}
const ofIssuer = published(record(2, "1 1", leaf.chainPem));
const ofLeaf = published(record(3, "1 1", leaf.certPem));

const at = (ip: string, { leaf, chain }: typeof ours) => ({ ip, leaf, chain });
const alone = { leaf: ours.leaf, chain: [ours.leaf] as [Certificate] };

function told(dane: ReturnType<typeof published>, seen: Seen) {
  return judgeGiven(dane, seen, NAME, now).map(({ dane, ip, error }) => [
    dane?.fit,
    ...(ip === undefined ? [] : [ip]),
    ...(error === null ? [] : [error]),
  ]);
}

Deno.test("at each address a record has to fit, and what is the same everywhere is told once", () => {
  const [one, two] = ["192.0.2.1", "192.0.2.2"];
  const given = (...chains: ReturnType<typeof at>[]): Seen => ({ from: "port 25", chains });
  deepEqual(told(ofLeaf, given(at(one, ours), at(two, ours))), [["fits"]]);
  deepEqual(told(ofLeaf, given(at(one, ours), at(two, others))), [["fits", one], ["misfit", two]]);
  // Of one leaf with and without its issuer: senders that come to the wrong address hold mail back.
  deepEqual(told(ofIssuer, given(at(one, ours), at(two, alone))), [["misfit"]]);
});

Deno.test("where port 25 gives nothing, the worst of what is deployed is told, and no guess", () => {
  const silence = "port 25 cannot be reached from here: 192.0.2.1:25: connection refused";
  const deployed = (
    ...chains: { leaf: Certificate; chain: readonly Certificate[] | null }[]
  ): Seen => ({ from: "deployed", chains, silence });
  deepEqual(told(ofLeaf, deployed(ours)), [["fits", silence]]);
  deepEqual(told(ofLeaf, deployed(ours, others)), [["misfit", silence]]);
  deepEqual(told(ofLeaf, deployed(others, ours)), [["misfit", silence]]);
  deepEqual(told(ofLeaf, deployed()), [["unknown", silence]]);
  // Its issuer may fit where the leaf alone was to be seen.
  const unseen = "not compared: the issuer of what is deployed is not seen from here";
  deepEqual(told(ofIssuer, deployed({ leaf: ours.leaf, chain: null })), [
    ["unknown", `${unseen}; ${silence}`],
  ]);
  deepEqual(told(ofLeaf, deployed({ leaf: others.leaf, chain: null })), [["misfit", silence]]);
});

Deno.test("what is to be published before something else is given is told where it would not fit", () => {
  const advice = (dane: ReturnType<typeof published>, chain: typeof ours.chain | null) =>
    adviseBeforehand(
      { fit: "fits", words: "ok", publish: "", records: dane },
      makeLeg({ leg: "staged", where: "x", certificate: ours.leaf, chain }),
      `_25._tcp.${NAME}`,
      now,
    );
  equal(advice(ofLeaf, ours.chain), null);
  equal(advice(ofIssuer, ours.chain), null);
  equal(advice(ofIssuer, null), null); // nobody can tell
  match(
    advice(published(record(3, "1 1", other.certPem)), null) ?? "",
    /^publish _25\._tcp\.mail\.example\.org\. IN TLSA 3 1 1 [0-9a-f]{64} \(seen by all after 1h/,
  );
});

Deno.test("of places that give no certificate those are told that were reached", () => {
  const silent = (host: string, reason: string) => ({
    endpoint: { protocol: "smtp" as const, host, port: 25 },
    served: { kind: "none" as const, reason },
  });
  const [refused, late] = ["connection refused", "no certificate within 5 s"];
  const lacks = "STARTTLS is not offered";
  equal(explainSilence([]), "the name has no address here");
  equal(
    explainSilence([silent("192.0.2.1", refused), silent("2001:db8::1", late)]),
    `port 25 cannot be reached from here: 192.0.2.1:25: ${refused}; [2001:db8::1]:25: ${late}`,
  );
  equal(
    explainSilence([silent("192.0.2.1", refused), silent("192.0.2.2", lacks)]),
    `port 25 gives none: 192.0.2.2:25: ${lacks}`,
  );
});
