// deploy is killed before and after everything that it does to the file system.

import { killAtCalls } from "./at_calls.ts";
import {
  assertHealed,
  assertRecovered,
  assertSafe,
  beginning,
  ca,
  scenarios,
  tortureHost,
} from "./mail_side.ts";
import { places, size, sized, some } from "./size.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("deploy killed at any point is healed by the next run", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, tortureHost);
  const count = sized({ quick: 3, ci: 50, full: Infinity });
  for (const scenario of size === "quick" ? some(scenarios, 2) : scenarios) {
    await t.step(scenario.name, async () => {
      const attack = { name: scenario.name, places: hosts, begin: beginning(scenario), count };
      await killAtCalls(attack, async (host, kill) => {
        await assertSafe(host);
        await (kill === "before" ? assertHealed : assertRecovered)(host, scenario);
      });
    });
  }
});
