// Several certificates: where a pair cannot be put in its place, or cannot stay there.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Leaf } from "./kit/authority.ts";
import type { MailHost } from "./kit/mail_host.ts";
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
import { textOf } from "./kit/text_of.ts";
import { unshare } from "./kit/unshare.ts";

const WIDE = "wide.example.org";

const { ca, fresh, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [newTop, shop, newShop, club, newClub] = await Promise.all([
  issue([NAME, WIDE], -0.5),
  issue([SHOP]),
  issue([SHOP], -0.5),
  issue([CLUB]),
  issue([CLUB], -0.5),
]);

/** A file over which something is mounted can be replaced by nobody, whoever he is. */
function mounted(path: string): string[] {
  const script = `mount --bind '${path}' '${path}' && exec "$@"`;
  return [...(unshare ?? "").split(" "), "--mount", "/bin/sh", "-c", script, "sh"];
}

Deno.test({
  name: "a top level that cannot be written keeps no further name from its pair",
  ignore: unshare === undefined, // a mount takes a right that not every container has
  fn: async () => {
    await using host = await namesHost({ [CLUB]: club });
    equal((await host.deploy()).code, 0);
    await host.configure({}, [SHOP, CLUB, WIDE]);
    for (const [name, leaf] of Object.entries({ [SHOP]: shop, [CLUB]: newClub, [WIDE]: newTop })) {
      await host.stage(leaf, name);
    }
    await host.stage(newTop);
    const under = mounted(`${host.mailcow.ssl}/cert.pem`);
    const result = await host.deploy(["--json"], { under });
    const report = result.json();
    equal(result.code, 1);
    deepEqual(outcomes(report), {
      // The top-level pair would be its own.
      ...{ [NAME]: "failed", [SHOP]: "deployed", [CLUB]: "deployed", [WIDE]: "failed" },
    });
    for (const name of [NAME, WIDE]) {
      match(refusalOf(report, name), /^cannot install the certificate in .*: it is in use; hint: /);
    }
    match(result.stderr, /^ERROR: [^\n]*mail\.example\.org, wide\.example\.org: cannot install /m);
    await host.assertInstalled(fresh);
    await host.assertInstalled(shop, `${host.mailcow.ssl}/${SHOP}`);
    await host.assertInstalled(newClub, `${host.mailcow.ssl}/${CLUB}`);
    assertGives(host, undefined, fresh);
    assertGives(host, SHOP, shop);
    assertGives(host, CLUB, newClub);

    // Told again by each run, with nothing else to do, until it is over.
    host.docker.forget();
    const again = (await host.deploy(["--json"], { under })).json();
    deepEqual([outcomes(again)[NAME], outcomes(again)[SHOP]], ["failed", "unchanged"]);
    deepEqual(restarts(host), []);
    const after = await host.deploy(["--json"]);
    equal(after.code, 0, after.stderr);
    deepEqual(
      [outcomes(after.json())[NAME], outcomes(after.json())[WIDE]],
      Array(2).fill("deployed"),
    );
    assertGives(host, WIDE, newTop);
    equal((await host.deploy(["--json"])).json().result, "unchanged");
  },
});

Deno.test("a top level that cannot go back keeps no further name from going back", async () => {
  await using host = await namesHost({ [CLUB]: club }, { endpoints: ["https"] });
  equal((await host.deploy()).code, 0);
  await host.stage(newTop);
  await host.stage(newClub, CLUB);
  host.services.temper("nginx", { cannotLoad: [newTop.fingerprint, newClub.fingerprint] });
  const key = `${host.mailcow.ssl}/key.pem`;
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("restart") && !Deno.statSync(key).isDirectory) {
      Deno.removeSync(key);
      Deno.mkdirSync(key);
    }
    return undefined;
  };
  const report = (await host.deploy(["--json"])).json();
  deepEqual(outcomes(report), { [NAME]: "failed", [CLUB]: "rolled-back" });
  match(
    refusalOf(report, NAME),
    /https.*; but what was there before could not be put back: there is a directory where .*; hint: remove it/,
  );
  await host.assertInstalled(club, `${host.mailcow.ssl}/${CLUB}`);
  // What could not give way is there still, and no service is taken for one that loaded the other.
  equal((await host.loaded()).some((line) => line.includes(fresh.fingerprint)), false);

  host.docker.intercept = () => undefined;
  await Deno.remove(key);
  await Deno.writeTextFile(key, newTop.keyPem);
  deepEqual(outcomes((await host.deploy(["--json"])).json()), {
    ...{ [NAME]: "rolled-back", [CLUB]: "refused" }, // whose turn comes after it
  });
  await host.assertInstalled(fresh);
  assertGives(host, undefined, fresh);
  assertGives(host, CLUB, club);
});

Deno.test("for a directory that cannot be made nothing is restarted or reloaded, at any run, until it is there", async () => {
  await using host = await namesHost({ [CLUB]: club });
  equal((await host.deploy()).code, 0);
  await host.stage(shop, SHOP);
  await host.stage(newClub, CLUB);
  await host.configure({}, [SHOP, CLUB]);
  // As a run that was cut off leaves it, and somebody else then fills it:
  await Deno.writeTextFile(`${host.state}/names`, `${CLUB}\n${SHOP}\tbegun\n`);
  await Deno.mkdir(`${host.mailcow.ssl}/${SHOP}/key.pem`, { recursive: true });
  for (const club of ["deployed", "unchanged"]) {
    host.docker.forget();
    const result = await host.deploy(["--json"]);
    equal(result.code, 1);
    deepEqual(outcomes(result.json()), { [NAME]: "unchanged", [SHOP]: "failed", [CLUB]: club });
    match(refusalOf(result.json(), SHOP), /there is a directory where a file belongs: .*; hint: /);
    equal(/restarting/.test(result.stderr), false, result.stderr);
    deepEqual(restarts(host), []);
    const told = host.calls().filter((call) => call.startsWith("exec "));
    equal(told.length > 0, club === "deployed", told.join());
    equal(await textOf(`${host.state}/owed`), "");
  }
  assertGives(host, CLUB, newClub);

  await Deno.remove(`${host.mailcow.ssl}/${SHOP}/key.pem`);
  equal((await host.deploy()).code, 0);
  equal(restarts(host).length, 3);
  assertGives(host, SHOP, shop);
});

Deno.test("what is in the way where a name's pair is kept is neither followed nor the failure of any other", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club });
  equal((await host.deploy()).code, 0);
  const kept = `${host.state}/previous-names/${SHOP}`;
  const elsewhere = `${host.root}/elsewhere`;
  await Deno.mkdir(elsewhere);
  await Deno.mkdir(`${host.state}/previous-names`, { mode: 0o700 });
  await host.stage(newShop, SHOP);
  const spoilers: Record<string, [() => Promise<unknown>, [string | null, Leaf][]]> = {
    "a link": [() => Deno.symlink(elsewhere, kept), [[CLUB, newClub], [null, newTop]]],
    "a link that leads nowhere": [() => Deno.symlink(`${host.root}/nowhere`, kept), []],
    "a file": [() => Deno.writeTextFile(kept, "x"), []],
    "a directory in the place of a file": [
      () => Deno.mkdir(`${kept}/key.pem`, { recursive: true, mode: 0o700 }),
      [],
    ],
  };
  for (const [what, [spoil, renewed]] of Object.entries(spoilers)) {
    await spoil();
    for (const [name, leaf] of renewed) await host.stage(leaf, name ?? undefined);
    const report = (await host.deploy(["--json"])).json();
    const others = renewed.length > 0 ? "deployed" : "unchanged";
    deepEqual(outcomes(report), { [NAME]: others, [SHOP]: "failed", [CLUB]: others }, what);
    const told = /certsync did not make is .*shop\.example\.com.*; hint: .*, and move it away/;
    match(refusalOf(report, SHOP), told);
    const back = await host.deploy(["--rollback", "--only", SHOP, "--json"]);
    match(refusalOf(back.json(), SHOP), told);
    deepEqual(await Array.fromAsync(Deno.readDir(elsewhere)), []);
    await Deno.rename(kept, `${host.root}/away ${what}`);
  }
  await host.assertInstalled(shop, `${host.mailcow.ssl}/${SHOP}`);
  equal((await host.deploy()).code, 0);
  await host.assertInstalled(newShop, `${host.mailcow.ssl}/${SHOP}`);
  equal(await textOf(`${kept}/cert.pem`), shop.fullchainPem);
});

Deno.test("half a pair in a name's directory gives way to what was kept, where what is staged is refused", async () => {
  await using host = await namesHost({ [CLUB]: club });
  equal((await host.deploy()).code, 0);
  await host.stage(newClub, CLUB);
  equal((await host.deploy()).code, 0); // which keeps the former one
  await host.stage(await issue(["other.example.org"]), CLUB);
  await Deno.remove(`${host.mailcow.ssl}/${CLUB}/cert.pem`);
  const report = (await host.deploy(["--json"])).json();
  equal(outcomes(report)[CLUB], "refused");
  await host.assertInstalled(club, `${host.mailcow.ssl}/${CLUB}`);
  assertGives(host, CLUB, club);
  host.docker.forget();
  await host.deploy();
  deepEqual(restarts(host), []);
});

Deno.test("a directory of another's that lacks its pair is no name's own, and is to be moved out", async () => {
  await using host = await namesHost({ [SHOP]: shop }, {
    prepare: async (mailcow) => {
      await Deno.mkdir(`${mailcow.ssl}/foo`);
      await Deno.writeTextFile(`${mailcow.ssl}/foo/domains`, SHOP);
    },
  });
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  assertGives(host, SHOP, shop);
  await host.assertInstalled(shop, `${host.mailcow.ssl}/${SHOP}`);
  const [, told = ""] = result.stderr.match(/^WARNING: ("[^"]+foo".*)$/m) ?? [];
  match(
    told,
    /foo" is served for nobody without .*, and the pair of "shop\.example\.com" goes into that name's own directory: move this one out of data\/assets\/ssl, and restart /,
  );
  await Deno.rename(`${host.mailcow.ssl}/foo`, `${host.root}/foo`);
  await host.restartAll();
  const after = await host.deploy(["--json"]);
  deepEqual([after.code, after.json().warnings, after.json().result], [0, [], "unchanged"]);
});

Deno.test("what was loaded for a name is not taken for loaded once services were started with a domains that hides it", async (t) => {
  for (const [what, top] of Object.entries({ "alone": fresh, "beside a renewal": newTop })) {
    await t.step(what, async () => {
      await using host = await namesHost({ [SHOP]: shop }, { endpoints: THREE });
      equal((await host.deploy()).code, 0);
      const domains = `${host.mailcow.ssl}/${SHOP}/domains`;
      await Deno.writeTextFile(domains, `${SHOP}.\n`);
      await host.restartAll();
      await host.stage(top);
      match(refusalOf((await host.deploy(["--json"])).json(), SHOP), /do not read .* alike/);
      await Deno.writeTextFile(domains, `${SHOP}\n`); // and the restart of the hint is forgotten
      const result = await host.deploy(["--json"]);
      deepEqual([result.code, outcomes(result.json())[SHOP]], [0, "repaired"]);
      assertGives(host, SHOP, shop);
    });
  }
});

Deno.test("a key that lies alone in a directory that somebody began for a name is set aside, never overwritten", async () => {
  const directory = (host: MailHost) => `${host.mailcow.ssl}/${SHOP}`;
  await using host = await namesHost({ [SHOP]: shop });
  await host.mailcow.putSni(SHOP, club, [SHOP]);
  await Deno.remove(`${directory(host)}/cert.pem`);
  await host.restartAll();
  const refused = (await host.deploy(["--json"])).json();
  equal(outcomes(refused)[SHOP], "refused");
  const refusal = refusalOf(refused, SHOP);
  match(refusal, /key\.pem" lies there without a certificate, and certsync did not put it there/);
  equal(await textOf(`${directory(host)}/key.pem`), club.keyPem);
  deepEqual(restarts(host), []);

  const [, command = ""] = /hint: set it aside: (mv .*); then: certsync deploy/.exec(refusal) ?? [];
  await host.shell(command);
  const after = await host.deploy(["--json"]);
  equal(after.code, 0, after.stderr);
  equal(outcomes(after.json())[SHOP], "deployed");
  await host.assertInstalled(shop, directory(host));
  assertGives(host, SHOP, shop);
  equal(await textOf(`${directory(host)}/key.pem.kept`), club.keyPem);
});
