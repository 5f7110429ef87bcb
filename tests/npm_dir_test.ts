import { deepEqual, equal, match, throws } from "node:assert/strict";
import {
  choiceWarnings,
  chooseLineage,
  type Lineage,
  maySucceed,
  namedLineage,
  tieWarnings,
} from "../lib/chain/npm_dir.ts";
import type { SourceConfig } from "../lib/config/push_config.ts";
import { Failure } from "../lib/failure.ts";
import { chooseDirectory, NoLineage } from "../lib/push/choice.ts";
import { Passing } from "../lib/push/pair_at.ts";

const NAME = "mail.example.org";

function lineage(name: string, properties: Partial<Lineage> = {}): Lineage {
  return {
    directory: `/live/${name}`,
    chain: null,
    state: "valid",
    problem: null,
    warning: null,
    fingerprint: null,
    subject: `CN=${NAME}`,
    issuer: "CN=R11,O=Let's Encrypt,C=US",
    names: [NAME],
    notBefore: new Date("2026-01-01"),
    notAfter: new Date("2026-04-01"),
    lifeLeft: 0.9,
    isChanging: false,
    isUnreadable: false,
    ...properties,
  };
}

const staging = {
  state: "staging",
  issuer: "CN=(STAGING) Tenuous Tomato R13,O=(STAGING) Let's Encrypt,C=US",
} as const;
const expired = { state: "expired", lifeLeft: -0.1 } as const;
const overdue = { lifeLeft: 0.2 };
const later = { notBefore: new Date("2026-01-02") };
const wildcard = { names: ["*.example.org"] };
const selfSigned = { issuer: `CN=${NAME}` };

const preferences: Record<string, [better: Partial<Lineage>, worse: Partial<Lineage>]> = {
  "a valid one before a later one that has expired": [{}, { ...expired, ...later }],
  "a valid one before one that is not yet valid": [{}, { state: "not-yet-valid", ...later }],
  "an overdue one before an expired one": [overdue, { ...expired, ...later }],
  "a staging one before an expired one": [staging, { ...expired, ...later }],
  "a trusted one before a later staging one": [{}, { ...staging, ...later }],
  "an overdue trusted one before a staging one": [overdue, { ...staging, ...later }],
  "an overdue wildcard before an exact staging one": [{ ...overdue, ...wildcard }, staging],
  "one that is not overdue before a later one that is": [{}, { ...overdue, ...later }],
  "a wildcard that is not overdue before an overdue exact name": [wildcard, overdue],
  "one with a quarter left before one with less": [{ lifeLeft: 0.25 }, {
    lifeLeft: 0.2499,
    ...later,
  }],
  "an exact name before a later wildcard": [{}, { ...wildcard, ...later }],
  "a trusted one before a later self-signed one": [{}, { ...selfSigned, ...later }],
  "an overdue trusted wildcard before an exact self-signed one": [
    { ...overdue, ...wildcard },
    selfSigned,
  ],
  "a self-signed one before an expired one": [selfSigned, { ...expired, ...later }],
  "the later of two": [later, {}],
  "the trusted one of two that have expired": [expired, {
    ...expired,
    issuer: staging.issuer,
    ...later,
  }],
};

for (const [what, [better, worse]] of Object.entries(preferences)) {
  Deno.test(`the choice is ${what}, wherever it lies`, () => {
    for (const [a, b] of [["npm-1", "npm-2"], ["npm-2", "npm-1"]] as const) {
      const lineages = [lineage(a, better), lineage(b, worse)];
      const choice = { best: lineages[0], equals: [] };
      deepEqual(chooseLineage(lineages, NAME), choice);
      deepEqual(chooseLineage(lineages.toReversed(), NAME), choice);
    }
  });
}

Deno.test("the highest number decides between equally good ones, which are told", () => {
  const names = ["npm-9", "npm-10", "npm-5-0001", "npm-10-0002", "npm-10-0001", "npm-x"];
  const lineages = names.map((name) => lineage(name));
  const { best, equals } = chooseLineage(lineages, NAME);
  equal(best?.directory, "/live/npm-10-0002");
  deepEqual(equals.map(({ directory }) => directory), [
    "/live/npm-10-0001",
    "/live/npm-10",
    "/live/npm-9",
    "/live/npm-5-0001",
    "/live/npm-x",
  ]);
  equal(tieWarnings(best!, equals).length, 5);
});

Deno.test("of one number in two live directories the better one for the name is meant", () => {
  const at = (directory: string, properties: Partial<Lineage> = {}) =>
    lineage("", { directory, ...properties });
  const [stale, current] = [at("/a/npm-5", overdue), at("/b/npm-5", later)];
  const longer = at("/a/npm-5-0001", { notBefore: new Date("2026-01-03") });
  for (const lineages of [[longer, stale, current], [current, stale, longer]]) {
    equal(namedLineage(lineages, "npm-5", NAME), current);
    equal(namedLineage(lineages, "npm-5-0001", NAME), longer);
    equal(namedLineage(lineages, "npm-50", NAME), null);
  }
  const foreign = at("/a/npm-5", { names: ["www.example.org"], ...later });
  equal(namedLineage([foreign, stale], "npm-5", NAME), stale);
  // The operator named it: whoever reads it says what is wrong with it.
  equal(namedLineage([foreign], "npm-5", NAME), foreign);
  equal(namedLineage([stale, current], "npm-5", null), stale);
});

Deno.test("only what covers the name is chosen", () => {
  for (const names of [[], ["example.org"], ["*.org"], ["www.example.org"], ["m*.example.org"]]) {
    deepEqual(chooseLineage([lineage("npm-1", { names })], NAME), { best: null, equals: [] });
  }
  const broken = lineage("npm-2", { state: "broken", names: [], notBefore: null, issuer: null });
  equal(chooseLineage([broken, lineage("npm-1")], NAME).best?.directory, "/live/npm-1");
  deepEqual(chooseLineage([], NAME), { best: null, equals: [] });
});

Deno.test("a wildcard is told where it is newer than the exact name, and as good otherwise", () => {
  const exact = lineage("npm-1");
  const warnings = (other: Partial<Lineage>) => {
    const lineages = [exact, lineage("npm-2", { ...wildcard, ...other })];
    return choiceWarnings(lineages, NAME, chooseLineage(lineages, NAME));
  };
  deepEqual(warnings(later), [
    '"/live/npm-2" holds a newer wildcard certificate; "/live/npm-1" is used, because it names ' +
    "the host itself",
  ]);
  for (const other of [{}, { ...later, ...expired }, { ...later, ...overdue }]) {
    deepEqual(warnings(other), []);
  }
  deepEqual(warnings({ ...later, issuer: staging.issuer }), []);
});

Deno.test("what is chosen after another, deploy takes after it: newer, or the other is overdue and ends sooner", () => {
  const served = lineage("npm-1", later);
  const [sooner, longer] = [new Date("2026-03-01"), new Date("2026-05-01")];
  equal(maySucceed(lineage("npm-2", later), served), true);
  equal(maySucceed(lineage("npm-2"), served), false);
  equal(maySucceed(lineage("npm-2", { notAfter: longer }), served), false);
  const ending = { ...served, ...overdue };
  equal(maySucceed(lineage("npm-2", { notAfter: longer }), ending), true);
  equal(maySucceed(lineage("npm-2", { notAfter: sooner }), ending), false);
  equal(maySucceed(lineage("npm-2"), { ...served, ...expired, state: "expired" }), true);
  equal(maySucceed(lineage("npm-2"), { ...served, ...selfSigned }), true);
});

Deno.test("push reads what is named, else the best one, unless deploy would refuse that after what it has", () => {
  const exact = lineage("npm-5", { fingerprint: "EXACT" });
  const newer = lineage("npm-6", { ...wildcard, ...later, fingerprint: "WILD" });
  const choose = (
    source: SourceConfig["source"],
    lineages: Lineage[],
    pushed: string[] = [],
  ) => chooseDirectory({ source, live: null, domain: NAME }, new Set(pushed), () => lineages);
  const auto = { kind: "auto" } as const;
  equal(choose({ kind: "directory", name: "/pair" }, []).directory, "/pair");
  const named = choose({ kind: "lineage", name: "npm-6" }, [exact, newer]);
  deepEqual([named.directory, named.others], ["/live/npm-6", ["/live/npm-5"]]);
  throws(() => choose({ kind: "lineage", name: "npm-7" }, [exact]), NoLineage);

  const best = choose(auto, [exact, newer], ["EXACT"]);
  deepEqual([best.directory, best.others], ["/live/npm-5", ["/live/npm-6"]]);
  match(best.warnings.join(), /holds a newer wildcard certificate/);
  const kept = choose(auto, [exact, newer], ["WILD"]);
  deepEqual([kept.directory, kept.others], ["/live/npm-6", ["/live/npm-5"]]);
  match(
    kept.warnings.join(),
    /^"\/live\/npm-5" would be chosen, but is older than what was pushed /,
  );
  // What has expired, or is a staging one, does for nobody.
  const bad = [lineage("npm-1", expired), lineage("npm-2", staging), lineage("npm-3")];
  deepEqual(choose(auto, [exact, ...bad]).others, ["/live/npm-3"]);
});

Deno.test("that no certificate covers the name may pass, be hidden by what is broken, or last", () => {
  const kindOf = (...lineages: Lineage[]) => {
    const wanted = { source: { kind: "auto" }, live: null, domain: NAME } as const;
    try {
      return chooseDirectory(wanted, new Set(), () => lineages).directory;
    } catch (error) {
      if (error instanceof Failure) return [error.constructor, error.message] as const;
      throw error;
    }
  };
  const others = lineage("npm-1", { names: ["www.example.net"] });
  const broken = lineage("npm-2", { state: "broken", names: [], problem: "npm-2 is odd" });
  const none = `no certificate for "${NAME}" in the live directories`;
  deepEqual(kindOf(others), [NoLineage, none]);
  deepEqual(kindOf(others, broken), [Failure, `${none}; skipped: npm-2 is odd`]);
  deepEqual(kindOf(others, { ...broken, isChanging: true }), [
    ...[Passing, `${none}; skipped: npm-2 is odd`],
  ]);
  deepEqual(kindOf({ ...broken, isUnreadable: true }), [
    ...[Failure, "source unreadable: npm-2 is odd"],
  ]);
});
