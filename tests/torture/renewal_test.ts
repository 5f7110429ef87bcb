// certbot renews while push reads: its unlinks and links at random speeds, round after round.

import { equal, ok } from "node:assert/strict";
import { parseSource } from "../../lib/config/schema.ts";
import { Failure } from "../../lib/failure.ts";
import { keyFits } from "../../lib/certificate/pair.ts";
import { readSource } from "../../lib/push/source.ts";
import { ca, first, type PushSide, pushSide, second } from "./push_side.ts";
import { sized, tell } from "./size.ts";
import { runContext } from "../kit/run_context.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const NAME = "mail.example.org";
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Renews without end; one renewal's steps take about as long as another's, or a hundred times. */
async function renewing(side: PushSide, isOver: () => boolean): Promise<number> {
  let renewals = 0;
  while (!isOver()) {
    const speed = 10 ** (Math.random() * 2.3 - 1); // 0.1 to 20 ms a step
    await side.npm.renew(5, renewals++ % 2 === 0 ? first : second, async () => {
      await pause(speed * Math.random() * 2);
    });
    await pause(Math.random() * 40);
    await clear(side);
  }
  return renewals;
}

/** Not to fill the disk; nobody looks at what no link leads to. */
async function clear({ npm }: PushSide): Promise<void> {
  const archive = `${npm.archive}/npm-5`;
  const names = [];
  for await (const { name } of Deno.readDir(archive)) names.push(name);
  if (names.length < 400) return;
  const version = (name: string) => Number(/(\d+)\.pem$/.exec(name)?.[1]);
  const newest = Math.max(...names.map(version));
  for (const name of names) {
    if (version(name) < newest - 20) await Deno.remove(`${archive}/${name}`);
  }
}

Deno.test("what push reads during renewals always fits together", async () => {
  await using side = await pushSide();
  const context = runContext();
  let isOver = false;
  const renewals = renewing(side, () => isOver);
  const rounds = sized({ quick: 120, ci: 3_000, full: 5_000 });
  const seen = new Set<string>();
  try {
    for (let round = 0; round < rounds; round++) {
      const source = parseSource(round % 2 === 0 ? "auto" : "npm-5", "source");
      const { pair } = await readSource({ live: [side.npm.live], source, domain: NAME }, context);
      if (pair instanceof Failure) throw pair;
      ok(keyFits(pair));
      seen.add(pair.leaf.fingerprint);
      await pause(0);
    }
  } finally {
    isOver = true;
    await renewals;
  }
  equal(seen.size, 2, "there were no renewals to see");
  tell(`renewal: ${rounds} rounds of reading, during ${await renewals} renewals`);
});

Deno.test("what push sends during renewals always fits together", async () => {
  await using side = await pushSide();
  await side.begin();
  let isOver = false;
  const renewals = renewing(side, () => isOver);
  const rounds = sized({ quick: 4, ci: 20, full: 60 });
  try {
    for (let round = 0; round < rounds; round++) {
      const result = await side.push(round % 3 === 0 ? ["--force"] : []);
      equal(result.code, 0, result.stderr);
      const chain = await Deno.readTextFile(`${side.incoming}/fullchain.pem`);
      const leaf = [first, second].find(({ fullchainPem }) => fullchainPem === chain);
      equal(await Deno.readTextFile(`${side.incoming}/privkey.pem`), leaf?.keyPem);
    }
  } finally {
    isOver = true;
    await renewals;
  }
  tell(`renewal: ${rounds} pushes, during ${await renewals} renewals`);
});
