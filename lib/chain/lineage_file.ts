// A file of a lineage, read through the link that certbot keeps, which may name its container's path.

import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { deliveredPaths } from "../certificate/pair.ts";
import { quote } from "../failure.ts";
import { lookAt, lookThrough } from "../files/look_at.ts";
import { FileProblem, isMissing, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";

export interface LineageFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** That the link leads to another file than the one beside `live/`, which was read. */
  readonly warning: string | null;
}

/**
 * After an interrupted renewal certbot leaves absolute links, for all time; on a Docker host they
 * name a path within the container, so what lies in `archive/` beside `live/` goes first. Throws a
 * FileProblem.
 */
export function readLineageFile(path: string): LineageFile {
  const link = targetOf(path);
  const beside = link === null ? null : besideLive(path, link);
  try {
    if (link === null || beside === null) {
      return { ...readFile(path, { follow: true, maxBytes: MAX_PEM_BYTES }), warning: null };
    }
    const { bytes } = readFile(beside, { follow: true, maxBytes: MAX_PEM_BYTES });
    return { bytes, warning: differs(link, bytes) ? besideWarning(path, link, beside) : null };
  } catch (error) {
    if (!(error instanceof FileProblem) || link === null) throw error;
    if (error.kind !== "missing" && error.kind !== "symlink") throw error;
    const detail = `is a symbolic link that leads nowhere: to ${quote(link)}`;
    throw new FileProblem("symlink", detail, { cause: error });
  }
}

/** Where the link leads, as it is written; null where it is none. */
export function targetOf(path: string): string | null {
  try {
    return fs.readlinkSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error) return null;
    throw error;
  }
}

function besideLive(path: string, link: string): string | null {
  const lineage = dirname(link);
  if (!link.startsWith("/") || basename(dirname(lineage)) !== "archive") return null;
  const inArchive = join("archive", basename(lineage), basename(link));
  // The lineage's directory may be a link itself.
  const places = [dirname(path), realDirectory(dirname(path))];
  return places.map((directory) => join(directory, "..", "..", inArchive))
    .find((place) => !isMissing(place)) ?? null;
}

/** Where its links lead; as it is given, where that cannot be seen. */
export function realDirectory(directory: string): string {
  try {
    return fs.realpathSync(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error) return directory;
    throw error;
  }
}

/** Whether there is something else at the literal path. */
function differs(path: string, bytes: Uint8Array): boolean {
  try {
    const other = readFile(path, { follow: true, maxBytes: MAX_PEM_BYTES }).bytes;
    return other.length !== bytes.length || other.some((byte, index) => byte !== bytes[index]);
  } catch (error) {
    if (error instanceof FileProblem) return false;
    throw error;
  }
}

function besideWarning(path: string, link: string, beside: string): string {
  return `${quote(path)} leads to ${quote(link)}, which differs from ${
    quote(beside)
  }; the latter ` +
    "is used";
}

/** When the lineage last changed, its links and what they lead to; 0 where that cannot be seen. */
export function changedMs(directory: string): number {
  const files = Object.values(deliveredPaths(directory));
  const seen = [
    lookThrough(directory),
    ...files.flatMap((path) => [lookAt(path), lookThrough(path)]),
  ];
  return Math.max(...seen.map((stat) => stat?.mtimeMs ?? 0));
}

/** The links by which certbot finds back after an interrupted renewal, at its next run. */
export function leftByCertbot(directory: string): string[] {
  return ["cert", "privkey", "chain", "fullchain"].map((kind) => `previous_${kind}.pem`)
    .filter((name) => targetOf(join(directory, name)) !== null);
}
