// Every call that deploy makes on a file gives every error that it may give.

import { ok } from "node:assert/strict";
import { assertClear, injections } from "./errors_of.ts";
import {
  assertDirectory,
  assertHealed,
  assertSafe,
  ca,
  deployRun,
  scenarios,
  sniOf,
  tortureHost,
} from "./mail_side.ts";
import { Faults, inPlaces, places, size, sized, some, tell } from "./size.ts";
import { strike, trace } from "./strace.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("an error of the file system leaves a whole pair, and is said", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, tortureHost);
  const [host] = hosts;
  const sound = scenarios.filter(({ name }) => name !== "a recovery"); // begins with a mixture
  for (const scenario of size === "quick" ? some(sound, 1) : sound) {
    await t.step(scenario.name, async () => {
      const { calls, paths } = await trace(host.root, async () => {
        await scenario.prepare(host);
        return deployRun(host, scenario);
      });
      const all = injections(calls.filter(({ text }) => !text.includes("/config.yaml")));
      ok(all.length > 0);
      const chosen = some(all, sized({ quick: 5, ci: 60, full: Infinity }));
      const faults = new Faults();
      await inPlaces(hosts, chosen, async (injection, place) => {
        const { call, error } = injection;
        const own = paths.map((path) => path.replace(host.root, place.root));
        await scenario.prepare(place);
        await faults.try(`${error} at ${call.text}`, async () => {
          const struck = await strike(call, { error }, own, deployRun(place, scenario));
          if (!struck.isStruck) throw new Error("it did not come to that call");
          assertClear(struck, injection);
          for (const directory of [place.mailcow.ssl, sniOf(place)]) {
            await assertDirectory(place, directory, scenario.leaves);
          }
          await assertSafe(place);
          await assertHealed(place, scenario);
        });
      });
      tell(`errors: ${scenario.name}: ${chosen.length} of ${all.length} errors injected`);
      faults.assertNone();
    });
  }
});
