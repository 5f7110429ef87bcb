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

/** What could move the cursor, begin a line, turn its direction or hide within it. */
const unprintable =
  // deno-lint-ignore no-control-regex -- control characters are what this is for
  /[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** The value with every such character in its texts made visible. */
export function printable<T>(value: T): T {
  if (typeof value === "string") return value.replace(unprintable, escape) as T & string;
  if (Array.isArray(value)) return value.map(printable) as T & unknown[];
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, printable(item)]),
    ) as T;
  }
  return value;
}

/** The same value as `JSON.stringify` writes, with those characters written as JSON escapes. */
export function printableJson(value: unknown): string {
  const lines = JSON.stringify(value, null, 2).split("\n");
  return lines.map((line) => line.replace(unprintable, escape)).join("\n");
}
