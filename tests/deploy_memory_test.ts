// What deploy remembers, and what it makes of a memory that somebody else has written.

import { deepEqual, equal, throws } from "node:assert/strict";
import { readdir } from "node:fs/promises";
import {
  parseLoaded,
  parseMade,
  parseRejected,
  readMemory,
  wasStaged,
} from "../lib/chain/deploy_memory.ts";
import {
  writeLoaded,
  writeMade,
  writeOwed,
  writeRejected,
  writeStaged,
  writeSuspects,
  writeUnhelped,
  writeUnseen,
} from "../lib/deploy/memory.ts";
import { tempDir } from "./kit/temp_dir.ts";

const A = Array(32).fill("AA").join(":");
const B = Array(32).fill("0B").join(":");
const TIME = "2026-06-01T00:00:00Z";

Deno.test("loaded is a service and a fingerprint a line; anything else was not confirmed", () => {
  deepEqual([...parseLoaded(`postfix-mailcow ${A}\ndovecot-mailcow ${B}\n`).get("") ?? []], [
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
    `postfix-mailcow ${A}\tshop.example.com\t`,
    "\0".repeat(100),
  ];
  for (const text of nothing) deepEqual([...parseLoaded(text)], [], JSON.stringify(text));
});

Deno.test("what was written is read again, for nobody else's eyes", async () => {
  await using dir = await tempDir();
  const loadedFor = new Map([["shop.example.com", new Map([["nginx-mailcow", B] as const])]]);
  writeLoaded(dir.path, { loaded: new Map([["nginx-mailcow", A]]), loadedFor });
  writeMade(dir.path, new Map([["a.example.com", "begun"], ["b.example.com", "made"]]));
  writeSuspects(dir.path, new Set([B]));
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
  const memory = readMemory(dir.path);
  const { loaded, rejected, unhelped, unseen, unpublished } = memory;
  deepEqual(memory.loadedFor, loadedFor);
  deepEqual([...memory.made], [["a.example.com", "begun"], ["b.example.com", "made"]]);
  deepEqual([...memory.suspects], [B]);
  deepEqual([...unpublished], ["nginx-mailcow"]);
  deepEqual([...loaded], [["nginx-mailcow", A]]);
  deepEqual([...rejected.keys()], [A, B]);
  deepEqual([...unhelped], [[line.probe, line]]);
  deepEqual([...unseen], ["dovecot-mailcow"]);
  const files = ["loaded", "names", "rejected", "suspects", "unhelped", "unseen"];
  for (const name of files) {
    equal(((await Deno.stat(`${dir.path}/${name}`)).mode ?? 0) & 0o777, 0o600);
  }
  deepEqual((await readdir(dir.path)).sort(), files);
});

Deno.test("a name of a directory that certsync makes is a line; what can be no name is none", () => {
  const text = "shop.example.com\nb.example.com\tanew\n../etc\n\tbegun\nA b\n" +
    `${"a".repeat(254)}\n`;
  deepEqual([...parseMade(text)], [["shop.example.com", "made"], ["b.example.com", "anew"]]);
});

Deno.test("what was rejected without a time, by an older version, is tried once more", () => {
  deepEqual([...parseRejected(`${A}\n${B} ${TIME}\n${A} yesterday\n`)], [[B, TIME]]);
});

Deno.test("a restart that is owed is a service and a name a line; anything else is owed by nobody", async () => {
  await using dir = await tempDir();
  const owed = new Map([["nginx-mailcow", new Set(["a.example.com", "b.example.com"])] as const]);
  writeOwed(dir.path, owed);
  deepEqual(readMemory(dir.path).owed, owed);
  const nothing =
    "nginx-mailcow\nnginx-mailcow \nnginx-mailcow a b\nunbound-mailcow a.example.com\n";
  await Deno.writeTextFile(`${dir.path}/owed`, nothing);
  equal(readMemory(dir.path).owed.size, 0);
});

Deno.test("something was pushed where that was written down, or where something was loaded", async () => {
  await using dir = await tempDir();
  equal(wasStaged(dir.path), false);
  writeLoaded(dir.path, { loaded: new Map([["nginx-mailcow", A]]) }); // by an older version
  equal(wasStaged(dir.path), true);
  writeLoaded(dir.path, { loaded: new Map() });
  equal(wasStaged(dir.path), false);
  writeStaged(dir.path, new Date(TIME));
  equal(wasStaged(dir.path), true);
});

Deno.test("nothing loaded is no file, and no directory is no memory", async () => {
  await using dir = await tempDir();
  writeLoaded(dir.path, { loaded: new Map([["nginx-mailcow", A]]) });
  writeLoaded(dir.path, { loaded: new Map() });
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
