// What rsync's end means where it copied into a directory of this host.

import { asRoot, quote } from "../failure.ts";
import type { LocalTarget } from "../values/push_target.ts";
import { shellWord } from "../values/shell_word.ts";
import type { Ending } from "./rsync.ts";
import { explainBlockedFile, NO_SPACE } from "./rsync_files.ts";
import { spokenLines, type Trouble, wordsAround } from "./ssh_words.ts";

/** Pure. */
export function explainCopy(
  { code, stderr }: Ending,
  target: LocalTarget,
  timeoutMs: number,
): { readonly error: string; readonly hint: string } {
  const lines = spokenLines(stderr);
  for (const line of lines) {
    const found = explainLine(line, target);
    if (found !== null) {
      return { error: `${found.cause}: ${wordsAround(lines, line)}`, hint: found.hint };
    }
  }
  const words = wordsAround(lines, undefined);
  const end = code === null
    ? `no end within ${timeoutMs / 1000} s`
    : `rsync failed with code ${code}`;
  return {
    error: words === "" ? end : `${end}: ${words}`,
    hint: `see what ${target.directory} is with: namei -l ${shellWord(target.directory)}`,
  };
}

function explainLine(line: string, { directory }: LocalTarget): Trouble | null {
  if (NO_SPACE.test(line)) {
    return { cause: "no space left", hint: `free some space in ${directory}` };
  }
  const blocked = explainBlockedFile(line, directory);
  if (blocked !== null) return blocked;
  if (/Read-only file system/.test(line)) {
    return {
      cause: "the file system is read-only",
      hint: `remount that of ${quote(directory)}; where it is the unit that may not, ` +
        "certsync status says what lets it",
    };
  }
  if (/(?:Permission denied|Operation not permitted)/.test(line)) {
    return {
      cause: "it may not be written",
      hint: asRoot(`ask lsattr, SELinux or AppArmor of ${quote(directory)}`),
    };
  }
  return null;
}
