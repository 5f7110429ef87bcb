// certsync find-npm-dir on trees as certbot leaves them, as the compiled binary.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { authority, type LeafOptions } from "./kit/authority.ts";
import { certsync, type CertsyncOptions } from "./kit/certsync.ts";
import { type NpmTree, npmTree } from "./kit/npm_tree.ts";
import { run } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const issue = (options: Partial<LeafOptions> = {}) => ca.issue({ names: [NAME], ...options });
const ago = (days: number) => new Date(Math.floor(Date.now() / 1000) * 1000 - days * DAY_MS);

Deno.test("find-npm-dir prints the best directory among all kinds, and nothing else", async () => {
  await using tree = await liveTree();
  const { npm } = tree;
  const staging = "(STAGING) Wannabe Watercress R11";
  await npm.add(3, await issue({ notBefore: ago(95), notAfter: ago(5) }));
  await npm.add(5, await issue({ notBefore: ago(2) }));
  await npm.add(6, await issue({ issuerName: staging, notBefore: ago(1) }));
  await npm.add(7, await issue({ names: ["*.example.org"], notBefore: ago(1) }));
  await npm.add(8, await issue({ notBefore: ago(80), notAfter: ago(-10) }));
  await npm.add(9, await issue({ names: ["www.example.org"], notBefore: ago(1) }));
  await npm.add(10, await issue({ names: ["x.mail.example.org", "*.org"], notBefore: ago(1) }));
  await npm.addDangling(11);
  await npm.addEmpty(12);
  await Deno.writeTextFile(`${await npm.addEmpty(13)}/fullchain.pem`, "hello\n");
  await Deno.mkdir(`${npm.live}/mail.example.org`);
  await Deno.writeTextFile(`${npm.live}/npm-99`, "a file");

  const before = await snapshot(npm.root);
  const result = await tree.find([NAME]);
  deepEqual([result.code, result.stdout], [0, `${npm.dir(5)}\n`]);
  const warnings = result.stderr.trim().split("\n");
  equal(warnings.length, 4, result.stderr);
  match(warnings.at(-1)!, /npm-7" holds a newer wildcard certificate; ".*npm-5" is used, because/);
  for (const number of [11, 12, 13]) {
    ok(warnings.some((line) => new RegExp(`^WARNING: skipped: .*npm-${number}/`).test(line)));
  }
  assertSame(before, await snapshot(npm.root));
});

Deno.test("find-npm-dir takes a wildcard where there is no exact name", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ names: ["*.example.org"] }));
  await tree.npm.add(2, await issue({ names: ["m*.example.org", "*.mail.example.org"] }));
  equal((await tree.find([NAME])).stdout, `${tree.npm.dir(1)}\n`);
});

Deno.test("find-npm-dir compares names without regard to case or a trailing dot", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ names: ["MAIL.Example.ORG"] }));
  for (const question of [NAME, "Mail.EXAMPLE.org", "mail.example.org."]) {
    equal((await tree.find([question])).stdout, `${tree.npm.dir(1)}\n`);
  }
});

Deno.test("find-npm-dir goes by the CN only where there is no DNS name", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ subject: `/CN=${NAME}`, san: [] }));
  await tree.npm.add(2, await issue({ subject: `/CN=${NAME}`, san: ["www.example.org"] }));
  equal((await tree.find([NAME])).stdout, `${tree.npm.dir(1)}\n`);
  await tree.npm.add(3, await issue({ subject: "", san: [NAME], notBefore: ago(0) }));
  equal((await tree.find([NAME])).stdout, `${tree.npm.dir(3)}\n`);
});

Deno.test("find-npm-dir says which one it took of two equally good ones", async () => {
  await using tree = await liveTree();
  const leaf = await issue();
  for (const number of [9, 10, "5-0001"]) await tree.npm.add(number, leaf);
  const result = await tree.find([NAME]);
  deepEqual([result.code, result.stdout], [0, `${tree.npm.dir(10)}\n`]);
  for (const number of [9, "5-0001"]) {
    ok(result.stderr.includes(
      `WARNING: "${tree.npm.dir(number)}" holds an equally good certificate; ` +
        `"${tree.npm.dir(10)}" is used\n`,
    ));
  }
});

Deno.test("find-npm-dir warns of a directory that is the best of a bad lot", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ notBefore: ago(95), notAfter: ago(5) }));
  const result = await tree.find([NAME]);
  deepEqual([result.code, result.stdout], [0, `${tree.npm.dir(1)}\n`]);
  match(result.stderr, /^WARNING: ".*npm-1" is expired\n$/);
});

Deno.test("find-npm-dir exits with 1 and prints nothing where there is none", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ names: ["www.example.org"] }));
  const result = await tree.find([NAME]);
  deepEqual([result.code, result.stdout], [1, ""]);
  match(
    result.stderr,
    /^ERROR: no certificate for "mail\.example\.org".*\nhint: .*: certsync find-npm-dir --live "[^"]+"\n$/,
  );
});

Deno.test("find-npm-dir finds uploaded certificates, and linked directories", async () => {
  await using tree = await liveTree();
  const custom = await tree.npm.addCustom(4, await issue());
  equal((await tree.find([NAME, "--live", tree.npm.customSsl])).stdout, `${custom}\n`);
  await Deno.symlink(custom, `${tree.npm.live}/npm-4`);
  equal((await tree.find([NAME])).stdout, `${tree.npm.live}/npm-4\n`);
});

Deno.test("find-npm-dir looks into every --live, and into what the config file names", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ notBefore: ago(5) }));
  const other = await npmTree(`${tree.path}/other`);
  await other.add(1, await issue({ notBefore: ago(1) }));
  const both = ["--live", tree.npm.live, "--live", other.live];
  equal((await certsync(["find-npm-dir", NAME, ...both])).stdout, `${other.dir(1)}\n`);
  await Deno.writeTextFile(`${tree.path}/config.yaml`, `push: {live: "${other.live}"}`);
  const fromFile = ["find-npm-dir", NAME, "--config", `${tree.path}/config.yaml`];
  equal((await certsync(fromFile)).stdout, `${other.dir(1)}\n`);
});

Deno.test("find-npm-dir without a hostname, or with --all, lists every directory", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue({ names: [NAME, "imap.example.org"] }));
  const over = ago(5);
  await tree.npm.add(2, await issue({ notBefore: ago(95), notAfter: over }));
  await tree.npm.addEmpty(3);
  const list = await tree.find([]);
  equal(list.code, 0);
  for (
    const words of [
      `${tree.npm.dir(1)}\n  state    valid\n  names    mail.example.org imap.example.org\n`,
      `  subject  CN=${NAME}\n`,
      `${tree.npm.dir(2)}\n  state    expired\n`,
      `  expires  ${over.toISOString().replace(".000Z", "Z")}\n`,
      `${tree.npm.dir(3)}\n  state    broken\n`,
    ]
  ) {
    ok(list.stdout.includes(words), list.stdout);
  }
  match((await tree.find([NAME, "--all"])).stdout, /npm-1 {2}\(the one to use\)\n/);
});

Deno.test("find-npm-dir --json tells what each directory holds", async () => {
  await using tree = await liveTree();
  const good = await issue({ names: [NAME, "*.example.net"] });
  await tree.npm.add(1, good);
  await tree.npm.add(2, await issue({ issuerName: "(STAGING) Bogus Broccoli X2" }));
  await tree.npm.add(3, await issue({ notBefore: ago(-1) }));
  await tree.npm.addDangling(4);
  const report = (await tree.find([NAME, "--json"])).json();
  deepEqual(Object.keys(report), [
    "schema",
    "command",
    "hostname",
    "match",
    "matches",
    "candidates",
    "warnings",
  ]);
  deepEqual([report.schema, report.command], [1, "find-npm-dir"]);
  deepEqual([report.hostname, report.match], [NAME, tree.npm.dir(1)]);
  deepEqual(report.matches, [{ hostname: NAME, match: tree.npm.dir(1) }]);
  deepEqual(report.candidates[0], {
    dir: tree.npm.dir(1),
    subject: `CN=${NAME}`,
    names: [NAME, "*.example.net"],
    notAfter: good.notAfter.toISOString().replace(".000Z", "Z"),
    issuer: "CN=Kit Intermediate E1,O=Kit",
    covers: true,
    state: "valid",
  });
  deepEqual(
    report.candidates.map(({ state }: { state: string }) => state),
    ["valid", "staging", "not-yet-valid", "broken"],
  );
  deepEqual(report.candidates[3], {
    dir: tree.npm.dir(4),
    subject: null,
    names: [],
    notAfter: null,
    issuer: null,
    covers: false,
    state: "broken",
  });

  const none = await tree.find(["www.example.com", "--json"]);
  deepEqual([none.code, none.json().match, none.json().candidates.length], [1, null, 4]);
  match(none.json().error, /no certificate for/);
  deepEqual((await tree.find(["--json"])).json().hostname, null);
});

Deno.test("find-npm-dir prints a line for each of several names, and fails where one has none", async () => {
  await using tree = await liveTree();
  const [shop, imap, none] = ["shop.example.net", "imap.example.org", "www.example.com"];
  await tree.npm.add(1, await issue({ names: [NAME] }));
  await tree.npm.add(2, await issue({ names: [shop], notBefore: ago(95), notAfter: ago(5) }));
  await tree.npm.add(3, await issue({ names: ["*.example.org"], notBefore: ago(1) }));
  const [one, two, three] = [tree.npm.dir(1), tree.npm.dir(2), tree.npm.dir(3)];
  const all = await tree.find([shop, NAME, `${imap.toUpperCase()}.`]);
  deepEqual([all.code, all.stdout], [0, `${shop} ${two}\n${NAME} ${one}\n${imap} ${three}\n`]);
  equal(all.stderr, `WARNING: ${shop}: "${two}" is expired\n`);

  const lacking = await tree.find([none, NAME, imap, "x.example.com"]);
  deepEqual([lacking.code, lacking.stdout], [1, `${NAME} ${one}\n${imap} ${three}\n`]);
  match(
    lacking.stderr,
    /^ERROR: no certificate for "www\.example\.com", "x\.example\.com" among 3 directories\nhint: /,
  );
  const report = (await tree.find([none, NAME, "--json"])).json();
  deepEqual([report.hostname, report.match], [none, null]);
  deepEqual(report.matches, [{ hostname: none, match: null }, { hostname: NAME, match: one }]);
  deepEqual(report.candidates.map(({ covers }: { covers: boolean }) => covers), [
    true,
    false,
    true,
  ]);
  const list = await tree.find([NAME, imap, "--all"]);
  equal(list.stdout.match(/\(the one to use\)/g)?.length, 2);
});

Deno.test("find-npm-dir refuses what is no host name, and what it does not know", async () => {
  await using tree = await liveTree();
  const cases: [string[], RegExp][] = [
    [["*.example.org"], /HOSTNAME is not a host name/],
    [[".example.org"], /HOSTNAME is not a host name/],
    [["mail..example.org"], /HOSTNAME is not a host name/],
    [["../etc"], /HOSTNAME is not a host name/],
    [[NAME, "*.example.org"], /HOSTNAME is not a host name: "\*\.example\.org"/],
    [["--lives", "x"], /unknown option "--lives".*\nhint: did you mean --live\?/],
  ];
  await Promise.all(cases.map(async ([args, words]) => {
    const result = await tree.find([...args, "--json"]);
    deepEqual([result.code, result.json().match], [2, null]);
    match(result.stderr, words);
  }));
});

Deno.test("find-npm-dir fails in plain words where it cannot look", async () => {
  await using tree = await liveTree();
  const missing = await certsync(["find-npm-dir", NAME, "--live", `${tree.path}/none`]);
  deepEqual([missing.code, missing.stdout], [1, ""]);
  match(
    missing.stderr,
    /^ERROR: there is no live directory: ".*\/none"\nhint: .* with --live DIR .*\n$/,
  );
  await Deno.writeTextFile(`${tree.path}/file`, "");
  const file = await certsync(["find-npm-dir", NAME, "--live", `${tree.path}/file`]);
  equal(file.code, 1);
  match(file.stderr, /^ERROR: cannot look into ".*\/file": .*\n$/);
});

Deno.test("find-npm-dir says so where a live directory holds nothing of Nginx Proxy Manager's", async () => {
  await using tree = await liveTree();
  await Deno.mkdir(`${tree.path}/other/example.org`, { recursive: true });
  const live = ["--live", `${tree.path}/other`];
  const list = await certsync(["find-npm-dir", ...live]);
  deepEqual([list.code, list.stdout], [0, ""]);
  match(list.stderr, /^WARNING: no npm-\* in ".*\/other"\n$/);
  const one = await certsync(["find-npm-dir", NAME, ...live]);
  deepEqual([one.code, one.stdout], [1, ""]);
  match(one.stderr, /^WARNING: no npm-\* in .*\nERROR: no certificate for .*\nhint: .*\n$/);
});

Deno.test("find-npm-dir that is given one of the npm-*, or what holds none, says what to name", async () => {
  await using tree = await liveTree();
  const dir = await tree.npm.add(1, await issue());
  await Deno.mkdir(`${tree.path}/empty`);
  const cases = [
    [dir, `name the directory above it, "${tree.npm.live}", with --live DIR`],
    [`${tree.path}/empty`, "name the directory that holds npm-* with --live DIR"],
  ];
  for (const [live = "", hint] of cases) {
    const { code, stdout, stderr } = await certsync(["find-npm-dir", NAME, "--live", live]);
    deepEqual([code, stdout], [1, ""]);
    equal(stderr.split("\n").at(-2), `hint: ${hint}`);
  }
});

Deno.test("find-npm-dir passes over a live directory that is not there beside one that is", async () => {
  await using tree = await liveTree();
  const dir = await tree.npm.add(1, await issue());
  const live = ["--live", `${tree.path}/none`, "--live", tree.npm.live];
  const { code, stdout } = await certsync(["find-npm-dir", NAME, ...live]);
  deepEqual([code, stdout], [0, `${dir}\n`]);
});

Deno.test("find-npm-dir warns of a link that leads to itself", async () => {
  await using tree = await liveTree();
  const dir = await tree.npm.add(1, await issue());
  await Deno.symlink("npm-2", `${tree.npm.live}/npm-2`);
  const { code, stdout, stderr } = await certsync([
    ...["find-npm-dir", NAME, "--live", tree.npm.live],
  ]);
  deepEqual([code, stdout], [0, `${dir}\n`]);
  match(stderr, /^WARNING: skipped: ".*npm-2\/fullchain.pem" is a symbolic link[^\n]*\n$/);
});

Deno.test("find-npm-dir survives whatever lies in a lineage", async () => {
  await using tree = await liveTree();
  await tree.npm.add(1, await issue());
  await Deno.mkdir(`${await tree.npm.addEmpty(2)}/fullchain.pem`);
  await run("/usr/bin/mkfifo", [`${await tree.npm.addEmpty(3)}/fullchain.pem`]);
  await Deno.symlink("fullchain.pem", `${await tree.npm.addEmpty(4)}/fullchain.pem`);
  await Deno.writeTextFile(`${await tree.npm.addEmpty(5)}/fullchain.pem`, "");
  await Deno.truncate(`${tree.npm.dir(5)}/fullchain.pem`, 2 ** 30);
  await Deno.writeFile(`${await tree.npm.addEmpty(6)}/fullchain.pem`, new Uint8Array(999));
  await tree.npm.add("7\n<3>ERROR x", await issue({ notBefore: ago(-1) }));
  const result = await tree.find([NAME]);
  deepEqual([result.code, result.stdout], [0, `${tree.npm.dir(1)}\n`]);
  equal(result.stderr.trim().split("\n").length, 5, result.stderr);
  ok(!result.stderr.includes("    at "));
});

Deno.test("find-npm-dir looks through a thousand directories in a second or two", async () => {
  await using tree = await liveTree();
  const leaf = await issue();
  for (let number = 1; number <= 1_000; number++) {
    await Deno.mkdir(`${tree.npm.live}/npm-${number}`);
    await Deno.writeTextFile(`${tree.npm.live}/npm-${number}/fullchain.pem`, leaf.fullchainPem);
  }
  const start = performance.now();
  equal((await tree.find([NAME])).stdout, `${tree.npm.dir(1_000)}\n`);
  ok(performance.now() - start < 5_000);
});

// What the tests above do

interface LiveTree extends AsyncDisposable {
  path: string;
  npm: NpmTree;
  find(args: string[], options?: CertsyncOptions): ReturnType<typeof certsync>;
}

async function liveTree(): Promise<LiveTree> {
  const dir = await tempDir();
  const npm = await npmTree(`${dir.path}/letsencrypt`);
  return {
    path: dir.path,
    npm,
    find: (args, options) => certsync(["find-npm-dir", "--live", npm.live, ...args], options),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
