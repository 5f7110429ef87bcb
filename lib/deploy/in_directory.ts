// docker compose goes by the directory it is called in: where a report says to call it, it says where.

import { shellWord } from "../values/shell_word.ts";

const COMMAND = /(?<![&]{2} )docker[ -]compose (?=up -d|restart |logs --tail)/g;
const AFTER_ANOTHER = /(rm -r \S.*? && )(docker[ -]compose )/g;

interface Advice {
  readonly hint?: string;
}

/** Pure. */
export function inDirectory<
  R extends Advice & {
    readonly warnings: readonly string[];
    readonly certificates: readonly Advice[];
  },
>(report: R, mailcow: string): R {
  const cd = `cd ${shellWord(mailcow)} && `;
  const tell = (words: string) =>
    words.replace(COMMAND, (command) => cd + command)
      .replace(AFTER_ANOTHER, (_, before, command) => before + cd + command);
  const advise = <A extends Advice>(one: A): A =>
    one.hint === undefined ? one : { ...one, hint: tell(one.hint) };
  return {
    ...advise(report),
    certificates: report.certificates.map(advise),
    warnings: report.warnings.map(tell),
  };
}
