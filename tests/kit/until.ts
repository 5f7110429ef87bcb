// Waiting for something that another process brings about.

/** Throws where it does not hold within 20 seconds. Less often where it takes a program to see it. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  everyMs: 5 | 50 = 5,
): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!await holds()) {
    if (Date.now() > deadline) throw new Error(`never held: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
