// deploy and push are killed before and after every outside program that they start.

import { ok } from "node:assert/strict";
import { startCertsync } from "../kit/certsync.ts";
import { need } from "../kit/programs.ts";
import { type Killers, killers } from "./killers.ts";
import {
  assertHealed,
  assertRecovered,
  assertSafe,
  ca,
  deployRun,
  scenarios,
  tortureHost,
} from "./mail_side.ts";
import * as pushing from "./push_side.ts";
import { Faults, inPlaces, places, size, sized, some, tell } from "./size.ts";
import type { Run } from "./strace.ts";

Deno.test.afterAll(async () => {
  await Promise.all([ca, pushing.ca].map((one) => one[Symbol.asyncDispose]()));
});

/** Whether it was killed. */
async function start({ bin }: Killers, { args, options }: Run): Promise<boolean> {
  const path = options?.path === undefined ? bin : `${bin}:${options.path}`;
  return (await startCertsync(args, { ...options, path }).result).signal === "SIGKILL";
}

const pointsOf = (calls: number) =>
  Array.from({ length: calls }, (_, index) => index + 1).flatMap((call) =>
    (["before", "after"] as const).map((when) => ({ call, when }))
  );

Deno.test("deploy killed around any program is healed by the next run", async (t) => {
  await using stack = new AsyncDisposableStack();
  const all = await places(stack, async () => {
    const host = stack.use(await tortureHost());
    const armed = await killers({ openssl: need("openssl"), docker: `${host.docker.bin}/docker` });
    return { host, armed, [Symbol.asyncDispose]: () => armed[Symbol.asyncDispose]() };
  });
  const [{ host, armed }] = all;
  for (const scenario of size === "quick" ? some(scenarios, 1) : scenarios) {
    await t.step(scenario.name, async () => {
      await scenario.prepare(host);
      await armed.aim(0, "before");
      await start(armed, deployRun(host, scenario));
      const points = pointsOf(await armed.calls());
      ok(points.length > 10);
      const chosen = some(points, sized({ quick: 6, ci: 30, full: Infinity }));
      const faults = new Faults();
      let killed = 0;
      await inPlaces(all, chosen, async ({ call, when }, { host, armed }) => {
        await scenario.prepare(host);
        await armed.aim(call, when);
        await faults.try(`killed ${when} program ${call}`, async () => {
          if (!await start(armed, deployRun(host, scenario))) return; // fewer rounds on the wire
          killed++;
          await assertSafe(host);
          await (when === "before" ? assertHealed : assertRecovered)(host, scenario);
        });
      });
      tell(`kill: ${scenario.name}: killed around ${killed} of ${points.length} ends of programs`);
      ok(killed > chosen.length / 2);
      faults.assertNone();
    });
  }
});

Deno.test("push killed around any program is healed by the next run", async () => {
  await using side = await pushing.pushSide();
  await using armed = await killers({ openssl: need("openssl"), rsync: need("rsync") });
  await side.begin();
  await armed.aim(0, "before");
  await start(armed, side.run());
  const points = pointsOf(await armed.calls());
  const faults = new Faults();
  let killed = 0;
  for (let round = 0; round < sized({ quick: 1, full: 5 }); round++) {
    for (const { call, when } of points) {
      await side.begin();
      await armed.aim(call, when);
      await faults.try(`killed ${when} program ${call}`, async () => {
        ok(await start(armed, side.run()), "it was not killed");
        killed++;
        await pushing.assertSafe(side);
        await pushing.assertHealed(side);
      });
    }
  }
  tell(`kill: push: killed around ${killed} ends of programs`);
  faults.assertNone();
});
