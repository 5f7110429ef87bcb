// How a line of diagnostics is marked, so that journald and whoever reads it can select on it.

/** sd-daemon(3) */
const priorities = { error: "<3>", warning: "<4>", info: "<6>" } as const;

export type Severity = keyof typeof priorities;

/** Whether the stream with this device and inode is the journal (systemd.exec(5), JOURNAL_STREAM). */
export function isJournal(
  stream: { readonly dev: number; readonly ino: number | null },
  journalStream: string | undefined,
): boolean {
  return journalStream !== undefined && journalStream === `${stream.dev}:${stream.ino}`;
}

export function formatDiagnostic(
  severity: Severity,
  line: string,
  { toJournal }: { readonly toJournal: boolean },
): string {
  return toJournal ? priorities[severity] + line : line;
}

/** Whatever in a text could move the cursor, begin a line or turn its direction, made visible. */
export function printable<T>(value: T): T {
  if (typeof value === "string") {
    return value.replace(
      // deno-lint-ignore no-control-regex -- control characters are what this is for
      /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    ) as T & string;
  }
  if (Array.isArray(value)) return value.map(printable) as T & unknown[];
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, printable(item)]),
    ) as T;
  }
  return value;
}
