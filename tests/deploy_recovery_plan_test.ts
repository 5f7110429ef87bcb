// The policy of deploy where no new pair is taken: what is kept, brought back or put right. Pure.

import { deepEqual, equal, match } from "node:assert/strict";
import { type Installation, planInstallations } from "../lib/deploy/plan.ts";
import { planHealing, planRecovery } from "../lib/deploy/healing.ts";
import { serviceNames } from "../lib/chain/mailcow.ts";
import type { Pair } from "../lib/certificate/pair.ts";
import {
  ALL_LOADED,
  type Circumstances,
  expired,
  facts,
  fresh,
  installed,
  NAME,
  old,
  own,
  sni,
  SSL,
  wide,
} from "./deploy_facts.ts";

Deno.test("which pair is to be served where no new one is taken", () => {
  const fingerprint = (pair: Pair) => pair.leaf.fingerprint;
  const cases: [
    what: string,
    fits: { deployed: Pair | null; previous: Pair | null },
    rejected: Pair[],
    kept: Pair | null,
  ][] = [
    ["the deployed one", { deployed: fresh, previous: old }, [], fresh],
    ["the deployed one, though it expired", { deployed: expired, previous: null }, [], expired],
    ["the previous one, for a mixture", { deployed: null, previous: old }, [], old],
    ["none, for a mixture", { deployed: null, previous: null }, [], null],
    ["none, for a mixture and what expired", { deployed: null, previous: expired }, [], null],
    ["the previous one, for a rejected one", { deployed: fresh, previous: old }, [fresh], old],
    ["a rejected one with none before it", { deployed: fresh, previous: null }, [fresh], fresh],
    ["a rejected one before it", { deployed: fresh, previous: old }, [fresh, old], fresh],
    ["an expired one before it", { deployed: fresh, previous: expired }, [fresh], fresh],
    ["the last there is, rejected or not", { deployed: null, previous: old }, [old], old],
  ];
  for (const [what, fits, rejected, kept] of cases) {
    equal(planRecovery(facts({ rejected: rejected.map(fingerprint) }), fits), kept, what);
  }
});

const UNTOLD = new Map([...ALL_LOADED].filter(([service]) => service !== "dovecot-mailcow"));
const A = `${SSL}/a`;

interface Healed {
  directories: string[];
  services: readonly string[];
  changesLeaf: boolean;
  warnings: RegExp;
}

const mixture = { services: serviceNames, warnings: /^certificate and key did not match in "/ };
const healings: [
  what: string,
  Circumstances,
  found: { mismatched?: string[]; isOwed?: true },
  Healed | null,
][] = [
  ["all is well", {}, {}, null],
  ["all is well, and a run was cut off", {}, { isOwed: true }, null],
  [
    "a mixture, and the previous pair is kept",
    { candidate: old },
    { mismatched: [SSL] },
    { ...mixture, directories: [SSL], changesLeaf: true },
  ],
  [
    "a mixture of the same leaf with another key",
    {},
    { mismatched: [SSL] },
    { ...mixture, directories: [SSL], changesLeaf: false },
  ],
  [
    "a mixture in an SNI directory alone",
    { sniDirectories: [sni("a", [NAME], fresh)] },
    { mismatched: [A] },
    { ...mixture, directories: [A], changesLeaf: false },
  ],
  [
    "a mixture in a directory that is left alone",
    { sniDirectories: [sni("a", ["mx.example.net"], own)] },
    { mismatched: [A] },
    null,
  ],
  [
    "a rollback that was cut off",
    {
      candidate: old,
      rejected: [fresh.leaf.fingerprint],
      sniDirectories: [sni("a", [NAME], old)],
    },
    {},
    {
      directories: [SSL],
      services: serviceNames,
      changesLeaf: true,
      warnings: /^a rollback did not come to "/,
    },
  ],
  [
    "a run that was cut off before it came to an SNI directory",
    { sniDirectories: [sni("a", [NAME], old)] },
    { isOwed: true },
    {
      directories: [A],
      services: serviceNames,
      changesLeaf: false,
      warnings: /^an earlier run did not come to "/,
    },
  ],
  [
    "the same where no run was cut off",
    { sniDirectories: [sni("a", [NAME], old)] },
    {},
    null,
  ],
  [
    "the same where the pair has expired",
    {
      candidate: expired,
      deployed: installed(expired),
      sniDirectories: [sni("a", [NAME], old)],
      loaded: new Map(serviceNames.map((service) => [service, expired.leaf.fingerprint] as const)),
    },
    { isOwed: true },
    null,
  ],
  [
    "a service that an earlier run did not come to",
    { loaded: UNTOLD },
    { isOwed: true },
    {
      directories: [],
      services: ["dovecot-mailcow"],
      changesLeaf: false,
      warnings: /^dovecot-mailcow was not seen to serve the deployed certificate yet$/,
    },
  ],
  ["a service that nobody owes anything", { loaded: UNTOLD }, {}, null],
  [
    "a rejected leaf in a directory that is left alone otherwise",
    {
      rejected: [own.leaf.fingerprint],
      sniDirectories: [sni("a", [NAME, "webmail.example.net"], own)],
    },
    {},
    {
      directories: [],
      services: serviceNames,
      changesLeaf: false,
      warnings: /was not seen to serve the deployed certificate yet$/,
    },
  ],
];

Deno.test("what a crash left to be done where no new pair is taken", () => {
  for (const [what, circumstances, { mismatched = [], isOwed = false }, healed] of healings) {
    const plan = planHealing(facts(circumstances), { mismatched, isOwed });
    if (healed === null) {
      equal(plan, null, what);
      continue;
    }
    const { kind, warnings, ...planned } = plan ?? {};
    const { warnings: words, ...expected } = healed;
    deepEqual([kind, planned], ["install", expected], what);
    equal(warnings?.length, 1, what);
    match(warnings?.[0] ?? "", words, what);
  }
});

Deno.test("a directory with a rejected leaf gets back what it held, if that is still good", () => {
  const damaged: Pair = { ...wide, keyPem: old.keyPem };
  const cases: [what: string, kept: Pair | null, rejected: Pair[], given: Pair][] = [
    ["what was kept", wide, [], wide],
    ["nothing was kept", null, [], fresh],
    ["a certificate with another one's key", damaged, [], fresh],
    ["what was rejected itself", wide, [wide], fresh],
    ["what has expired", expired, [], fresh],
  ];
  for (const [what, kept, rejected, given] of cases) {
    const situation = facts({
      rejected: [own, ...rejected].map(({ leaf }) => leaf.fingerprint),
      sniDirectories: [
        sni("a", [NAME, "webmail.example.net"], own),
        sni("b", ["mx.example.net"], old),
      ],
    });
    const asked: string[] = [];
    const found = planInstallations(situation, [SSL], (name) => {
      asked.push(name);
      return kept;
    });
    const expected: Installation[] = [
      { pair: fresh, directories: [SSL] },
      { pair: given, directories: [A] },
    ];
    deepEqual(found, expected, what);
    deepEqual(asked, ["a"], what);
  }
  // What somebody forces, whatever was said of it, may lie in any directory.
  const forced = facts({
    rejected: [fresh.leaf.fingerprint],
    sniDirectories: [sni("b", ["mx.example.net"], fresh)],
  });
  deepEqual(planInstallations(forced, [SSL], () => old), [{ pair: fresh, directories: [SSL] }]);
});

Deno.test("where no directory is to change, nothing is installed", () => {
  deepEqual(planInstallations(facts(), [], () => old), []);
  deepEqual(planInstallations(facts(), [SSL], () => old), [{ pair: fresh, directories: [SSL] }]);
});
