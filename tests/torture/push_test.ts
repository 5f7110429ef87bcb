// push is killed, and given errors, at everything that it does to the file system.

import { failAtCalls, killAtCalls } from "./at_calls.ts";
import { assertHealed, assertSafe, ca, ofThree, type PushSide, pushSide } from "./push_side.ts";
import { places, sized } from "./size.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

async function begin(side: PushSide) {
  await side.begin();
  return side.run();
}

async function check(side: PushSide): Promise<void> {
  await assertSafe(side);
  await assertHealed(side);
}

for (
  const [name, make] of [["push", () => pushSide()], ["push of three names", ofThree]] as const
) {
  Deno.test(`${name} killed at any point is healed by the next run`, async () => {
    await using stack = new AsyncDisposableStack();
    const sides = await places(stack, make);
    const count = sized({ quick: 3, full: Infinity });
    await killAtCalls({ name, places: sides, begin, count }, check);
  });

  Deno.test(`${name} says an error of the file system, and the next run heals it`, async () => {
    await using stack = new AsyncDisposableStack();
    const sides = await places(stack, make);
    const count = sized({ quick: 4, full: Infinity });
    // A directory of NPM's that cannot be looked into for a moment is read again.
    await failAtCalls({ name, places: sides, begin, count }, check, ({ changes }) => changes);
  });
}
