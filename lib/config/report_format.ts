// The forms in which verify can report: for a person, for Nagios, for Prometheus.

import { quote, UsageFailure } from "../failure.ts";

export const formats = ["text", "nagios", "prometheus"] as const;

export type Format = typeof formats[number];

export function isFormat(text: string | undefined): text is Format {
  return formats.some((format) => format === text);
}

export function parseFormat(text: string, what: string): Format {
  if (isFormat(text)) return text;
  throw new UsageFailure(`${what} is not a format: ${quote(text)}`, {
    hint: `the formats are ${formats.join(", ")}`,
  });
}
