// Several certificates: which of them go back when a service gives none any more, and what is said of each.

import { deepEqual, equal, match } from "node:assert/strict";
import type { MailHost } from "./kit/mail_host.ts";
import {
  type Certificate,
  CLUB,
  NAME,
  namesAuthority,
  outcomes,
  SHOP,
  THREE,
} from "./kit/names_host.ts";
import { textOf } from "./kit/text_of.ts";
import { until } from "./kit/until.ts";

const { ca, fresh, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [newTop, expired, shop, newShop, club, newClub] = await Promise.all([
  issue([NAME], -0.5),
  issue([NAME], -90, -1),
  issue([SHOP]),
  issue([SHOP], -0.5),
  issue([CLUB]),
  issue([CLUB], -0.5),
]);

async function deploy(host: MailHost): Promise<{ [name: string]: Certificate }> {
  const { certificates } = (await host.deploy(["--json"])).json();
  return Object.fromEntries(certificates.map((one: Certificate) => [one.name, one]));
}

/** What becomes of each name. */
async function outcomesOf(host: MailHost): Promise<Record<string, string>> {
  return outcomes((await host.deploy(["--json"])).json());
}

/** The fingerprints of what is not to be tried again. */
async function rejected(host: MailHost): Promise<string[]> {
  const lines = (await textOf(`${host.state}/rejected`)).trim().split("\n");
  return lines.map((line) => line.split(" ")[0] ?? "").filter((word) => word !== "");
}

Deno.test("one new leaf for two owners is to blame alone, and is not tried again", async (t) => {
  const [both, newBoth] = await Promise.all([issue([SHOP, CLUB]), issue([SHOP, CLUB], -0.5)]);
  const [wide, newWide] = await Promise.all([issue([NAME, SHOP]), issue([NAME, SHOP], -0.5)]);
  const cases = {
    "a directory of two names": {
      ...{ before: both, next: newBoth, domains: [SHOP, CLUB], staged: [SHOP, CLUB], top: fresh },
      fallen: { [NAME]: "unchanged", [SHOP]: "rolled-back", [CLUB]: "rolled-back" },
    },
    "the top level and a name's own directory": {
      ...{ before: wide, next: newWide, domains: [SHOP], staged: [null, SHOP], top: wide },
      fallen: { [NAME]: "rolled-back", [SHOP]: "rolled-back" },
    },
  };
  for (const [what, { before, next, domains, staged, top, fallen }] of Object.entries(cases)) {
    await t.step(what, async () => {
      const further = staged.filter((name) => name !== null);
      await using host = await namesHost(
        Object.fromEntries(further.map((name) => [name, before])),
        { deployed: top, staged: top },
      );
      await host.mailcow.putSni(SHOP, before, domains);
      equal((await host.deploy()).code, 0);
      for (const name of staged) await host.stage(next, name ?? undefined);
      host.services.temper("nginx", { cannotLoad: [next.fingerprint] });
      deepEqual(await outcomesOf(host), fallen);
      deepEqual(await rejected(host), [next.fingerprint]);
      host.docker.forget();
      const again = await deploy(host);
      match(again[SHOP]?.error ?? "", /rolled back before/);
      deepEqual(host.calls(), []);
    });
  }
});

Deno.test("a good leaf is not blamed for one that cannot go back, and is tried again", async () => {
  await using host = await namesHost({ [SHOP]: shop }, { deployed: expired, staged: newTop });
  host.services.temper("nginx", { cannotLoad: [newTop.fingerprint] });
  equal((await outcomesOf(host))[SHOP], "rolled-back");
  deepEqual(await rejected(host), []);
  host.services.temper("nginx", {});
  equal((await outcomesOf(host))[SHOP], "deployed");
});

Deno.test("after a run that was cut off, what it did not change does not go back", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club });
  equal((await host.deploy()).code, 0);
  await host.stage(newClub, CLUB);
  equal((await host.deploy()).code, 0);
  await host.stage(newTop);
  host.services.temper("nginx", { cannotLoad: [newTop.fingerprint] });
  await host.configure({ settle: "30s" });
  host.docker.forget();
  const run = host.start();
  await until(() => host.calls().some((call) => call.startsWith("exec -T nginx-mailcow nginx")));
  run.kill("SIGTERM");
  await run.result;
  await host.configure({});
  deepEqual(await outcomesOf(host), {
    ...{ [NAME]: "rolled-back", [SHOP]: "unchanged", [CLUB]: "unchanged" },
  });
  deepEqual(await rejected(host), [newTop.fingerprint]);
  equal(await textOf(`${host.mailcow.ssl}/${SHOP}/domains`), `${SHOP}\n`);
  await host.assertInstalled(newClub, `${host.mailcow.ssl}/${CLUB}`);
  equal(host.services.serves("https", CLUB), newClub.fingerprint);
});

Deno.test("the turn of those that are tried one a run passes on from what is installed or refused", async (t) => {
  const cases = {
    "the first is installed, and a service that does not run keeps it from being confirmed": async (
      host: MailHost,
    ) => {
      await host.services.stop("nginx");
      equal((await outcomesOf(host))[CLUB], "refused");
    },
    "the first is refused for another cause": async (host: MailHost) => {
      await Deno.mkdir(`${host.mailcow.ssl}/${SHOP}`);
    },
  };
  for (const [what, prepare] of Object.entries(cases)) {
    await t.step(what, async () => {
      await using host = await namesHost({ [SHOP]: shop, [CLUB]: club }, { endpoints: THREE });
      await Deno.mkdir(host.state, { recursive: true, mode: 0o700 });
      const suspects = `${shop.fingerprint}\n${club.fingerprint}\n`;
      await Deno.writeTextFile(`${host.state}/suspects`, suspects);
      await prepare(host);
      const after = await outcomesOf(host);
      equal(after[CLUB], "deployed", JSON.stringify(after));
      await host.assertInstalled(club, `${host.mailcow.ssl}/${CLUB}`);
    });
  }
});

Deno.test("a pair that cannot be put back is its name's failure, and not told as rolled back", async () => {
  await using host = await namesHost({ [SHOP]: shop, [CLUB]: club });
  equal((await host.deploy()).code, 0);
  await host.stage(newClub, CLUB);
  host.services.temper("nginx", { cannotLoad: [newClub.fingerprint] });
  const path = `${host.mailcow.ssl}/${CLUB}/cert.pem`;
  host.docker.intercept = ({ argv }) => {
    if (argv.includes("restart") && !Deno.statSync(path).isDirectory) {
      Deno.removeSync(path);
      Deno.mkdirSync(path);
    }
    return undefined;
  };
  const one = (await deploy(host))[CLUB];
  equal(one?.outcome, "failed");
  match(
    `${one?.error}; hint: ${one?.hint}`,
    /could not be put back: there is a directory where a file belongs: ".*cert\.pem"; hint: remove it/,
  );
  host.docker.intercept = () => undefined;
  await Deno.remove(path);
  await Deno.writeTextFile(path, newClub.fullchainPem);
  await deploy(host);
  await host.assertInstalled(club, `${host.mailcow.ssl}/${CLUB}`);
  equal(host.services.serves("https", CLUB), club.fingerprint);
});

Deno.test("a domains that certsync did not write is never taken away: the pair beside it goes", async (t) => {
  const cases: Record<string, (host: MailHost) => Promise<void>> = {
    "at once": async (host) => {
      const one = (await deploy(host))[SHOP];
      equal(one?.outcome, "rolled-back");
      match(one?.error ?? "", /its directory was taken out of service again/);
    },
    "after a run that was cut off before it saw what came of it": async (host) => {
      const run = host.start();
      await until(() => host.calls().includes("restart nginx-mailcow"));
      run.kill("SIGKILL");
      await run.result;
      equal((await deploy(host))[SHOP]?.outcome, "rolled-back");
    },
  };
  for (const [what, fall] of Object.entries(cases)) {
    await t.step(what, async () => {
      await using host = await namesHost({ [SHOP]: shop }, { endpoints: ["https"] });
      const directory = `${host.mailcow.ssl}/${SHOP}`;
      await Deno.mkdir(directory);
      await Deno.writeTextFile(`${directory}/domains`, `${SHOP} \n`); // its pair is missing
      host.services.temper("nginx", { cannotLoad: [shop.fingerprint] });
      await fall(host);
      deepEqual(await Array.fromAsync(Deno.readDir(directory), ({ name }) => name), ["domains"]);
      equal(await textOf(`${host.state}/filled`), ""); // what comes there now is not certsync's
      equal(await textOf(`${directory}/domains`), `${SHOP} \n`);
      equal(host.services.serves("https", NAME), fresh.fingerprint); // nginx has started again
      deepEqual(await rejected(host), [shop.fingerprint]);
      host.docker.forget();
      match((await deploy(host))[SHOP]?.error ?? "", /rolled back before/);
      deepEqual(host.calls(), []);

      await host.stage(newShop, SHOP);
      equal((await deploy(host))[SHOP]?.outcome, "deployed");
      await host.assertInstalled(newShop, directory);
      equal(host.services.serves("https", SHOP), newShop.fingerprint);
      equal(await textOf(`${host.state}/filled`), "");
    });
  }
});

Deno.test("the top-level pair goes before a name's own that ends sooner on the way back too, and the timer undoes neither", async (t) => {
  const [wide, brief, kept, last] = await Promise.all([
    issue([NAME, SHOP], -3, 60),
    issue([NAME, SHOP], -2, 30),
    issue([SHOP], -2, 45),
    issue([SHOP], -1, 90),
  ]);
  await t.step("of the name", async () => {
    await using host = await namesHost({ [SHOP]: kept }, { deployed: brief, staged: brief });
    equal((await host.deploy()).code, 0);
    await host.stage(last, SHOP);
    equal((await host.deploy()).code, 0);
    await host.stage(wide); // which is what deploy takes near the end of the other
    equal((await host.deploy(["--force"])).code, 0);
    const back = (await host.deploy(["--rollback", "--only", SHOP, "--json"])).json();
    equal(outcomes(back)[SHOP], "deployed");
    match(back.warnings.join(), /shop\.example\.com" is served with the certificate of the mail /);
    await host.assertInstalled(wide, `${host.mailcow.ssl}/${SHOP}`);
    deepEqual(await rejected(host), [last.fingerprint]);
    const after = await deploy(host);
    deepEqual([after[SHOP]?.outcome, after[SHOP]?.fingerprint], ["refused", last.fingerprint]);
    await host.assertInstalled(wide, `${host.mailcow.ssl}/${SHOP}`);
    equal((await host.deploy(["--rollback", "--only", SHOP])).code, 0); // to what it was
    await host.assertInstalled(last, `${host.mailcow.ssl}/${SHOP}`);
  });
  await t.step("of the domain", async () => {
    await using host = await namesHost({ [SHOP]: kept }, { deployed: wide, staged: wide });
    await host.mailcow.putSni(SHOP, kept, [SHOP]);
    await host.deploy();
    await host.assertInstalled(wide, `${host.mailcow.ssl}/${SHOP}`);
    await host.stage(brief);
    equal((await host.deploy()).code, 0);
    await host.assertInstalled(kept, `${host.mailcow.ssl}/${SHOP}`);
    const back = (await host.deploy(["--rollback", "--json"])).json();
    equal(back.fingerprint, wide.fingerprint);
    await host.assertInstalled(wide, `${host.mailcow.ssl}/${SHOP}`);
    deepEqual(await rejected(host), [brief.fingerprint]); // the name's own is no worse for that
  });
});
