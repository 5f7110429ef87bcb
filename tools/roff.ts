// Roff for the man macros: text that is taken for nothing else, in lines that man(7) reads.

export function heading(page: {
  readonly title: string;
  readonly section: 1 | 5;
  /** ISO 8601, without the time. */
  readonly date: string;
  readonly version: string;
}): string {
  const manual = { 1: "User Commands", 5: "File Formats" }[page.section];
  return `.TH ${page.title} ${page.section} ${page.date} ${macroWord(`certsync ${page.version}`)} ${
    macroWord(manual)
  }`;
}

export function tagged(tag: string, body: string): string[] {
  return [".TP", tag, body];
}

/** Lines as they are, set in. */
export function literal(lines: readonly string[]): string[] {
  return [".RS 4", ".nf", ...lines.map((line) => unrequested(escape(line))), ".fi", ".RE"];
}

export const bold = (words: string) => `\\fB${escape(words)}\\fR`;
export const italic = (words: string) => `\\fI${escape(words)}\\fR`;

/** Words to be filled, in source lines of at most 80 characters. */
export function text(words: string): string {
  return words.split(" ").map(escape).reduce<string[]>((lines, word) => {
    const last = lines.at(-1);
    if (last === undefined || `${last} ${word}`.length > 80) return [...lines, unrequested(word)];
    return [...lines.slice(0, -1), `${last} ${word}`];
  }, []).join("\n");
}

/** A line that is not taken for a request. */
function unrequested(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** An argument of a macro. */
export function macroWord(words: string): string {
  return `"${escape(words)}"`;
}

function escape(words: string): string {
  return words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll('"', "\\(dq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replaceAll("…", "\\&...");
}
