// Times, durations and ages, as the operator reads and writes them.

import { quote, UsageFailure } from "../failure.ts";

const unitsMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** In milliseconds; null where it is none. */
function parseTime(text: string): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text) ?? [];
  return number === undefined ? null : Number(number) * unitsMs[unit as keyof typeof unitsMs];
}

/** `90s`, `5m`, `12h` or `21d`, in milliseconds. */
export function parseDuration(text: string, what: string): number {
  const ms = parseTime(text);
  if (ms === null || ms <= 0 || ms > 2 ** 31 - 1) { // beyond that timers fire at once
    throw new UsageFailure(`${what} is not a duration: ${quote(text)}`, {
      hint: "write a number and one of s m h d, such as 30s or 5m; at most 24d",
    });
  }
  return ms;
}

/** How much of a certificate's life is left: a time, or a part of the whole. */
export type Age = { readonly ms: number } | { readonly lifePart: number };

/** `21d`, or `25%` of the certificate's whole life. */
export function parseAge(text: string, what: string): Age {
  const [, percent] = /^(\d+(?:\.\d+)?)%$/.exec(text) ?? [];
  if (percent !== undefined && Number(percent) <= 100) return { lifePart: Number(percent) / 100 };
  const ms = parseTime(text);
  if (ms !== null) return { ms };
  throw new UsageFailure(`${what} is not an age: ${quote(text)}`, {
    hint:
      "write a number and one of s m h d, such as 21d, or a part of the whole life, such as 25%",
  });
}

export function formatDuration(ms: number): string {
  const units = Object.entries(unitsMs).reverse();
  const [unit, size] = units.find(([, size]) => ms >= size && ms % size === 0) ?? ["s", 1_000];
  return `${ms / size}${unit}`;
}

/** ISO 8601 in UTC without fractions. */
export function formatTime(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, "Z");
}
