// A path within a command of a hint: what a shell reads there is that path, whatever its letters.

import { quote } from "../failure.ts";
import { holdsControl } from "./control_characters.ts";

/** In single quotes only where double ones would not do. */
export function shellWord(path: string): string {
  return /^[\w./:@%+=,~-]*$/.test(path) || holdsControl(path)
    ? quote(path)
    : `'${path.replaceAll("'", `'\\''`)}'`;
}
