// Several certificates on real servers: the leaf of each name on every endpoint that is asked for it.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Leaf } from "../kit/authority.ts";
import { outcomes, refusalOf } from "../kit/names_host.ts";
import { run } from "../kit/run.ts";
import { assertSame, type Snapshot, snapshot } from "../kit/snapshot.ts";
import { actions, ALL_RELOADED, type Deployment, type Lab, SERVICES, startLab } from "./lab.ts";
import { assertEach, commandsIn, issueAll, stageAll, THIRTY } from "./names.ts";
import { ask, assertServed, HOSTNAME, NAMES, untilAnswered } from "./wire.ts";

const DAY_MS = 86_400_000;
const at = (days: number) => new Date(Date.now() + days * DAY_MS);

const [FIRST = "", SECOND = "", THIRD = "", FOURTH = "", FIFTH = ""] = THIRTY;

const directories = (lab: Lab, names: readonly string[]): Promise<Snapshot[]> =>
  Promise.all(names.map((name) => snapshot(`${lab.tree.ssl}/${name}`)));

Deno.test("thirty names: made with one restart, renewed by reloads, added, bad ones, removed by the steps", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const leaves = await issueAll(lab, THIRTY);
  await stageAll(lab, leaves);
  await lab.configure({}, THIRTY.slice(0, -1));
  let made: Deployment | undefined;
  const restarts = await lab.restartsDuring(async () => made = await lab.deploy());
  equal(made?.code, 0, made?.stderr);
  deepEqual(restarts, [...SERVICES].sort());
  const [last = ""] = THIRTY.slice(-1);
  await assertEach(lab, new Map([...leaves].filter(([name]) => name !== last)));

  // One is added, one renewed, and others are bad: the directories of all others are as they were.
  await lab.configure({}, THIRTY);
  equal((await lab.deploy()).code, 0);
  await assertEach(lab, leaves);
  const others = THIRTY.slice(5);
  const before = await directories(lab, others);
  leaves.set(FIRST, await lab.issue({ names: [FIRST] }));
  await lab.stage(leaves.get(FIRST) as Leaf, FIRST);
  const renewed = await lab.deploy();
  equal(renewed.code, 0, renewed.stderr);
  deepEqual(actions(renewed.json), ALL_RELOADED);
  equal(renewed.json.certificates[1].outcome, "deployed");

  await lab.stage(await lab.issue({ names: ["www.example.net"] }), SECOND);
  await lab.stage(await lab.issue({ names: [THIRD], notBefore: at(-90), notAfter: at(-1) }), THIRD);
  await lab.stage(
    { ...leaves.get(FOURTH) as Leaf, keyPem: (leaves.get(FIFTH) as Leaf).keyPem },
    FOURTH,
  );
  await Deno.remove(`${lab.staging}/${FIFTH}`, { recursive: true });
  await Deno.symlink("/etc", `${lab.staging}/${FIFTH}`);
  await Deno.symlink("/", `${lab.staging}/nobody.asked.example`);
  leaves.set(FIRST, await lab.issue({ names: [FIRST] }));
  await lab.stage(leaves.get(FIRST) as Leaf, FIRST);
  let mixed: Deployment | undefined;
  deepEqual(await lab.restartsDuring(async () => mixed = await lab.deploy()), []);
  equal(mixed?.code, 1);
  const { [FIRST]: good, ...rest } = outcomes((mixed as Deployment).json);
  equal(good, "deployed");
  for (const name of [SECOND, THIRD, FOURTH, FIFTH]) equal(rest[name], "refused", name);
  for (const name of others) equal(rest[name], "unchanged", name);
  for (const [index, one] of (await directories(lab, others)).entries()) {
    assertSame(before[index] ?? new Map(), one);
  }
  await assertEach(lab, leaves);

  // What is in `also` no more stays, until the steps that are told are followed to the letter.
  for (const name of [SECOND, THIRD, FOURTH, FIFTH]) {
    await Deno.remove(`${lab.staging}/${name}`, { recursive: true }).catch(() => {});
    await lab.stage(leaves.get(name) as Leaf, name);
  }
  await lab.configure({}, THIRTY.slice(1));
  const left = await lab.deploy();
  equal(left.code, 0, left.stderr);
  const [warning = ""] = left.json.warnings;
  const [, steps = ""] = /to be rid of it: (.*)/.exec(warning) ?? [];
  equal(await ask("imaps", FIRST), leaves.get(FIRST)?.fingerprint);
  await run("sh", ["-c", steps], { cwd: lab.tree.root });
  await untilAnswered();
  leaves.delete(FIRST);
  await assertEach(lab, leaves);
  for (const endpoint of NAMES) equal(await ask(endpoint, FIRST), lab.first.fingerprint);
  const settled = await lab.deploy();
  deepEqual([settled.code, settled.json.result, settled.json.warnings], [0, "unchanged", []]);

  // One is gone back from, and taken again.
  const newer = await lab.issue({ names: [SECOND] });
  await lab.stage(newer, SECOND);
  equal((await lab.deploy()).code, 0);
  const back = await lab.deploy(["--rollback", "--only", SECOND]);
  equal(back.code, 0, back.stderr);
  await assertEach(lab, leaves);
  equal((await lab.deploy(["--force", "--only", SECOND])).code, 0);
  await assertEach(lab, new Map(leaves).set(SECOND, newer));
});

Deno.test("mailcow's own directories, acme-mailcow, and who lies where: nothing is touched without need, and each hint ends it", async () => {
  const name = (who: string) => `mail.${who}.example`;
  const [own, foreign, twice] = [name("own"), name("foreign"), name("twice")];
  const [flat, mate, one, other] = [name("flat"), name("mate"), name("one"), name("other")];
  const domains = [own, `autoconfig.${own}`, `autodiscover.${own}`];
  await using lab = await startLab({
    first: {},
    conf: { SKIP_LETS_ENCRYPT: "n" }, // as the containers know it
    sni: async (issue) => [
      { name: own, leaf: await issue({ names: domains }), domains },
      { name: "a", leaf: await issue({ names: [twice] }), domains: [twice] },
      { name: "b", leaf: await issue({ names: [twice] }), domains: [twice] },
      { name: "flat", leaf: await issue({ names: [flat, mate] }), domains: [flat, mate] },
      { name: "both", leaf: await issue({ names: [one, other] }), domains: [one, other] },
    ],
  });
  await lab.tree.configure({ SKIP_LETS_ENCRYPT: "y" });
  const also = [own, foreign, twice, flat, mate, one, other];
  const leaves = await issueAll(lab, also);
  await lab.stage(lab.first);
  await stageAll(lab, leaves);
  await lab.configure({}, also);
  const before = await snapshot(lab.tree.ssl);
  const refused = await lab.deploy();
  equal(refused.code, 1);
  deepEqual(
    outcomes(refused.json),
    Object.fromEntries([[HOSTNAME, "repaired"], ...also.map((name) => [name, "refused"])]),
  );
  assertSame(before, await snapshot(lab.tree.ssl));
  const hintOf = (name: string) => refusalOf(refused.json, name).split("; hint: ")[1] ?? "";
  const shell = async (...commands: string[]) => {
    for (const command of commands) await run("sh", ["-c", command], { cwd: "/" });
    await untilAnswered();
  };
  for (
    const { leaf, domains, name } of lab.sni.filter(({ name }) => name !== "a" && name !== "b")
  ) {
    for (const domain of domains) {
      const served = await ask("imaps", domain);
      equal(served, leaf.fingerprint, `${name} ${domain}`);
    }
  }

  match(hintOf(foreign), /^make it anew with: cd \S+ && docker compose up -d acme-mailcow; then/);
  await shell(...commandsIn(hintOf(foreign)));
  // While a foreign pair does not fit, nothing is restarted; the new directory is loaded once it does.
  const stray = await lab.tree.putSni("stray", {
    ...lab.first,
    keyPem: (leaves.get(own) as Leaf).keyPem,
  }, [
    "mail.stray.example",
  ]);
  let blocked: Deployment | undefined;
  deepEqual(await lab.restartsDuring(async () => blocked = await lab.deploy()), []);
  equal(outcomes((blocked as Deployment).json)[foreign], "stale");
  match(
    refusalOf((blocked as Deployment).json, foreign),
    /stray" holds no pair.*hint: .*move its directory out of data\/assets\/ssl, then run certsync/,
  );
  await Deno.rename(stray, `${lab.path}/stray`);
  let loaded: Deployment | undefined;
  deepEqual(
    await lab.restartsDuring(async () => loaded = await lab.deploy()),
    [...SERVICES].sort(),
  );
  const served = new Map([[foreign, leaves.get(foreign) as Leaf]]);
  const assertFollowed = async (result: Deployment, names: readonly string[]) => {
    const now = outcomes(result.json);
    deepEqual(names.filter((name) => now[name] !== "deployed"), [], JSON.stringify(now));
    for (const name of names) served.set(name, leaves.get(name) as Leaf);
    const left = also.filter((name) => !served.has(name));
    deepEqual(left.filter((name) => now[name] !== "refused"), []);
    equal(result.code, left.length === 0 ? 0 : 1);
    await assertEach(lab, served);
  };
  await assertFollowed(loaded as Deployment, []);

  match(refusalOf(refused.json, twice), /is in several files, .*a\/domains", ".*b\/domains"/);
  match(
    hintOf(twice),
    /^take it out of all of them but one, and move a directory that is for nobody/,
  );
  await Deno.writeTextFile(`${lab.tree.ssl}/b/domains`, "");
  await Deno.rename(`${lab.tree.ssl}/b`, `${lab.path}/b`);
  await shell(...commandsIn(hintOf(twice)));
  let single: Deployment | undefined;
  deepEqual(await lab.restartsDuring(async () => single = await lab.deploy()), []);
  await assertFollowed(single as Deployment, [twice]);

  match(
    hintOf(own),
    /^add autoconfig\S+ autodiscover\S+ to that .* or take them out of \S+domains"?,/,
  );
  match(hintOf(flat), /^add mail\.mate\.example to that .* or take it out of \S+flat\/domains"?,/);
  await Deno.writeTextFile(`${lab.tree.ssl}/${own}/domains`, `${own}\n`);
  await Deno.writeTextFile(`${lab.tree.ssl}/flat/domains`, `${flat}\n`);
  await shell(...commandsIn(hintOf(flat)));
  await assertFollowed(await lab.deploy(), [own, flat, mate]);

  match(hintOf(other), /^add mail\.one\.example to that certificate in Nginx Proxy Manager; or/);
  const both = await lab.issue({ names: [other, one] });
  await lab.stage(both, other);
  for (const name of [one, other]) leaves.set(name, both);
  let shared: Deployment | undefined;
  deepEqual(await lab.restartsDuring(async () => shared = await lab.deploy()), []);
  await assertFollowed(shared as Deployment, [one, other]);
  const settled = await lab.deploy();
  deepEqual([settled.code, settled.json.result, settled.json.warnings], [0, "unchanged", []]);

  // The name moves into the mail host's own certificate, and out of it again.
  const wide = await lab.issue({ names: [HOSTNAME, foreign] });
  await lab.stage(wide);
  await lab.stage(wide, foreign);
  equal(outcomes((await lab.deploy()).json)[foreign], "deployed");
  for (const endpoint of NAMES) equal(await ask(endpoint, foreign), wide.fingerprint, endpoint);
  await assertServed(wide);
  const again = await lab.issue({ names: [foreign], notAfter: at(95) });
  await lab.stage(again, foreign);
  deepEqual(await lab.restartsDuring(() => lab.deploy()), []);
  for (const endpoint of NAMES) equal(await ask(endpoint, foreign), again.fingerprint, endpoint);
});
