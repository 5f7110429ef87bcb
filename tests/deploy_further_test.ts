// What is tried again for further names, who is told of them, and what is owed. Pure.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Pair } from "../lib/certificate/pair.ts";
import { type Service, serviceNames } from "../lib/chain/mailcow.ts";
import type { OwnDirectory } from "../lib/chain/sni.ts";
import {
  refuseReturned,
  servicesLacking,
  servicesToTell,
  unloadedNames,
} from "../lib/deploy/further.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import type { NameFacts } from "../lib/deploy/names.ts";
import { goneDirectories, hasRead } from "../lib/deploy/owed.ts";
import { whyUnclear } from "../lib/deploy/whole_mailcow.ts";
import type { Check, ServiceOutcome, Verdict } from "../lib/deploy/wire.ts";
import { Failure } from "../lib/failure.ts";
import { facts, fresh, installed, old, own, sni } from "./deploy_facts.ts";

const SHOP = "shop.example.com";
const [POSTFIX, DOVECOT] = ["postfix-mailcow", "dovecot-mailcow"] as const;

function loadedBy(pair: Pair, services: readonly Service[] = serviceNames) {
  return new Map(services.map((service) => [service, pair.leaf.fingerprint] as const));
}

Deno.test("what was rolled back is refused until it is forced, loaded by all after all, or has its turn", () => {
  const [rejected, suspect, other] = [fresh, old, own];
  const { memory } = facts({ rejected: [rejected.leaf.fingerprint] });
  const suspects = new Set([suspect, other].map(({ leaf }) => leaf.fingerprint));
  const answer = (
    candidate: Pair,
    { lying = null, loaded = [], turn = null, isForced = false }: {
      lying?: Pair | null;
      loaded?: readonly Service[];
      turn?: Pair | null;
      isForced?: boolean;
    } = {},
  ) => {
    const one: NameFacts = {
      ...{ name: SHOP, candidate, own: { kind: "own", directory: sni("own", [SHOP], lying) } },
      ...{ place: "free", standing: null, made: null, isFilled: false, wasReplaced: false },
      ...{ isForced, isReturning: false, previous: () => null },
    };
    const loadedFor = new Map([[SHOP, loadedBy(candidate, loaded)]]);
    const situation = { memory: { ...memory, suspects, loadedFor } };
    const [end] = refuseReturned([one], situation, turn?.leaf.fingerprint ?? null);
    return end?.candidate instanceof Failure ? end.candidate.message : "it was not refused";
  };
  const taken = "it was not refused";
  match(answer(rejected), /rolled back before: .*, at 2026-05-02T/);
  match(answer(rejected, { turn: rejected }), /rolled back before/);
  match(answer(rejected, { lying: rejected, loaded: [POSTFIX] }), /rolled back before/);
  equal(answer(rejected, { lying: rejected, loaded: serviceNames }), taken);
  match(answer(rejected, { lying: old, loaded: serviceNames }), /rolled back before/);
  equal(answer(rejected, { isForced: true }), taken);
  // Of several that went back together each has its turn; what lies there already needs none.
  match(answer(suspect, { turn: other }), /rolled back together with others/);
  equal(answer(suspect, { turn: suspect }), taken);
  equal(answer(suspect), taken);
  equal(answer(suspect, { turn: other, lying: suspect }), taken);
  equal(answer(suspect, { turn: other, isForced: true }), taken);
});

Deno.test("the services that lack something for a name are told, and all are where something is written", () => {
  const plan = (more: Partial<NamePlan> = {}): NamePlan => ({
    ...{ name: SHOP, refusal: null, serving: fresh, directory: null, deed: "none", former: null },
    ...{ warnings: [], ...more },
  });
  const owing = (...services: Service[]) =>
    new Map(services.map((service) => [service, new Set([SHOP])] as const));
  const memory = {
    ...facts().memory,
    loadedFor: new Map([[SHOP, loadedBy(fresh)]]),
  };
  deepEqual(servicesLacking(plan(), memory), []);
  deepEqual(servicesLacking(plan({ serving: old }), memory), serviceNames);
  deepEqual(servicesLacking(plan({ serving: null }), memory), []);
  const partly = { ...memory, loadedFor: new Map([[SHOP, loadedBy(fresh, [POSTFIX])]]) };
  deepEqual(servicesLacking(plan(), partly), serviceNames.filter((one) => one !== POSTFIX));
  // A restart that is owed is, whatever was seen to be served.
  deepEqual(servicesLacking(plan(), { ...memory, owed: owing(DOVECOT) }), [DOVECOT]);

  const toTell = (
    further: NamePlan[],
    { directories = [], services = [], owed = new Map() }: {
      directories?: string[];
      services?: Service[];
      owed?: ReturnType<typeof owing>;
    } = {},
  ) => servicesToTell({ directories, services }, { further, memory: { ...memory, owed } });
  deepEqual(toTell([plan()]), []);
  deepEqual(toTell([plan()], { services: [POSTFIX] }), [POSTFIX]);
  deepEqual(toTell([plan()], { directories: ["/ssl"] }), serviceNames);
  deepEqual(toTell([plan({ deed: "install" })]), serviceNames);
  deepEqual(toTell([plan({ deed: "unmake", serving: null })]), serviceNames);
  // Also for a name that this run is not about.
  deepEqual(toTell([], { owed: owing(DOVECOT) }), [DOVECOT]);
});

Deno.test("what was loaded is forgotten where a directory is read otherwise than it was meant", () => {
  const directory = sni("own", [SHOP], fresh);
  const kinds: [own: OwnDirectory, isForgotten: boolean][] = [
    [{ kind: "own", directory }, false],
    [{ kind: "none" }, false],
    [{ kind: "several", directories: [directory, directory] }, true],
    [{ kind: "unlike", directory, line: SHOP }, true],
    [{ kind: "hidden", directory }, true],
  ];
  for (const [own, isForgotten] of kinds) {
    const forgotten = (loadedFor: Map<string, Map<Service, string>>) =>
      unloadedNames([{ name: SHOP, own }], { loadedFor });
    deepEqual(forgotten(new Map([[SHOP, new Map()]])), isForgotten ? [SHOP] : [], own.kind);
    deepEqual(forgotten(new Map()), [], own.kind);
  }
});

Deno.test("a service has read of a directory once it was started, or was seen to serve from it", () => {
  const outcome = (verdicts: [sni: string, Verdict][], hasStarted = false): ServiceOutcome => ({
    ...{ service: POSTFIX, action: "reloaded", hasStarted, isConfirmed: true },
    checks: verdicts.map(([sni, verdict]) => ({ probe: { sni }, verdict }) as Check),
    ...{ hadItsRestart: false, wasAway: false, withheld: null, warnings: [] },
    ...{ trouble: null, obstacle: null },
  });
  equal(hasRead(SHOP, outcome([], true)), true);
  equal(hasRead(SHOP, outcome([])), false);
  equal(hasRead(SHOP, outcome([[SHOP, "ok"], [SHOP, "absent"]])), true);
  equal(hasRead(SHOP, outcome([[SHOP, "absent"]])), false);
  equal(hasRead(SHOP, outcome([[SHOP, "ok"], [SHOP, "stale"]])), false);
  equal(hasRead(SHOP, outcome([["club.example.net", "ok"]])), false);
});

Deno.test("a directory that is gone is one that was there, of a host, and of nobody who is asked for", () => {
  const gone = (also: string[], ...names: string[]) => {
    const { mailcow, memory } = facts({ sniDirectories: [sni("there.example", [], null)] });
    return goneDirectories({ mailcow, memory: { ...memory, directories: new Set(names) } }, also);
  };
  deepEqual(gone([], "there.example", SHOP), [SHOP]);
  deepEqual(gone([SHOP], SHOP), []);
  deepEqual(gone([], "backups", "*.example.com", "A.example"), []);
});

Deno.test("what cannot be looked at is not taken for what is not there", () => {
  const { mailcow } = facts();
  const shut = { isReadable: false, problem: "cannot be read: I/O error" };
  const large = { isReadable: false, problem: "is larger than 64 KiB" };
  const why = (more: Partial<typeof mailcow>) => whyUnclear({ ...mailcow, ...more });
  equal(why({ sniDirectories: [sni("a", [SHOP], null)] }), null);
  match(why({ closedDirectories: ["/ssl/a"] })?.message ?? "", /^cannot look into "\/ssl\/a"/);
  match(why({ deployed: installed(null, shut) })?.message ?? "", /I\/O error/);
  const closed = why({ sniDirectories: [{ ...sni("a", [SHOP], null), ...shut }] });
  match(closed?.message ?? "", /^the deployed pair in ".*\/a" cannot be read/);
  match(closed?.hint ?? "", /lsattr/);
  match(why({ deployed: installed(null, large) })?.hint ?? "", /^mend that file, or move/);
});
