// The power is cut at any point of deploy: what was not synced may be lost, one change or another.

import { ok } from "node:assert/strict";
import {
  assertHealed,
  assertRecovered,
  ca,
  deployRun,
  filesBelow,
  type Scenario,
  scenarios,
  tortureHost,
} from "./mail_side.ts";
import { generator } from "./mutation.ts";
import { materialize, outcomes, replay } from "./power.ts";
import { Faults, inPlaces, places, size, sized, some, tell } from "./size.ts";
import { trace } from "./strace.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

Deno.test("after a power cut at any point the next run leaves a whole pair", async (t) => {
  await using stack = new AsyncDisposableStack();
  const hosts = await places(stack, tortureHost);
  const [host] = hosts;
  // What a service tells of an endpoint that fell silent lasts only as long as the machine is up.
  const cut = scenarios.filter(({ name }) => name !== "a rollback of itself");
  for (const scenario of size === "quick" ? some(cut, 1) : cut) {
    await t.step(scenario.name, async () => await cutPower(scenario));
  }

  async function cutPower(scenario: Scenario) {
    let files = new Map<string, string>();
    const { calls } = await trace(host.root, async () => {
      await scenario.prepare(host);
      const paths = await filesBelow(host.root);
      files = new Map(
        await Promise.all(
          paths.map(async (path) => [path, await Deno.readTextFile(path)] as const),
        ),
      );
      return deployRun(host, scenario);
    });
    const random = generator(Date.now() % 2 ** 32);
    const disks = replay(calls.map(({ text }) => text), files);
    const states = disks.flatMap((disk) => outcomes(disk, random));
    ok(states.length > 100);
    const chosen = some(states, sized({ quick: 4, ci: 60, full: 200 }));
    const faults = new Faults();
    await inPlaces(hosts, chosen, async (changes, place) => {
      const own = changes.map((change) => moved(change, host.root, place.root));
      const check = random() < 0.5 ? assertHealed : assertRecovered;
      await scenario.prepare(place);
      const what = own.map(({ remove, add }) => `${remove ?? ""}→${add?.path ?? ""}`).slice(-4);
      await faults.try(`${check.name}: … ${what.join(" ")}`, async () => {
        await materialize(own);
        await place.restartAll(); // all that runs begins anew
        place.docker.forget();
        await check(place, scenario);
      });
    });
    tell(
      `power: ${scenario.name}: ${chosen.length} of ${states.length} states after ${disks.length} cuts`,
    );
    faults.assertNone();
  }
});

function moved<T>(change: T, from: string, to: string): T {
  return JSON.parse(JSON.stringify(change).replaceAll(from, to));
}
