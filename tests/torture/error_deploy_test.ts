// Every call that deploy makes on a file gives every error that it may give.

import { failAtCalls } from "./at_calls.ts";
import {
  assertDirectory,
  assertHealed,
  assertSafe,
  beginning,
  ca,
  scenarios,
  sniOf,
  tortureHost,
} from "./mail_side.ts";
import { places, size, sized, some } from "./size.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("an error of the file system leaves a whole pair, and is said", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, tortureHost);
  const sound = scenarios.filter(({ name }) => name !== "a recovery"); // begins with a mixture
  const count = sized({ quick: 3, ci: 60, full: Infinity });
  for (const scenario of size === "quick" ? some(sound, 1) : sound) {
    await t.step(scenario.name, async () => {
      const attack = { name: scenario.name, places: hosts, begin: beginning(scenario), count };
      await failAtCalls(attack, async (host) => {
        for (const directory of [host.mailcow.ssl, sniOf(host)]) {
          await assertDirectory(host, directory, scenario.leaves);
        }
        await assertSafe(host);
        await assertHealed(host, scenario);
      });
    });
  }
});
