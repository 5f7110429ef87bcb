// One thing that is right on this host, or is not: then with the command that mends it.

import { Failure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { FileProblem } from "../files/read_file.ts";
import { shellWord } from "../values/shell_word.ts";

/** `unknown`: it could not be looked at. */
export type State = "ok" | "note" | "warning" | "error" | "unknown";

export interface Point {
  readonly point: string;
  readonly state: State;
  readonly words: string;
  readonly mend?: string;
}

export function point(point: string, state: State, words: string, mend?: string): Point {
  return { point, state, words, ...(mend === undefined ? {} : { mend }) };
}

/** What a Failure says is wrong, and how to mend it; what this user may not see, nobody knows. */
export function failedPoint(name: string, failure: Failure): Point {
  return point(name, isForbidden(failure) ? "unknown" : "error", failure.message, failure.hint);
}

function isForbidden(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof FileProblem) return error.kind === "unreadable";
  const isRefused = "code" in error && (error.code === "EACCES" || error.code === "EPERM");
  return isRefused || isForbidden(error.cause);
}

/** That others can write to it, and the mode that ends that. */
export function exposurePoints(name: string, path: string, mode: "700" | "go-w"): Point[] {
  const exposed = exposure(path);
  const word = shellWord(path);
  return exposed === null
    ? []
    : [point(name, "warning", exposed, `chown root ${word}; chmod ${mode} ${word}`)];
}

/** The points, or that which the first Failure makes of them. */
export async function pointsOf(
  name: string,
  look: () => readonly Point[] | Promise<readonly Point[]>,
): Promise<readonly Point[]> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof Failure) return [failedPoint(name, error)];
    throw error;
  }
}
