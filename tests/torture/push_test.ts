// push is killed, and given errors, at everything that it does to the file system.

import { ok } from "node:assert/strict";
import { assertClear, injections } from "./errors_of.ts";
import { assertHealed, assertSafe, ca, ofThree, type PushSide, pushSide } from "./push_side.ts";
import { Faults, inPlaces, places, sized, some, tell } from "./size.ts";
import { strike, trace } from "./strace.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

async function callsOf(side: PushSide) {
  const { calls, paths } = await trace(side.root, async () => {
    await side.begin();
    return side.run();
  });
  ok(calls.length > 0);
  return { calls: calls.filter(({ text }) => !text.includes("/config.yaml")), paths };
}

for (
  const [what, make] of [["push", () => pushSide()], ["push of three names", ofThree]] as const
) {
  Deno.test(`${what} killed at any point is healed by the next run`, async () => {
    await using stack = new AsyncDisposableStack();
    const sides = await places(stack, make);
    const { calls, paths } = await callsOf(sides[0]);
    const points = calls.filter(({ changes }) => changes).flatMap((call) =>
      (["before", "after"] as const).map((kill) => ({ call, kill }))
    );
    const chosen = some(points, sized({ quick: 5, full: Infinity }));
    const faults = new Faults();
    let killed = 0;
    await inPlaces(sides, chosen, async ({ call, kill }, side) => {
      await side.begin();
      await faults.try(`killed ${kill} ${call.text}`, async () => {
        const own = paths.map((path) => path.replace(sides[0].root, side.root));
        const struck = await strike(call, { kill }, own, side.run());
        if (!struck.isStruck) throw new Error("it did not come to that call");
        killed++;
        await assertSafe(side);
        await assertHealed(side);
      });
    });
    tell(`kill: ${what}: killed at ${killed} of ${points.length} points`);
    faults.assertNone();
  });

  Deno.test(`${what} says an error of the file system, and the next run heals it`, async () => {
    await using stack = new AsyncDisposableStack();
    const sides = await places(stack, make);
    const { calls, paths } = await callsOf(sides[0]);
    // A directory of NPM's that cannot be looked into for a moment is read again.
    const all = injections(calls.filter(({ changes }) => changes));
    const chosen = some(all, sized({ quick: 8, full: Infinity }));
    const faults = new Faults();
    await inPlaces(sides, chosen, async (injection, side) => {
      const { call, error } = injection;
      await side.begin();
      await faults.try(`${error} at ${call.text}`, async () => {
        const own = paths.map((path) => path.replace(sides[0].root, side.root));
        const struck = await strike(call, { error }, own, side.run());
        if (!struck.isStruck) throw new Error("it did not come to that call");
        assertClear(struck, injection);
        await assertSafe(side);
        await assertHealed(side);
      });
    });
    tell(`errors: ${what}: ${chosen.length} of ${all.length} errors injected`);
    faults.assertNone();
  });
}
