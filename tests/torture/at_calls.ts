// A run is struck at one of its calls, from the beginning each time; what goes wrong then is gathered.

import { ok } from "node:assert/strict";
import { assertClear, injections } from "./errors_of.ts";
import { Faults, inPlaces, some, tell } from "./size.ts";
import { type Call, type Run, type Strike, strike, type Struck, trace } from "./strace.ts";

export interface Attack<Place> {
  /** Of what is told. */
  name: string;
  places: readonly [Place, ...Place[]];
  /** Puts a place back to the beginning, and gives the run that is struck there. */
  begin(place: Place): Promise<Run>;
  /** How many points are taken, of all that there are. */
  count: number;
}

interface Point {
  call: Call;
  how: Strike;
  what: string;
}

/** Kills it before and after everything that it does to the file system. */
export async function killAtCalls<Place extends { root: string }>(
  attack: Attack<Place>,
  check: (place: Place, kill: "before" | "after") => Promise<void>,
): Promise<void> {
  const { calls, paths } = await callsOf(attack);
  // What is after one call is before the next one, so that a check for each sees every state.
  const points = calls.filter(({ changes }) => changes).flatMap((call) =>
    (["before", "after"] as const).map((kill) => ({
      ...{ call, kill, how: { kill }, what: `killed ${kill} ${call.text}` },
    }))
  );
  const killed = await strikeAt(attack, points, paths, (place, { kill }) => check(place, kill));
  tell(`kill: ${attack.name}: killed at ${killed.count} of ${points.length} points`);
  killed.faults.assertNone();
}

/** Gives each call every error that it may give, and sees that it is said. */
export async function failAtCalls<Place extends { root: string }>(
  attack: Attack<Place>,
  check: (place: Place) => Promise<void>,
  isTaken: (call: Call) => boolean = () => true,
): Promise<void> {
  const { calls, paths } = await callsOf(attack);
  const points = injections(calls.filter(isTaken)).map((injection) => ({
    ...{ ...injection, how: { error: injection.error } },
    what: `${injection.error} at ${injection.call.text}`,
  }));
  const injected = await strikeAt(
    attack,
    points,
    paths,
    async (place, injection, struck) => {
      assertClear(struck, injection);
      await check(place);
    },
  );
  tell(`errors: ${attack.name}: ${injected.count} of ${points.length} errors injected`);
  injected.faults.assertNone();
}

async function callsOf<Place extends { root: string }>({ places: [first], begin }: Attack<Place>) {
  const { calls, paths } = await trace(first.root, () => begin(first));
  return { calls: calls.filter(({ text }) => !text.includes("/config.yaml")), paths };
}

async function strikeAt<Place extends { root: string }, P extends Point>(
  { places, begin, count }: Attack<Place>,
  points: readonly P[],
  paths: readonly string[],
  check: (place: Place, point: P, struck: Struck) => Promise<void>,
): Promise<{ count: number; faults: Faults }> {
  ok(points.length > 0, "there is nothing to strike at");
  const faults = new Faults();
  const chosen = some(points, count);
  let strikes = 0;
  await inPlaces(places, chosen, async (point, place) => {
    const own = paths.map((path) => path.replace(places[0].root, place.root));
    const run = await begin(place);
    await faults.try(point.what, async () => {
      const struck = await strike(point.call, point.how, own, run);
      // Services end in any order, so that a run may have a few calls less than another.
      if (!struck.isStruck) return;
      strikes++;
      await check(place, point, struck);
    });
  });
  ok(4 * strikes > chosen.length, `it came to ${strikes} of ${chosen.length} calls alone`);
  return { count: strikes, faults };
}
