// Durations, ages and times, as the operator writes and reads them.

import { deepEqual, equal, throws } from "node:assert/strict";
import { UsageFailure } from "../lib/failure.ts";
import { formatDuration, formatTime, parseAge, parseDuration } from "../lib/values/time.ts";

Deno.test("a duration is a number and one of s m h d", () => {
  const cases: [text: string, ms: number][] = [
    ["1s", 1_000],
    ["90s", 90_000],
    ["5m", 300_000],
    ["1.5h", 5_400_000],
    ["0.5s", 500],
    ["24d", 24 * 86_400_000],
  ];
  for (const [text, ms] of cases) equal(parseDuration(text, "it"), ms, text);
});

Deno.test("what is no duration is refused with what it belongs to and how to write one", () => {
  const cases = [
    "",
    "60",
    "s",
    "0s",
    "-5s",
    "+5s",
    "5 s",
    "5S",
    "5ms",
    "1h30m",
    "1e3s",
    "25d",
    ".5s",
  ];
  for (const text of [...cases, "9".repeat(400) + "s", "5s\n", "٣s", "Infinitys", "NaNs"]) {
    throws(
      () => parseDuration(text, "push.timeout in c.yaml"),
      (error) =>
        error instanceof UsageFailure &&
        error.message === `push.timeout in c.yaml is not a duration: ${JSON.stringify(text)}` &&
        error.hint?.includes("30s"),
      text,
    );
  }
});

Deno.test("an age is a time or a part of the whole life", () => {
  deepEqual(parseAge("21d", "it"), { ms: 21 * 86_400_000 });
  deepEqual(parseAge("36h", "it"), { ms: 36 * 3_600_000 });
  deepEqual(parseAge("60d", "it"), { ms: 60 * 86_400_000 });
  deepEqual(parseAge("25%", "it"), { lifePart: 0.25 });
  deepEqual(parseAge("12.5%", "it"), { lifePart: 0.125 });
  deepEqual(parseAge("0%", "it"), { lifePart: 0 });
  deepEqual(parseAge("100%", "it"), { lifePart: 1 });
  deepEqual(parseAge("0d", "it"), { ms: 0 });
});

Deno.test("what is no age is refused", () => {
  for (const text of ["", "21", "101%", "-1%", "%", "25 %", "25%d", "d", "25percent", "25%\n"]) {
    throws(
      () => parseAge(text, "--warn"),
      (error) =>
        error instanceof UsageFailure && error.message.startsWith("--warn is not an age: ") &&
        error.hint?.includes("25%"),
      text,
    );
  }
});

Deno.test("a duration is printed as it would be written", () => {
  for (const text of ["30s", "90s", "5m", "36h", "21d"]) {
    equal(formatDuration(parseDuration(text, "it")), text);
  }
  equal(formatDuration(86_400_000), "1d");
  equal(formatDuration(500), "0.5s");
});

Deno.test("a time is printed in UTC without fractions", () => {
  equal(formatTime(new Date("2026-07-01T02:03:04.567+02:00")), "2026-07-01T00:03:04Z");
});
