// A run that a unit started: it waits until nothing changes, looks again, and stays after a failure.

import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { type CertificateReport, emptyCertificate } from "../lib/deploy/certificates.ts";
import { hasFailedInDoing } from "../lib/deploy/started.ts";
import { Failure } from "../lib/failure.ts";
import { noteSandbox } from "../lib/files/sandbox.ts";
import type { RunContext } from "../lib/run_context.ts";
import { type Pace, runRounds } from "../lib/started.ts";
import { sandboxPoints } from "../lib/status/sandbox_points.ts";
import { authority } from "./kit/authority.ts";
import { mailHost } from "./kit/mail_host.ts";
import { makeScene } from "./kit/push_scene.ts";
import { run } from "./kit/run.ts";
import { runContext } from "./kit/run_context.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

/** A thousand times as fast as the units. */
const pace: Pace = { quietMs: 20, mostMs: 150, betweenMs: 2, stayMs: 600 };
/** Longer than any test may take. */
const FOR_EVER_MS = 3_600_000;

interface Report {
  outcome: "idle" | "done" | "failed" | "did and failed";
  saw: string;
}

/** Work whose look gives what `world` holds; each run takes the next outcome, and may change it. */
function work(outcomes: (Report["outcome"] | (() => Report["outcome"]))[]) {
  const world = { text: "first", runs: [] as string[], looks: 0 };
  return {
    world,
    work: {
      look: () => (world.looks++, world.text),
      run: () => {
        world.runs.push(world.text);
        const saw = world.text;
        const next = outcomes.shift() ?? "idle";
        return Promise.resolve({ outcome: typeof next === "string" ? next : next(), saw });
      },
      ending: ({ outcome }: Report) => outcome === "did and failed" ? "failed" : outcome,
      hasFailedInDoing: ({ outcome }: Report) => outcome === "did and failed",
      words: ({ outcome, saw }: Report) => [`${outcome} ${saw}`],
      idle: (): Report => ({ outcome: "idle", saw: "nothing" }),
    },
  };
}

/** `onStay` is called when the run begins to stay. */
function recording(onStay: () => void = () => {}) {
  const told: string[] = [];
  const waits: string[] = [];
  const stop = new AbortController();
  const context = runContext({
    stop: stop.signal,
    tell: (line) => told.push(line),
    wait(what) {
      waits.push(what);
      if (what.startsWith("staying")) onStay();
      return { [Symbol.dispose]() {} };
    },
  });
  return { told, waits, stop, context };
}

Deno.test("a started run waits for quiet, runs once, and does not look as if it waited", async () => {
  const { world, work: one } = work(["done"]);
  const { told, waits, context } = recording();
  const before = performance.now();
  deepEqual(await runRounds(one, pace, context), { outcome: "done", saw: "first" });
  equal(performance.now() - before >= pace.quietMs, true);
  deepEqual([world.runs, told, waits], [["first"], [], []]);
});

Deno.test("a started run takes what is there once it was quiet, or after it waited for long enough", async () => {
  const once = work(["done"]);
  const look = () => {
    if (++once.world.looks === 3) once.world.text = "second";
    return once.world.text;
  };
  const said = recording();
  equal((await runRounds({ ...once.work, look }, pace, said.context)).saw, "second");
  deepEqual(said.waits, ["waiting until nothing changes any more"]);

  const never = work(["idle", "idle", "idle"]);
  let count = 0;
  const before = performance.now();
  await runRounds({ ...never.work, look: () => String(++count) }, pace, recording().context);
  // Three rounds and no more, however long it goes on.
  equal(never.world.runs.length, 3);
  equal(performance.now() - before >= 3 * pace.mostMs, true);
});

Deno.test("what changes during the work is looked at again, and what was done is what is reported", async () => {
  const { world, work: twice } = work([() => {
    world.text = "second";
    return "done";
  }, "idle"]);
  const { told, context } = recording();
  deepEqual(await runRounds(twice, pace, context), { outcome: "done", saw: "first" });
  deepEqual(world.runs, ["first", "second"]);
  deepEqual(told, ["done first", "something changed meanwhile: looking again"]);
});

Deno.test("each round judges by its own moment", async () => {
  const { world, work: twice } = work([]);
  const moments: number[] = [];
  const run = ({ now }: { now: Date }) => {
    moments.push(now.getTime());
    if (moments.length === 1) world.text = "second";
    return Promise.resolve({ outcome: "idle" as const, saw: world.text });
  };
  const began = Date.now();
  const context: RunContext = {
    ...runContext(),
    get now() {
      return new Date();
    },
  };
  await runRounds({ ...twice, run }, pace, context);
  const [first = 0, second = 0] = moments.map((moment) => moment - began);
  // Both clocks are rounded to a millisecond.
  equal(first >= pace.quietMs - 2 && second >= first + pace.quietMs - 2, true);
});

Deno.test("a started run that failed stays, and what comes meanwhile is taken at once", async () => {
  const alone = work(["failed"]);
  const before = performance.now();
  const said = recording();
  equal((await runRounds(alone.work, pace, said.context)).outcome, "failed");
  equal(performance.now() - before >= pace.stayMs, true);
  deepEqual(said.waits, ["staying for what may come, after this failure"]);

  const cured = work(["failed", "done"]);
  const cure = recording(() => cured.world.text = "second");
  deepEqual(await runRounds(cured.work, { ...pace, stayMs: FOR_EVER_MS }, cure.context), {
    outcome: "done",
    saw: "second",
  });
});

Deno.test("what a round did with a failure is what is told, however well the next one ends", async () => {
  for (const next of ["idle", "done"] as const) {
    const { world, work: alarming } = work(["did and failed", next]);
    const { told, context } = recording(() => world.text = "second");
    const end = await runRounds(alarming, { ...pace, stayMs: FOR_EVER_MS }, context);
    deepEqual(end, { outcome: "did and failed", saw: "first" });
    deepEqual(world.runs, ["first", "second"]);
    // What the next one did is not kept back.
    equal(told.includes(`${next} second`), next === "done");
  }
  const { world, work: failing } = work(["did and failed", "failed"]);
  const { context } = recording(() => world.text = "second");
  deepEqual(await runRounds(failing, pace, context), { outcome: "failed", saw: "second" });
});

Deno.test("a deploy that installed and failed is told after all, not one that merely refused", () => {
  const fine = { outcome: "deployed", installed: ["cert.pem"], certificates: [] } as const;
  const of = (name: string, outcome: CertificateReport["outcome"], error?: string) => ({
    ...emptyCertificate(name),
    ...{ outcome, ...(error !== undefined && { error }) },
  });
  deepEqual(
    [
      fine,
      { ...fine, error: "no TLSA record fits" },
      { ...fine, outcome: "stale" as const, error: "not serving it" },
      { ...fine, certificates: [of("a.example", "refused", "expired")] },
      { ...fine, certificates: [of("a.example", "rolled-back", "gone")] },
      { ...fine, outcome: "refused" as const, installed: [], error: "expired" },
    ].map(hasFailedInDoing),
    [false, true, true, false, true, false],
  );
});

Deno.test("who writes on and on cannot have a started run fail more often than it stays", async () => {
  const { world, work: hostile } = work(["failed", "failed", "failed"]);
  let count = 0;
  const before = performance.now();
  const look = () => String(++count);
  equal((await runRounds({ ...hostile, look }, pace, recording().context)).outcome, "failed");
  equal(world.runs.length, 3);
  equal(performance.now() - before >= 3 * pace.mostMs + pace.stayMs, true);
});

Deno.test("a failure that is thrown stays too, and is thrown in the end", async () => {
  const { world, work: thrown } = work([]);
  const run = () => {
    world.runs.push(world.text);
    return Promise.reject<Report>(new Failure(`no ${world.text}`));
  };
  const said = recording(() => world.text = "second");
  await rejects(runRounds({ ...thrown, run }, pace, said.context), /^Failure: no second$/);
  deepEqual(said.told, ["no first", "something changed meanwhile: looking again"]);
  const broken = { ...thrown, run: () => Promise.reject<Report>(new TypeError("a bug")) };
  await rejects(runRounds(broken, pace, recording().context), TypeError);
});

Deno.test("a signal ends the stay at once, and the wait for quiet with nothing begun", async () => {
  const { work: failing } = work(["failed"]);
  const { stop, context } = recording(() => stop.abort(new Failure("stopped by SIGTERM")));
  const end = await runRounds(failing, { ...pace, stayMs: FOR_EVER_MS }, context);
  equal(end.outcome, "failed");

  const early = recording();
  const waiting = work(["done"]);
  early.stop.abort(new Failure("stopped by SIGTERM"));
  deepEqual(await runRounds(waiting.work, pace, early.context), {
    outcome: "idle",
    saw: "nothing",
  });
  deepEqual(waiting.world.runs, []);
  match(early.told.join(), /^stopped before anything was begun: the next run takes/);

  // What was done before is what is reported.
  const between = recording();
  const twice = work([() => {
    twice.world.text = "second";
    setTimeout(() => between.stop.abort(new Failure("stopped by SIGTERM")), 5);
    return "done";
  }]);
  deepEqual(await runRounds(twice.work, pace, between.context), { outcome: "done", saw: "first" });
});

Deno.test("deploy that a unit starts before the first push has nothing to do, and fails once one came", async () => {
  await using ca = await authority("Started");
  await using host = await mailHost({ trust: ca.rootFile });
  const started = await host.assertUntouched(() => host.deploy(["--started"]));
  deepEqual([started.code, started.stderr], [0, ""]);
  const { outcome, result, certificates } = (await host.deploy(["--started", "--json"])).json();
  deepEqual([outcome, result, certificates.length], ["unchanged", "unchanged", 1]);
  match(started.stdout, /^nothing was ever pushed to ".*incoming"; on the NPM host: .*--force\n$/);
  await host.stage(await ca.issue({ names: ["other.example.org"] }));
  equal((await host.deploy()).code, 1);
  for (const name of ["fullchain.pem", "privkey.pem"]) await Deno.remove(`${host.staging}/${name}`);
  const child = host.start(["--started", "--json"]);
  await until(() => child.said().includes("staying for what may come"));
  const before = performance.now();
  child.kill("SIGTERM");
  const { code, json } = await child.result;
  deepEqual([code, json().outcome], [1, "refused"]);
  match(json().error, /^no staged cert/);
  equal(performance.now() - before < 5_000, true);
});

Deno.test("the key that arrives a second after its chain is waited for without the lock", async () => {
  await using ca = await authority("Started");
  const leaf = await ca.issue({ names: ["mail.example.org"] });
  await using host = await mailHost({ trust: ca.rootFile, deployed: leaf, staged: leaf });
  equal((await host.deploy()).code, 0);
  const next = await ca.issue({ names: ["mail.example.org"] });
  await Deno.writeTextFile(`${host.staging}/fullchain.pem`, next.fullchainPem);
  const child = host.start(["--started", "--json"]);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  // A run by hand would not be kept waiting by it.
  await run("flock", ["--nonblock", `${host.state}/lock`, "true"]);
  await Deno.writeTextFile(`${host.staging}/privkey.pem`, next.keyPem);
  const { code, json } = await child.result;
  deepEqual([code, json().outcome, json().fingerprint], [0, "deployed", next.fingerprint]);
});

Deno.test("a lineage that was pushed and is gone is an error only once it has been so for a day", async () => {
  await using ca = await authority("Started");
  const leaf = await ca.issue({ names: ["mail.example.org"] });
  await using scene = await makeScene({ ca, leaf });
  await scene.configure({ source: "auto", live: [scene.npm.live] });
  equal((await scene.push()).code, 0);
  await Deno.rename(scene.npm.dir(5), `${scene.path}/gone`);
  const byHand = await scene.push(["--json"]);
  deepEqual([byHand.code, byHand.json().outcome], [1, "failed"]);
  const first = await scene.push(["--started", "--json"]);
  deepEqual([first.code, first.json().outcome], [0, "unchanged"]);
  match(first.json().warnings.join(), /no certificate for "mail.example.org".*gone since \S+Z/);

  const gone = `${scene.state}/gone`;
  const ago = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();
  await Deno.writeTextFile(gone, ago(23));
  equal((await scene.push(["--started"])).code, 0);
  await Deno.writeTextFile(gone, ago(25));
  const late = await scene.push(["--started"]);
  equal(late.code, 1);
  match(late.stderr, /^ERROR: no certificate for/m);
  // A clock that was set back does not make it last longer than a day.
  await Deno.writeTextFile(gone, ago(-30));
  equal((await scene.push(["--started"])).code, 0);
  equal(Date.parse((await Deno.readTextFile(gone)).trim()) <= Date.now(), true);

  await scene.npm.add(6, await ca.issue({ names: ["mail.example.org"] }));
  const back = await scene.push(["--started", "--json"]);
  deepEqual([back.code, back.json().outcome], [0, "pushed"]);
  equal(await Deno.stat(gone).then(() => true, () => false), false);
});

Deno.test("what a unit started remembers that it was not locked in, and status says so", async () => {
  await using ca = await authority("Started");
  await using dir = await tempDir();
  const sandbox = `${dir.path}/sandbox`;
  const read = () => Deno.readTextFile(sandbox).catch(() => "");
  noteSandbox(dir.path);
  equal(await read(), "none\n");
  const duty = { role: "push", watches: null, setup: "certsync setup push | sh" } as const;
  const [told, ...more] = sandboxPoints(duty, dir.path, []);
  deepEqual([told?.state, more], ["warning", []]);
  match(told?.mend ?? "", /nesting=1\), then: certsync setup push \| sh$/);
  // Where setup took it off, that is no surprise; nor where nothing is remembered of a run.
  const dropIn = `${dir.path}/certsync-setup.conf`;
  await Deno.writeTextFile(dropIn, "[Service]\nPrivateMounts=no\n");
  for (const state of [dir.path, null]) {
    deepEqual(sandboxPoints(duty, state, [dropIn]).map(({ state }) => state), ["note"]);
  }
  await Deno.remove(sandbox);
  deepEqual(sandboxPoints(duty, dir.path, [`${dir.path}/other.conf`]), []);
  // A run by hand is none that a unit locks in.
  await using scene = await makeScene({
    ca,
    leaf: await ca.issue({ names: ["mail.example.org"] }),
  });
  equal((await scene.push()).code, 0);
  equal(await Deno.stat(`${scene.state}/sandbox`).then(() => true, () => false), false);
});
