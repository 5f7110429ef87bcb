// A path within a command of a hint: what a shell reads there is that path, whatever its letters.

import { quote } from "../failure.ts";

/** In single quotes only where double ones would not do. */
export function shellWord(path: string): string {
  // deno-lint-ignore no-control-regex -- what no line of a hint can hold as it is
  const isPrintable = !/[\x00-\x1f\x7f-\x9f]/.test(path);
  return /^[\w./:@%+=,~-]*$/.test(path) || !isPrintable
    ? quote(path)
    : `'${path.replaceAll("'", `'\\''`)}'`;
}
