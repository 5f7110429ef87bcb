// How much of the torture is done: a part that is still honest, a large part, or all of it.

const sizes = ["quick", "ci", "full"] as const;

export type Size = typeof sizes[number];

const asked = Deno.env.get("CERTSYNC_TORTURE");

/** `make test` leaves it at the first; tools/torture sets it. */
export const size: Size = sizes.find((name) => name === asked) ?? "quick";

/** The one for this size; `ci` is as `full` where it is not given. */
export function sized<T>(values: { quick: T; ci?: T; full: T }): T {
  return size === "ci" ? values.ci ?? values.full : values[size];
}

/** About so many of them, spread over all, others each time; all of them where that is more. */
export function some<T>(all: readonly T[], count: number): T[] {
  if (count >= all.length) return [...all];
  const step = all.length / count;
  const first = Math.random() * step;
  return Array.from({ length: count }, (_, index) => all[Math.floor(first + index * step)] as T);
}

/** Says in numbers what was done. */
export function tell(line: string): void {
  console.log(`torture: ${line}`);
}

/** Makes so many places where things happen side by side. */
export function places<Place>(
  stack: AsyncDisposableStack,
  make: () => Promise<Place & AsyncDisposable>,
): Promise<[Place, ...Place[]]> {
  const first = async () => stack.use(await make()) as Place;
  const others = Array.from({ length: sized({ quick: 1, full: 3 }) }, first);
  return Promise.all([first(), ...others]);
}

/** Does it with every item, each in a place that is free. Gives what they gave. */
export async function inPlaces<Place, T, R>(
  places: readonly Place[],
  items: readonly T[],
  deed: (item: T, place: Place) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  await Promise.all(places.map(async (place) => {
    for (const [index, item] of queue) results[index] = await deed(item, place);
  }));
  return results;
}

/** Faults are gathered, so that one does not hide the others. */
export class Faults {
  readonly #found: string[] = [];

  async try(what: string, deed: () => Promise<unknown>): Promise<void> {
    try {
      await deed();
    } catch (error) {
      this.#found.push(`${what}: ${error instanceof Error ? error.message : error}`);
    }
  }

  assertNone(): void {
    if (this.#found.length === 0) return;
    throw new Error(`${this.#found.length} faults:\n${this.#found.join("\n")}`);
  }
}
