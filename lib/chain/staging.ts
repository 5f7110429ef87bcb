// What push delivered: files in a directory that belongs to somebody else, so nothing is taken on
// trust.

import * as fs from "node:fs";
import { deliveredPaths, type Pair, parsePair } from "../certificate/pair.ts";
import { explain, Failure, quote } from "../failure.ts";
import { FileProblem, MAX_PEM_BYTES, readFile } from "../files/read_file.ts";

/** Reads each file once; what is returned are those bytes. Throws a Failure that says what is wrong. */
export function readStaged(directory: string): Pair {
  const paths = deliveredPaths(directory);
  const before = identify(directory);
  const chainPem = readStagedFile(paths.chain, before.uid);
  const keyPem = readStagedFile(paths.key, before.uid);
  const after = identify(directory);
  if (after.dev !== before.dev || after.ino !== before.ino) {
    throw new Failure(`the staging directory was replaced while it was read: ${quote(directory)}`);
  }
  return parsePair({ chainPem, keyPem }, paths);
}

function identify(directory: string): fs.Stats {
  try {
    const stat = fs.lstatSync(directory);
    if (stat.isDirectory()) return stat;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new Failure(`no staged cert: ${quote(directory)} does not exist`, {
        hint: "set deploy.staging to where push delivers, or create it for the user of the push",
      });
    }
    throw explain(error, `look into ${quote(directory)}`);
  }
  throw new Failure(`no staged cert: ${quote(directory)} is not a real directory`, {
    hint: "replace it with a directory that belongs to the user of the push",
  });
}

/** Only a file that the directory's owner or root made, and that has no second name. */
function readStagedFile(path: string, owner: number): Uint8Array<ArrayBuffer> {
  try {
    const file = readFile(path, { follow: false, maxBytes: MAX_PEM_BYTES });
    if (file.links !== 1) {
      throw new Failure(`no staged cert: ${quote(path)} is a hard link`, REMOVE);
    }
    if (file.uid !== owner && file.uid !== 0) {
      throw new Failure(
        `no staged cert: ${quote(path)} belongs to uid ${file.uid}, not to the directory's owner`,
        REMOVE,
      );
    }
    return file.bytes;
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const hint = hintFor(error);
    throw new Failure(`no staged cert: ${quote(path)} ${error.detail}`, { hint, cause: error });
  }
}

const REMOVE = { hint: "remove it, and run on the NPM host: certsync push --force" };

function hintFor({ kind }: FileProblem): string {
  switch (kind) {
    case "missing":
      return "run on the NPM host: certsync push --force";
    case "symlink":
      return "push must follow links (rsync -L); run on the NPM host: certsync push --force";
    case "changing":
      return "a push may be under way; run certsync deploy again in a minute";
    case "unreadable":
      return "run this as root";
    default:
      return REMOVE.hint;
  }
}
