// The first line of a result: what changed, by its first four bytes, in ninety characters besides names.

/** As every report has it. */
export interface Subject {
  readonly fingerprint: string | null;
  readonly notAfter: string | null;
  /** The leaf whose place it takes, and how many whole days that had left; below zero: expired. */
  readonly replaces?: string | null;
  readonly replacesDaysLeft?: number | null;
}

/** `deed` ends with the name. */
export function headline(
  deed: string,
  { fingerprint, notAfter, replaces = null, replacesDaysLeft = null }: Subject,
): string {
  const was = replaces === null
    ? ""
    : ` (was ${[shortFingerprint(replaces), ...left(replacesDaysLeft)].join(", ")})`;
  const what = fingerprint === null ? "" : ` ${shortFingerprint(fingerprint)}`;
  const until = notAfter === null ? "" : `, valid until ${notAfter.slice(0, "2027-02-20".length)}`;
  return `${deed}${what}${was}${until}`;
}

function left(days: number | null): string[] {
  if (days === null) return [];
  return [days < 0 ? "expired" : `${days} day${days === 1 ? "" : "s"} left`];
}

/** Whole ones, from now. */
export function daysLeft(notAfter: Date, now: Date): number {
  return Math.floor((notAfter.getTime() - now.getTime()) / 86_400_000);
}

export function shortFingerprint(fingerprint: string): string {
  return fingerprint.slice(0, "70:C1:BE:73".length);
}
