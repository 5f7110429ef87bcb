// What status reports, to machines and in words.

import { headline } from "../certificate/headline.ts";
import type { HistoryEntry } from "../chain/history.ts";
import { type Colour, type Presentation, wrap } from "../cli/terminal.ts";
import type { Point, State } from "./point.ts";

export type Role = "push" | "deploy" | "verify";

export interface StatusReport {
  readonly roles: readonly Role[];
  readonly points: readonly Point[];
  /** The newest five, oldest first. */
  readonly history: readonly RoleEntry[];
  readonly warnings: readonly string[];
  readonly error?: string;
  readonly hint?: string;
}

/** Whose run it was. */
export interface RoleEntry extends HistoryEntry {
  readonly command: "push" | "deploy";
}

/** What is reported of a run that came to nothing. */
export function emptyStatusReport(): StatusReport {
  return { roles: [], points: [], history: [], warnings: [] };
}

/** Notes are no trouble; where nothing at all could be looked at, nobody knows. Pure. */
export function endingOf({ points, error }: StatusReport): "ok" | "failed" {
  const isTrouble = ({ state }: Point) => state === "error" || state === "warning";
  const isDark = points.every(({ state }) => state === "unknown");
  return error !== undefined || points.some(isTrouble) || isDark ? "failed" : "ok";
}

const colours: Readonly<Record<State, Colour>> = {
  ok: "green",
  note: "magenta",
  warning: "yellow",
  error: "red",
  unknown: "magenta",
};

/** In lines: what is to be typed is never broken. */
export function describeStatus(
  { roles, points, history }: StatusReport,
  { paint, width, isTerminal, isQuiet }:
    & Pick<Presentation, "paint" | "width" | "isTerminal">
    & { readonly isQuiet: boolean },
): string[] {
  if (points.length === 0) return [];
  const indent = " ".repeat(9);
  const told = isQuiet ? points.filter(({ state }) => state !== "ok") : points;
  const lines = told.flatMap(({ point, state, words, mend }) => {
    const text = `${point}: ${words}`;
    const [first = "", ...rest] = isTerminal ? wrap(text, width, indent) : [indent + text];
    return [
      paint(state, colours[state]) + first.slice(state.length),
      ...rest,
      ...(mend === undefined ? [] : [`${indent}mend: ${mend}`]),
    ];
  });
  if (isQuiet) return [...lines, summary(points)];
  return [
    ...(roles.length === 0 ? [] : [`this host's part: ${roles.join(", ")}`]),
    ...lines,
    ...(history.length === 0 ? [] : ["what happened last:"]),
    ...history.flatMap((entry) => {
      const text = describeEntry(entry);
      return isTerminal ? wrap(text, width, "  ") : [`  ${text}`];
    }),
    summary(points),
  ];
}

function describeEntry(
  { time, command, outcome, name, old, new: fresh, error, others, times, last }: RoleEntry,
): string {
  const more = others === undefined ? "" : ` and ${others} more`;
  const often = times === undefined ? "" : `, ${times} times, last ${last}`;
  const what = headline(
    `${time}${often} ${command}: ${outcome}${name === null ? "" : ` ${name}`}${more}`,
    {
      fingerprint: fresh,
      replaces: old,
      notAfter: null,
    },
  );
  return error === undefined ? what : `${what}: ${error}`;
}

function summary(points: readonly Point[]): string {
  const counts = (["error", "warning", "unknown"] as const).flatMap((state) => {
    const count = points.filter((point) => point.state === state).length;
    if (count === 0) return [];
    return [
      state === "unknown" ? `${count} unknown` : `${count} ${state}${count === 1 ? "" : "s"}`,
    ];
  });
  return counts.length === 0 ? "all well" : counts.join(", ");
}
