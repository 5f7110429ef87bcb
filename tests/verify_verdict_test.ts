// The verdict over the legs, rule by rule.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Certificate } from "../lib/certificate/certificate.ts";
import type { Leg } from "../lib/verify/legs.ts";
import { type Expectations, judgeLegs, type Status } from "../lib/verify/verdict.ts";

const DAY_MS = 86_400_000;
const now = new Date("2026-07-01T12:00:00Z");
const inDays = (days: number) => new Date(now.getTime() + days * DAY_MS);

const expectations: Expectations = {
  domain: "mail.example.org",
  warn: { lifePart: 0.25 },
  critical: { lifePart: 0.1 },
  now,
};

/** Ten days old with eighty of its ninety days left, unless told otherwise. */
function certificate(facts: Partial<Certificate> & { fingerprint: string }): Certificate {
  return {
    subject: "CN=mail.example.org",
    issuer: "CN=E1,O=Kit",
    names: ["mail.example.org"],
    notBefore: inDays(-10),
    notAfter: inDays(80),
    ...facts,
  } as Certificate; // a verdict looks at nothing else
}

const renewed = certificate({ fingerprint: "NEW" });
const former = certificate({ fingerprint: "OLD", notBefore: inDays(-70), notAfter: inDays(30) });
const fresh = certificate({ fingerprint: "NEW", notBefore: inDays(-0.9), notAfter: inDays(89) });

function leg(name: Leg["leg"], held: Certificate | null, facts: Partial<Leg> = {}): Leg {
  return {
    leg: name,
    where: `the ${name} place`,
    fingerprint: held?.fingerprint ?? null,
    certificate: held,
    chainLength: held !== null && name === "served" ? 2 : null,
    error: held === null ? "gone" : null,
    hint: null,
    isEmpty: false,
    isConfigured: true,
    ...(name === "sni" && {
      ...{ sni: "mail.example.org", domains: ["mail.example.org"], hostname: "mail.example.org" },
    }),
    ...facts,
  };
}

const pushed = (fingerprint: string) =>
  leg("pushed", null, { fingerprint, error: null, where: "u@h:/d/" });

function judge(legs: readonly Leg[], changes: Partial<Expectations> = {}) {
  return judgeLegs(legs, { ...expectations, ...changes });
}

interface Case {
  readonly name: string;
  readonly legs: readonly Leg[];
  readonly expect?: Partial<Expectations>;
  readonly status: Status;
  readonly staleAt?: Leg["leg"];
  /** Of each leg. */
  readonly words: readonly string[];
  /** What to do at the first leg that is not ok. */
  readonly next?: RegExp;
}

const chain = ["source", "staged", "deployed", "sni", "served"] as const;

/** The whole chain with everything from one leg on left behind. */
function stuckAt(stuck: Leg["leg"], source = renewed): Leg[] {
  const order = ["source", "pushed", "staged", "deployed", "sni", "served"];
  const has = (name: Leg["leg"]) => order.indexOf(name) < order.indexOf(stuck);
  return [
    leg("source", source),
    pushed(has("pushed") ? source.fingerprint : former.fingerprint),
    ...chain.slice(1).map((name) => leg(name, has(name) ? source : former)),
  ];
}

const cases: Case[] = [
  {
    name: "ok: all legs hold one certificate",
    legs: [
      leg("source", renewed),
      pushed("NEW"),
      ...chain.slice(1).map((name) => leg(name, renewed)),
    ],
    status: "ok",
    words: ["ok", "ok", "ok", "ok", "ok", "ok"],
  },
  {
    name: "ok: two endpoints seen from afar",
    legs: [leg("served", renewed), leg("served", renewed)],
    status: "ok",
    words: ["ok", "ok"],
  },
  ...(["pushed", "staged", "deployed", "sni", "served"] as const).map((stuck, index): Case => ({
    name: `critical: stuck at ${stuck}`,
    legs: stuckAt(stuck),
    status: "critical",
    staleAt: stuck,
    words: Array.from({ length: 6 }, (_, i) => i <= index ? "ok" : "another certificate"),
    next: [
      /^run on the NPM host: certsync push$/,
      /^run on the NPM host: certsync push --force$/,
      /^run on the mail host: certsync deploy$/,
      /^run on the mail host: certsync deploy --force$/,
      /^run on the mail host: certsync deploy --force$/,
    ][index] ?? /never/,
  })),
  {
    name: "critical: an SNI directory that deploy leaves alone",
    legs: [
      leg("deployed", renewed),
      leg("sni", former, { domains: ["mail.example.org", "mail.example.net"] }),
    ],
    status: "critical",
    staleAt: "sni",
    words: ["ok", "another certificate"],
    next: /^give the certificate all the names in its "domains", as deploy warns$/,
  },
  ...([
    [
      "its own is served",
      "OLD",
      "mail.example.org",
      /^run on the mail host: certsync deploy --force$/,
    ],
    [
      "the one for further names too is served",
      "FOREIGN",
      "mail.example.org",
      /^give the certificate all the names in its "domains", as deploy warns$/,
    ],
    ["neither is asked for", "FOREIGN", null, /^run on the mail host: certsync deploy --force$/],
  ] as const).map(([what, fingerprint, sni, next]): Case => {
    const foreign = certificate({ fingerprint: "FOREIGN", notBefore: inDays(-60) });
    return {
      name: `critical: of two SNI directories ${what}`,
      legs: [
        leg("deployed", renewed),
        leg("served", fingerprint === "OLD" ? former : foreign, { sni }),
        leg("sni", former),
        leg("sni", foreign, { domains: ["mail.example.org", "mail.example.net"] }),
      ],
      status: "critical",
      staleAt: "served",
      words: ["ok", ...Array.from({ length: 3 }, () => "another certificate")],
      next,
    };
  }),
  {
    name: "warning: a source less than a day old has not propagated yet",
    legs: stuckAt("pushed", fresh),
    status: "warning",
    staleAt: "pushed",
    words: ["ok", ...Array.from({ length: 5 }, () => "not yet the new one")],
    next: /^run on the NPM host: certsync push$/,
  },
  {
    name: "warning: a fresh source that stopped halfway",
    legs: stuckAt("deployed", fresh),
    status: "warning",
    staleAt: "deployed",
    words: ["ok", "ok", "ok", "not yet the new one", "not yet the new one", "not yet the new one"],
  },
  {
    name: "critical: a source exactly a day old",
    legs: [
      leg("source", certificate({ fingerprint: "NEW", notBefore: inDays(-1) })),
      pushed("OLD"),
    ],
    status: "critical",
    staleAt: "pushed",
    words: ["ok", "another certificate"],
  },
  {
    name: "critical: a fresh certificate that is staged is no excuse without the source",
    legs: [leg("staged", fresh), leg("deployed", former)],
    status: "critical",
    staleAt: "deployed",
    words: ["ok", "another certificate"],
  },
  {
    name: "critical: fresh, but what is still served has expired",
    legs: [
      leg("source", fresh),
      leg("served", certificate({ fingerprint: "OLD", notAfter: inDays(-1) })),
    ],
    status: "critical",
    staleAt: "served",
    words: ["ok", "expired"],
  },
  {
    name: "warning: nothing was pushed yet of a fresh source",
    legs: [leg("source", fresh), leg("pushed", null, { isEmpty: true })],
    status: "warning",
    staleAt: "pushed",
    words: ["ok", "nothing there yet"],
    next: /^run on the NPM host: certsync push$/,
  },
  {
    name: "critical: nothing is staged, and what is deployed is all there is",
    legs: [leg("staged", null, { isEmpty: true, hint: "h" }), leg("deployed", renewed)],
    status: "critical",
    staleAt: "staged",
    words: ["nothing there yet", "ok"],
    next: /^run on the NPM host: certsync push --force$/,
  },
  {
    name: "critical: a leg further on is newer, and it is said so",
    legs: [leg("source", former), leg("deployed", renewed)],
    status: "critical",
    staleAt: "deployed",
    words: ["ok", "a newer certificate"],
    next: /newer than that of source/,
  },
  {
    name: "critical: what was pushed is newer, as what is staged tells",
    legs: [leg("source", former), pushed("NEW"), leg("staged", renewed)],
    status: "critical",
    staleAt: "pushed",
    words: ["ok", "a newer certificate", "a newer certificate"],
    next: /newer than that of source/,
  },
  {
    name: "critical: one endpoint of several is left behind",
    legs: [
      leg("deployed", renewed),
      leg("served", renewed),
      leg("served", former),
      leg("served", renewed),
    ],
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", "another certificate", "ok"],
  },
  {
    name: "critical: a leg that should be there cannot be read",
    legs: [leg("source", null, { hint: "run this as root" }), leg("deployed", renewed)],
    status: "critical",
    words: ["cannot be read", "ok"],
    next: /^run this as root$/,
  },
  {
    name: "critical: a configured endpoint gives no certificate",
    legs: [leg("deployed", renewed), leg("served", null)],
    status: "critical",
    words: ["ok", "no certificate"],
    next: /service/,
  },
  {
    name: "warning: a default endpoint gives no certificate",
    legs: [leg("deployed", renewed), leg("served", null, { isConfigured: false })],
    status: "warning",
    words: ["ok", "no certificate"],
  },
  {
    name: "unknown: no leg at all",
    legs: [],
    status: "unknown",
    words: [],
  },
  {
    name: "unknown: none can be read",
    legs: [leg("source", null), leg("pushed", null, { isEmpty: true }), leg("served", null)],
    status: "unknown",
    words: ["cannot be read", "cannot be read", "no certificate"],
  },
  {
    name: "critical: does not cover the domain",
    legs: [leg("served", certificate({ fingerprint: "A", names: ["other.example.org"] }))],
    status: "critical",
    words: ["wrong name"],
    next: /does not cover mail\.example\.org/,
  },
  {
    name: "critical: a wildcard stands for one label only",
    legs: [leg("served", certificate({ fingerprint: "A", names: ["*.org"] }))],
    status: "critical",
    words: ["wrong name"],
  },
  {
    name: "ok: covered by a wildcard, in any case",
    legs: [leg("served", certificate({ fingerprint: "A", names: ["*.EXAMPLE.org"] }))],
    status: "ok",
    words: ["ok"],
  },
  {
    name: "ok: without a domain no name is wrong",
    legs: [leg("served", certificate({ fingerprint: "A", names: [] }))],
    expect: { domain: null },
    status: "ok",
    words: ["ok"],
  },
  {
    name: "critical: expired",
    legs: [leg("served", certificate({ fingerprint: "A", notAfter: inDays(-0.001) }))],
    status: "critical",
    words: ["expired"],
  },
  {
    name: "critical: not yet valid",
    legs: [leg("served", certificate({ fingerprint: "A", notBefore: inDays(1) }))],
    status: "critical",
    words: ["not yet valid"],
  },
  ...([
    // days left of ninety, warn, critical
    [23, { lifePart: 0.25 }, { lifePart: 0.1 }, "ok", "ok"],
    [22, { lifePart: 0.25 }, { lifePart: 0.1 }, "warning", "expires in 22 days"],
    [9, { lifePart: 0.25 }, { lifePart: 0.1 }, "warning", "expires in 9 days"],
    [8.9, { lifePart: 0.25 }, { lifePart: 0.1 }, "critical", "expires in 8 days"],
    [21, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "ok", "ok"],
    [20.9, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "warning", "expires in 20 days"],
    [7, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "warning", "expires in 7 days"],
    [6.9, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "critical", "expires in 6 days"],
    [20, { ms: 21 * DAY_MS }, { lifePart: 0.1 }, "warning", "expires in 20 days"],
    [1, { ms: 0 }, { ms: 0 }, "ok", "ok"],
    [1.5, { lifePart: 1 }, { lifePart: 1 }, "critical", "expires in 1 day"],
    [0.5, { lifePart: 1 }, { lifePart: 0 }, "warning", "expires in hours"],
  ] as const).map(([left, warn, critical, status, words]): Case => ({
    name: `${status}: ${left} days left, ${JSON.stringify(warn)} ${JSON.stringify(critical)}`,
    legs: [
      leg(
        "served",
        certificate({ fingerprint: "A", notBefore: inDays(left - 90), notAfter: inDays(left) }),
      ),
    ],
    expect: { warn, critical },
    status,
    words: [words],
  })),
  {
    name: "critical beats warning in one leg, whichever comes first",
    legs: [
      leg("source", fresh),
      leg("served", certificate({ fingerprint: "OLD", names: ["other"], notBefore: inDays(-20) })),
    ],
    status: "critical",
    staleAt: "served",
    words: ["ok", "wrong name"],
  },
  {
    name: "warning: a leaf without its intermediate",
    legs: [leg("served", renewed, { chainLength: 1 })],
    status: "warning",
    words: ["no intermediate"],
  },
  {
    name: "ok: a certificate that signed itself has no intermediate to serve",
    legs: [
      leg("served", certificate({ fingerprint: "A", issuer: "CN=mail.example.org" }), {
        chainLength: 1,
      }),
    ],
    status: "ok",
    words: ["ok"],
  },
];

Deno.test("the verdict follows from the legs", async (t) => {
  for (const { name, legs, expect, status, staleAt, words, next } of cases) {
    await t.step(name, () => {
      const verdict = judge(legs, expect);
      equal(verdict.status, status);
      equal(verdict.staleAt, staleAt ?? null);
      deepEqual(verdict.legs.map((leg) => leg.words), words);
      const first = verdict.legs.find(({ isStale }) => isStale) ??
        verdict.legs.find((leg) => leg.status === status);
      if (next !== undefined) match(first?.next ?? "", next);
      for (const { words, next } of verdict.legs) equal(next === null, words === "ok");
    });
  }
});

Deno.test("match is measured against the first leg that can be read", () => {
  const { legs } = judge([leg("source", null), leg("staged", former), leg("deployed", renewed)]);
  deepEqual(legs.map(({ match }) => match), [false, true, false]);
});

Deno.test("what cannot be read is not called stale, and neither is anything before the stuck leg", () => {
  const { legs } = judge([leg("source", renewed), leg("staged", null), leg("served", former)]);
  deepEqual(legs.map(({ isStale }) => isStale), [false, false, true]);
});

Deno.test("an incomplete chain is warned of once for each endpoint", () => {
  const incomplete = (where: string) => leg("served", renewed, { chainLength: 1, where });
  const { warnings } = judge([
    incomplete("imaps://a:993"),
    incomplete("imaps://a:993"),
    incomplete("b"),
  ]);
  equal(warnings.length, 2);
  match(
    warnings[0] ?? "",
    /^imaps:\/\/a:993 serves its leaf without the intermediate "CN=E1,O=Kit"/,
  );
  deepEqual(judge([leg("served", renewed)]).warnings, []);
  deepEqual(judge([leg("source", renewed)]).warnings, []);
});
