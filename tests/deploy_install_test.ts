// What is put where, what is kept, and what goes back: real files, no service, no process but openssl.

import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { type Pair, parsePair } from "../lib/certificate/pair.ts";
import { readMemory } from "../lib/chain/deploy_memory.ts";
import { readMailcow, serviceNames } from "../lib/chain/mailcow.ts";
import type { Scene } from "../lib/chain/scene.ts";
import type { DeployConfig } from "../lib/config/deploy_config.ts";
import type { DeployFacts } from "../lib/deploy/facts.ts";
import { installEverything } from "../lib/deploy/install_everything.ts";
import { failingServices, planReturns } from "../lib/deploy/fall.ts";
import { writeLoaded, writeMade } from "../lib/deploy/memory.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import { putBack } from "../lib/deploy/rollback.ts";
import {
  preparePrevious,
  previousDirectory,
  previousOfName,
  readPrevious,
  readPreviousOfName,
} from "../lib/deploy/previous.ts";
import type { Check, ServiceOutcome } from "../lib/deploy/wire.ts";
import { parseEndpoint } from "../lib/values/endpoint_url.ts";
import { authority, type Leaf } from "./kit/authority.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { runContext } from "./kit/run_context.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org", SHOP = "shop.example.com", CLUB = "club.example.net";
const DOVECOT = "dovecot-mailcow";
const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [top, newTop, oldTop, both, newBoth, expired] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [SHOP, CLUB] }),
  ca.issue({ names: [SHOP, CLUB] }),
  ca.issue({ names: [NAME], notAfter: new Date(Date.now() - 60_000) }),
]);

function pairOf({ fullchainPem, keyPem }: Pick<Leaf, "fullchainPem" | "keyPem">): Pair {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const files = { chainPem: bytes(fullchainPem), keyPem: bytes(keyPem) };
  return parsePair(files, { chain: "cert.pem", key: "key.pem" });
}

/** A mailcow with a pair at its top level and one for two further names, of which another was kept. */
async function scene(lying: Pick<Leaf, "fullchainPem" | "keyPem"> = top) {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const mailcow = await mailcowTree(`${dir.path}/mailcow`, { leaf: lying });
  const directory = await mailcow.putSni("two", both, [SHOP, CLUB]);
  const state = `${dir.path}/state`;
  await Deno.mkdir(state, { mode: 0o700 });
  for (const place of [previousDirectory(state), previousOfName(state, SHOP)]) {
    using kept = preparePrevious(pairOf(oldTop), place);
    kept.putInPlace();
  }
  const facts = (names: string[], more: Partial<NamePlan> = {}): DeployFacts => ({
    mailcow: readMailcow(mailcow.root),
    memory: readMemory(state),
    ...{ taken: new Set(), claimed: new Set([directory]), domain: NAME, now: new Date() },
    candidate: pairOf(newTop),
    further: names.map((name) => ({
      ...{ name, refusal: null, serving: pairOf(newBoth), directory, deed: "install" },
      ...{ former: pairOf(both), warnings: [], ...more },
    })),
  });
  const install = (
    found: DeployFacts,
    wishes: Partial<DeployConfig> = {},
    directories = [mailcow.ssl],
  ) =>
    installEverything(
      {
        plan: {
          ...{ kind: "install", directories, services: serviceNames, warnings: [] },
          changesLeaf: directories.length > 0,
        },
        facts: found,
        rejected: { before: new Map(), now: new Map() },
      },
      new Map([["imaps://h:993 (no SNI)", "now" as const]]),
      // Of the rest it looks at nothing.
      {
        state,
        mailcow: mailcow.root,
        force: false,
        rollback: false,
        only: [],
        ...wishes,
      } as DeployConfig,
      runContext(),
    );
  /** Nobody can write there, whoever he is, and what lies there can be read. */
  const obstruct = async (where: string) => {
    await Deno.mkdir(`${where}/.certsync-cert.pem/full`, { recursive: true });
  };
  const owned = stack.move();
  return {
    ...{ mailcow, directory, state, facts, install, obstruct },
    lies: (where: string) => Deno.readTextFileSync(`${where}/cert.pem`),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("what is replaced is kept, each owner's for itself, and what was loaded is forgotten", async () => {
  await using all = await scene();
  const [loaded, byTop, asEver] = [
    new Map([["nginx-mailcow", top.fingerprint] as const]),
    "www.a",
    "b",
  ];
  const loadedFor = new Map([SHOP, CLUB, byTop, asEver].map((name) => [name, loaded] as const));
  writeLoaded(all.state, { loaded, loadedFor });
  const found = all.facts([SHOP, CLUB]);
  const served = { ...found.further[0], name: byTop, directory: null, deed: "none" } as NamePlan;
  const other = { ...served, name: asEver, directory: "/ssl/b" };
  const further = [...found.further, served, other];
  const { installed, failures, hindered } = await all.install({ ...found, further });
  equal(installed.length, 4);
  deepEqual([failures.size, hindered], [0, null]);
  equal(readPrevious(all.state)?.leaf.fingerprint, top.fingerprint);
  for (const name of [SHOP, CLUB]) {
    equal(readPreviousOfName(all.state, name)?.leaf.fingerprint, both.fingerprint);
    equal((Deno.statSync(previousOfName(all.state, name)).mode ?? 0) & 0o777, 0o700);
  }
  equal(await Deno.readTextFile(`${all.state}/answered`), "imaps://h:993 (no SNI)\n");
  // What stays as it was is served as it was.
  const memory = readMemory(all.state);
  deepEqual([memory.loaded.size, [...memory.loadedFor.keys()]], [0, [asEver]]);
});

Deno.test("what is put where it lies already is not kept as what was there before", async () => {
  await using all = await scene();
  equal((await all.install({ ...all.facts([]), candidate: pairOf(top) })).hindered, null);
  equal(readPrevious(all.state)?.leaf.fingerprint, oldTop.fingerprint);
});

Deno.test("where the top level cannot be written, further names get theirs if services could start with what lies there", async () => {
  await using well = await scene();
  await well.obstruct(well.mailcow.ssl);
  const { failures, hindered } = await well.install(well.facts([SHOP, CLUB]));
  deepEqual([failures.size, hindered?.goesOn.leaf.fingerprint], [0, top.fingerprint]);
  match(hindered?.failure.message ?? "", /a directory is in the way/);
  equal(well.lies(well.directory), newBoth.fullchainPem);
  equal(well.lies(well.mailcow.ssl), top.fullchainPem);

  const nobody: [what: string, lying: Parameters<typeof scene>[0], names: string[]][] = [
    ["there is none that gets any", top, []],
    ["no service could start", { fullchainPem: top.fullchainPem, keyPem: newTop.keyPem }, [SHOP]],
  ];
  for (const [what, lying, names] of nobody) {
    await using all = await scene(lying);
    await all.obstruct(all.mailcow.ssl);
    await rejects(all.install(all.facts(names)), /a directory is in the way/, what);
    equal(all.lies(all.directory), both.fullchainPem, what);
  }
});

Deno.test("what cannot be gone back to stays what it would be gone back to", async () => {
  await using all = await scene();
  await all.obstruct(all.directory);
  const back = { rollback: true, only: [SHOP] };
  const found = all.facts([SHOP], { serving: pairOf(oldTop) });
  deepEqual([...(await all.install(found, back, [])).failures.keys()], [SHOP]);
  equal(readPreviousOfName(all.state, SHOP)?.leaf.fingerprint, oldTop.fingerprint);
  await Deno.remove(`${all.directory}/.certsync-cert.pem`, { recursive: true });
  equal((await all.install(found, back, [])).failures.size, 0);
  equal(readPreviousOfName(all.state, SHOP)?.leaf.fingerprint, both.fingerprint);

  // The same of the domain, whose hindrance stops no name.
  await all.obstruct(all.mailcow.ssl);
  const domain = { ...all.facts([SHOP]), candidate: pairOf(oldTop) };
  const { hindered } = await all.install(domain, { rollback: true });
  equal(hindered === null, false);
  equal(readPrevious(all.state)?.leaf.fingerprint, oldTop.fingerprint);
});

Deno.test("a pair that cannot be kept for one name is replaced for none that shares its directory", async () => {
  await using all = await scene();
  await Deno.writeTextFile(`${all.state}/previous-names/${CLUB}`, "somebody else's");
  const { failures, installed } = await all.install(all.facts([SHOP, CLUB]), {}, []);
  deepEqual([[...failures.keys()], installed], [[SHOP, CLUB], []]);
  match(failures.get(SHOP)?.message ?? "", /certsync did not make/);
  equal(all.lies(all.directory), both.fullchainPem);
});

/** Dovecot gives no certificate to who asks for the name, although it was restarted. */
function fallenFor(sni: string): ServiceOutcome {
  const probe = { endpoint: parseEndpoint("imaps://127.0.0.1:993", "it"), sni };
  const check: Check = {
    ...{ probe, served: { kind: "none", reason: "connection refused" }, verdict: "silent" },
    ...{ right: [], keyKind: null, answered: "now", unhelped: null },
  };
  return {
    ...{ service: DOVECOT, action: "restarted", checks: [check], isConfirmed: false },
    ...{ hadItsRestart: true, hasStarted: true, wasAway: true, warnings: [] },
    ...{ trouble: null, obstacle: null, withheld: null },
  };
}

Deno.test("a pair goes back to another one that was kept and is good, unless its service had served it", async () => {
  await using all = await scene(newTop);
  const back = async (kept: Pick<Leaf, "fullchainPem" | "keyPem">, loaded: Leaf = top) => {
    using file = preparePrevious(pairOf(kept), previousDirectory(all.state));
    file.putInPlace();
    const facts = all.facts([]);
    const memory = { ...facts.memory, loaded: new Map([[DOVECOT, loaded.fingerprint] as const]) };
    const { returns, isEverything } = await planReturns(
      ...[[DOVECOT], [fallenFor(NAME)], { ...facts, memory }, all.state, runContext()] as const,
    );
    equal(isEverything, false); // one alone is to blame
    return returns.map(({ former }) => former?.leaf.fingerprint);
  };
  deepEqual(await back(oldTop), [oldTop.fingerprint]);
  deepEqual(await back(oldTop, newTop), []);
  deepEqual(await back(newTop), []);
  deepEqual(await back(expired), []);
  deepEqual(await back({ fullchainPem: oldTop.fullchainPem, keyPem: top.keyPem }), []);
});

Deno.test("a service fell that was restarted and gives nothing, where docker says that it runs", async () => {
  await using dir = await tempDir();
  const scene = { compose: { directory: dir.path, version: "native" } } as Scene;
  const context = runContext({
    environment: { PATH: dir.path, HOME: undefined, SSH_AUTH_SOCK: undefined },
  });
  const failing = (more: Partial<ServiceOutcome>) =>
    failingServices([{ ...fallenFor(NAME), ...more }], scene, context);
  deepEqual(await failing({}), []); // without docker nobody can tell
  const running = JSON.stringify({ Service: DOVECOT, State: "running" });
  await Deno.writeTextFile(`${dir.path}/docker`, `#!/bin/sh\necho '${running}'\n`, { mode: 0o755 });
  deepEqual(await failing({}), [DOVECOT]);
  deepEqual(await failing({ hadItsRestart: false, obstacle: { words: "no pair" } }), []);
  deepEqual(await failing({ trouble: { words: "docker said no" } }), []);
  deepEqual(await failing({ checks: [] }), []);
});

Deno.test("a directory goes out of service where certsync made it and nothing was kept of it before", async () => {
  await using all = await scene();
  const directory = await all.mailcow.putSni(SHOP, newBoth, [SHOP]);
  const back = async (kept: Leaf | null, more: Partial<NamePlan> = {}) => {
    const place = previousOfName(all.state, SHOP);
    await Deno.remove(place, { recursive: true });
    using file = preparePrevious(pairOf(kept ?? both), place);
    if (kept !== null) file.putInPlace();
    const facts = all.facts([SHOP], { directory, ...more });
    const { returns } = await planReturns(
      ...[[DOVECOT], [fallenFor(SHOP)], facts, all.state, runContext()] as const,
    );
    return returns.map(({ name, former }) => [name, former?.leaf.fingerprint ?? null]);
  };
  deepEqual(await back(null), []); // nobody knows whose it is
  writeMade(all.state, new Map([[SHOP, "made"]]));
  deepEqual(await back(null), [[SHOP, null]]);
  deepEqual(await back(null, { deed: "make" }), [[SHOP, null]]);
  deepEqual(await back(both), [[SHOP, both.fingerprint]]);
  deepEqual(await back(expired), []); // there was one before, though none to go back to
  await Deno.writeTextFile(`${directory}/domains`, `${SHOP} www.${SHOP}\n`);
  deepEqual(await back(null), []); // somebody has it served for more
});

Deno.test("what goes back has no service restarted anew for a directory that stays", async () => {
  await using all = await scene();
  const [back] = all.facts([SHOP]).further;
  const [stays] =
    all.facts([CLUB], { deed: "make", directory: `${all.mailcow.ssl}/${CLUB}` }).further;
  if (back === undefined || stays === undefined) throw new Error("two were asked for");
  const found = { ...all.facts([]), further: [back, stays] };
  // Each service owed it when the run began to install, and has been restarted since.
  const owed = new Map(serviceNames.map((service) => [service, new Set([CLUB])] as const));
  const { current } = putBack(
    [{ name: SHOP, refused: pairOf(newBoth), former: pairOf(both) }],
    { ...found, memory: { ...found.memory, owed } },
    { state: all.state, mailcow: all.mailcow.root },
  );
  deepEqual([current.memory.owed.size, readMemory(all.state).owed.size], [0, 0]);
});
