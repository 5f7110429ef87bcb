// Several runs at once: no mixture, no lost update, no deadlock.

import { deepEqual, equal, ok } from "node:assert/strict";
import { assertDirectory, ca, fresh, old, oldest, scenarios, tortureHost } from "./mail_side.ts";
import * as pushing from "./push_side.ts";
import { sized, tell } from "./size.ts";

Deno.test.afterAll(async () => {
  await Promise.all([ca, pushing.ca].map((one) => one[Symbol.asyncDispose]()));
});

Deno.test("of several deploys at once one installs, and the others find nothing to do", async () => {
  await using host = await tortureHost();
  const [first] = scenarios;
  ok(first);
  const rounds = sized({ quick: 2, full: 20 });
  for (let round = 0; round < rounds; round++) {
    await first.prepare(host);
    const count = 2 + round % 3;
    const results = await Promise.all(
      Array.from({ length: count }, () => host.deploy(["--json"], { timeoutMs: 90_000 })),
    );
    const outcomes = results.map((result) => result.json().outcome).sort();
    deepEqual(outcomes, ["deployed", ...Array(count - 1).fill("unchanged")]);
    await host.assertInstalled(fresh);
  }
  tell(`races: ${rounds} rounds of several deploys at once`);
});

Deno.test("of ten pushes at once one sends, and the others find nothing to do", async () => {
  await using side = await pushing.pushSide();
  const rounds = sized({ quick: 1, full: 5 });
  for (let round = 0; round < rounds; round++) {
    await side.begin();
    const before = side.server.connections();
    const results = await Promise.all(Array.from({ length: 10 }, () => side.push()));
    const outcomes = results.map((result) => result.json().outcome).sort();
    deepEqual(outcomes, ["pushed", ...Array(9).fill("unchanged")]);
    equal(side.server.connections() - before, 1);
    await pushing.assertArrived(side.incoming, pushing.second);
  }
  tell(`races: ${rounds} rounds of ten pushes at once`);
});

Deno.test("deploy in the middle of a push installs a pair that fits, or waits for the next run", async () => {
  await using side = await pushing.pushSide();
  await using host = await tortureHost();
  await side.configure({ trust: ca.rootFile });
  await host.configure({ staging: side.incoming.replace(/\/$/, "") });
  const renewals = [oldest, old, fresh];
  const rounds = sized({ quick: 1, full: 12 });
  let deploys = 0;
  for (let round = 0; round < rounds; round++) {
    await Deno.remove(host.state, { recursive: true }).catch(() => {});
    await host.mailcow.put(oldest);
    await side.begin();
    for (const leaf of renewals) {
      await side.npm.renew(5, leaf);
      let isOver = false;
      const pushed = side.push().finally(() => isOver = true);
      while (!isOver) {
        const result = await host.deploy(["--json"]);
        deploys++;
        ok(!/bug in certsync/.test(result.stderr), result.stderr);
        await assertDirectory(host, host.mailcow.ssl, renewals);
      }
      equal((await pushed).code, 0, (await pushed).stderr);
      const last = await host.deploy(["--json"]);
      equal(last.code, 0, last.stderr);
      await host.assertInstalled(leaf);
    }
  }
  tell(`races: ${rounds * renewals.length} pushes with ${deploys} deploys in their midst`);
});
