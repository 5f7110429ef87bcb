// What a directory holds, precisely enough to see that nobody touched it.

import { equal } from "node:assert/strict";
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";

/** One line a path, below the directory and itself: type, mode, owner, … */
export type Snapshot = Map<string, string>;

export async function snapshot(dir: string): Promise<Snapshot> {
  const paths = (await readdir(dir, { recursive: true })).sort();
  const entries = await Promise.all(
    ["", ...paths].map(async (path) => [path, await describe(`${dir}/${path}`)] as const),
  );
  return new Map(entries);
}

/** Fails with the entries that differ. */
export function assertSame(before: Snapshot, after: Snapshot): void {
  const paths = new Set([...before.keys(), ...after.keys()]);
  const differing = [...paths].filter((path) => before.get(path) !== after.get(path));
  const lines = differing.flatMap((path) => [
    `${path || "."}`,
    `  before: ${before.get(path) ?? "absent"}`,
    `  after:  ${after.get(path) ?? "absent"}`,
  ]);
  equal(differing.length, 0, ["something was touched:", ...lines].join("\n"));
}

async function describe(path: string): Promise<string> {
  const stat = await lstat(path, { bigint: true });
  const mode = (Number(stat.mode) & 0o7777).toString(8).padStart(4, "0");
  const common = `mode ${mode} uid ${stat.uid} gid ${stat.gid} inode ${stat.ino} ` +
    `links ${stat.nlink} mtime ${stat.mtimeNs}`;
  if (stat.isDirectory()) return `directory ${common}`;
  if (stat.isSymbolicLink()) return `link ${common} to ${await readlink(path)}`;
  if (!stat.isFile()) return `special ${common}`;
  const digest = createHash("sha256").update(await readFile(path));
  return `file ${common} sha256 ${digest.digest("hex")}`;
}
