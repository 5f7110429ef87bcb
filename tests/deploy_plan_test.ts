// The policy of deploy, from facts to plan: no process, no socket, no file.

import { deepEqual, equal, match } from "node:assert/strict";
import { carriers, type DeployFacts, mailHostname } from "../lib/deploy/facts.ts";
import { isOlder, isSettled, type Plan, planDeploy } from "../lib/deploy/plan.ts";
import { standingWarnings } from "../lib/deploy/warnings.ts";
import { Failure } from "../lib/failure.ts";
import { type Service, serviceNames, type SniDirectory } from "../lib/chain/mailcow.ts";
import type { Pair } from "../lib/certificate/pair.ts";
import {
  ALL_LOADED,
  brief,
  type Circumstances,
  expired,
  facts,
  fresh,
  installed,
  NAME,
  old,
  own,
  pair,
  sni,
  SSL,
  wide,
} from "./deploy_facts.ts";

const [self, briefer] = await Promise.all([
  pair({ signedBy: "self" }),
  pair({
    notBefore: new Date("2026-03-15T00:00:00Z"),
    notAfter: new Date("2026-06-09T00:00:00Z"),
  }),
]);

const FIT = { unfit: null, deployedIsFit: true, force: false };

function planned(given: DeployFacts, judgement: Partial<typeof FIT> = {}): Plan {
  const decision = planDeploy(given, { ...FIT, ...judgement });
  if (decision.kind === "install") return decision;
  throw decision.why;
}

function refused(
  given: DeployFacts,
  judgement: Partial<Omit<typeof FIT, "unfit">> & { unfit?: Failure | null } = {},
): string {
  const decision = planDeploy(given, { ...FIT, ...judgement });
  return decision.kind === "refuse" ? decision.why.message : "it was not refused";
}

Deno.test("all in place is settled; anything less is not", () => {
  equal(isSettled(facts()), true);
  const without = (service: Service) =>
    new Map([...ALL_LOADED].filter(([name]) => name !== service));
  const less: Record<string, Circumstances> = {
    "nothing deployed": { deployed: installed(null) },
    "another certificate": { deployed: installed(old) },
    "another key": { deployed: installed({ ...fresh, keyPem: old.keyPem }) },
    "a wrong mode": { deployed: installed(fresh, { isTidy: false }) },
    "the leaf alone": {
      deployed: installed({
        ...fresh,
        chainPem: fresh.chainPem.slice(0, fresh.chainPem.length / 2),
      }),
    },
    "an SNI directory with another pair": { sniDirectories: [sni("a", [NAME], old)] },
    "an SNI directory whose own pair expired": {
      sniDirectories: [sni("a", [NAME, "webmail.example.net"], expired)],
    },
    "ACME at work": { conf: `MAILCOW_HOSTNAME=${NAME}` },
    "an expired certificate": { now: new Date("2027-01-01T00:00:00Z") },
    "a certificate from the future": { now: new Date("2026-04-01T00:00:00Z") },
    "a certificate that was rejected": { rejected: [fresh.leaf.fingerprint] },
    "a rejected one in somebody else's directory": {
      sniDirectories: [sni("a", ["mx.example.net"], own)],
      rejected: [own.leaf.fingerprint],
    },
    "a service that loaded another": {
      loaded: new Map([...ALL_LOADED, ["nginx-mailcow", old.leaf.fingerprint]]),
    },
  };
  for (const [what, circumstances] of Object.entries(less)) {
    equal(isSettled(facts(circumstances)), false, what);
  }
  for (const service of serviceNames) equal(isSettled(facts({ loaded: without(service) })), false);
  equal(isSettled({ ...facts(), domain: "other.example.org" }), false);
  const mixed = { ...fresh, keyPem: old.keyPem };
  equal(isSettled(facts({ candidate: mixed, deployed: installed(mixed) })), false);
});

const D = `${SSL}/d`;

function rejecting({ leaf }: Pair, { memory }: DeployFacts): Pick<DeployFacts, "memory"> {
  return { memory: { ...memory, rejected: new Map([[leaf.fingerprint, "2026-05-02T00:00:00Z"]]) } };
}

Deno.test("a directory that is left alone does not keep anything from being settled", () => {
  const sniDirectories = [
    sni("a", [NAME, "webmail.example.net"], own),
    sni("b", ["mx.example.net"], expired),
    sni("c", [], null),
  ];
  equal(isSettled(facts({ sniDirectories })), true);
  // Nor does that of a further name, or what nginx alone reads, whatever lies there.
  const claimed = { ...facts({ sniDirectories: [sni("d", [NAME], old)] }), claimed: new Set([D]) };
  equal(isSettled(claimed), true);
  deepEqual(carriers(claimed), [SSL]);
  equal(isSettled({ ...claimed, ...rejecting(old, claimed) }), true);
  equal(isSettled(facts({ sniDirectories: [sni(".d", [NAME], old)] })), true);
});

Deno.test("a renewal goes to the top level and to all services", () => {
  const plan = planned(facts({ deployed: installed(old), loaded: new Map() }));
  deepEqual(plan.directories, [SSL]);
  deepEqual(plan.services, serviceNames);
  equal(plan.changesLeaf, true);
  deepEqual(plan.warnings, []);
});

Deno.test("where the files are in place only those services reload that lack the leaf", () => {
  const loaded = new Map([...ALL_LOADED, ["dovecot-mailcow" as const, old.leaf.fingerprint]]);
  const plan = planned(facts({ loaded }));
  deepEqual([plan.directories, plan.services], [[], ["dovecot-mailcow"]]);
  equal(plan.changesLeaf, false);
});

Deno.test("--force reinstalls everything that carries the certificate, and nothing else", () => {
  const sniDirectories = [sni("a", [NAME], fresh), sni("b", ["mx.example.net"], own)];
  const plan = planned(facts({ sniDirectories }), { force: true });
  deepEqual(plan.directories, [`${SSL}/a`, SSL]);
  deepEqual(plan.services, serviceNames);
});

Deno.test("each reason to refuse, and what --force overrides", () => {
  const older = facts({ candidate: old, deployed: installed(fresh) });
  match(refused(older), /older \(2026-03-15T00:00:00Z\).*\(2026-05-01T00:00:00Z\)/);
  equal(refused(older, { force: true }), "it was not refused");
  equal(refused(older, { deployedIsFit: false }), "it was not refused");
  const loaded = new Map(serviceNames.map((service) => [service, self.leaf.fingerprint]));
  equal(
    refused(facts({ candidate: old, deployed: installed(self), loaded })),
    "it was not refused",
  );

  const rejected = facts({ rejected: [fresh.leaf.fingerprint], deployed: installed(old) });
  match(refused(rejected), /rolled back before/);
  equal(refused(rejected, { force: true }), "it was not refused");
  // Deployed, and seen to be served by all: whatever was wrong with it is over.
  equal(refused(facts({ rejected: [fresh.leaf.fingerprint] })), "it was not refused");
  const unserved = { rejected: [fresh.leaf.fingerprint], loaded: new Map() };
  match(refused(facts(unserved)), /rolled back before/);

  const unfit = new Failure("key does not match certificate");
  equal(refused(facts(), { unfit }), unfit.message);
  equal(refused(facts(), { unfit, force: true }), unfit.message);

  const acme = facts({ conf: `MAILCOW_HOSTNAME=${NAME}\nSKIP_LETS_ENCRYPT=n` });
  match(refused(acme, { unfit }), /^SKIP_LETS_ENCRYPT is not yes/);
  match(refused(acme, { force: true }), /^SKIP_LETS_ENCRYPT is not yes/);
});

Deno.test("older means an earlier beginning", () => {
  equal(isOlder(old, { pair: fresh }), true);
  equal(isOlder(fresh, { pair: fresh }), false);
  equal(isOlder(fresh, { pair: old }), false);
  equal(isOlder(old, { pair: null }), false);
});

Deno.test("near its end a deployed certificate gives way to an older one that lasts longer", () => {
  const ending = facts({
    candidate: old,
    deployed: installed(brief),
    loaded: new Map([["nginx-mailcow", brief.leaf.fingerprint]]),
  });
  equal(refused({ ...ending, now: new Date("2026-06-05T00:00:00Z") }), "it was not refused");
  match(refused({ ...ending, now: new Date("2026-05-10T00:00:00Z") }), /is older/);
  const shorter = { ...ending, candidate: briefer, now: new Date("2026-06-05T00:00:00Z") };
  match(refused(shorter), /is older/);
});

Deno.test("what needs a person is said by every run", () => {
  const warned = (circumstances: Circumstances) => standingWarnings(facts(circumstances));
  deepEqual(warned({ sniDirectories: [sni("a", [NAME], fresh)] }), []);
  match(warned({ sniDirectories: [sni("a", ["mx.net"], own)] }).join(), /"mx\.net"$/);
  match(
    warned({ sniDirectories: [sni("a", ["mx.net"], expired)] }).join(),
    /expired at 2026-05-31T.*move the directory out of data\/assets\/ssl and restart postfix/,
  );
  const soon = { now: new Date("2026-07-20T00:00:00Z") };
  match(warned({ sniDirectories: [sni("a", ["mx.net"], own)], ...soon }).join(), /ends at 2026-/);
  const mixed = { ...own, keyPem: old.keyPem };
  match(warned({ sniDirectories: [sni("a", ["mx.net"], mixed)] }).join(), /holds no pair: its key/);
  match(warned({ sniDirectories: [sni(".a", ["mx.net"], mixed)] }).join(), /holds no pair/);
  deepEqual(warned({ sniDirectories: [sni(".a", ["mx.net"], own)] }), []);
});

Deno.test("a wildcard holds the mail hostname: an expired one of it is taken over", () => {
  const carried = (pair: Pair) =>
    planned(facts({ sniDirectories: [sni("*.example.org", ["*.example.org"], pair)] })).directories;
  deepEqual(carried(expired), [`${SSL}/*.example.org`]);
  deepEqual(carried(own), []);
});

Deno.test("which SNI directories carry the certificate", () => {
  const cases: [what: string, candidate: Pair, directory: SniDirectory, carries: boolean][] = [
    ["all covered", fresh, sni("a", [NAME], old), true],
    ["covered by a wildcard", wide, sni("a", [NAME, "shop.example.com"], old), true],
    ["other names, all covered", wide, sni("a", ["shop.example.com"], old), true],
    ["deeper than the wildcard", wide, sni("a", [NAME, "a.shop.example.com"], old), false],
    ["only https names", fresh, sni("a", [NAME, "autodiscover.example.net"], old), true],
    ["only https names, without ours", fresh, sni("a", ["autoconfig.example.net"], old), false],
    ["one mail name", fresh, sni("a", [NAME, "mta-sts.a.org", "webmail.example.net"], own), false],
    ["one mail name, expired", fresh, sni("a", [NAME, "webmail.example.net"], expired), true],
    ["one mail name, broken", fresh, sni("a", [NAME, "webmail.example.net"], null), false],
    ["foreign, expired", fresh, sni("a", ["mx.example.net"], expired), false],
    ["foreign", fresh, sni("a", ["mx.example.net"], own), false],
    ["nobody's", fresh, sni("a", [], expired), false],
  ];
  for (const [what, candidate, directory, carries] of cases) {
    const given = facts({ candidate, deployed: installed(candidate), sniDirectories: [directory] });
    const { directories, warnings } = planned({ ...given, memory: facts().memory });
    deepEqual(directories, carries ? [directory.directory] : [], what);
    equal(warnings.length, carries ? 0 : 1, what);
  }
});

Deno.test("which SNI directories carry it from then on, once another pair was replaced there", () => {
  const domains = [NAME, "webmail.example.net"];
  const given: [what: string, deployed: Pair, there: Pair, taken: string[], carries: boolean][] = [
    ["it was taken over", old, old, ["a"], true],
    ["it was taken over, and has the new one after a crash", old, fresh, ["a"], true],
    ["another one was taken over", old, old, ["b"], false],
    ["none was", old, old, [], false],
    ["what it was given covers more than the new one", own, own, ["a"], false],
    ["it got a certificate of its own again", fresh, old, ["a"], false],
    ["that one has expired by now", fresh, expired, ["a"], true],
  ];
  for (const [what, deployed, there, taken, carries] of given) {
    const directory = sni("a", domains, there);
    const found = carriers(
      facts({ deployed: installed(deployed), sniDirectories: [directory], taken }),
    );
    deepEqual(found, carries ? [directory.directory, SSL] : [SSL], what);
  }
});

Deno.test("names that the deployed certificate had are missed, however they are covered", () => {
  const lost = (candidate: Pair, deployed: Pair) =>
    planned(facts({ candidate, deployed: installed(deployed), loaded: new Map() })).warnings;
  deepEqual(lost(fresh, wide), [
    'the new certificate lacks names of the deployed one: "Webmail.example.org", "*.example.com"',
  ]);
  deepEqual(lost(wide, fresh), []);
  deepEqual(lost(fresh, old), []);
});

Deno.test("the mail hostname is mailcow's, and the domain where it names none", () => {
  equal(mailHostname({ ...facts(), domain: "mx.example.org" }), NAME);
  equal(mailHostname(facts({ conf: "SKIP_LETS_ENCRYPT=y" })), NAME);
});
