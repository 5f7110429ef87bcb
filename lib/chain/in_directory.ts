// docker compose goes by the directory it is called in, and some hosts have docker-compose instead: where
// an advice says to call it, it says where, and by which name. Pure.

import { shellWord } from "../values/shell_word.ts";

const COMMAND = /(?<![&]{2} )docker[ -]compose (?=up -d|restart |logs --tail)/g;
const AFTER_ANOTHER = /(rm -r \S.*? && )docker[ -]compose /g;

/** `directory` is mailcow's, and `compose` how it is called there. */
export function inDirectory(
  words: string,
  { directory, compose }: { readonly directory: string; readonly compose: string },
): string {
  const call = `cd ${shellWord(directory)} && ${compose} `;
  return words.replace(COMMAND, () => call)
    .replace(AFTER_ANOTHER, (_, before) => before + call);
}
