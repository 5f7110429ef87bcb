// Several certificates on real servers: the leaf of each name on every endpoint that is asked for it.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Leaf } from "../kit/authority.ts";
import { outcomes, refusalOf } from "../kit/names_host.ts";
import { run } from "../kit/run.ts";
import { assertSame, type Snapshot, snapshot } from "../kit/snapshot.ts";
import { actions, ALL_RELOADED, type Deployment, type Lab, SERVICES, startLab } from "./lab.ts";
import { ask, assertServed, HOSTNAME, NAMES, untilAnswered } from "./wire.ts";

const DAY_MS = 86_400_000;
const at = (days: number) => new Date(Date.now() + days * DAY_MS);

const THIRTY = Array.from({ length: 30 }, (_, number) => `mail.shop${number}.example`);
const [FIRST = "", SECOND = "", THIRD = "", FOURTH = "", FIFTH = ""] = THIRTY;

type Leaves = Map<string, Leaf>;

async function issueAll(lab: Lab, names: readonly string[]): Promise<Leaves> {
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, await lab.issue({ names: [name] })] as const),
    ),
  );
}

async function stageAll(lab: Lab, leaves: Leaves): Promise<void> {
  for (const [name, leaf] of leaves) await lab.stage(leaf, name);
}

/** Every endpoint gives each name its own leaf, and everybody else the mail host's. */
async function assertEach(lab: Lab, leaves: Leaves): Promise<void> {
  const wrong: string[] = [];
  for (const [name, { fingerprint }] of leaves) {
    const served = await Promise.all(NAMES.map((endpoint) => ask(endpoint, name)));
    served.forEach((is, index) => {
      if (is !== fingerprint) wrong.push(`${NAMES[index]} ${name}: ${is}`);
    });
  }
  deepEqual(wrong, []);
  await assertServed(lab.first);
}

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

Deno.test("a pair with which nginx does not start: all that is new goes back, and it is found in the next runs", async () => {
  await using lab = await startLab({ isDeployed: true, first: {}, settle: "2s" });
  const names = THIRTY.slice(0, 3);
  const leaves = await issueAll(lab, names);
  await stageAll(lab, leaves);
  // nginx alone thinks a key of 2048 bits too weak, as a newer OpenSSL than the host's may.
  await lab.stage(await lab.issue({ names: [SECOND], algorithm: "rsa" }), SECOND);
  await lab.tell("nginx-mailcow", "security-level", "3");
  await lab.compose("restart", "nginx-mailcow");
  await untilAnswered();
  await lab.configure({ restart_timeout: "6s" }, names);
  const first = await lab.deploy();
  equal(first.code, 1);
  const { [HOSTNAME]: _, ...all } = outcomes(first.json);
  deepEqual(Object.values(all), names.map(() => "rolled-back"), JSON.stringify(first.json));
  await untilAnswered();
  await assertServed(lab.first);

  const found: Record<string, string>[] = [];
  for (let turn = 1; turn <= 3; turn++) {
    found.push(outcomes((await lab.deploy()).json));
    await untilAnswered();
  }
  equal(found[0]?.[FIRST], "deployed");
  equal(found[1]?.[SECOND], "rolled-back");
  equal(found[2]?.[THIRD], "deployed");
  leaves.delete(SECOND);
  await assertEach(lab, leaves);
  match(refusalOf((await lab.deploy()).json, SECOND), /rolled back before.*--force --only/);
});

Deno.test("mailcow's own directories, acme-mailcow, and who lies where: nothing is touched without need", async () => {
  const [own, foreign, twice] = ["mail.own.example", "mail.foreign.example", "mail.twice.example"];
  const domains = [own, `autoconfig.${own}`, `autodiscover.${own}`];
  await using lab = await startLab({
    first: {},
    conf: { SKIP_LETS_ENCRYPT: "n" }, // as the containers know it
    sni: async (issue) => [
      { name: own, leaf: await issue({ names: domains }), domains },
      { name: "a", leaf: await issue({ names: [twice] }), domains: [twice] },
      { name: "b", leaf: await issue({ names: [twice] }), domains: [twice] },
    ],
  });
  await lab.tree.configure({ SKIP_LETS_ENCRYPT: "y" });
  const leaves = await issueAll(lab, [own, foreign, twice]);
  await lab.stage(lab.first);
  await stageAll(lab, leaves);
  await lab.configure({}, [own, foreign, twice]);
  const result = await lab.deploy();
  equal(result.code, 1);
  const { [HOSTNAME]: _, ...all } = outcomes(result.json);
  deepEqual(all, { [own]: "refused", [foreign]: "refused", [twice]: "refused" });
  match(refusalOf(result.json, own), /autoconfig\.mail\.own\.example/);
  match(refusalOf(result.json, twice), /is in several files/);
  const [, command = ""] = /make it anew with: ([^;]*);/.exec(refusalOf(result.json, foreign)) ??
    [];
  match(command, /^cd \S+ && docker compose up -d acme-mailcow$/);
  equal(await ask("imaps", own), lab.sni[0]?.leaf.fingerprint);

  await run("sh", ["-c", command], { cwd: lab.tree.root });
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
  match(refusalOf((blocked as Deployment).json, foreign), /stray" holds no pair/);
  await Deno.remove(stray, { recursive: true });
  await lab.deploy();
  for (const endpoint of NAMES) {
    equal(await ask(endpoint, foreign), leaves.get(foreign)?.fingerprint, endpoint);
  }
  await assertServed(lab.first);

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

  // A container that is stopped while a directory is made serves it once it is started.
  const late = "mail.late.example";
  const lateLeaf = await lab.issue({ names: [late] });
  await lab.stage(lateLeaf, late);
  await lab.configure({}, [foreign, late]);
  await lab.compose("stop", "nginx-mailcow");
  const stopped = await lab.deploy();
  equal(stopped.code, 0, stopped.stderr);
  match(stopped.json.warnings.join("\n"), /nginx-mailcow is not running/);
  for (const endpoint of NAMES.filter((name) => name !== "https")) {
    equal(await ask(endpoint, late), lateLeaf.fingerprint, endpoint);
  }
  await lab.compose("start", "nginx-mailcow");
  await untilAnswered();
  equal(await ask("https", late), lateLeaf.fingerprint);
  equal((await lab.deploy()).code, 0);
});
