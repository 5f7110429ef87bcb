// What a disk may hold after a power cut: a model of files and directories of which only that is
// certain which was synced.

import { rm } from "node:fs/promises";
import { dirname } from "node:path";

interface Inode {
  text: string;
  mode: number;
  /** What is certain to be on the disk; empty where it was never synced. */
  synced: { text: string; mode: number };
}

/** One change of a directory; a rename is one change. */
interface Change {
  directory: string;
  remove?: string;
  add?: { path: string; inode: Inode | "directory" };
}

export interface Disk {
  /** The changes that are certain, then those of which any may be lost. */
  certain: Change[];
  pending: Change[];
}

/** The state of the disk after each call, from strace's lines with -y and whole strings. */
export function replay(lines: readonly string[], files: ReadonlyMap<string, string>): Disk[] {
  const names = new Map<string, Inode>(
    Array.from(files, ([path, text]) => {
      const synced = { text, mode: 0o600 };
      return [path, { ...synced, synced }];
    }),
  );
  let [certain, pending]: [Change[], Change[]] = [[], []];
  const disks: Disk[] = [];
  const change = (one: Change) => pending = [...pending, one];
  for (const line of lines) {
    const paths = Array.from(line.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, path]) => path ?? "");
    const open = /^\w+\(\d+<(\/[^>]*)>/.exec(line)?.[1] ?? "";
    const absolute = (path = "") => path.startsWith("/") ? path : `${open}/${path}`;
    const [first = "", second = ""] = paths;
    if (/ = -1 /.test(line)) continue;
    const name = /^\w+/.exec(line)?.[0] ?? "";
    if (/^open/.test(name)) {
      if (!/O_CREAT/.test(line) || names.has(first)) continue;
      const mode = parseInt(/, (0\d+)\)/.exec(line)?.[1] ?? "0600", 8);
      const inode: Inode = { text: "", mode, synced: { text: "", mode } };
      names.set(first, inode);
      change({ directory: dirname(first), add: { path: first, inode } });
    } else if (name === "write") {
      const inode = names.get(open);
      if (inode) inode.text += unescape(first);
    } else if (name === "fchmod") {
      const inode = names.get(open);
      if (inode) inode.mode = parseInt(/, (0\d+)\)/.exec(line)?.[1] ?? "0", 8);
    } else if (/^f(data)?sync$/.test(name)) {
      const inode = names.get(open);
      if (inode) inode.synced = { text: inode.text, mode: inode.mode };
      const isHere = ({ directory }: Change) => directory === open;
      certain = [...certain, ...pending.filter(isHere)];
      pending = pending.filter((one) => !isHere(one));
    } else if (/^rename/.test(name)) {
      const inode = names.get(first);
      if (!inode) continue;
      names.delete(first);
      names.set(second, inode);
      change({ directory: dirname(second), remove: first, add: { path: second, inode } });
    } else if (/^link/.test(name)) {
      const inode = names.get(first);
      if (!inode) continue;
      names.set(second, inode);
      change({ directory: dirname(second), add: { path: second, inode } });
    } else if (/^(unlink|rmdir)/.test(name)) {
      const path = absolute(first);
      names.delete(path);
      change({ directory: dirname(path), remove: path });
    } else if (/^mkdir/.test(name)) {
      change({ directory: dirname(first), add: { path: first, inode: "directory" } });
    } else continue;
    // What is synced later must not change what is certain now.
    disks.push({ certain: certain.map(frozen), pending: pending.map(frozen) });
  }
  return disks;
}

function frozen(change: Change): Change {
  const inode = change.add?.inode;
  if (change.add === undefined || inode === undefined || inode === "directory") return change;
  return { ...change, add: { path: change.add.path, inode: { ...inode } } };
}

function unescape(text: string): string {
  return JSON.parse(`"${text.replaceAll("\\'", "'")}"`);
}

/** Makes the files so; what is below a directory that was lost is lost too. */
export async function materialize(changes: readonly Change[]): Promise<void> {
  for (const { remove, add } of changes) {
    if (remove !== undefined) await rm(remove, { recursive: true, force: true });
    if (add === undefined) continue;
    try {
      if (add.inode === "directory") {
        await Deno.mkdir(add.path, { mode: 0o700 });
        continue;
      }
      const { text, mode } = add.inode.synced;
      await rm(add.path, { force: true });
      await Deno.writeTextFile(add.path, text, { mode });
      await Deno.chmod(add.path, mode);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.AlreadyExists)) {
        throw error;
      }
    }
  }
}

/** Which of the pending changes came through: none, all, and some of the ways in between. */
export function outcomes({ certain, pending }: Disk, random: () => number): Change[][] {
  const ways = [pending.map(() => false), pending.map(() => true)];
  if (pending.length < 2) return ways.slice(0, pending.length + 1).map(chosen);
  for (let more = 0; more < 3; more++) ways.push(pending.map(() => random() < 0.5));
  function chosen(way: readonly boolean[]): Change[] {
    return [...certain, ...pending.filter((_, index) => way[index])];
  }
  return ways.map(chosen);
}
