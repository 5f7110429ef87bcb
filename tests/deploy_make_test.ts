// The directories of further names, which come and go, and the restarts that are owed for it: files alone.

import { deepEqual, equal, throws } from "node:assert/strict";
import { type Pair, parsePair } from "../lib/certificate/pair.ts";
import { type Owed, readFilled, readMade, readMemory } from "../lib/chain/deploy_memory.ts";
import { readMailcow, type Service } from "../lib/chain/mailcow.ts";
import { confirmMade, hasWritten, makeDirectory, unmakeDirectory } from "../lib/deploy/make.ts";
import { settleFilled } from "../lib/deploy/fill.ts";
import { writeOwed } from "../lib/deploy/memory.ts";
import type { NamePlan } from "../lib/deploy/name_plan.ts";
import { owe, oweGone, oweWhatIs, settleOwed, settleStarted } from "../lib/deploy/owed.ts";
import type { ServiceOutcome } from "../lib/deploy/wire.ts";
import { facts } from "./deploy_facts.ts";
import { authority } from "./kit/authority.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { runContext } from "./kit/run_context.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { textOf } from "./kit/text_of.ts";

const SHOP = "shop.example.com", CLUB = "club.example.net";
const POSTFIX = "postfix-mailcow", DOVECOT = "dovecot-mailcow", NGINX = "nginx-mailcow";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: [SHOP] });
const bytes = (text: string) => new TextEncoder().encode(text);
const files = { chainPem: bytes(leaf.fullchainPem), keyPem: bytes(leaf.keyPem) };
const pair: Pair = parsePair(files, { chain: "cert.pem", key: "key.pem" });

async function scene() {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const mailcow = await mailcowTree(`${dir.path}/mailcow`, { leaf });
  const state = `${dir.path}/state`;
  await Deno.mkdir(state, { mode: 0o700 });
  const owned = stack.move();
  const place = `${mailcow.ssl}/${SHOP}`;
  const entries = () => Array.from(Deno.readDirSync(place), ({ name }) => name).sort();
  return {
    ...{ mailcow, state, place, entries, [Symbol.asyncDispose]: () => owned.disposeAsync() },
  };
}

const modeOf = (path: string) => (Deno.statSync(path).mode ?? 0) & 0o777;

Deno.test("a directory is made for all to read but its key, and what comes again is told from what was there", async () => {
  await using all = await scene();
  const { place, state } = all;
  const umask = Deno.umask(0o077);
  try {
    makeDirectory(SHOP, pair, place, state);
  } finally {
    Deno.umask(umask);
  }
  deepEqual(all.entries(), ["cert.pem", "domains", "key.pem"]);
  const modes = ["", "/cert.pem", "/domains", "/key.pem"].map((file) => modeOf(place + file));
  deepEqual(modes, [0o755, 0o644, 0o644, 0o600]);
  equal(await textOf(`${place}/domains`), `${SHOP}\n`);
  equal(readMade(state).get(SHOP), "made");
  for (const how of ["anew", "anew"]) {
    await Deno.remove(place, { recursive: true });
    makeDirectory(SHOP, pair, place, state);
    equal(readMade(state).get(SHOP), how);
  }
  confirmMade(SHOP, state);
  equal(readMade(state).get(SHOP), "made");
  confirmMade(CLUB, state);
  equal(readMade(state).has(CLUB), false);
  // Out of service: the next time is the first one again.
  unmakeDirectory(SHOP, place, state);
  deepEqual([all.entries(), readMade(state).get(SHOP)], [["cert.pem", "key.pem"], "begun"]);
  makeDirectory(SHOP, pair, place, state);
  equal(readMade(state).get(SHOP), "made");
});

Deno.test("a directory that could not be made whole is known for one that was begun", async () => {
  await using all = await scene();
  const { place, state } = all;
  const obstacle = `${place}/.certsync-cert.pem`;
  await Deno.mkdir(`${obstacle}/full`, { recursive: true });
  throws(() => makeDirectory(SHOP, pair, place, state), /a directory is in the way/);
  equal(readMade(state).get(SHOP), "begun");
  await Deno.remove(obstacle, { recursive: true });
  makeDirectory(SHOP, pair, place, state);
  equal(readMade(state).get(SHOP), "made");
});

Deno.test("of a directory that somebody else began the pair alone is certsync's, until it was served", async () => {
  await using all = await scene();
  const { place, state } = all;
  await Deno.mkdir(place);
  await Deno.writeTextFile(`${place}/domains`, `${SHOP} ${CLUB}\n`);
  makeDirectory(SHOP, pair, place, state);
  deepEqual([readMade(state).size, [...readFilled(state)]], [0, [SHOP]]);
  unmakeDirectory(SHOP, place, state);
  deepEqual([all.entries(), readFilled(state).size], [["domains"], 0]);
  makeDirectory(SHOP, pair, place, state);
  settleFilled([`${all.mailcow.ssl}/${CLUB}`], state);
  equal(readFilled(state).size, 1);
  settleFilled([place], state);
  equal(readFilled(state).size, 0);
  unmakeDirectory(SHOP, place, state);
  deepEqual(all.entries(), ["cert.pem", "domains", "key.pem"]);
});

Deno.test("what somebody puts in the place meanwhile is served for its own names with no pair of another's", async () => {
  await using all = await scene();
  const { place, state } = all;
  await Deno.mkdir(place);
  await Deno.writeTextFile(`${place}/domains`, `${CLUB}\n`);
  throws(() => makeDirectory(SHOP, pair, place, state), /is not for "shop\.example\.com"/);
  deepEqual([all.entries(), readFilled(state).size], [["domains"], 0]);
});

Deno.test("a file domains is certsync's own where it made the directory, and it is as it wrote it", async () => {
  await using all = await scene();
  const { place, state } = all;
  makeDirectory(SHOP, pair, place, state);
  equal(hasWritten(SHOP, place, state), true);
  equal(hasWritten(CLUB, place, state), false);
  await Deno.rename(`${place}/domains`, `${place}/elsewhere`);
  equal(hasWritten(SHOP, place, state), false);
  await Deno.symlink("elsewhere", `${place}/domains`);
  equal(hasWritten(SHOP, place, state), false);
  await Deno.remove(`${place}/domains`);
  await Deno.writeTextFile(`${place}/domains`, `${SHOP} ${CLUB}\n`);
  equal(hasWritten(SHOP, place, state), false);
  unmakeDirectory(SHOP, place, state);
  equal(await textOf(`${place}/domains`), `${SHOP} ${CLUB}\n`);
});

function plan(more: Partial<NamePlan>): NamePlan {
  const nothing = { refusal: null, serving: pair, former: null, warnings: [] };
  return { ...nothing, name: SHOP, directory: null, deed: "none", ...more };
}

const owing = (...all: [Service, ...string[]][]): Owed =>
  new Map(all.map(([service, ...names]) => [service, new Set(names)]));

Deno.test("a restart is owed before a directory comes or goes, and by nobody where it did not", async () => {
  await using all = await scene();
  const { state, place, mailcow } = all;
  const facts = { mailcow: readMailcow(mailcow.root) };
  const before = owing([DOVECOT, CLUB]);
  equal(owe([plan({ deed: "install", directory: place })], before, state), before);
  equal(readMemory(state).owed.size, 0); // nothing was written
  const everybody = owing([POSTFIX, SHOP], [DOVECOT, CLUB, SHOP], [NGINX, SHOP]);
  for (const deed of ["make", "unmake"] as const) {
    const further = [plan({ deed, directory: place })];
    if (deed === "unmake") makeDirectory(SHOP, pair, place, state);
    const owed = owe(further, before, state);
    deepEqual([owed, readMemory(state).owed], [everybody, everybody], deed);
    const left = (failed: string[], known = before) =>
      oweWhatIs(further, { owed, before: known, failed: new Set(failed) }, facts, state);
    deepEqual(left([SHOP]), before, deed); // it is there, or is not, as it was
    deepEqual(readMemory(state).owed, before, deed);
    deepEqual(left([]), everybody, deed);
    deepEqual(left([SHOP], owing([NGINX, SHOP])), owing([DOVECOT, CLUB], [NGINX, SHOP]), deed);
  }
  // It could not be made whole, and is served nevertheless.
  const made = [plan({ deed: "make", directory: place })];
  const failed = new Set([SHOP]);
  deepEqual(oweWhatIs(made, { owed: everybody, before, failed }, facts, state), everybody);
});

Deno.test("a restart is owed by each service until it has started, whoever else has", async () => {
  await using all = await scene();
  const { state } = all;
  writeOwed(state, owing([POSTFIX, SHOP], [DOVECOT, SHOP], [NGINX, SHOP, CLUB]));
  const outcome = (service: Service, hasStarted: boolean) =>
    ({ service, hasStarted, checks: [] }) as unknown as ServiceOutcome; // all that is looked at
  settleOwed(outcome(DOVECOT, false), state);
  settleOwed(outcome(POSTFIX, true), state);
  deepEqual(readMemory(state).owed, owing([DOVECOT, SHOP], [NGINX, SHOP, CLUB]));
  settleStarted(NGINX, state);
  deepEqual(readMemory(state).owed, owing([DOVECOT, SHOP]));
  settleStarted(POSTFIX, state);
  settleOwed(outcome(NGINX, true), state);
  deepEqual(readMemory(state).owed, owing([DOVECOT, SHOP]));
});

Deno.test("for a directory that is gone a restart is owed by whoever cannot be asked", async () => {
  await using all = await scene();
  const before = owing([DOVECOT, CLUB]);
  const found = { ...facts(), memory: { ...facts().memory, owed: before } };
  const owe = (gone: string[]) => oweGone(gone, found, { endpoints: [] }, all.state, runContext());
  equal(await owe([]), before);
  const everybody = owing([POSTFIX, SHOP], [DOVECOT, CLUB, SHOP], [NGINX, SHOP]);
  deepEqual(await owe([SHOP]), everybody);
  deepEqual(readMemory(all.state).owed, everybody);
});
