// One thing that is right on this host, or is not: then with the command that mends it.

import { Failure } from "../failure.ts";

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

/** What a Failure says is wrong, and how to mend it. */
export function failedPoint(name: string, failure: Failure, state: State = "error"): Point {
  return point(name, state, failure.message, failure.hint);
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
