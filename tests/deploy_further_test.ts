// What is tried again for further names, who is told of them, and what is owed: no socket, no process but openssl.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Pair } from "../lib/certificate/pair.ts";
import { type Service, serviceNames } from "../lib/chain/mailcow.ts";
import type { OwnDirectory } from "../lib/chain/sni.ts";
import { unclearFor } from "../lib/chain/unclear.ts";
import {
  decideNames,
  refuseReturned,
  servicesLacking,
  servicesToTell,
  unloadedNames,
} from "../lib/deploy/further.ts";
import { clearForced } from "../lib/deploy/forced.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import type { NameFacts } from "../lib/deploy/names.ts";
import { goneDirectories, hasRead } from "../lib/deploy/owed.ts";
import type { Plan } from "../lib/deploy/plan.ts";
import { preparePrevious, previousOfName } from "../lib/deploy/previous.ts";
import { whyUnclear } from "../lib/deploy/whole_mailcow.ts";
import type { Check, ServiceOutcome, Verdict } from "../lib/deploy/wire.ts";
import { Failure } from "../lib/failure.ts";
import type { DeployConfig } from "../lib/config/deploy_config.ts";
import type { Scene } from "../lib/chain/scene.ts";
import { brief, facts, fresh, installed, NAME, old, own, pair, sni, wide } from "./deploy_facts.ts";
import { runContext } from "./kit/run_context.ts";
import { tempDir } from "./kit/temp_dir.ts";

const SHOP = "shop.example.com";
const [POSTFIX, DOVECOT] = ["postfix-mailcow", "dovecot-mailcow"] as const;

const NO_PLAN: Plan = {
  ...{ kind: "install", directories: [], services: [], changesLeaf: false, warnings: [] },
};

const fingerprintOf = ({ leaf }: Pair) => leaf.fingerprint;

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

Deno.test("what is forced or gone back to is rejected no more, and what is gone back from is", async () => {
  const rejectedAfter = async (
    { only = [SHOP], force = false, serving = fresh, former = old, kept = fresh, more = {} }: {
      only?: string[];
      force?: boolean;
      serving?: Pair;
      former?: Pair;
      kept?: Pair | null;
      more?: Partial<NamePlan>;
    },
    plan: Partial<Plan> | null = null,
  ) => {
    await using dir = await tempDir();
    if (kept !== null) {
      using file = preparePrevious(kept, previousOfName(dir.path, SHOP));
      file.putInPlace();
    }
    const found = facts({ candidate: own, rejected: [fresh, wide].map(fingerprintOf) });
    const one: NamePlan = {
      ...{ name: SHOP, refusal: null, serving, directory: "/ssl/own", deed: "install", former },
      ...{ warnings: [], ...more },
    };
    const left = clearForced(
      { ...found, mailcow: { ...found.mailcow, deployed: installed(old) }, further: [one] },
      plan && { ...NO_PLAN, ...plan },
      // Of the rest it looks at nothing.
      { state: dir.path, force, rollback: !force, only } as unknown as DeployConfig,
    );
    const names = new Map(
      [fresh, old, own, wide, brief].map((pair) => [fingerprintOf(pair), pair]),
    );
    return new Set([...left.keys()].map((fingerprint) => names.get(fingerprint)));
  };
  const cases: [what: string, Awaited<ReturnType<typeof rejectedAfter>>, rejected: Pair[]][] = [
    ["a name's own", await rejectedAfter({}), [wide, old]],
    ["the top-level pair in its stead", await rejectedAfter({ serving: own }), [fresh, wide, old]],
    ["another name's", await rejectedAfter({ serving: brief }), [fresh, wide]],
    ["nothing was kept", await rejectedAfter({ serving: own, kept: null }), [fresh, wide]],
    ["what lies there", await rejectedAfter({ former: fresh }), [wide]],
    ["it is refused", await rejectedAfter({ more: { refusal: new Failure("no") } }), [fresh, wide]],
    ["it is forced", await rejectedAfter({ force: true }), [wide]],
    ["it is not meant", await rejectedAfter({ only: [NAME] }), [fresh, wide]],
    ["the domain", await rejectedAfter({ only: [] }, { changesLeaf: true }), [fresh, wide, old]],
    ["the domain's own leaf", await rejectedAfter({ only: [] }, {}), [fresh, wide]],
  ];
  for (const [what, rejected, shall] of cases) deepEqual(rejected, new Set(shall), what);
});

const [shop, newer, past, top] = await Promise.all([
  pair({ names: [SHOP] }),
  pair({ names: [SHOP], notBefore: new Date("2026-05-20T00:00:00Z") }),
  pair({ names: [SHOP], notAfter: new Date("2026-05-31T00:00:00Z") }),
  pair({
    names: [NAME, SHOP],
    notBefore: new Date("2026-05-20T00:00:00Z"),
    notAfter: new Date("2026-07-10T00:00:00Z"),
  }),
]);

Deno.test("a name is judged again once anything of it is not as it should be, and asked about nowhere else", async () => {
  const nobody = { PATH: "/nowhere", HOME: undefined, SSH_AUTH_SOCK: undefined };
  const decide = async (
    candidate: Pair,
    {
      lying = candidate,
      loaded = lying,
      isForced = false,
      isAcmeBehind = false,
      isAsked = true,
      at = fresh,
    }: {
      lying?: Pair | null;
      loaded?: Pair | null;
      isForced?: boolean;
      isAcmeBehind?: boolean | null;
      isAsked?: boolean;
      at?: Pair;
    } = {},
  ) => {
    const directory = sni(SHOP, [SHOP], lying);
    const one: NameFacts = {
      ...{ name: SHOP, candidate, own: lying ? { kind: "own", directory } : { kind: "none" } },
      ...{ place: "free", standing: null, made: null, isFilled: false, wasReplaced: false },
      ...{ isForced, isReturning: false, previous: () => null },
    };
    const found = facts({ candidate: at });
    const loadedFor = new Map(loaded ? [[SHOP, loadedBy(loaded)]] : []);
    const [plan] = await decideNames(
      ...[[one], at, { ...found, memory: { ...found.memory, loadedFor } }] as const,
      () => Promise.resolve({ isAcmeBehind } as Scene),
      // Of the rest it looks at nothing.
      {
        staging: "/staging",
        state: "/state",
        trust: { kind: "none" },
        dryRun: true,
      } as DeployConfig,
      runContext({ now: found.now, ...(!isAsked && { environment: nobody }) }),
    );
    return plan?.refusal?.message ??
      `${plan?.deed} ${plan?.serving === candidate ? "it" : "another"}`;
  };
  equal(await decide(shop, { isAsked: false }), "none it");
  match(await decide(past), /^certificate expired at 2026-05-31/);
  match(await decide(fresh), /^certificate does not cover "shop\.example\.com"/);
  match(await decide(fresh, { lying: null, loaded: null }), /^certificate does not cover "shop/);
  match(await decide({ ...shop, keyPem: newer.keyPem }), /^key does not match certificate/);
  equal(await decide(newer, { lying: shop }), "install it");
  // Only what certsync saw served is kept from an older one, and nothing from who forces it.
  match(await decide(shop, { lying: newer }), /is older .* than the deployed one/);
  equal(await decide(shop, { lying: newer, loaded: null }), "install it");
  equal(await decide(shop, { lying: newer, isForced: true }), "install it");
  equal(await decide(shop, { isForced: true }), "install it");
  // Nor from its own what only stood in for that.
  equal(await decide(shop, { lying: top, at: top }), "install it");
  equal(await decide(shop, { lying: null }), "make it");
  match(await decide(shop, { lying: null, isAcmeBehind: true }), /to backups\/$/);
  match(await decide(shop, { lying: null, isAcmeBehind: null }), /docker does not tell/);
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
  equal(whyUnclear({ ...mailcow, deployed: installed(null) }), null);
  match(whyUnclear({ ...mailcow, deployed: installed(null, shut) })?.message ?? "", /I\/O error/);
  // Elsewhere it costs what is served from there, and whatever needs a restart.
  const [own, other] = [sni(SHOP, [SHOP], null), sni("a", ["a.example"], null)];
  const unclear = (more: Partial<typeof mailcow>, isMaking = false) => {
    const place = own.directory;
    return unclearFor({ place, isMaking }, { ...mailcow, ...more });
  };
  equal(unclear({ sniDirectories: [own, other] }, true), null);
  match(unclear({ closedDirectories: [own.directory] })?.words ?? "", /^cannot look into ".*shop/);
  const closed = unclear({ sniDirectories: [{ ...own, ...shut }] });
  match(closed?.words ?? "", /^the deployed pair in ".*\/shop.*" cannot be read: I\/O error/);
  match(closed?.wayOut ?? "", /lsattr/);
  const tooLarge = { ...shut, isTooLarge: true, problem: "is larger than 64 KiB" };
  const large = { sniDirectories: [{ ...other, ...tooLarge }] };
  // What the disk does not give ends the run; what is too large does not.
  equal(whyUnclear({ ...mailcow, ...large }), null);
  for (
    const more of [
      { closedDirectories: [own.directory] },
      { sniDirectories: [{ ...other, ...shut }] },
    ]
  ) match(whyUnclear({ ...mailcow, ...more })?.hint ?? "", /lsattr/);
  equal(unclear(large), null);
  match(unclear(large, true)?.wayOut ?? "", /^mend that file, or move/);
});
