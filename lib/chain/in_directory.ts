// docker compose goes by the directory it is called in: where an advice says to call it, it says where. Pure.

import { shellWord } from "../values/shell_word.ts";

const COMMAND = /(?<![&]{2} )docker[ -]compose (?=up -d|restart |logs --tail)/g;
const AFTER_ANOTHER = /(rm -r \S.*? && )(docker[ -]compose )/g;

/** `mailcow` is its directory. */
export function inDirectory(words: string, mailcow: string): string {
  const cd = `cd ${shellWord(mailcow)} && `;
  return words.replace(COMMAND, (command) => cd + command)
    .replace(AFTER_ANOTHER, (_, before, command) => before + cd + command);
}
