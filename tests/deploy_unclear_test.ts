// A directory of which nobody can tell what is served from there costs its own names at most.

import { deepEqual, equal, match } from "node:assert/strict";
import { certsync } from "./kit/certsync.ts";
import {
  assertGives,
  CLUB,
  NAME,
  namesAuthority,
  outcomes,
  refusalOf,
  restarts,
  SHOP,
  THREE,
} from "./kit/names_host.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";

const { ca, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
type Leg = Record<"leg" | "name", string>;

const FOREIGN = "foreign.example.org";
const [shop, newShop, club, foreign, newTop] = await Promise.all([
  issue([SHOP], -2),
  issue([SHOP]),
  issue([CLUB]),
  issue([FOREIGN]),
  issue([NAME], 0),
]);

/** A few thousand names, of which each service takes what it takes. */
const TOO_LARGE = `${FOREIGN} `.repeat(4_000);

Deno.test("a foreign directory whose domains is too large to judge keeps no other name from its renewal", async (t) => {
  const waysOut: Record<string, (directory: string) => Promise<void>> = {
    "mend that file": (directory) => Deno.writeTextFile(`${directory}/domains`, `${FOREIGN}\n`),
    "move the directory out": (directory) => Deno.rename(directory, `${directory}/../../../out`),
  };
  for (const [wayOut, follow] of Object.entries(waysOut)) {
    await t.step(wayOut, async () => {
      let directory = "";
      await using host = await namesHost({ [SHOP]: shop }, {
        prepare: async (mailcow) => {
          directory = await mailcow.putSni("x", foreign, [FOREIGN]);
        },
      });
      equal((await host.deploy()).code, 0);
      await Deno.writeTextFile(`${directory}/domains`, TOO_LARGE);
      const before = await snapshot(directory);
      await host.stage(newTop);
      await host.stage(newShop, SHOP);
      host.docker.forget();
      const renewed = await host.deploy(["--json"]);
      equal(renewed.code, 0, renewed.stderr);
      deepEqual(outcomes(renewed.json()), { [NAME]: "deployed", [SHOP]: "deployed" });
      const warning = new RegExp(
        'x" cannot be judged: its file "domains" is larger than 64 KiB: it is left as it is, and ' +
          `no service is restarted while it is so: .*${wayOut}`,
      );
      match(renewed.json().warnings.join("\n"), warning);
      assertGives(host, SHOP, newShop);

      // A new directory takes a restart, and the one that cannot be read may be for that name.
      await host.stage(club, CLUB);
      await host.configure({}, [SHOP, CLUB]);
      const refused = await host.deploy(["--json"]);
      equal(refused.code, 1, refused.stderr);
      const all = { [NAME]: "unchanged", [SHOP]: "unchanged", [CLUB]: "refused" };
      deepEqual(outcomes(refused.json()), all);
      match(
        refusalOf(refused.json(), CLUB),
        new RegExp(`^nobody can tell what is served for "${CLUB}": .*x".*; hint: .*${wayOut}`),
      );
      deepEqual(restarts(host), []);
      assertSame(before, await snapshot(directory));

      await follow(directory);
      const mended = await host.deploy(["--json"]);
      equal(mended.code, 0, mended.stderr);
      equal(outcomes(mended.json())[CLUB], "deployed");
      equal(mended.json().warnings.some((one: string) => /larger than/.test(one)), false);
      assertGives(host, CLUB, club);
      match((await host.assertUntouched(() => host.deploy())).stdout, /nothing to do/);
    });
  }
});

Deno.test("a name whose own directory cannot be judged is refused alone, and a service that needs a restart is stale", async () => {
  await using host = await namesHost({ [SHOP]: shop }, { endpoints: THREE });
  equal((await host.deploy()).code, 0);
  const directory = `${host.mailcow.ssl}/${SHOP}`;
  await Deno.writeTextFile(`${directory}/domains`, TOO_LARGE);
  const before = await snapshot(directory);
  await host.stage(newTop);
  await host.stage(newShop, SHOP);
  host.services.temper("nginx", { ignores: "reload" });
  host.docker.forget();
  const result = await host.deploy(["--json"]);
  equal(result.code, 1, result.stderr);
  deepEqual(outcomes(result.json()), { [NAME]: "stale", [SHOP]: "refused" });
  match(
    result.json().error,
    /nginx-mailcow was not restarted, .*shop\.example\.com" cannot be judged/,
  );
  match(
    result.json().hint,
    /mend that file, or move the directory out of data\/assets\/ssl, then run/,
  );
  match(refusalOf(result.json(), SHOP), /^nobody can tell what is served for "shop/);
  deepEqual(restarts(host), []);
  assertSame(before, await snapshot(directory));

  const verified = (await certsync(["verify", "--json", "--config", host.config])).json();
  const leg = verified.legs.find((one: Leg) => one.leg === "deployed" && one.name === SHOP);
  match(leg.error, /^nobody can tell what is served for "shop/);
  match(
    leg.hint,
    /^mend that file, or move the directory out of data\/assets\/ssl; then: certsync/,
  );

  await Deno.writeTextFile(`${directory}/domains`, `${SHOP}\n`);
  const mended = await host.deploy(["--json"]);
  equal(mended.code, 0, mended.stderr);
  deepEqual(restarts(host), ["restart nginx-mailcow"]);
  assertGives(host, SHOP, newShop);
});
