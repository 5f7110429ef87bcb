// push of several names, each with a certificate of its own, over a real sshd and rsync.

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { NoLineage } from "../lib/push/choice.ts";
import { noteGone } from "../lib/push/gone.ts";
import { type Name, namesOf } from "../lib/push/names.ts";
import { account } from "./kit/account.ts";
import { authority, type Leaf, tlsa } from "./kit/authority.ts";
import { certsync, startCertsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { concurrently, sideBySide } from "./kit/concurrently.ts";
import {
  makeScene,
  modeOf,
  NAME,
  namesIn,
  type Scene,
  type SceneOptions,
} from "./kit/push_scene.ts";
import { recorder } from "./kit/recorder.ts";
import { run } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";
import { until } from "./kit/until.ts";

const SHOP = "shop.example.net";
const BLOG = "blog.example.com";
const DAY_MS = 86_400_000;
const ago = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
const server = await sshServer();
Deno.test.afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
});
const [mail, shop, blog] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [SHOP] }),
  ca.issue({ names: [BLOG, `www.${BLOG}`] }),
]);

const test = sideBySide("push of several names");

/** With three names, in npm-5, npm-6 and npm-7. */
async function namesScene(options: Partial<SceneOptions> = {}): Promise<Scene> {
  const scene = await makeScene({ ca, leaf: mail, server, ...options });
  await scene.npm.add(6, shop);
  await scene.npm.add(7, blog);
  await scene.configure({ also: [SHOP, BLOG] });
  return scene;
}

async function assertStaged(scene: Scene, leaves: Record<string, Leaf>): Promise<void> {
  for (const [place, leaf] of Object.entries(leaves)) {
    const directory = `${scene.incoming}${place}`;
    equal(await Deno.readTextFile(`${directory}/fullchain.pem`), leaf.fullchainPem, place);
    equal(await Deno.readTextFile(`${directory}/privkey.pem`), leaf.keyPem, place);
    deepEqual(
      [modeOf(`${directory}/fullchain.pem`), modeOf(`${directory}/privkey.pem`)],
      [0o644, 0o600],
    );
    if (place === "") continue;
    equal(modeOf(directory), 0o700);
    deepEqual(namesIn(directory), ["fullchain.pem", "privkey.pem"]);
  }
}
const all = { "": mail, [SHOP]: shop, [BLOG]: blog };
const staged = ["fullchain.pem", "privkey.pem", SHOP, BLOG].sort();

for (
  const [what, command, connections] of [
    ["any command", () => undefined, 1],
    ["-z", ({ incoming }) => forcedCommand("-azL", incoming), 1],
    ["no -z", ({ incoming }) => forcedCommand("-aL", incoming), 2],
    ["rrsync", ({ incoming }) => `${need("rrsync")} -wo ${incoming}`, 1],
  ] as [string, (scene: Scene) => string | undefined, number][]
) {
  test(`all that a target lacks goes in one call where the forced command is for ${what}`, async () => {
    await using own = await sshServer();
    await using scene = await namesScene({ server: own });
    await own.force(command(scene));
    if (what === "rrsync") await scene.configure({ to: own.target("/") });
    const [to] = what === "rrsync" ? [own.target("/")] : [scene.to];
    const pushed = await scene.push(["--json"]);
    const report = pushed.json();
    deepEqual([pushed.code, report.outcome, report.result], [0, "pushed", "pushed"], pushed.stderr);
    equal(own.connections(), connections);
    await assertStaged(scene, all);
    deepEqual(namesIn(scene.incoming), staged);
    equal(
      await Deno.readTextFile(`${scene.state}/last_fp`),
      `${mail.fingerprint} ${to}\n${shop.fingerprint} ${to}\t${SHOP}\n` +
        `${blog.fingerprint} ${to}\t${BLOG}\n`,
    );
    deepEqual(namesIn(scene.state), ["history", "last_fp", "lock"]);

    await using programs = await recorder();
    const before = await snapshot(scene.path);
    const again = await scene.push(["--json"], { path: programs.bin });
    deepEqual([again.code, again.json().result, again.stderr], [0, "unchanged", ""]);
    deepEqual(programs.calls(), []);
    assertSame(before, await snapshot(scene.path));

    // What is there is replaced.
    const renewed = await ca.issue({ names: [SHOP] });
    await scene.npm.renew(6, renewed);
    equal((await scene.push()).code, 0);
    await assertStaged(scene, { ...all, [SHOP]: renewed });
  });
}

test("of three names the one that was renewed is sent alone, and --force sends all", async () => {
  await using scene = await namesScene();
  equal((await scene.push()).code, 0);
  const before = await snapshot(scene.incoming);
  const renewed = await ca.issue({ names: [BLOG] });
  await scene.npm.renew(7, renewed);
  await using programs = await recorder({
    rsync: `find . -type f >${scene.path}/sent; exec ${need("rsync")} "$@"`,
  });
  const result = await scene.push([], { path: programs.bin });
  deepEqual([result.code, result.stderr], [0, ""]);
  match(
    result.stdout,
    new RegExp(
      `^pushed ${BLOG} \\S+ \\(was ${
        blog.fingerprint.slice(0, 11)
      }\\), valid until \\S+\nto ${scene.to}\nunchanged: 2 other names\n$`,
    ),
  );
  const sent = await Deno.readTextFile(`${scene.path}/sent`);
  deepEqual(sent.trim().split("\n").sort(), [
    `./${BLOG}/fullchain.pem`,
    `./${BLOG}/privkey.pem`,
  ]);
  const calls = programs.calls().map(({ argv }) => argv);
  const [rsync] = calls.filter(([program]) => program === "rsync");
  deepEqual(rsync?.slice(-3), ["--", BLOG, scene.to]);
  deepEqual(calls.filter(([program]) => program === "openssl").length, 3);
  const after = await snapshot(scene.incoming);
  for (const [path, found] of after) {
    if (path !== "" && !path.includes(BLOG)) deepEqual(found, before.get(path), path);
  }
  await assertStaged(scene, { ...all, [BLOG]: renewed });

  const forced = (await scene.push(["--force", "--json"])).json();
  deepEqual(
    forced.certificates.map(({ name, outcome }: Record<string, string>) => [name, outcome]),
    [[NAME, "pushed"], [SHOP, "pushed"], [BLOG, "pushed"]],
  );
});

test("push --json has every name, the domain first, and at the top the domain's alone", async () => {
  await using scene = await namesScene();
  await scene.remember(`${shop.fingerprint} ${scene.to}\t${SHOP}\n`);
  await scene.npm.renew(7, await ca.issue({ names: [BLOG], notBefore: ago(9), notAfter: ago(1) }));
  const result = await scene.push(["--json"]);
  const { certificates: [domain, ...further], result: worst, ...report } = result.json();
  deepEqual([result.code, report.outcome, worst], [1, "pushed", "refused"]);
  const { domain: name, schema, command, warnings, ...own } = report;
  deepEqual({ name, ...own }, domain);
  deepEqual(
    [schema, command, warnings, own.error, own.tlsa],
    [1, "push", [], undefined, await tlsa(mail)],
  );
  deepEqual(further[0], {
    ...{ name: SHOP, outcome: "unchanged", source: scene.npm.dir(6) },
    ...{ fingerprint: shop.fingerprint, replaces: null, tlsa: await tlsa(shop) },
    notAfter: shop.notAfter.toISOString().replace(".000Z", "Z"),
    targets: [{ to: scene.to, outcome: "unchanged" }],
  });
  const { error, hint, ...refused } = further[1];
  deepEqual([refused.name, refused.outcome, refused.targets], [BLOG, "refused", [
    { to: scene.to, outcome: "refused" },
  ]]);
  match(error, /^certificate expired at .*npm-7\/fullchain\.pem"$/);
  equal(result.stderr, `ERROR: ${BLOG}: ${error}\nhint: ${hint}\n`);
  const history = (await Deno.readTextFile(`${scene.state}/history`)).trim().split("\n");
  deepEqual(history.map((line) => [JSON.parse(line).name, JSON.parse(line).outcome]), [
    [NAME, "pushed"],
    [BLOG, "refused"],
  ]);
  const { code, stdout, stderr } = await scene.push(["-q"]);
  deepEqual([code, stdout, stderr], [1, "", result.stderr]); // nothing of the two that are there
});

test("a name without a good certificate is that name's failure, and no other's", async (t) => {
  const cases: [what: string, arrange: (scene: Scene) => Promise<unknown>, error: RegExp][] = [
    ["expired", (scene) => upload(scene, { notBefore: ago(9), notAfter: ago(1) }), /expired/],
    ["self-signed", (scene) => upload(scene, { signedBy: "self" }), /chain does not verify/],
    ["not yet valid", (scene) => upload(scene, { notBefore: ago(-1) }), /not yet valid/],
    ["beside another key", async (scene) => {
      await upload(scene, {});
      await Deno.writeTextFile(`${scene.npm.dir(6)}/privkey.pem`, blog.keyPem);
    }, /^key does not match certificate/],
    ["with a key in its chain file", async (scene) => {
      await upload(scene, {});
      const text = shop.fullchainPem + shop.keyPem;
      await Deno.writeTextFile(`${scene.npm.dir(6)}/fullchain.pem`, text);
    }, /^a private key is in the chain file/],
    [
      "gone",
      ({ npm }) => Deno.remove(npm.dir(6), { recursive: true }),
      /^no certificate for "shop/,
    ],
    ["unreadable", async ({ npm }) => {
      await Deno.remove(`${npm.dir(6)}/privkey.pem`);
      await Deno.mkdir(`${npm.dir(6)}/privkey.pem`);
    }, /^source unreadable: .*privkey\.pem" is a directory/],
  ];
  await concurrently(
    t,
    cases.map(([what, arrange, error]) => [what, async () => {
      await using scene = await namesScene();
      await arrange(scene);
      const result = await scene.push(["--json"]);
      const { certificates, ...report } = result.json();
      deepEqual([result.code, report.outcome, report.error], [1, "pushed", undefined]);
      equal(certificates[1].outcome, report.result);
      match(certificates[1].error, error);
      match(result.stderr, new RegExp(`^ERROR: ${SHOP}: [^\n]*\nhint: [^\n]*\n$`));
      await assertStaged(scene, { "": mail, [BLOG]: blog });
      deepEqual(namesIn(scene.incoming), staged.filter((name) => name !== SHOP));
      ok(!(await Deno.readTextFile(`${scene.state}/last_fp`)).includes(SHOP));
    }]),
  );
});

test("a domain without a good certificate keeps no further name from its target", async () => {
  await using scene = await namesScene();
  await scene.npm.renew(5, await ca.issue({ names: [NAME], notBefore: ago(9), notAfter: ago(1) }));
  const result = await scene.push(["--json"]);
  const report = result.json();
  deepEqual([result.code, report.outcome, report.result], [1, "refused", "refused"]);
  match(result.stderr, new RegExp(`^ERROR: ${NAME}: certificate expired`));
  equal(report.error, report.certificates[0].error);
  await assertStaged(scene, { [SHOP]: shop, [BLOG]: blog });
  deepEqual(namesIn(scene.incoming), [SHOP, BLOG].sort());
});

test("what is wrong with a target is told once, whatever it should have got", async () => {
  await using scene = await namesScene();
  await scene.configure({ identity: server.strangerIdentity });
  const result = await scene.push(["--json"]);
  const { certificates, error, hint } = result.json();
  deepEqual([result.code, certificates.length], [1, 3]);
  for (const certificate of certificates) {
    deepEqual([certificate.outcome, certificate.error], ["failed", error]);
  }
  match(error, /permission denied: the key is not accepted/);
  equal(result.stderr, `ERROR: ${error}\nhint: ${hint}\n`);
});

test("whatever lies at a name over there makes room, and nothing is written through a link", async (t) => {
  const cases: [what: string, arrange: (path: string, scene: Scene) => Promise<unknown>][] = [
    ["a link to a directory", (path, scene) => Deno.symlink(`${scene.path}/elsewhere`, path)],
    ["a link that dangles", (path) => Deno.symlink("/nonexistent/place", path)],
    ["a file", (path) => Deno.writeTextFile(path, "x")],
    ["a FIFO", (path) => run("/usr/bin/mkfifo", [path])],
    ["links within", async (path, scene) => {
      await Deno.mkdir(path);
      await Deno.symlink(`${scene.path}/elsewhere/key`, `${path}/privkey.pem`);
      await Deno.symlink(`${scene.path}/elsewhere/chain`, `${path}/fullchain.pem`);
    }],
  ];
  await concurrently(
    t,
    cases.map(([what, arrange]) => [what, async () => {
      await using scene = await namesScene();
      await Deno.mkdir(`${scene.path}/elsewhere`);
      await arrange(`${scene.incoming}${SHOP}`, scene);
      const result = await scene.push();
      deepEqual([result.code, result.stderr], [0, ""]);
      await assertStaged(scene, all);
      deepEqual(namesIn(`${scene.path}/elsewhere`), []);
    }]),
  );
});

test("what blocks one name over there is its failure alone, with what ends it, which helps", async (t) => {
  await using user = await account();
  await using own = await sshServer({ user: user.name });
  const cases: [what: string, block: (path: string) => Promise<unknown>, error: RegExp][] = [
    ["a closed directory of root's", (path) => Deno.mkdir(path, { mode: 0o700 }), /failed to stat/],
    ["an open directory of root's", (path) => Deno.mkdir(path, { mode: 0o755 }), /mkstemp/],
    ["a directory in the place of a file", async (path) => {
      await Deno.mkdir(`${path}/privkey.pem/full`, { recursive: true });
      await run("/bin/chown", ["-R", `${user.name}:`, path]);
    }, /a directory lies where a file belongs/],
  ];
  for (const [what, block, error] of cases) {
    await t.step(what, async () => {
      await using scene = await namesScene({ user: user.name, server: own });
      await block(`${scene.incoming}${SHOP}`);
      const result = await scene.push(["--json"]);
      const { certificates, ...report } = result.json();
      deepEqual([result.code, report.outcome, report.result], [1, "pushed", "failed"]);
      match(certificates[1].error, error);
      doesNotMatch(certificates[1].error, new RegExp(BLOG));
      await assertStaged(scene, { "": mail, [BLOG]: blog });
      const lines = (await Deno.readTextFile(`${scene.state}/last_fp`)).trim().split("\n");
      deepEqual(lines.map((line) => line.split("\t")[1]), [undefined, BLOG]);

      const [, line = ""] =
        /(?:: |through: )((?:rm -r|install -d) [^,;]*)/.exec(certificates[1].hint) ??
          [];
      ok(line.includes(SHOP), certificates[1].hint);
      await run("/bin/sh", ["-c", line]);
      const again = await scene.push(["--json"]);
      equal(again.code, 0, again.stderr);
      await assertStaged(scene, all);
    });
  }
});

test("names are sent with what find-npm-dir picks, also two of one lineage, or of a wildcard's", async () => {
  await using scene = await namesScene();
  const [imap, smtp] = ["imap.example.org", "smtp.example.org"];
  await scene.configure({ also: [imap, smtp, SHOP] });
  const wildcard = await ca.issue({ names: ["*.example.org"], notBefore: ago(1) });
  await scene.npm.add(8, wildcard);
  equal((await scene.push()).code, 0);
  await assertStaged(scene, { "": mail, [imap]: wildcard, [smtp]: wildcard, [SHOP]: shop });

  // A name that moves into another lineage is sent from there, once.
  const exact = await ca.issue({ names: [smtp, SHOP] });
  await scene.npm.add(9, exact);
  const moved = (await scene.push(["--json"])).json();
  deepEqual(
    moved.certificates.map(({ outcome, source }: Record<string, string>) => [outcome, source]),
    [
      ["unchanged", scene.npm.dir(5)],
      ["unchanged", scene.npm.dir(8)],
      ["pushed", scene.npm.dir(9)],
      ["pushed", scene.npm.dir(9)],
    ],
  );
  await assertStaged(scene, { "": mail, [imap]: wildcard, [smtp]: exact, [SHOP]: exact });
  match((await scene.push()).stdout, /^nothing to do: every target has .*\nand 3 other names, /);

  // Into the domain's own.
  const one = await ca.issue({ names: [NAME, imap, smtp, SHOP] });
  await scene.npm.renew(5, one);
  equal((await scene.push()).code, 0);
  await assertStaged(scene, { "": one, [imap]: one, [smtp]: one, [SHOP]: one });

  // A single one is named: it may be the domain itself.
  await scene.configure({ also: undefined });
  const added = await scene.push(["--also", BLOG, "--dry-run"]);
  match(added.stdout, new RegExp(`^would push ${BLOG} [^]*\nunchanged: ${NAME}\nTLSA `));
});

test("push.source counts for the domain alone", async () => {
  await using scene = await namesScene();
  const own = await ca.issue({ names: [NAME, SHOP] });
  await scene.configure({ source: await scene.npm.addCustom(3, own) });
  const { certificates } = (await scene.push(["--json"])).json();
  deepEqual(certificates.map(({ source }: { source: string }) => source), [
    `${scene.npm.customSsl}/npm-3`,
    scene.npm.dir(6),
    scene.npm.dir(7),
  ]);
  await assertStaged(scene, { ...all, "": own });
});

test("where the best lineage of a further name is refused for its chain, the next one goes", async () => {
  await using scene = await namesScene();
  const best = await ca.issue({ names: [SHOP] });
  await scene.npm.add(9, { ...best, fullchainPem: best.certPem });
  await run("/usr/bin/find", [
    scene.npm.root,
    "-exec",
    "touch",
    "-h",
    "-d",
    "yesterday",
    "{}",
    "+",
  ]);
  const result = await scene.push(["--json"]);
  const { warnings, certificates } = result.json();
  deepEqual([result.code, certificates[1].source], [0, scene.npm.dir(6)], result.stderr);
  match(
    warnings.join(),
    new RegExp(`^${SHOP}: ".*npm-6" is used instead of ".*npm-9": certificate`),
  );
  await assertStaged(scene, all);
});

test("a name that is taken out stays there and remembered, and what was not renewed meanwhile is not sent again", async () => {
  await using scene = await namesScene();
  equal((await scene.push()).code, 0);
  await scene.configure({ also: [BLOG] });
  const remembered = await Deno.readTextFile(`${scene.state}/last_fp`);
  const without = (await scene.push(["--json"])).json();
  deepEqual([without.result, without.certificates.length], ["unchanged", 2]);
  equal(await Deno.readTextFile(`${scene.state}/last_fp`), remembered);
  const renewed = await ca.issue({ names: [BLOG] });
  await scene.npm.renew(7, renewed);
  equal((await scene.push()).code, 0);
  await assertStaged(scene, { ...all, [BLOG]: renewed });
  match(await Deno.readTextFile(`${scene.state}/last_fp`), new RegExp(`\t${SHOP}$`, "m"));

  const back = (await scene.push(["--json", "--also", SHOP])).json();
  deepEqual([back.result, back.certificates.at(-1).name], ["unchanged", SHOP]);
  await scene.npm.renew(6, await ca.issue({ names: [SHOP] }));
  equal((await scene.push(["--json", "--also", SHOP])).json().result, "pushed");
});

test("a renewal of one name in the middle is waited for, and all go together", async () => {
  await using scene = await namesScene();
  const renewed = await ca.issue({ names: [SHOP] });
  let pushing: ReturnType<Scene["push"]> | undefined;
  await scene.npm.renew(6, renewed, async ({ kind, done }) => {
    if (`${kind} ${done}` !== "privkey linked") return;
    pushing = scene.push(["--json"]);
    await new Promise((resolve) => setTimeout(resolve, 800));
    deepEqual(namesIn(scene.incoming), []);
  });
  const result = await pushing;
  equal(result?.code, 0, result?.stderr);
  await assertStaged(scene, { ...all, [SHOP]: renewed });
});

test("SIGTERM in the middle is told once for all, and the hint brings it to its end", async () => {
  await using own = await sshServer();
  await using scene = await namesScene({ server: own });
  await scene.remember(`${mail.fingerprint} ${scene.to}\n`);
  await scene.configure({ also: [SHOP] });
  await own.force("cat >/dev/null");
  const started = startCertsync(scene.args(["--json", "--also", BLOG]));
  await until(() => own.log().includes("Starting session"));
  deepEqual(namesIn(`${scene.state}/scratch`), [SHOP, BLOG].sort());
  started.kill("SIGTERM");
  const result = await started.result;
  const { certificates, result: worst, ...report } = result.json();
  deepEqual([result.code, report.outcome, worst], [1, "unchanged", "failed"]);
  const [, { hint }] = certificates;
  equal(
    result.stderr,
    `ERROR: ${SHOP}, ${BLOG}: stopped by SIGTERM: not pushed to ${scene.to}\nhint: ${hint}\n`,
  );
  deepEqual(namesIn(scene.state), ["history", "last_fp", "lock"]);
  equal(await Deno.readTextFile(`${scene.state}/last_fp`), `${mail.fingerprint} ${scene.to}\n`);

  await own.force();
  const [, command = ""] = /: certsync (push .*)$/.exec(hint) ?? [];
  const again = await certsync(command.replaceAll('"', "").split(" "));
  equal(again.code, 0, again.stderr);
  await assertStaged(scene, { [SHOP]: shop, [BLOG]: blog });
});

test("a further name that was pushed and is gone is a warning for a day, apart from all others", () => {
  const names = namesOf({ domain: NAME, also: [SHOP, BLOG] });
  const [domain, ...further] = names;
  const now = new Date("2026-11-26T03:00:00Z");
  const later = (hours: number) => new Date(now.getTime() + hours * 3_600_000);
  const gone = (name: Name) => ({
    name,
    failure: new NoLineage(`no certificate for ${name.name}`),
  });
  const state = Deno.makeTempDirSync({ prefix: "certsync-kit-" });
  const note = (lost: readonly Name[], at: Date, dryRun = false) => {
    const present = names.filter((name) => !lost.includes(name));
    return noteGone(lost.map(gone), present, { state, dryRun }, at);
  };
  try {
    const [one, two] = further;
    match(String(note([one!], now, true).get(SHOP)), /gone since 2026-11-26T03:00:00Z/);
    deepEqual(namesIn(state), []);
    match(
      String(note([one!], now).get(SHOP)),
      /^no certificate for shop.*: gone since 2026-11-26T03:/,
    );
    match(String(note([one!, two!], later(20)).get(BLOG)), /gone since 2026-11-26T23:00:00Z/);
    const ends = note([one!, two!, domain!], later(25));
    ok(ends.get(SHOP) instanceof NoLineage);
    match(String(ends.get(BLOG)), /gone since 2026-11-26T23:00:00Z/);
    equal(
      Deno.readTextFileSync(`${state}/gone`),
      `2026-11-26T03:00:00Z\t${SHOP}\n2026-11-26T23:00:00Z\t${BLOG}\n2026-11-27T04:00:00Z\n`,
    );
    note([two!], later(26));
    equal(Deno.readTextFileSync(`${state}/gone`), `2026-11-26T23:00:00Z\t${BLOG}\n`);
    note([], later(27));
    deepEqual(namesIn(state), []);
  } finally {
    Deno.removeSync(state, { recursive: true });
  }
  return Promise.resolve();
});

test("what a target has of one name counts for no other", async () => {
  await using scene = await namesScene();
  // The one that would be chosen is older than what was pushed, for that name alone.
  const [old, wildcard] = await Promise.all([
    ca.issue({ names: [SHOP], notBefore: ago(20), notAfter: ago(-70) }),
    ca.issue({ names: [`*.${SHOP.slice(5)}`], notBefore: ago(1) }),
  ]);
  await scene.npm.renew(6, old);
  await scene.npm.add(8, wildcard);
  await scene.remember(`${wildcard.fingerprint} ${scene.to}\t${BLOG}\n`);
  const taken = (await scene.push(["--dry-run", "--json"])).json();
  equal(taken.certificates[1].source, scene.npm.dir(6));
  await scene.remember(`${wildcard.fingerprint} ${scene.to}\t${SHOP}\n`);
  const kept = (await scene.push(["--dry-run", "--json"])).json();
  deepEqual(
    [kept.certificates[1].source, kept.certificates[1].outcome],
    [scene.npm.dir(8), "unchanged"],
  );
  match(kept.warnings.join(), new RegExp(`${SHOP}: ".*npm-6" would be chosen, but is older than`));
});

test("several targets get each what it lacks", async () => {
  await using scene = await namesScene();
  await Deno.mkdir(`${scene.path}/other`);
  const other = server.target(`${scene.path}/other/`);
  await scene.configure({ to: [scene.to, other] });
  await scene.remember(
    `${mail.fingerprint} ${other}\n${shop.fingerprint} ${other}\t${SHOP}\n` +
      `${blog.fingerprint} ${scene.to}\t${BLOG}\n`,
  );
  const dry = (await scene.push(["--dry-run", "--json"])).json();
  const outcomes = (report: typeof dry) =>
    report.certificates.map(({ targets }: { targets: { outcome: string }[] }) =>
      targets.map(({ outcome }) => outcome).join()
    );
  deepEqual(outcomes(dry), [
    "would-push,unchanged",
    "would-push,unchanged",
    "unchanged,would-push",
  ]);
  deepEqual([namesIn(scene.incoming), namesIn(scene.state)], [[], ["last_fp"]]);
  deepEqual(outcomes((await scene.push(["--json"])).json()), [
    "pushed,unchanged",
    "pushed,unchanged",
    "unchanged,pushed",
  ]);
  deepEqual(namesIn(scene.incoming), staged.filter((name) => name !== BLOG));
  deepEqual(namesIn(`${scene.path}/other`), [BLOG]);
});

test("a hundred names go in one call, and then there is nothing to do", async () => {
  await using scene = await namesScene();
  const also = Array.from({ length: 99 }, (_, index) => `host-${index}.example.org`);
  const leaf = await ca.issue({ names: also });
  await scene.npm.add(100, leaf);
  await scene.configure({ also });
  // Nothing of it is worth three processes a name here.
  const judged = also.slice(2).map((name) => `${leaf.fingerprint} ${scene.to}\t${name}\n`);
  await scene.remember(judged.join(""));
  await using programs = await recorder();
  equal((await scene.push([], { path: programs.bin })).code, 0);
  equal(programs.calls().filter(({ argv }) => argv[0] === "rsync").length, 1);
  await assertStaged(scene, { "": mail, [also[0]!]: leaf, [also[1]!]: leaf });
  const before = programs.calls().length;
  const again = await scene.push(["--json"], { path: programs.bin });
  deepEqual([again.code, again.json().certificates.length], [0, 100]);
  equal(programs.calls().length, before);
});

/** Plain files in the place of shop's lineage, as for a certificate that was uploaded. */
async function upload(scene: Scene, options: Partial<Parameters<typeof ca.issue>[0]>) {
  const leaf = await ca.issue({ names: [SHOP], ...options });
  const directory = scene.npm.dir(6);
  for (const kind of ["fullchain", "privkey"]) await Deno.remove(`${directory}/${kind}.pem`);
  await Deno.writeTextFile(`${directory}/fullchain.pem`, leaf.fullchainPem);
  await Deno.writeTextFile(`${directory}/privkey.pem`, leaf.keyPem);
}
