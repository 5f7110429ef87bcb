// Reading a directory that belongs to somebody else.

import { deepEqual, equal, match, throws } from "node:assert/strict";
import { Failure } from "../lib/failure.ts";
import { keyFits } from "../lib/certificate/pair.ts";
import { deliveredPaths } from "../lib/certificate/pair.ts";
import { Unsuitable } from "../lib/chain/unsuitable.ts";
import { awaitStaged, lookAtStaging, readStaged, stagingWarnings } from "../lib/chain/staging.ts";
import { authority } from "./kit/authority.ts";
import { run } from "./kit/run.ts";
import { runContext } from "./kit/run_context.ts";
import { type TempDir, tempDir } from "./kit/temp_dir.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: ["mail.example.org"] });

async function staging(): Promise<TempDir & { chain: string; key: string }> {
  const dir = await tempDir();
  const { chain, key } = deliveredPaths(dir.path);
  await Deno.writeTextFile(chain, leaf.fullchainPem);
  await Deno.writeTextFile(key, leaf.keyPem, { mode: 0o600 });
  return { ...dir, chain, key };
}

function refusal(directory: string): Failure {
  try {
    readStaged(directory);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error("it was taken");
}

Deno.test("what is read are the very bytes, parsed", async () => {
  await using dir = await staging();
  const pair = readStaged(dir.path);
  equal(new TextDecoder().decode(pair.chainPem), leaf.fullchainPem);
  equal(new TextDecoder().decode(pair.keyPem), leaf.keyPem);
  equal(pair.leaf.fingerprint, leaf.fingerprint);
  equal(pair.chain.length, 2);
  equal(keyFits(pair), true);
});

Deno.test("a file of 1 GB is refused without reading it", async () => {
  await using dir = await staging();
  await Deno.truncate(dir.chain, 1_000_000_000);
  const start = performance.now();
  match(refusal(dir.path).message, /^no staged cert: .*is larger than 64 KiB$/);
  equal(performance.now() - start < 500, true);
});

Deno.test("a FIFO, a socket and a device are refused without waiting for anybody", async () => {
  await using dir = await staging();
  await Deno.remove(dir.key);
  using _listener = Deno.listen({ transport: "unix", path: dir.key });
  match(refusal(dir.path).message, /privkey\.pem" is not a regular file$/);
  await Deno.remove(dir.key);
  await new Deno.Command("mknod", { args: [dir.key, "c", "1", "3"] }).output();
  match(refusal(dir.path).message, /privkey\.pem" (is not a regular file|does not exist)$/);
  await new Deno.Command("mkfifo", { args: [dir.chain + "x"] }).output();
  await Deno.rename(`${dir.chain}x`, dir.chain);
  match(refusal(dir.path).message, /fullchain\.pem" is not a regular file$/);
});

Deno.test("a link is refused, wherever it leads", async () => {
  for (const target of ["/etc/passwd", "/nonexistent", "/proc/self/environ", "/dev/null", "."]) {
    await using dir = await staging();
    await Deno.remove(dir.chain);
    await Deno.symlink(target, dir.chain);
    const { message, hint } = refusal(dir.path);
    match(message, /^no staged cert: ".*\/fullchain\.pem" is a symbolic link$/, target);
    match(hint ?? "", /rsync -L/);
  }
});

Deno.test("a file that root has put there is taken, one of a third user is not", async () => {
  await using dir = await staging();
  await Deno.chown(dir.path, 65533, 65533);
  equal(readStaged(dir.path).leaf.fingerprint, leaf.fingerprint);
  await Deno.chown(dir.key, 65534, 65534);
  match(refusal(dir.path).message, /belongs to uid 65534/);
});

Deno.test("every refusal says what, where and what to do", async () => {
  const deeds: ((dir: Awaited<ReturnType<typeof staging>>) => Promise<void>)[] = [
    ({ chain }) => Deno.remove(chain),
    ({ key }) => Deno.remove(key),
    ({ key, path }) => Deno.link(key, `${path}/second`),
    ({ chain }) => Deno.truncate(chain, 2 ** 16 + 1),
    ({ path }) => Deno.chown(`${path}/fullchain.pem`, 65534, 65534),
  ];
  for (const deed of deeds) {
    await using dir = await staging();
    await deed(dir);
    const { message, hint } = refusal(dir.path);
    match(message, /^no staged cert: "\/.*\.pem" \w/);
    match(hint ?? "", /certsync push --force/);
  }
});

Deno.test("a directory that is a file, a link or not there is refused", async () => {
  await using dir = await staging();
  await Deno.symlink(dir.path, `${dir.path}/link`);
  for (const path of [dir.chain, `${dir.path}/link`]) {
    throws(() => readStaged(path), /^Failure: no staged cert: .*is not a real directory$/);
  }
  throws(() => readStaged(`${dir.path}/nowhere`), /no staged cert: .*does not exist/);
});

/** A staging in which the pair of a further name lies in its own directory. */
async function stagingOf(name: string) {
  const dir = await staging();
  const { chain, key } = deliveredPaths(`${dir.path}/${name}`);
  await Deno.mkdir(`${dir.path}/${name}`);
  await Deno.writeTextFile(chain, leaf.fullchainPem);
  await Deno.writeTextFile(key, leaf.keyPem, { mode: 0o600 });
  return { ...dir, own: `${dir.path}/${name}` };
}

const SHOP = "shop.example.com";

Deno.test("of what is staged and no good, push is to send it anew before anything else is tried", async () => {
  await using dir = await staging();
  const anew = "run on the NPM host: certsync push --force";
  const hints: [hint: string | undefined, told: string][] = [
    [undefined, anew],
    [
      "store it without a passphrase",
      `${anew}; where that does not end it: store it without a passphrase`,
    ],
    [
      "a push may be under way; run this again in a minute",
      "a push may be under way; run this again in a minute",
    ],
    ["put it there; then: certsync push", "put it there; then: certsync push"],
  ];
  for (const [hint, told] of hints) equal(new Unsuitable(new Failure("x", { hint })).hint, told);
  await Deno.writeTextFile(dir.key, leaf.keyPem.repeat(2));
  match(
    refusal(dir.path).hint ?? "",
    /^run on the NPM host: certsync push --force; where that does /,
  );
});

Deno.test("of the staging directory it is told where others can write to it, and where push cannot", async () => {
  await using dir = await tempDir();
  const modes: [mode: number, words: RegExp | null][] = [
    [0o700, null],
    [0o755, null],
    [0o2710, null],
    [0o720, /^others can write to the staging directory ".*" \(mode 0720\); run: chmod 700 \S+$/],
    [0o702, /^others can write to .*\(mode 0702\)/],
    [0o500, /^push cannot write to the staging directory ".*" \(mode 0500\); run: chmod 700 \S+$/],
  ];
  for (const [mode, words] of modes) {
    await Deno.chmod(dir.path, mode);
    const [told = "", ...more] = stagingWarnings(dir.path, [SHOP]);
    match(told, words ?? /^$/);
    equal(more.length, 0);
  }
});

Deno.test("of a further name's staging directory the same is told, and the way out ends it", async () => {
  await using dir = await tempDir();
  for (const [name, mode] of [[SHOP, 0o777], ["other.example.com", 0o777]] as const) {
    await Deno.mkdir(`${dir.path}/${name}`);
    await Deno.chmod(`${dir.path}/${name}`, mode);
  }
  const [told = "", ...more] = stagingWarnings(dir.path, [SHOP, "missing.example.com"]);
  match(
    told,
    /^others can write to the staging directory ".*\/shop[^"]*" \(mode 0777\); run: chmod/,
  );
  equal(more.length, 0);
  await run("/bin/sh", ["-c", told.replace(/^.*; run: /, "")]);
  deepEqual(stagingWarnings(dir.path, [SHOP]), []);
});

Deno.test("what nobody asked for is told up to a bound, and not what rsync is writing", async () => {
  await using dir = await stagingOf(SHOP);
  const unasked = () => {
    const sight = lookAtStaging(dir.path);
    if (sight instanceof Failure) throw sight;
    return sight.unasked(["fullchain.pem", "privkey.pem", SHOP]);
  };
  for (const name of ["fullchain", "privkey"]) {
    await Deno.writeTextFile(`${dir.path}/.${name}.pem.a1B2c3`, "");
  }
  deepEqual(unasked(), { others: [], hasMore: false });
  for (let number = 10; number < 31; number++) Deno.symlinkSync("/", `${dir.path}/x${number}`);
  const { others, hasMore } = unasked();
  deepEqual([others[0], others.at(-1), hasMore], ["x10", "x29", true]);
});

Deno.test("the pair of a further name is read from its own directory, by the same rules", async () => {
  await using dir = await stagingOf(SHOP);
  equal(readStaged(dir.path, SHOP).leaf.fingerprint, leaf.fingerprint);
  await Deno.remove(`${dir.own}/privkey.pem`);
  await Deno.symlink("/etc/shadow", `${dir.own}/privkey.pem`);
  throws(() => readStaged(dir.path, SHOP), /privkey\.pem" is a symbolic link/);
  equal(readStaged(dir.path).leaf.fingerprint, leaf.fingerprint);
});

Deno.test("what stands in the place of a name's directory is refused: link, file, FIFO, another user's", async () => {
  await using dir = await stagingOf(SHOP);
  const real = `${dir.own}.real`;
  await Deno.rename(dir.own, real);
  const place: Record<string, () => Promise<unknown>> = {
    "does not exist": () => Promise.resolve(),
    "is not a real directory": () => Deno.symlink(real, dir.own),
    "is not a real directory ": () => Deno.writeTextFile(dir.own, leaf.fullchainPem),
    "is not a real directory  ": () => new Deno.Command("mkfifo", { args: [dir.own] }).output(),
    "belongs to uid 65533, not to the owner": async () => {
      await Deno.rename(real, dir.own);
      await Deno.chown(dir.own, 65533, 65533);
    },
  };
  for (const [words, make] of Object.entries(place)) {
    await make();
    throws(
      () => readStaged(dir.path, SHOP),
      new RegExp(`no staged cert for "${SHOP}": "${dir.own}" ${words.trim()}`),
    );
    if (words.startsWith("is not")) await Deno.remove(dir.own);
  }
});

Deno.test("thousands of names that nobody asked for cost nothing, and stop nobody", async () => {
  await using dir = await stagingOf(SHOP);
  for (let number = 0; number < 3_000; number++) Deno.symlinkSync("/", `${dir.path}/x${number}`);
  const start = performance.now();
  const staged = await awaitStaged(dir.path, [SHOP], runContext());
  equal(performance.now() - start < 200, true);
  for (const pair of [staged.top, staged.further.get(SHOP)]) {
    if (pair === undefined || pair instanceof Failure) throw new Error("it was not taken");
    equal(pair.leaf.fingerprint, leaf.fingerprint);
  }
});
