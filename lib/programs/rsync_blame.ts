// Which of the names that went in one call rsync could not put in their places.

import { saidAfterLogin, spokenLines } from "./ssh_words.ts";
import type { SshView } from "./ssh_view.ts";

/** rsync(1): some files were not carried over; all others were. */
const PARTIAL = 23;

/** A name of a directory; null stands for the files beside the directories. */
export type Place = string | null;

/**
 * What was said of each place, for those that something was said of. Null where that is all there is
 * to tell: nothing that is known went through. `view` is null where ssh had no part in it. Pure.
 */
export function blame(
  { code, stderr }: { readonly code: number | null; readonly stderr: string },
  places: readonly Place[],
  view: SshView | null,
): ReadonlyMap<Place, string> | null {
  const said = view === null ? stderr : saidAfterLogin(stderr, view);
  if (code !== PARTIAL || said === null) return null;
  const before = stderr.slice(0, stderr.length - said.length);
  const lines = spokenLines(said);
  const placeOf = new Map(lines.map((line) => [line, placeIn(line, places)]));
  const blamed = new Set([...placeOf.values()].filter((place) => place !== undefined));
  if (blamed.size === 0 || blamed.size === places.length) return null;
  return new Map(Array.from(blamed, (place) => {
    const own = lines.filter((line) => [place, undefined].includes(placeOf.get(line)));
    return [place, `${before}\n${own.join("\n")}\n`];
  }));
}

/** Undefined where the line is of none. rsync's temporary files begin with a dot. */
function placeIn(line: string, places: readonly Place[]): Place | undefined {
  const named = places.find((name) => name !== null && endsIn(name, line));
  if (named !== undefined) return named;
  return places.includes(null) && new RegExp(`(?:^|[/" ])${FILE}`).test(line) ? null : undefined;
}

const FILE = "\\.?(?:fullchain|privkey)\\.pem";

/** Whether a path in the line ends with the name, or with a file of the pair in it. */
function endsIn(name: string, line: string): boolean {
  const literal = name.replaceAll(".", "\\.");
  return new RegExp(`(?:^|[/" ])${literal}(?:/${FILE}[^/" ]*)?(?:[": ]|$)`).test(line);
}
