// PEM (RFC 7468): labelled blocks of base64 in a text, and whether everybody reads them alike.

type Bytes = Uint8Array<ArrayBuffer>;

export interface PemBlock {
  readonly label: string;
  /** Null where the base64 is broken. */
  readonly der: Bytes | null;
  /** Lines before the base64 such as `Proc-Type`, which old encrypted keys have. */
  readonly hasHeaders: boolean;
}

export interface Pem {
  /** As OpenSSL finds them, whatever stands around them. */
  readonly blocks: readonly PemBlock[];
  /**
   * Why two readers could read it differently; null where they cannot. Blank lines between the
   * blocks, CRLF, blanks at the end of a line and lines of any width are read alike.
   */
  readonly doubt: string | null;
}

export const OTHER_TEXT = "holds other text";

export function scanPem(bytes: Uint8Array): Pem {
  const text = new TextDecoder("latin1").decode(bytes);
  let doubt = doubtAsText(text);
  const blocks: PemBlock[] = [];
  let open: { label: string; lines: string[] } | null = null;
  for (const line of text.split("\n").map(trimEnd)) {
    const boundary = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----$/.exec(line);
    if (open === null) {
      if (boundary?.[1] === "BEGIN") open = { label: boundary[2] ?? "", lines: [] };
      else if (line !== "") doubt ??= OTHER_TEXT;
    } else if (boundary?.[1] === "END" && boundary[2] === open.label) {
      const block = makeBlock(open.label, open.lines);
      doubt ??= doubtOf(block, open.lines);
      blocks.push(block);
      open = null;
    } else if (boundary !== null) {
      doubt ??= "holds a block without its end";
      open = null;
    } else {
      open.lines.push(line);
    }
  }
  if (open !== null) doubt ??= "holds a block without its end";
  return { blocks, doubt };
}

/** Each block in the one form that most programs write: 64 columns, LF. */
export function formatPem(blocks: readonly { label: string; der: Uint8Array }[]): Bytes {
  const texts = blocks.map(({ label, der }) => {
    const lines = der.toBase64().match(/.{1,64}/g) ?? [];
    return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
  });
  return new TextEncoder().encode(texts.join(""));
}

function doubtAsText(text: string): string | null {
  if (text.startsWith("\xef\xbb\xbf")) return "begins with a byte order mark";
  if (/[^\t\n\r -~]/.test(text)) return "is not PEM text";
  // OpenSSL ends a line at LF alone: what others take for a block, it does not see.
  return /\r(?!\n)/.test(text) ? "has a carriage return that ends no line" : null;
}

/** OpenSSL takes what stands before a blank line for headers. */
function doubtOf(block: PemBlock, lines: readonly string[]): string | null {
  if (block.hasHeaders) return "has headers in a block";
  if (lines.includes("")) return "has a blank line in a block";
  return block.der === null ? "holds base64 that is none" : null;
}

function makeBlock(label: string, lines: readonly string[]): PemBlock {
  const base64 = lines.join("");
  const hasHeaders = base64.includes(":");
  return { label, der: /[\t\r ]/.test(base64) ? null : decodeBase64(base64), hasHeaders };
}

function decodeBase64(text: string): Bytes | null {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** As OpenSSL does, in time that does not grow with the square of the blanks. */
function trimEnd(line: string): string {
  let end = line.length;
  while (end > 0 && line.charCodeAt(end - 1) <= 0x20) end--;
  return line.slice(0, end);
}
