// What deploy remembers, and what it makes of a memory that somebody else has written.

import { deepEqual, equal, throws } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import {
  parseLoaded,
  parseRejected,
  readMemory,
  writeLoaded,
  writeRejected,
  writeUnhelped,
  writeUnseen,
} from "../lib/deploy/memory.ts";
import { tempDir } from "./kit/temp_dir.ts";

const A = Array(32).fill("AA").join(":");
const B = Array(32).fill("0B").join(":");
const TIME = "2026-06-01T00:00:00Z";

Deno.test("loaded is a service and a fingerprint a line; anything else was not confirmed", () => {
  deepEqual([...parseLoaded(`postfix-mailcow ${A}\ndovecot-mailcow ${B}\n`)], [
    ["postfix-mailcow", A],
    ["dovecot-mailcow", B],
  ]);
  const nothing = [
    "",
    "\n\n",
    "postfix-mailcow",
    `postfix-mailcow ${A.toLowerCase()}`,
    `postfix-mailcow ${A}:AA`,
    `postfix-mailcow ${A.slice(3)}`,
    `unbound-mailcow ${A}`,
    `constructor ${A}`,
    ` postfix-mailcow ${A}`,
    `${A} postfix-mailcow`,
    "\0".repeat(100),
  ];
  for (const text of nothing) deepEqual([...parseLoaded(text)], [], JSON.stringify(text));
});

Deno.test("what was written is read again, for nobody else's eyes", async () => {
  await using dir = await tempDir();
  writeLoaded(dir.path, new Map([["nginx-mailcow", A]]));
  writeRejected(dir.path, new Map([A, B].map((leaf) => [leaf, TIME])));
  const [line] = [{
    service: "postfix-mailcow",
    probe: "smtp://[::1]:25 (no SNI)",
    leaf: A,
  }] as const;
  writeUnhelped(dir.path, [line]);
  writeUnseen(dir.path, {
    unseen: new Set(["dovecot-mailcow"]),
    unpublished: new Set(["nginx-mailcow"]),
  });
  const { loaded, rejected, unhelped, unseen, unpublished } = readMemory(dir.path);
  deepEqual([...unpublished], ["nginx-mailcow"]);
  deepEqual([...loaded], [["nginx-mailcow", A]]);
  deepEqual([...rejected.keys()], [A, B]);
  deepEqual([...unhelped], [[line.probe, line]]);
  deepEqual([...unseen], ["dovecot-mailcow"]);
  for (const name of ["loaded", "rejected", "unhelped", "unseen"]) {
    equal(((await Deno.stat(`${dir.path}/${name}`)).mode ?? 0) & 0o777, 0o600);
  }
  deepEqual((await readdir(dir.path)).sort(), ["loaded", "rejected", "unhelped", "unseen"]);
});

Deno.test("what was rejected without a time, by an older version, is tried once more", () => {
  deepEqual([...parseRejected(`${A}\n${B} ${TIME}\n${A} yesterday\n`)], [[B, TIME]]);
});

Deno.test("nothing loaded is no file, and no directory is no memory", async () => {
  await using dir = await tempDir();
  writeLoaded(dir.path, new Map([["nginx-mailcow", A]]));
  writeLoaded(dir.path, new Map());
  deepEqual(await readdir(dir.path), []);
  const { loaded, rejected } = readMemory(`${dir.path}/nowhere`);
  equal(loaded.size + rejected.size, 0);
});

Deno.test("what is garbage was not loaded; what is no file is named", async () => {
  await using dir = await tempDir();
  await Deno.writeFile(`${dir.path}/loaded`, new Uint8Array([0, 255, 10, 128]));
  await Deno.writeFile(`${dir.path}/rejected`, new Uint8Array([0, 255, 10, 128]));
  const { loaded, rejected } = readMemory(dir.path);
  equal(loaded.size + rejected.size, 0);
  for (const name of ["rejected", "loaded"]) {
    await Deno.remove(`${dir.path}/${name}`);
    await Deno.mkdir(`${dir.path}/${name}`);
    throws(
      () => readMemory(dir.path),
      new RegExp(`certsync did not make .*/${name}" is not a reg`),
    );
    await Deno.remove(`${dir.path}/${name}`);
    await Deno.writeTextFile(`${dir.path}/${name}`, "");
  }
});
