// Writing files so that nobody reads half of one, and a power cut leaves none half written.

import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { explain, Failure, quote } from "../failure.ts";

/** What our temporary files are called, so that they can be told from everything else. */
export const TEMPORARY_PREFIX = ".certsync-";

/** Replaces a file in one step. Throws a Failure that names it. */
export function replaceFile(path: string, content: string | Uint8Array, mode: number): void {
  using file = prepareFile(path, content, mode);
  file.putInPlace();
}

/** Written and synced beside the file that it is to replace; gone when disposed, if it is not. */
export interface PreparedFile extends Disposable {
  /** Throws a Failure that names the file. */
  putInPlace(): void;
}

/** Throws a Failure that names the file. */
export function prepareFile(
  path: string,
  content: string | Uint8Array,
  mode: number,
): PreparedFile {
  const temporary = join(dirname(path), TEMPORARY_PREFIX + basename(path));
  const deed = `write ${quote(path)}`;
  try {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    writeSynced(temporary, bytes, mode);
  } catch (error) {
    throw explain(error, deed);
  }
  let isInPlace = false;
  return {
    putInPlace() {
      try {
        fs.renameSync(temporary, path);
        isInPlace = true;
        syncDirectory(dirname(path));
      } catch (error) {
        throw explain(error, deed);
      }
    },
    [Symbol.dispose]() {
      if (!isInPlace) fs.rmSync(temporary, { force: true });
    },
  };
}

/** Removes a file, if it is there, for good. Throws a Failure that names it. */
export function removeFile(path: string): void {
  try {
    fs.rmSync(path, { force: true });
    syncDirectory(dirname(path));
  } catch (error) {
    throw explain(error, `remove ${quote(path)}`);
  }
}

/**
 * A new file that nobody else could read at any moment, on the disk when this returns; none where it
 * could not be written.
 */
export function writeSynced(path: string, bytes: Uint8Array, mode: number): void {
  removeTemporary(path); // left by a run that was killed
  const fd = fs.openSync(path, "wx", mode & 0o600);
  try {
    for (let offset = 0; offset < bytes.length;) {
      offset += fs.writeSync(fd, bytes, offset, bytes.length - offset);
    }
    fs.fchmodSync(fd, mode);
    fs.fsyncSync(fd);
  } catch (error) {
    fs.rmSync(path, { force: true });
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * What stands where a temporary file of ours belongs: files and links go, and a directory that is
 * empty, which anybody can make where all may write. Throws a Failure that names a full one.
 */
export function removeTemporary(path: string): void {
  if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    fs.rmSync(path, { force: true });
    return;
  }
  try {
    fs.rmdirSync(path);
  } catch (cause) {
    throw new Failure(`a directory is in the way: ${quote(path)}`, {
      hint: "see what is in it and who made it, and remove it",
      cause,
    });
  }
}

export function syncDirectory(directory: string): void {
  const fd = fs.openSync(directory, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Removes from the directory what a run that was killed left there of our temporary files. */
export function removeLeftovers(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (isTemporary(name)) removeTemporary(join(directory, name));
  }
}

export function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY_PREFIX);
}
