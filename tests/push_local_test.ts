// push into a directory of this host, where NPM and mailcow are on one machine.

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { authority } from "./kit/authority.ts";
import { concurrently } from "./kit/concurrently.ts";
import { makeScene, modeOf, NAME, namesIn, type Scene } from "./kit/push_scene.ts";
import { recorder } from "./kit/recorder.ts";
import { run } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { sshServer } from "./kit/ssh_server.ts";
import { unshare } from "./kit/unshare.ts";

const SHOP = "shop.example.net";

const ca = await authority();
const server = await sshServer();
Deno.test.afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
});
const [mail, shop] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [SHOP] }),
]);

/** With two names, and `staging` as the target. */
async function localScene(): Promise<Scene & { staging: string }> {
  const scene = await makeScene({ ca, leaf: mail, server });
  await scene.npm.add(6, shop);
  const staging = `${scene.path}/staging`;
  await Deno.mkdir(staging, { mode: 0o700 });
  await scene.configure({ also: [SHOP], to: staging });
  return Object.assign(scene, { staging });
}

Deno.test("a local directory gets what it lacks, as this user's own, without ssh", async () => {
  await using scene = await localScene();
  const { staging } = scene;
  // As in an unprivileged container, whose root is somebody else here.
  if (Deno.uid() === 0) await run("/bin/chown", ["-R", "100000:100000", scene.npm.root]);
  // What somebody put there is not left open to others.
  await Deno.writeTextFile(`${staging}/privkey.pem`, "old", { mode: 0o644 });
  await using programs = await recorder();
  const result = await scene.push(["--json"], { path: programs.bin });
  const { outcome, result: worst, targets } = result.json();
  deepEqual([result.code, result.stderr, outcome, worst], [0, "", "pushed", "pushed"]);
  deepEqual(targets, [{ to: staging, outcome: "pushed" }]);
  const calls = programs.calls().map(({ argv }) => argv);
  deepEqual([...new Set(calls.map(([program]) => program))].sort(), ["openssl", "rsync"]);
  const [rsync] = calls.filter(([program]) => program === "rsync");
  deepEqual(rsync?.slice(1), [
    ...["-rtL", "--perms", "--", "fullchain.pem", "privkey.pem", SHOP, `${staging}/`],
  ]);
  equal(server.connections(), 0);
  for (const [directory, leaf] of [[staging, mail], [`${staging}/${SHOP}`, shop]] as const) {
    equal(await Deno.readTextFile(`${directory}/fullchain.pem`), leaf.fullchainPem);
    equal(await Deno.readTextFile(`${directory}/privkey.pem`), leaf.keyPem);
    deepEqual(
      ["fullchain.pem", "privkey.pem", ""].map((name) => modeOf(`${directory}/${name}`)),
      [0o644, 0o600, 0o700],
    );
    for (const name of ["", "fullchain.pem", "privkey.pem"]) {
      equal(Deno.statSync(`${directory}/${name}`).uid, Deno.uid());
    }
  }
  deepEqual(namesIn(staging), ["fullchain.pem", "privkey.pem", SHOP].sort());
  equal(
    await Deno.readTextFile(`${scene.state}/last_fp`),
    `${mail.fingerprint} ${staging}\n${shop.fingerprint} ${staging}\t${SHOP}\n`,
  );

  const before = await snapshot(scene.path);
  const count = programs.calls().length;
  const again = await scene.push(["--json"], { path: programs.bin });
  deepEqual([again.code, again.json().result], [0, "unchanged"]);
  equal(programs.calls().length, count);
  assertSame(before, await snapshot(scene.path));
});

Deno.test("what was pushed into a local directory and is not there any more is pushed again", async () => {
  await using scene = await localScene();
  equal((await scene.push()).code, 0);
  for (
    const [place, changed] of [
      ["privkey.pem", NAME],
      [`${SHOP}/fullchain.pem`, SHOP],
      [SHOP, SHOP],
    ] as const
  ) {
    await Deno.remove(`${scene.staging}/${place}`, { recursive: true });
    const { certificates } = (await scene.push(["--json"])).json();
    deepEqual(
      certificates.map(({ name, outcome }: Record<string, string>) => [name, outcome]),
      [NAME, SHOP].map((name) => [name, name === changed ? "pushed" : "unchanged"]),
      place,
    );
    ok(Deno.statSync(`${scene.staging}/${place}`));
  }
});

Deno.test("a local directory and one over ssh are targets side by side", async () => {
  await using scene = await localScene();
  await scene.configure({ to: [scene.staging, scene.to] });
  equal((await scene.push()).code, 0);
  for (const directory of [scene.staging, scene.incoming]) {
    equal(await Deno.readTextFile(`${directory}/${SHOP}/privkey.pem`), shop.keyPem);
  }
});

Deno.test("a local target that is not this user's alone is refused before anything runs", async (t) => {
  type Case = [what: string, arrange: (place: string) => Promise<unknown>, words: RegExp];
  const asRoot: Case[] = [
    [
      "another's",
      async (place) => await Deno.mkdir(place).then(() => Deno.chown(place, 1234, 1234)),
      /: "[^"]*\/place" belongs to uid 1234\nhint: .*chown root /,
    ],
    [
      "below another's",
      async (place) => {
        await Deno.mkdir(`${place}/below`, { recursive: true });
        await Deno.chown(place, 1234, 1234);
      },
      /: "[^"]*\/place\/below": "[^"]*\/place" belongs to uid 1234\nhint: /,
    ],
  ];
  const cases: Case[] = [
    [
      "none",
      () => Promise.resolve(),
      /: "[^"]*\/place" does not exist\nhint: .*install -d -m 700 /,
    ],
    ["a file", (place) => Deno.writeTextFile(place, ""), /: "[^"]*\/place" is none\nhint: /],
    ["a link", async (place) => {
      await Deno.mkdir(`${place}-real`, { mode: 0o700 });
      await Deno.symlink(`${place}-real`, place);
    }, /: "[^"]*\/place" is a symbolic link\nhint: .*readlink -f /],
    ["below a link", async (place) => {
      await Deno.mkdir(`${place}-real/below`, { mode: 0o700, recursive: true });
      await Deno.symlink(`${place}-real`, place);
    }, /: "[^"]*\/place\/below": "[^"]*\/place" is a symbolic link\nhint: /],
    ["open to all", async (place) => {
      await Deno.mkdir(place);
      await Deno.chmod(place, 0o1777);
    }, /: "[^"]*\/place" can be written to by others \(mode 1777\)\nhint: chmod go-w /],
    ["below one that is open to all", async (place) => {
      await Deno.mkdir(`${place}/below`, { recursive: true });
      await Deno.chmod(place, 0o777);
    }, /: "[^"]*\/place\/below": "[^"]*\/place" can be written to by others \(mode 0777\)\nhint: /],
    ...(Deno.uid() === 0 ? asRoot : []),
  ];
  await concurrently(
    t,
    cases.map(([what, arrange, words]) => [what, async () => {
      await using scene = await localScene();
      const place = `${scene.path}/place`;
      await arrange(place);
      const to = what.startsWith("below") ? `${place}/below` : place;
      await using programs = await recorder();
      const result = await scene.push(["--to", `${to}/`, "--json"], { path: programs.bin });
      equal(result.code, 2, result.stderr);
      match(result.stderr, /^ERROR: --to is no directory of root's alone: [^\n]*\nhint: [^\n]*\n$/);
      match(result.stderr, words);
      deepEqual(programs.calls(), []);
      deepEqual(
        Array.from(Deno.readDirSync(scene.path), ({ name }) => name).includes("state"),
        false,
      );
    }]),
  );
});

Deno.test("the hint that ends it for a local target is followed, and ends it", async () => {
  await using scene = await localScene();
  await scene.configure({ to: `${scene.path}/place` });
  const { stderr } = await scene.push();
  const [, command = ""] = /^hint: make it(?:, as root)?: (install -d -m 700 .*)$/m.exec(stderr) ??
    [];
  await run("/bin/sh", ["-c", command]);
  equal((await scene.push()).code, 0);

  const blocked = `${scene.path}/place/${SHOP}/privkey.pem`;
  await Deno.remove(blocked);
  await Deno.mkdir(`${blocked}/full`, { recursive: true });
  const result = await scene.push(["--json"]);
  const { certificates: [domain, further] } = result.json();
  deepEqual([result.code, domain.outcome, further.outcome], [1, "unchanged", "failed"]);
  match(further.error, /a directory lies where a file belongs: /);
  doesNotMatch(further.error + further.hint, /mail host|over there|other side|ssh|authorized_keys/);
  const [, remove = ""] = /^(rm -r [^,]*), if nothing in it is needed$/.exec(further.hint) ?? [];
  await run("/bin/sh", ["-c", remove]);
  equal((await scene.push()).code, 0);
  equal(await Deno.readTextFile(blocked), shop.keyPem);
});

Deno.test({
  name: "a full disk is told of this host",
  ignore: unshare === undefined, // only there can one be had
  fn: async () => {
    await using scene = await localScene();
    await using programs = await recorder({
      rsync:
        `exec ${unshare} --mount sh -c 'mount -t tmpfs -o size=4k,mode=700 none ${scene.staging} && ` +
        `head -c 4096 /dev/zero >${scene.staging}/full; exec /usr/bin/rsync "$@"' rsync "$@"`,
    });
    const result = await scene.push(["--json"], { path: programs.bin });
    const { error, hint } = result.json();
    equal(result.code, 1);
    match(error, /staging: no space left: .*No space left on device/);
    equal(hint, `free some space in ${scene.staging}`);
    equal(result.stderr, `ERROR: ${error}\nhint: ${hint}\n`);
  },
});
