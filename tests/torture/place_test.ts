// The places themselves in a state that somebody brought about: it is named, and the way out is true.

import { deepEqual, equal, match } from "node:assert/strict";
import { chmod, lchown, symlink } from "node:fs/promises";
import { run } from "../kit/run.ts";
import { deployed, good, hostAttacked, other } from "./attacked.ts";
import { size } from "./size.ts";

/** What the unit leaves root. */
const AS_UNIT = ["setpriv", "--bounding-set=-all,+dac_override,+dac_read_search"];

Deno.test("a key that is another user's link is replaced with what the unit allows", async () => {
  await using host = await hostAttacked();
  const { keyFile } = host.mailcow;
  await Deno.rename(keyFile, `${host.root}/key.pem`);
  await symlink(`${host.root}/key.pem`, keyFile);
  await lchown(keyFile, 65534, 65534);
  const { json, stderr } = await host.deploy(["--json"], { under: AS_UNIT });
  deepEqual(json().installed.length, 2, stderr);
  await host.assertInstalled(good);
  equal(await Deno.readTextFile(`${host.root}/key.pem`), deployed.keyPem);
});

Deno.test("a directory in the way of a temporary file goes if it is empty, and is named if not", async () => {
  await using host = await hostAttacked();
  const inTheWay = `${host.mailcow.ssl}/.certsync-key.pem`;
  await Deno.mkdir(`${inTheWay}/mine`, { recursive: true });
  const refused = await host.deploy(["--json"]);
  equal(refused.code, 1);
  match(refused.json().error, /^a directory is in the way: ".*\/\.certsync-key\.pem"$/);
  equal(await Deno.readTextFile(host.mailcow.certFile), deployed.fullchainPem);
  await Deno.remove(`${inTheWay}/mine`);
  equal((await host.deploy(["--json"])).json().installed.length, 2);
  await host.assertInstalled(good);
});

Deno.test("a directory whose name is not UTF-8 is told of, at every run", async () => {
  await using host = await hostAttacked();
  const name = `${host.mailcow.ssl}/$(printf '\\377')`;
  await run("/bin/sh", ["-c", `mkdir "${name}" && cd "${name}" && touch cert.pem key.pem domains`]);
  for (let turn = 0; turn < 2; turn++) {
    const { warnings } = (await host.deploy(["--json"])).json();
    match(warnings.join("\n"), /name that is not UTF-8/);
  }
  await run("/bin/sh", ["-c", `mv "${name}" "${host.mailcow.ssl}/utf-8"`]);
  const { warnings } = (await host.deploy(["--json"])).json();
  equal(/not UTF-8/.test(warnings.join()), false);
});

Deno.test("modes of the staging that let others write, or nobody, are told until they are mended", async () => {
  await using host = await hostAttacked();
  for (
    const [mode, says] of [
      [0o777, /others can write to the staging directory .*\(mode 0777\)/],
      [0o730, /others can write to the staging directory .*\(mode 0730\)/],
      [0o000, /push cannot write to the staging directory .*\(mode 0000\)/],
      [0o500, /push cannot write to the staging directory .*\(mode 0500\)/],
    ] as const
  ) {
    await chmod(host.staging, mode);
    const [warning = ""] = (await host.deploy(["--json"])).json().warnings;
    match(warning, says);
    const [, wayOut = ""] = /; run: (.*)$/.exec(warning) ?? [];
    await run("/bin/sh", ["-c", wayOut]);
    const { warnings } = (await host.deploy(["--json"])).json();
    equal(/staging directory/.test(warnings.join()), false);
  }
});

Deno.test("a full directory in the place of the certificate is named, and the way out is one", async () => {
  await using host = await hostAttacked();
  const chain = `${host.staging}/fullchain.pem`;
  await Deno.remove(chain);
  await Deno.mkdir(`${chain}/full/of/it`, { recursive: true });
  const refused = (await host.deploy(["--json"])).json();
  match(refused.error, /fullchain\.pem" is a directory$/);
  match(refused.hint, /^remove it, with all that is in it, and run on the NPM host: certsync push/);
  await Deno.remove(chain, { recursive: true });
  await host.stage(good);
  await host.deploy(["--json"]);
  await host.assertInstalled(good);
});

Deno.test("a user who may not look is told so, without a stack", async () => {
  await using host = await hostAttacked();
  await chmod(host.root, 0o755);
  await Deno.mkdir(host.state, { recursive: true, mode: 0o700 });
  await chmod(host.mailcow.confFile, 0o644);
  const under = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const { code, stderr } = await host.deploy(["--dry-run", "--json"], { under });
  equal(code, 1);
  match(stderr, /^ERROR: /m);
  equal(/bug in certsync|^ +at /m.test(stderr), false, stderr);
});

// It takes more than a minute: nobody can give a file another ctime.
if (size !== "quick") {
  Deno.test("a pair that two hosts mixed is said to be stuck, and one push ends it", async () => {
    await using host = await hostAttacked();
    await host.stage({ ...good, keyPem: other.keyPem });
    await new Promise((resolve) => setTimeout(resolve, 61_000));
    const start = performance.now();
    const refused = await host.assertUntouched(() => host.deploy(["--json"]));
    equal(performance.now() - start < 5_000, true, "it waited for what does not come");
    match(refused.json().error, /^key does not match certificate/);
    match(refused.json().hint, /over a minute: .* on one alone: certsync push --force$/);
    await host.stage(other);
    await host.deploy(["--json"]);
    await host.assertInstalled(other);
  });
}
