// Whether a directory is root's alone, all the way down to it: only then is what is written there, there.

import * as fs from "node:fs";
import { dirname } from "node:path";
import { asRoot, quote, UsageFailure } from "../failure.ts";
import { shellWord } from "../values/shell_word.ts";
import { formatMode, mayOthersWrite } from "./exposure.ts";

/**
 * It and its parents must be real directories of root's, or of who runs this, that nobody else can
 * write to: rsync would follow a link that somebody else put in the way. `path` is absolute, without
 * `..` in it. Throws a UsageFailure that names the one at fault.
 */
export function checkOwnDirectory(path: string, what: string): void {
  const directory = path.replace(/(?<=.)\/+$/, "");
  for (const place of [...parentsOf(directory), directory]) {
    const trouble = troubleOf(place, place === directory ? "itself" : "parent");
    if (trouble === null) continue;
    const which = place === directory ? quote(directory) : `${quote(directory)}: ${quote(place)}`;
    throw new UsageFailure(`${what} is no directory of root's alone: ${which} ${trouble.why}`, {
      hint: trouble.hint,
      cause: trouble.cause,
    });
  }
}

function parentsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [...parentsOf(parent), parent];
}

interface Trouble {
  readonly why: string;
  readonly hint: string;
  readonly cause?: Error;
}

function troubleOf(path: string, place: "itself" | "parent"): Trouble | null {
  const stat = lookAt(path);
  const word = shellWord(path);
  if (stat === "missing") {
    return {
      why: "does not exist",
      hint: `make it${Deno.uid() === 0 ? "" : ", as root"}: install -d -m 700 ${word}`,
    };
  }
  if (stat instanceof Error) {
    return {
      why: "may not be looked at by this user",
      hint: asRoot("look at the disk, and at lsattr"),
      cause: stat,
    };
  }
  if (stat.isSymbolicLink()) {
    return { why: "is a symbolic link", hint: `name the directory itself: readlink -f ${word}` };
  }
  if (!stat.isDirectory()) {
    return { why: "is none", hint: "see what it is with ls -la, and name another directory" };
  }
  if (stat.uid !== 0 && stat.uid !== Deno.uid()) {
    return {
      why: `belongs to uid ${stat.uid}`,
      hint:
        `name a directory whose parents are root's too; or where it should be: chown root ${word}`,
    };
  }
  // In a sticky one nobody else can put anything in the place of what is root's.
  const isSticky = place === "parent" && (stat.mode & 0o1000) !== 0;
  if (!mayOthersWrite(stat) || isSticky) return null;
  return {
    why: `can be written to by others (mode ${formatMode(stat.mode)})`,
    hint: `chmod go-w ${word}`,
  };
}

function lookAt(path: string): fs.Stats | "missing" | Error {
  try {
    return fs.lstatSync(path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return error.code === "ENOENT" || error.code === "ENOTDIR" ? "missing" : error;
  }
}
