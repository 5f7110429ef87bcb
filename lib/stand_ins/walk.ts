/** Stands in for `@std/fs/walk` where JSR cannot be reached. */
import { basename, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

export interface WalkOptions {
  maxDepth?: number;
  includeFiles?: boolean;
  includeDirs?: boolean;
  includeSymlinks?: boolean;
  followSymlinks?: boolean;
  /** Whether a followed link is reported by the path that it leads to. */
  canonicalize?: boolean;
  exts?: string[];
  match?: RegExp[];
  skip?: RegExp[];
}

export interface WalkEntry extends Deno.DirEntry {
  path: string;
}

/** The directory itself, then what it holds, in the order the file system gives. */
export async function* walk(
  root: string | URL,
  options: WalkOptions = {},
): AsyncIterableIterator<WalkEntry> {
  const path = pathOf(root);
  const wanted = filterOf(options);
  const depth = options.maxDepth ?? Infinity;
  if (depth < 0) return;
  if (wanted.dir(path)) yield entryOf(path, await Deno.stat(path));
  if (depth < 1 || wanted.skipped(path)) return;

  for await (const entry of Deno.readDir(path)) {
    const found = { ...entry, path: join(path, entry.name) };
    if (entry.isSymlink && !options.followSymlinks) {
      if (wanted.link(found.path)) yield found;
      continue;
    }
    let enter = entry.isDirectory;
    if (entry.isSymlink) {
      const target = await Deno.realPath(found.path);
      const info = await Deno.lstat(target);
      enter = info.isDirectory || info.isSymlink;
      if (options.canonicalize ?? true) found.path = target;
    }
    if (enter) yield* walk(found.path, below(options));
    else if (wanted.file(found.path)) yield found;
  }
}

/** The directory itself, then what it holds, in the order the file system gives. */
export function* walkSync(
  root: string | URL,
  options: WalkOptions = {},
): IterableIterator<WalkEntry> {
  const path = pathOf(root);
  const wanted = filterOf(options);
  const depth = options.maxDepth ?? Infinity;
  if (depth < 0) return;
  if (wanted.dir(path)) yield entryOf(path, Deno.statSync(path));
  if (depth < 1 || wanted.skipped(path)) return;

  for (const entry of Deno.readDirSync(path)) {
    const found = { ...entry, path: join(path, entry.name) };
    if (entry.isSymlink && !options.followSymlinks) {
      if (wanted.link(found.path)) yield found;
      continue;
    }
    let enter = entry.isDirectory;
    if (entry.isSymlink) {
      const target = Deno.realPathSync(found.path);
      const info = Deno.lstatSync(target);
      enter = info.isDirectory || info.isSymlink;
      if (options.canonicalize ?? true) found.path = target;
    }
    if (enter) yield* walkSync(found.path, below(options));
    else if (wanted.file(found.path)) yield found;
  }
}

function filterOf(options: WalkOptions) {
  const exts = options.exts?.map((ext) => ext.startsWith(".") ? ext : `.${ext}`);
  const skipped = (path: string) => options.skip?.some((pattern) => path.match(pattern)) ?? false;
  const passes = (path: string) =>
    (exts?.some((ext) => path.endsWith(ext)) ?? true) &&
    (options.match?.some((pattern) => path.match(pattern)) ?? true) &&
    !skipped(path);
  return {
    skipped,
    dir: (path: string) => (options.includeDirs ?? true) && passes(path),
    file: (path: string) => (options.includeFiles ?? true) && passes(path),
    link: (path: string) => (options.includeSymlinks ?? true) && passes(path),
  };
}

function below(options: WalkOptions): WalkOptions {
  // The original passes every option down but this one.
  const { canonicalize: _, ...rest } = options;
  return { ...rest, maxDepth: (options.maxDepth ?? Infinity) - 1 };
}

function entryOf(root: string, info: Deno.FileInfo): WalkEntry {
  const path = normalize(root);
  const { isFile, isDirectory, isSymlink } = info;
  return { path, name: basename(path), isFile, isDirectory, isSymlink };
}

function pathOf(root: string | URL): string {
  return root instanceof URL ? fileURLToPath(root) : root;
}
