// A picture of a terminal, as SVG.

const CELL = { width: 8.4, height: 19 };
const MARGIN = 16;
const FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
const COLOURS: Readonly<Record<string, string>> = {
  "0": "#d0d7de",
  "31": "#ff7b72",
  "32": "#7ee787",
  "33": "#e3b341",
  "35": "#d2a8ff",
};

/** `lines` may hold the colours that a terminal knows; `title` is for who cannot see it. Pure. */
export function picture(title: string, lines: readonly string[]): string {
  const parts = lines.map(paint);
  const columns = Math.max(...parts.map((line) => line.map(({ text }) => text).join("").length));
  const width = Math.ceil(columns * CELL.width) + 2 * MARGIN;
  const height = lines.length * CELL.height + 2 * MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${width}" height="${height}" rx="8" fill="#161b22"/>`,
    `<g font-family="${FONT}" font-size="14" xml:space="preserve" style="white-space:pre">`,
    ...parts.flatMap((line, row) => {
      const y = MARGIN + row * CELL.height + 14;
      return line.filter(({ text }) => text.trim() !== "").map(({ text, column, colour }) => {
        const x = round(MARGIN + column * CELL.width);
        const length = round(text.length * CELL.width);
        return `<text x="${x}" y="${y}" textLength="${length}" fill="${colour}">${
          escape(text)
        }</text>`;
      });
    }),
    "</g>",
    "</svg>",
    "",
  ].join("\n");
}

interface Part {
  readonly text: string;
  readonly column: number;
  readonly colour: string;
}

/** Words with their place and colour. */
function paint(line: string): Part[] {
  let colour = COLOURS["0"] ?? "";
  let column = 0;
  // deno-lint-ignore no-control-regex -- the colours
  return line.split(/(\x1b\[\d+m)/).flatMap((text) => {
    const code = /\[(\d+)m$/.exec(text)?.[1];
    if (text.startsWith("\x1b") && code !== undefined) {
      colour = COLOURS[code] ?? colour;
      return [];
    }
    const part = { text, column, colour };
    column += text.length;
    return text === "" ? [] : [part];
  });
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
