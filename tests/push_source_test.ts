// What push reads: links that certbot left, uploads that are being written, and which of several.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Failure } from "../lib/failure.ts";
import { readSource } from "../lib/push/source.ts";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { endTree } from "./kit/process_tree.ts";
import { concurrently } from "./kit/concurrently.ts";
import { makeScene, NAME, type Scene } from "./kit/push_scene.ts";
import { run } from "./kit/run.ts";
import { runContext } from "./kit/run_context.ts";
import { sshServer } from "./kit/ssh_server.ts";

const DAY_MS = 86_400_000;

const ca = await authority();
const server = await sshServer();
Deno.test.afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
});
const ago = (days: number) => new Date(Date.now() - days * DAY_MS);
const [older, leaf] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: ago(3) }),
  ca.issue({ names: [NAME], notBefore: ago(1) }),
]);

const pushScene = () => makeScene({ ca, leaf, server });

async function relink(path: string, target: string): Promise<void> {
  await Deno.remove(path);
  await Deno.symlink(target, path);
}

/** As if nobody had touched the lineage since yesterday. */
async function age(scene: Scene, n = 5): Promise<void> {
  const places = [`${scene.npm.live}/npm-${n}`, `${scene.npm.archive}/npm-${n}`];
  await run("/usr/bin/find", [...places, "-exec", "touch", "-h", "-d", "yesterday", "{}", "+"]);
}

Deno.test("absolute links into the container's archive are read beside live/", async () => {
  await using scene = await pushScene();
  for (const kind of ["fullchain", "privkey"]) {
    const file = `${scene.source}/${kind}.pem`;
    await relink(file, `/etc/nowhere/letsencrypt/archive/npm-5/${kind}1.pem`);
  }
  for (const source of ["auto", "npm-5", scene.source]) {
    const result = await scene.push(["--force", "--json", "--source", source]);
    deepEqual([result.code, result.json().warnings], [0, []], result.stderr);
    await scene.assertArrived(leaf);
  }
  const found = await certsync(["find-npm-dir", NAME, "--config", scene.configFile]);
  deepEqual([found.code, found.stdout, found.stderr], [0, `${scene.source}\n`, ""]);
});

Deno.test("the literal path of an absolute link counts only where there is nothing beside live/", async () => {
  await using scene = await pushScene();
  const literal = `${scene.path}/container/archive/npm-5`;
  await Deno.mkdir(literal, { recursive: true });
  for (const [kind, pem] of [["fullchain", older.fullchainPem], ["privkey", older.keyPem]]) {
    await Deno.writeTextFile(`${literal}/${kind}1.pem`, pem!);
    await relink(`${scene.source}/${kind}.pem`, `${literal}/${kind}1.pem`);
  }
  const beside = await scene.push(["--json"]);
  equal(beside.code, 0, beside.stderr);
  await scene.assertArrived(leaf);
  const [first, ...others] = beside.json().warnings;
  match(
    first,
    /fullchain\.pem" leads to ".*\/container\/archive\/npm-5\/fullchain1\.pem", which differs from ".*\/letsencrypt\/.*"; the latter is used$/,
  );
  equal(others.length, 1); // of the key

  await Deno.remove(`${scene.npm.archive}/npm-5`, { recursive: true });
  const alone = await scene.push(["--json"]);
  deepEqual([alone.code, alone.json().warnings], [0, []], alone.stderr);
  await scene.assertArrived(older);
});

Deno.test("a link that leads nowhere is shown with its target", async () => {
  await using scene = await pushScene();
  const target = "/etc/letsencrypt/archive/npm-77/fullchain4.pem";
  await relink(`${scene.source}/fullchain.pem`, target);
  await age(scene);
  const words = new RegExp(
    `npm-5/fullchain\\.pem" is a symbolic link that leads nowhere: to "${target}"`,
  );
  for (const source of ["auto", "npm-5"]) {
    match((await scene.push(["--json", "--source", source])).json().error, words);
  }
  match((await certsync(["find-npm-dir", "--config", scene.configFile])).stderr, words);
});

Deno.test("a pair that a killed renewal left for a day is told with what ends it, which helps", async (t) => {
  await using scene = await pushScene();
  const { npm } = scene;
  await npm.add(6, older);
  await npm.renew(5, await ca.issue({ names: [NAME], notBefore: ago(0.5) }));
  await relink(`${scene.source}/fullchain.pem`, "../../archive/npm-5/fullchain1.pem");
  await Deno.symlink("../../archive/npm-5/privkey1.pem", `${scene.source}/previous_privkey.pem`);

  await t.step("not while it may be under way", async () => {
    const { error, hint } = (await scene.push(["--json"])).json();
    match(error, /^key does not match certificate: ".*npm-5\/privkey\.pem"$/);
    match(hint, /a renewal or a push may be under way; run this again in a minute/);
  });
  await age(scene);
  const result = await scene.push(["--json"]);
  const { outcome, error, hint } = result.json();
  deepEqual([result.code, outcome], [1, "refused"]);
  match(error, /^key does not match certificate: ".*npm-5\/privkey\.pem"$/);
  const [, instead = ""] =
    /^a renewal was cut off there: fullchain\.pem leads to fullchain1\.pem, privkey\.pem leads to privkey2\.pem, certbot left previous_privkey\.pem; renew npm-5 once more in Nginx Proxy Manager: certbot then clears it up; or send ".*npm-6", which is whole: certsync push --config "[^"]*" --source "([^"]*)"$/
      .exec(hint) ?? [];

  await t.step("the lineage that is whole is sent", async () => {
    equal((await scene.push(["--source", instead])).code, 0, hint);
    await scene.assertArrived(older);
  });
  await t.step("the lineage itself is sent once it is renewed", async () => {
    await Deno.remove(`${scene.source}/previous_privkey.pem`); // as certbot does
    await npm.renew(5, leaf);
    equal((await scene.push()).code, 0);
    await scene.assertArrived(leaf);
  });
});

Deno.test("an upload that does not fit together for a day is told with what ends it, which helps", async () => {
  await using scene = await makeScene({ ca, leaf, server, plainFiles: true });
  await scene.configure({ live: scene.npm.customSsl, source: "auto" });
  await Deno.writeTextFile(`${scene.source}/fullchain.pem`, older.fullchainPem);
  await run("/usr/bin/find", [scene.source, "-exec", "touch", "-d", "yesterday", "{}", "+"]);
  match(
    (await scene.push(["--json"])).json().hint,
    /^upload certificate and key of npm-5 together once more, in Nginx Proxy Manager$/,
  );
  await scene.npm.addCustom(5, older);
  equal((await scene.push()).code, 0);
  await scene.assertArrived(older);
});

/** Writes both pairs in turn, in place, the chain first, as NPM does, until it is ended. */
function rewriting(dir: string, pairs: string): Deno.ChildProcess {
  const script = `while :; do for pair in a b; do
    cat "$1/$pair.chain" >"$0/fullchain.pem"; cat "$1/$pair.key" >"$0/privkey.pem"
    sleep 0.01; done; done`;
  return new Deno.Command("/bin/sh", { args: ["-c", script, dir, pairs] }).spawn();
}

Deno.test("auto waits for an upload that is being written, and takes nothing less meanwhile", async () => {
  await using scene = await pushScene();
  const uploads = await Promise.all([
    ca.issue({ names: [NAME], notBefore: ago(0.2) }),
    ca.issue({ names: [NAME], notBefore: ago(0.1) }),
  ]);
  const custom = await scene.npm.addCustom(7, uploads[0]);
  for (const [index, { fullchainPem, keyPem }] of uploads.entries()) {
    await Deno.writeTextFile(`${scene.path}/${"ab"[index]}.chain`, fullchainPem);
    await Deno.writeTextFile(`${scene.path}/${"ab"[index]}.key`, keyPem);
  }
  const context = runContext();
  const live = [scene.npm.live, scene.npm.customSsl];
  const writer = rewriting(custom, scene.path);
  const seen = new Set<string>();
  try {
    for (let round = 0; round < 100; round++) {
      const { directory, pair, keyFits } = await readSource(
        { live, source: { kind: "auto" }, domain: NAME },
        context,
      );
      equal(directory, custom);
      if (pair instanceof Failure) throw pair;
      ok(keyFits);
      seen.add(pair.leaf.fingerprint);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  } finally {
    await endTree(writer);
  }
  equal(seen.size, 2, "nothing was written meanwhile");
});

Deno.test("a chain of which only the beginning is written yet is not refused", async () => {
  await using scene = await makeScene({ ca, leaf, server, plainFiles: true });
  await Deno.writeTextFile(`${scene.source}/fullchain.pem`, leaf.certPem);
  const pushing = scene.push();
  await new Promise((resolve) => setTimeout(resolve, 300)); // slower than a push looks
  await Deno.writeTextFile(`${scene.source}/fullchain.pem`, leaf.fullchainPem);
  const { code, stderr } = await pushing;
  equal(code, 0, stderr);
  await scene.assertArrived(leaf);
});

Deno.test("auto passes over what is not trusted for the next that is, and says so", async () => {
  await using scene = await pushScene();
  await using other = await authority("Other");
  await scene.npm.add(8, await other.issue({ names: [NAME], notBefore: ago(0.5) }));
  await scene.npm.add(7, await other.issue({ names: [NAME], notBefore: ago(0.55) }));
  await scene.npm.add(9, await ca.issue({ names: [NAME], signedBy: "self" }));
  const result = await scene.push(["--json"]);
  const { outcome, source, warnings } = result.json();
  deepEqual([result.code, outcome, source], [0, "pushed", scene.source], result.stderr);
  equal(warnings.length, 1);
  match(
    warnings[0],
    /npm-5" is used instead of ".*npm-8": certificate chain does not verify: .*npm-8/,
  );
  await scene.assertArrived(leaf);
  equal((await scene.push(["--json"])).json().outcome, "unchanged");

  const named = await scene.push(["--json", "--source", "npm-8"]);
  deepEqual([named.code, named.json().outcome], [1, "refused"]);
});

Deno.test("auto sends nothing that deploy would refuse for its age", async () => {
  await using scene = await pushScene();
  const overdue = { notAfter: new Date(Date.now() + 9 * DAY_MS) };
  const exact = await ca.issue({ names: [NAME], notBefore: ago(80), ...overdue });
  const wildcard = await ca.issue({
    names: ["*.example.org"],
    notBefore: ago(70),
    notAfter: new Date(Date.now() + 19 * DAY_MS),
  });
  await scene.npm.renew(5, exact);
  await scene.npm.add(6, wildcard);
  await scene.remember(`${wildcard.fingerprint} ${scene.to}\n`);
  const kept = await scene.push(["--json"]);
  deepEqual([kept.code, kept.json().outcome], [0, "unchanged"]);
  match(
    kept.json().warnings[0],
    /npm-5" would be chosen, but is older than what was pushed from ".*npm-6": deploy takes it only/,
  );
  await scene.remember("");
  equal((await scene.push(["--json", "--dry-run"])).json().source, scene.source);
});

Deno.test("a chain file that is refused for its form is told as that, where nothing else covers the name", async (t) => {
  const forms: Record<string, [pem: string, error: RegExp]> = {
    "a private key in it": [`${leaf.fullchainPem}${leaf.keyPem}`, /fullchain\.pem/],
    "a byte-order mark": [`\ufeff${leaf.fullchainPem}`, /fullchain\.pem/],
    "text alone": ["this is none\n", /^not a certificate|fullchain\.pem/],
  };
  await concurrently(
    t,
    Object.entries(forms).map(([form, [pem, error]]) => [form, async () => {
      await using scene = await pushScene();
      await Deno.writeTextFile(`${scene.source}/fullchain.pem`, pem);
      await age(scene);
      const refused = await scene.push(["--json"]);
      const report = refused.json();
      deepEqual([refused.code, report.outcome], [1, "refused"], refused.stderr);
      deepEqual([report.source, report.targets[0].outcome], [scene.source, "refused"]);
      match(report.error, error);
      ok(!/skipped/.test(report.error), report.error);

      await scene.npm.add(6, older);
      const pushed = await scene.push(["--json"]);
      deepEqual([pushed.code, pushed.json().outcome], [0, "pushed"], pushed.stderr);
    }]),
  );
});

Deno.test("a half renewal that is named as the source is told with the lineage that would do", async () => {
  await using scene = await pushScene();
  const { npm } = scene;
  await npm.add(6, older);
  await npm.renew(5, await ca.issue({ names: [NAME], notBefore: ago(0.5) }));
  await relink(`${scene.source}/fullchain.pem`, "../../archive/npm-5/fullchain1.pem");
  await age(scene);
  for (const source of ["npm-5", scene.source]) {
    await scene.configure({ source });
    const { hint } = (await scene.push(["--json"])).json();
    const [, command = "", config] =
      /which is whole: certsync (push --config "([^"]+)" --source "[^"]+npm-6")$/.exec(hint) ?? [];
    equal(config, scene.configFile, hint);
    const { code, stderr } = await certsync([
      ...command.replaceAll('"', "").split(" "),
      "--force",
    ]);
    equal(code, 0, stderr);
    await scene.assertArrived(older);
  }
});

Deno.test({
  name: "a lineage that is not this user's to read is never taken for one without the name",
  ignore: Deno.uid() !== 0, // who may be somebody else
  fn: async () => {
    await using scene = await pushScene();
    await Deno.chmod(scene.npm.archive, 0o700);
    await Deno.chmod(scene.npm.live, 0o755);
    await Deno.chmod(scene.path, 0o755);
    for (let path = scene.npm.live; path !== scene.path; path = path.replace(/\/[^/]*$/, "")) {
      await Deno.chmod(path, 0o755);
    }
    await Deno.chmod(scene.configFile, 0o644);
    await scene.configure({ state: `${scene.path}/open/state` });
    await Deno.mkdir(`${scene.path}/open`);
    await Deno.chmod(`${scene.path}/open`, 0o777);
    const options = {
      under: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    };
    const pushed = await scene.push(["--json", "--dry-run"], options);
    match(pushed.json().error, /^source unreadable: .*may not be read by this user$/);
    match(pushed.json().hint, /run this as root$/);
    const found = await certsync(
      ["find-npm-dir", NAME, "--config", scene.configFile, "--json"],
      options,
    );
    deepEqual([found.code, found.json().match], [1, null]);
    match(found.json().error, /^cannot tell .*: 1 of 1 may not be read by this user$/);
    match(found.json().hint, /run this as root$/);
  },
});
