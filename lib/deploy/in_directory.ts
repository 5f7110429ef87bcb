// What a report advises can be followed from wherever somebody reads it.

import { inDirectory as saidInDirectory } from "../chain/in_directory.ts";

interface Advice {
  readonly hint?: string;
}

/** Pure. */
export function inDirectory<
  R extends Advice & {
    readonly warnings: readonly string[];
    readonly certificates: readonly Advice[];
  },
>(report: R, mailcow: Parameters<typeof saidInDirectory>[1]): R {
  const tell = (words: string) => saidInDirectory(words, mailcow);
  const advise = <A extends Advice>(one: A): A =>
    one.hint === undefined ? one : { ...one, hint: tell(one.hint) };
  return {
    ...advise(report),
    certificates: report.certificates.map(advise),
    warnings: report.warnings.map(tell),
  };
}
