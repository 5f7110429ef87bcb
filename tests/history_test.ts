// What is written down of each run that did or refused something, and of which nothing is.

import { deepEqual, equal, match } from "node:assert/strict";
import { type Change, extend, faults, type HistoryEntry } from "../lib/chain/history.ts";
import { parseCommandLine } from "../lib/cli/command_line.ts";
import { deployConfig } from "../lib/config/deploy_config.ts";
import { Failure } from "../lib/failure.ts";
import { lookBack } from "../lib/status/history_points.ts";
import { authority } from "./kit/authority.ts";
import { startCertsync } from "./kit/certsync.ts";
import { historyIn } from "./kit/history.ts";
import { mailHost } from "./kit/mail_host.ts";
import { makeScene, NAME } from "./kit/push_scene.ts";
import { snapshot } from "./kit/snapshot.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [first, second, other] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: new Date(Date.now() - 86_400_000) }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: ["other.example.org"] }),
]);

const at = (minute: number) => new Date(Date.UTC(2026, 10, 26, 3, minute));
const refused = (name: string, error = "expired"): Change => ({
  name,
  outcome: "refused",
  old: null,
  new: null,
  error,
});
const entry = (
  minute: number,
  change: Change,
  more: Pick<HistoryEntry, "times" | "last" | "others"> = {},
): HistoryEntry => ({
  time: `2026-11-26T03:${String(minute).padStart(2, "0")}:00Z`,
  ...change,
  ...more,
});

Deno.test("a run like the one before it of that name raises its times and last", () => {
  const cases: [what: string, runs: Change[][], entries: HistoryEntry[]][] = [
    ["nothing to tell", [[], []], []],
    ["one run", [[refused("a")]], [entry(0, refused("a"))]],
    ["three alike", Array(3).fill([refused("a")]), [
      entry(0, refused("a"), { times: 3, last: "2026-11-26T03:02:00Z" }),
    ]],
    ["another error", [[refused("a")], [refused("a", "key")]], [
      entry(0, refused("a")),
      entry(1, refused("a", "key")),
    ]],
    ["two names, twice", Array(2).fill([refused("a"), refused("b")]), [
      entry(0, refused("a"), { times: 2, last: "2026-11-26T03:01:00Z" }),
      entry(0, refused("b"), { times: 2, last: "2026-11-26T03:01:00Z" }),
    ]],
    ["the same again after another", [[refused("a")], [refused("a", "key")], [refused("a")]], [
      entry(0, refused("a")),
      entry(1, refused("a", "key")),
      entry(2, refused("a")),
    ]],
  ];
  for (const [what, runs, entries] of cases) {
    const history = runs.reduce<HistoryEntry[]>(
      (so, changes, index) => extend(so, changes, at(index)),
      [],
    );
    deepEqual(history, entries, what);
  }
});

Deno.test("the newest two hundred lines are kept, and no error is longer than it can be read", () => {
  const changes = Array.from(
    { length: 250 },
    (_, index) => refused(`n${index}`, "x".repeat(5_000)),
  );
  const history = changes.reduce<HistoryEntry[]>((so, one) => extend(so, [one], at(0)), []);
  deepEqual([history.length, history[0]?.name, history.at(-1)?.name], [200, "n50", "n249"]);
  equal(history[0]?.error, `${"x".repeat(600)}…`);
});

Deno.test("hundreds of names of one run leave room for the runs before it, and status for the others", async () => {
  const names = Array.from({ length: 250 }, (_, index) => `n${index}`);
  const well = (name: string): Change => ({ name, outcome: "deployed", old: null, new: name });
  const before = extend([], [well(NAME)], at(0));
  const ill = names.map((name) => refused(name, `nothing for ${name}`));
  const once = extend(before, [well(NAME), ...ill], at(1));
  deepEqual([once.length, once[0]?.name, once[0]?.times], [22, NAME, 2]);
  deepEqual(once.at(-1), entry(1, refused("n20", "nothing for n20"), { others: 229 }));
  const twice = extend(once, ill, at(2));
  deepEqual([twice.length, twice.at(-1)?.times, twice.at(-1)?.others], [22, 2, 229]);
  deepEqual(faults(twice).map(({ name }) => name), names.slice(0, 21));
  await using dir = await tempDir();
  await Deno.writeTextFile(
    `${dir.path}/history`,
    twice.map((one) => JSON.stringify(one)).join("\n"),
  );
  const line = parseCommandLine(["deploy"]);
  if (line.kind !== "run") throw new Error("not a run");
  const deploy = deployConfig(
    { domain: NAME, also: names, deploy: { state: dir.path } },
    line.flags,
  );
  const push = new Failure("none here");
  const { points } = lookBack({ push, deploy }, ["deploy"]);
  deepEqual(points.map(({ point }) => point), [
    ...names.slice(0, 5).map((name) => `last deploy of ${name}`),
    "last deploy",
  ]);
  match(points.at(-1)?.words ?? "", /^came to no good end for 245 more names$/);
  // One that is mended, and the others once they are.
  const third = extend(twice, [well("n0"), ...ill.slice(1)], at(3));
  deepEqual(faults(third).map(({ name }) => name), names.slice(1, 22));
  const end = extend(third, names.map(well), at(4));
  equal(end.length < 60, true);
  deepEqual(
    faults(extend(end, names.map((name) => ({ ...well(name), outcome: "unchanged" })), at(5))),
    [],
  );
});

Deno.test("push writes down what it did or refused, and nothing of a run that did neither", async () => {
  await using scene = await makeScene({ ca, leaf: first, plainFiles: true });
  const { state } = scene;
  equal((await scene.push()).code, 0);
  const pushed = { outcome: "pushed", name: NAME, old: null, new: first.fingerprint };
  const [one] = await historyIn(state);
  deepEqual({ ...one, time: "" }, { time: "", ...pushed });
  match(one?.time ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);

  const before = await snapshot(state);
  equal((await scene.push()).code, 0); // nothing to do
  equal((await scene.push(["--force", "--dry-run"])).code, 0);
  equal((await scene.push(["--nonsense"])).code, 2);
  equal((await scene.push(["--source", "npm-x"])).code, 2);
  deepEqual(await snapshot(state), before);

  await Deno.writeTextFile(`${scene.source}/fullchain.pem`, second.fullchainPem);
  await Deno.writeTextFile(`${scene.source}/privkey.pem`, second.keyPem);
  equal((await scene.push()).code, 0);
  await Deno.writeTextFile(`${scene.source}/fullchain.pem`, other.fullchainPem);
  await Deno.writeTextFile(`${scene.source}/privkey.pem`, other.keyPem);
  const errors = [await scene.push(["--json"]), await scene.push(["--json"])].map((result) =>
    result.json().error
  );
  const [, two, three, ...none] = await historyIn(state);
  deepEqual(none, []);
  deepEqual([two?.outcome, two?.old, two?.new], ["pushed", first.fingerprint, second.fingerprint]);
  deepEqual([three?.outcome, three?.times, three?.error], ["refused", 2, errors[0]]);
  equal(errors[0], errors[1]);
});

Deno.test("who does not get the lock, and who is stopped, is told apart in the history", async () => {
  await using scene = await makeScene({ ca, leaf: first });
  await Deno.mkdir(scene.state, { mode: 0o700 });
  using lock = await Deno.open(`${scene.state}/lock`, { create: true, write: true });
  await lock.lock(true);
  const waiting = startCertsync(scene.args([]));
  await until(() => waiting.said().includes("another certsync is at work"));
  waiting.kill("SIGTERM");
  equal((await waiting.result).code, 1);
  deepEqual(await historyIn(scene.state), []);
  await lock.unlock();

  await scene.server.force("cat >/dev/null");
  const sending = startCertsync(scene.args([]));
  await until(() => scene.server.log().includes("Starting session"));
  sending.kill("SIGTERM");
  equal((await sending.result).code, 1);
  const [entry, ...none] = await historyIn(scene.state);
  deepEqual([entry?.outcome, entry?.name, none], ["failed", NAME, []]);
  match(entry?.error ?? "", /^stopped by SIGTERM: not pushed to /);
});

Deno.test("a history that cannot be written is a warning, and stops nothing", async () => {
  await using scene = await makeScene({ ca, leaf: first });
  await Deno.mkdir(`${scene.state}/history`, { recursive: true, mode: 0o700 });
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "pushed"]);
  const [warning, ...none] = result.json().warnings;
  match(warning, /^this run is not in the history: .*"\S+\/history" is not a regular file/);
  deepEqual(none, []);
  equal(result.stderr, `WARNING: ${warning}\n`);
  await scene.assertArrived(first);
});

Deno.test("what is no line of the history is passed over, and the others are kept", async () => {
  await using scene = await makeScene({ ca, leaf: first });
  await Deno.mkdir(scene.state, { mode: 0o700 });
  const kept = JSON.stringify(entry(0, refused(NAME)));
  const text = `{"time":\n[]\nnull\n{"time":"x"}\n${kept}\n`;
  await Deno.writeTextFile(`${scene.state}/history`, text, { mode: 0o600 });
  equal((await scene.push()).code, 0);
  deepEqual((await historyIn(scene.state)).map(({ outcome }) => outcome), ["refused", "pushed"]);
});

Deno.test("deploy writes down what it replaced, and what it refused by which certificate", async () => {
  await using host = await mailHost({
    trust: ca.rootFile,
    deployed: first,
    staged: second,
    endpoints: ["imaps"],
  });
  equal((await host.deploy()).code, 0);
  equal((await host.deploy()).code, 0); // nothing to do
  equal((await host.deploy(["--force", "--dry-run"])).code, 0);
  await host.stage(other);
  const { error } = (await host.deploy(["--json"])).json();
  equal((await host.deploy()).code, 1);
  const told = (await historyIn(host.state)).map(({ time: _, last: __, ...entry }) => entry);
  deepEqual(told, [
    { outcome: "deployed", name: NAME, old: first.fingerprint, new: second.fingerprint },
    { outcome: "refused", name: NAME, old: null, new: other.fingerprint, error, times: 2 },
  ]);
});

Deno.test("a run that fails beside a history that cannot be written tells of both", async () => {
  await using scene = await makeScene({ ca, leaf: first });
  await Deno.mkdir(`${scene.state}/history`, { recursive: true, mode: 0o700 });
  await scene.configure({ source: "npm-77" });
  const { code, stderr } = await scene.push();
  equal(code, 1);
  match(stderr, /^WARNING: this run is not in the history: .*\nERROR: .*npm-77.*\n(hint: .*\n)?$/);
});
