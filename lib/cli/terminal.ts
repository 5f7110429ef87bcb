// All that is printed, and where. The result goes to stdout and is nothing else: a report in words, one
// JSON object, or a script. What there is to say of it goes to stderr, a line each, with its priority
// where stderr is the journal; on a terminal, also one line of what is being waited for, which is
// rewritten. No control character of a file, a name or a program gets through in
// either. Colour only on a terminal, and without NO_COLOR.

import { explain, Failure } from "../failure.ts";
import { mapTexts } from "../values/map_texts.ts";

/** sd-daemon(3) */
const priorities = { error: "<3>", warning: "<4>", info: "<6>" } as const;

export type Severity = keyof typeof priorities;

const colours = { green: "32", yellow: "33", red: "31", magenta: "35" } as const;

export type Colour = keyof typeof colours;

/** What those who put a report into words are told of where it goes. */
export interface Presentation {
  /** As --format has it, also where the rest of the command line is wrong. */
  readonly format: string | undefined;
  readonly all: boolean;
  /** In columns: what a table may take. */
  readonly width: number;
  /** Elsewhere a message is one line, however long. */
  readonly isTerminal: boolean;
  /** The moment from which times are counted. */
  readonly now: Date;
  paint(text: string, colour: Colour): string;
}

interface Output {
  writeSync(bytes: Uint8Array): number;
  isTerminal(): boolean;
}

export interface Terminal {
  /** A line of the result. */
  print(line: string): void;
  tell(severity: Severity, line: string): void;
  diagnose(failure: Pick<Failure, "message" | "hint">): void;
  paint(text: string, colour: Colour): string;
  /** Tells of a wait until that is disposed: as it goes on a terminal, else once it has lasted. */
  wait(what: string, mostMs: number): Disposable;
  /** Why the result could not be printed, where that is so: who waits for it must be told. */
  whyNotPrinted(): Failure | null;
}

export function openTerminal({ stdout, stderr, toJournal, inColour, columns }: {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly toJournal: boolean;
  readonly inColour: boolean;
  /** How wide it is now. */
  columns(): number;
}): Terminal {
  let notPrinted: Failure | null = null;
  const waits = new Set<Wait & { seconds: number }>();
  const say = (text: string) => {
    try {
      write(stderr, text);
    } catch {
      return; // there is nowhere left to say so
    }
  };
  const rewrite = () => {
    if (!stderr.isTerminal()) return;
    // In the last column the cursor would be at the next line, for some.
    say(`\r\x1b[K${printable(describeWaits([...waits], columns() - 1))}`);
  };
  const clear = () => {
    if (waits.size > 0 && stderr.isTerminal()) say("\r\x1b[K");
  };
  const tell = (severity: Severity, line: string) => {
    clear();
    say(`${formatDiagnostic(severity, printable(line), { toJournal })}\n`);
    if (waits.size > 0) rewrite();
  };
  return {
    print(line) {
      clear();
      try {
        write(stdout, `${line}\n`);
      } catch (error) {
        if (error instanceof Deno.errors.BrokenPipe) return; // nobody reads any more
        const failure = explain(error, "print the report");
        if (!(failure instanceof Failure)) throw error;
        notPrinted = failure;
      }
    },
    tell,
    diagnose({ message, hint }) {
      tell("error", `ERROR: ${message}`);
      if (hint !== undefined) tell("error", `hint: ${hint}`);
    },
    paint: (text, colour) => inColour ? `\x1b[${colours[colour]}m${text}\x1b[0m` : text,
    wait(what, mostMs) {
      const one = { what, mostMs, seconds: 0 };
      waits.add(one);
      rewrite();
      const timer = setInterval(() => {
        one.seconds++;
        if (stderr.isTerminal()) rewrite();
        else if (one.seconds === TOLD_AFTER_S && mostMs > TOLD_AFTER_S * 1_000) {
          tell("info", `${what}, for at most ${Math.round(mostMs / 1_000)}s`);
        }
      }, 1_000);
      return {
        [Symbol.dispose]() {
          clearInterval(timer);
          waits.delete(one);
          rewrite();
        },
      };
    },
    whyNotPrinted: () => notPrinted,
  };
}

/** A shorter wait is none to who reads the journal. */
const TOLD_AFTER_S = 2;

export interface Wait {
  readonly what: string;
  readonly mostMs: number;
  /** For how long it has lasted. */
  readonly seconds: number;
}

/** How far they are, in one line that is no wider: of those that it cannot hold, how many. Pure. */
export function describeWaits(waits: readonly Wait[], width: number): string {
  const texts = waits.map(({ what, mostMs, seconds }) =>
    `${seconds}s of ${Math.round(mostMs / 1_000)}s: ${what}`
  );
  const all = texts.join("; ");
  if (widthOf(all) <= width) return all;
  const [first = "", ...others] = texts;
  const more = others.length === 0 ? "" : ` (+${others.length})`;
  return cut(first, width - more.length) + more;
}

function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = "";
  for (const character of text) {
    if (widthOf(kept + character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

/** In columns: what lies beyond the alphabets takes two. */
function widthOf(text: string): number {
  return Array.from(text).reduce(
    (columns, character) =>
      columns + ((character.codePointAt(0) ?? 0) < 0x1100 || character === "…" ? 1 : 2),
    0,
  );
}

function write(stream: Output, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let offset = 0; offset < bytes.length;) offset += stream.writeSync(bytes.subarray(offset));
}

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
export function printable<Value>(value: Value): Value {
  return mapTexts(value, (text) => text.replace(unprintable, escape));
}

/** The same value as `JSON.stringify` writes, with those characters written as JSON escapes. */
export function printableJson(value: unknown): string {
  const lines = JSON.stringify(value, null, 2).split("\n");
  return lines.map((line) => line.replace(unprintable, escape)).join("\n");
}

/** Breaks between words, or within one that is wider than a line. Pure. */
export function wrap(text: string, width: number, indent = ""): string[] {
  const room = Math.max(width - indent.length, 10);
  const lines = text.match(new RegExp(`\\S.{0,${room - 1}}(?=\\s|$)|\\S{1,${room}}`, "gu")) ?? [];
  return lines.map((line) => indent + line.trimEnd());
}
