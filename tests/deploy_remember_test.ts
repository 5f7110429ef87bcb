// What deploy writes down of what became of the services: state files alone.

import { deepEqual, equal } from "node:assert/strict";
import type { Pair } from "../lib/certificate/pair.ts";
import { readAnswered, readMemory } from "../lib/chain/deploy_memory.ts";
import { type Service, serviceNames } from "../lib/chain/mailcow.ts";
import type { Scene } from "../lib/chain/scene.ts";
import type { DeployFacts } from "../lib/deploy/facts.ts";
import { writeLoaded, writeOwed, writeSuspects, writeUnhelped } from "../lib/deploy/memory.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import { clearNames, hasServed, remember, rememberService } from "../lib/deploy/remember.ts";
import { type Check, formatProbe, type ServiceOutcome, type Verdict } from "../lib/deploy/wire.ts";
import { parseEndpoint } from "../lib/values/endpoint_url.ts";
import { ALL_LOADED, facts, fresh, installed, NAME, old } from "./deploy_facts.ts";
import { tempDir } from "./kit/temp_dir.ts";

const SHOP = "shop.example.com";
const POSTFIX = "postfix-mailcow", DOVECOT = "dovecot-mailcow", NGINX = "nginx-mailcow";
const endpoint = parseEndpoint("imaps://127.0.0.1:993", "it");
// All that is looked at of it.
const scene = { endpoints: [endpoint] } as unknown as Scene;
const ASKED = formatProbe({ endpoint, sni: NAME });

/** `given` is what is served; null for nothing. */
function check(verdict: Verdict, given: Pair | null, sni: string | null = NAME): Check {
  return {
    probe: { endpoint, sni },
    served: given === null
      ? { kind: "none", reason: "closed" }
      : { kind: "certificate", leaf: given.leaf, chain: [given.leaf] },
    ...{ verdict, right: [], keyKind: null, answered: "now", unhelped: null },
  };
}

function outcome(checks: Check[], more: Partial<ServiceOutcome> = {}): ServiceOutcome {
  return {
    ...{ service: DOVECOT, action: "reloaded", checks, isConfirmed: false, hadItsRestart: false },
    ...{ hasStarted: false, wasAway: false, trouble: null, obstacle: null, withheld: null },
    ...{ warnings: [], ...more },
  };
}

const confirmed = { isConfirmed: true };
const restarted = { action: "restarted", hadItsRestart: true } as const;
const UNTOLD: DeployFacts = { ...facts(), memory: { ...facts().memory, loaded: new Map() } };

Deno.test("what became of a service decides what is loaded, unseen, beyond help, and owed", async () => {
  interface Left {
    loaded?: true;
    unseen?: true;
    unpublished?: true;
    unhelped?: string;
    owed?: true;
  }
  const leaf = old.leaf.fingerprint;
  const trouble = { words: "docker said no" };
  const cases: [
    what: string,
    ServiceOutcome,
    Left,
    more?: { failing?: Service[]; wrongs?: Verdict[]; facts?: DeployFacts },
  ][] = [
    ["it serves it", outcome([check("ok", fresh)], confirmed), { loaded: true }],
    ["it answers as ever", outcome([check("absent", null)], confirmed), {
      ...{ loaded: true, unseen: true },
    }],
    ["nobody can look", outcome([], confirmed), { loaded: true, unpublished: true, owed: true }],
    ["an old leaf", outcome([check("stale", old)]), { owed: true }],
    ["after a restart", outcome([check("stale", old)], restarted), { owed: true, unhelped: leaf }],
    [
      "after one that docker made by itself",
      outcome([check("stale", old)], {
        ...restarted,
        action: "reloaded",
      }),
      { owed: true },
    ],
    ["which failed", outcome([check("stale", old)], { ...restarted, trouble }), { owed: true }],
    ["as before", outcome([check("unhelped", old)]), { unhelped: leaf, owed: true }],
    ["silence, though it runs", outcome([check("silent", null)], restarted), {
      ...{ unhelped: "none", owed: true },
    }, { failing: [DOVECOT] }],
    ["silence while it starts", outcome([check("silent", null)], restarted), { owed: true }],
    ["silence that is owed no more", outcome([check("silent", null)]), {}, { wrongs: ["stale"] }],
    ["silence of what had served it", outcome([check("silent", null)]), {}, { facts: facts() }],
    ["it did not run", outcome([]), { owed: true }],
  ];
  for (const [what, end, left, { failing = [], wrongs, facts: found = UNTOLD } = {}] of cases) {
    await using dir = await tempDir();
    const run = {
      ...{ outcomes: [end], failing, answered: new Map([[ASKED, "now" as const]]) },
      wrongs: wrongs ?? ["silent", "stale", "unhelped"],
    };
    remember(run, found, scene, dir.path);
    const { loaded, unseen, unpublished, unhelped } = readMemory(dir.path);
    const told: Left = {
      ...(loaded.get(DOVECOT) === fresh.leaf.fingerprint && { loaded: true }),
      ...(unseen.has(DOVECOT) && { unseen: true }),
      ...(unpublished.has(DOVECOT) && { unpublished: true }),
      ...(unhelped.size > 0 && { unhelped: unhelped.get(ASKED)?.leaf ?? "" }),
      ...(readAnswered(dir.path).has(ASKED) && { owed: true }),
    };
    deepEqual(told, left, what);
    equal(readAnswered(dir.path).size, left.owed ? 1 : 0, what);
  }
});

Deno.test("what is known of the other services stays, but for what nobody asks any more", async () => {
  await using dir = await tempDir();
  writeLoaded(dir.path, { loaded: ALL_LOADED });
  writeOwed(dir.path, new Map([[DOVECOT, new Set([SHOP])], [NGINX, new Set([SHOP])]]));
  const gone = "pop3s://127.0.0.1:995 (no SNI)";
  const beyond = (service: Service, probe: string) => ({ service, probe, leaf: "none" });
  const noSni = formatProbe({ endpoint, sni: null });
  writeUnhelped(dir.path, [beyond(POSTFIX, noSni), beyond(POSTFIX, gone), beyond(DOVECOT, ASKED)]);
  rememberService(outcome([check("stale", old)], { hasStarted: true }), facts(), scene, dir.path);
  const { loaded, owed, unhelped } = readMemory(dir.path);
  deepEqual([...loaded.keys()], serviceNames.filter((service) => service !== DOVECOT));
  deepEqual([...owed.keys()], [NGINX]);
  deepEqual([...unhelped.keys()], [noSni]);
});

Deno.test("a pair was served where nothing is to be written for it, and that very one was loaded", () => {
  const plan = (more: Partial<NamePlan>): NamePlan => ({
    ...{ name: SHOP, refusal: null, serving: fresh, directory: "/ssl/own", deed: "none" },
    ...{ former: fresh, warnings: [], ...more },
  });
  const served = (more: Partial<NamePlan>, loaded = fresh) => {
    const loadedFor = new Map([[SHOP, new Map([[DOVECOT, loaded.leaf.fingerprint] as const])]]);
    const found = { ...facts(), further: [plan(more)] };
    return hasServed(DOVECOT, SHOP, { ...found, memory: { ...found.memory, loadedFor } });
  };
  equal(served({}), true);
  equal(served({ deed: "install" }), false);
  equal(served({ serving: null }), false);
  equal(served({}, old), false);
  const domain = (more: Parameters<typeof facts>[0]) => hasServed(DOVECOT, NAME, facts(more));
  equal(domain({}), true);
  equal(domain({ deployed: installed(old) }), false);
  equal(domain({ deployed: installed({ ...fresh, keyPem: old.keyPem }) }), false);
  equal(domain({ loaded: new Map() }), false);
});

Deno.test("what is served well after all is neither rejected nor suspected any more", async () => {
  await using dir = await tempDir();
  const found = facts();
  const both = [fresh, old].map(({ leaf }) => leaf.fingerprint);
  writeSuspects(dir.path, new Set(both));
  const memory = { ...found.memory, suspects: new Set(both) };
  const rejected = new Map(both.map((leaf) => [leaf, "2026-05-02T00:00:00Z"]));
  clearNames([null], { ...found, memory }, rejected, dir.path);
  const after = readMemory(dir.path);
  deepEqual([[...after.suspects], [...after.rejected.keys()]], [both.slice(1), both.slice(1)]);
});
