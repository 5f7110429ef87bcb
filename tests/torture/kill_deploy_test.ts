// deploy is killed before and after everything that it does to the file system.

import {
  assertHealed,
  assertRecovered,
  assertSafe,
  ca,
  deployRun,
  scenarios,
  tortureHost,
} from "./mail_side.ts";
import { Faults, inPlaces, places, size, sized, some, tell } from "./size.ts";
import { strike, trace } from "./strace.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("deploy killed at any point is healed by the next run", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, tortureHost);
  const [host] = hosts;
  for (const scenario of size === "quick" ? some(scenarios, 2) : scenarios) {
    await t.step(scenario.name, async () => {
      const { calls, paths } = await trace(host.root, async () => {
        await scenario.prepare(host);
        return deployRun(host, scenario);
      });
      // What is after one call is before the next one, so that both checks see every state.
      const points = calls.filter(({ changes }) => changes).flatMap((call) => [
        { call, kill: "before" as const, check: assertHealed },
        { call, kill: "after" as const, check: assertRecovered },
      ]);
      const chosen = some(points, sized({ quick: 5, ci: 50, full: Infinity }));
      const faults = new Faults();
      let killed = 0;
      await inPlaces(hosts, chosen, async ({ call, kill, check }, place) => {
        const own = paths.map((path) => path.replace(host.root, place.root));
        await scenario.prepare(place);
        await faults.try(`${check.name}: killed ${kill} ${call.text}`, async () => {
          const struck = await strike(call, { kill }, own, deployRun(place, scenario));
          if (!struck.isStruck) throw new Error("it did not come to that call");
          killed++;
          await assertSafe(place);
          await check(place, scenario);
        });
      });
      tell(`kill: ${scenario.name}: killed at ${killed} of ${points.length} points`);
      faults.assertNone();
    });
  }
});
