// Reads a file that others may have made: bounded, never blocking, and telling what it found.

import { Buffer } from "node:buffer";
import * as fs from "node:fs";

/** Of any state or configuration file, and of what is installed. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Of a chain or a key that is to be installed: a longer chain breaks TLS clients. */
export const MAX_PEM_BYTES = 64 * 1024;

export interface ReadOptions {
  readonly follow: boolean;
  readonly maxBytes?: number;
}

export interface FileFacts {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly mode: number;
  readonly uid: number;
  readonly links: number;
}

/** Why a file could not be read; `detail` is a clause for a message. */
export class FileProblem extends Error {
  override name = "FileProblem";

  constructor(
    readonly kind:
      | "missing"
      | "symlink"
      | "not-regular"
      | "too-large"
      | "changing"
      | "unreadable",
    readonly detail: string,
    options?: ErrorOptions,
  ) {
    super(detail, options);
  }
}

/**
 * Opens once, looks at what was opened, reads it once. With `follow: false` a symbolic link as the
 * last part of the path is a problem, as it must be in a directory of somebody else. A FIFO or a
 * device is opened without blocking (O_NONBLOCK) and refused. Throws a FileProblem.
 */
export function readFile(
  path: string,
  { follow, maxBytes = MAX_FILE_BYTES }: ReadOptions,
): FileFacts {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
  try {
    if (!follow) lookAt(path);
    const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
    try {
      if (!follow) checkSame(lookAt(path), fs.fstatSync(fd, { bigint: true }));
      const stat = fs.fstatSync(fd);
      if (stat.isDirectory()) throw new FileProblem("not-regular", "is a directory");
      if (!stat.isFile()) throw new FileProblem("not-regular", "is not a regular file");
      if (stat.size > maxBytes) throw tooLarge(maxBytes);
      return {
        bytes: readAll(fd, stat.size),
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        links: stat.nlink,
      };
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    throw asFileProblem(error, follow);
  }
}

/** What stands there by that name; a symbolic link is a problem. */
function lookAt(path: string): fs.BigIntStats {
  const entry = fs.lstatSync(path, { bigint: true });
  if (entry.isSymbolicLink()) throw new FileProblem("symlink", "is a symbolic link");
  return entry;
}

/**
 * Deno resolves links on its own before it opens a file, unless it may do everything, so that
 * O_NOFOLLOW alone holds nobody up: what was opened must be the very file that lies there. A second
 * name that it got in the meantime shows in its number of links.
 */
function checkSame(entry: fs.BigIntStats, opened: fs.BigIntStats): void {
  const { dev, ino, nlink } = opened;
  if (dev === entry.dev && ino === entry.ino && nlink === entry.nlink) return;
  throw new FileProblem("changing", "was replaced while it was read");
}

/** What this user may not even look for could be there. */
export function isMissing(path: string): boolean {
  try {
    fs.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error &&
      (error.code === "ENOENT" || error.code === "ENOTDIR");
  }
}

/** The same, where a missing file is an answer. */
export function readFileIfAny(path: string, options: ReadOptions): FileFacts | null {
  try {
    return readFile(path, options);
  } catch (error) {
    if (error instanceof FileProblem && error.kind === "missing") return null;
    throw error;
  }
}

/** The text of a file that need not be there, nor be one that can be read: it is as good as empty then. */
export function textOrNothing(path: string): string {
  try {
    return new TextDecoder().decode(readFile(path, { follow: true }).bytes);
  } catch (error) {
    if (error instanceof FileProblem) return "";
    throw error;
  }
}

function readAll(fd: number, size: number): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(size + 1);
  let length = 0;
  for (;;) {
    const count = fs.readSync(fd, Buffer.from(buffer.buffer), length, buffer.length - length, null);
    if (count === 0) return buffer.slice(0, length);
    length += count;
    if (length > size) throw new FileProblem("changing", "grew while it was read");
  }
}

function tooLarge(maxBytes: number): FileProblem {
  const kibibytes = maxBytes / 1024;
  const limit = kibibytes < 1024 ? `${kibibytes} KiB` : `${kibibytes / 1024} MiB`;
  return new FileProblem("too-large", `is larger than ${limit}`);
}

function asFileProblem(error: unknown, follow: boolean): unknown {
  // Of /dev, /proc and /sys, which only a program that may do everything can open in Deno.
  if (error instanceof Deno.errors.NotCapable) {
    return new FileProblem("not-regular", "is not a regular file", { cause: error });
  }
  if (!(error instanceof Error) || !("code" in error)) return error;
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
      return new FileProblem("missing", "does not exist", { cause: error });
    case "ELOOP":
      // Deno, which resolves links itself, says so of a link that dangles too.
      return new FileProblem(
        "symlink",
        follow ? "is a symbolic link that leads nowhere" : "is a symbolic link",
        { cause: error },
      );
    case "ENXIO":
      return new FileProblem("not-regular", "is not a regular file", { cause: error });
    case "EACCES":
    case "EPERM":
      return new FileProblem("unreadable", "may not be read by this user", { cause: error });
    default:
      return new FileProblem("unreadable", `cannot be read (${error.code})`, { cause: error });
  }
}
