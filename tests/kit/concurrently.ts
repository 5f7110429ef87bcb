// Tests that mostly wait, side by side: each has hosts of its own.

type Step = [name: string, fn: (t: Deno.TestContext) => Promise<void>];

/** A test by this name, of which those that it is given become the steps. */
export function sideBySide(name: string): (...step: Step) => void {
  const steps: Step[] = [];
  Deno.test(name, async (t) => await concurrently(t, steps, 5));
  return (...step) => {
    steps.push(step);
  };
}

/** Steps side by side, a few at a time: many of them wait. */
export async function concurrently(
  t: Deno.TestContext,
  steps: readonly Step[],
  atOnce = 8,
): Promise<void> {
  const queue = steps.values();
  const worker = async () => {
    for (const [name, fn] of queue) {
      await t.step({
        name,
        fn,
        sanitizeOps: false,
        sanitizeResources: false,
        sanitizeExit: false,
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
