// PEM (RFC 7468): labelled blocks of base64 in a text.

export interface PemBlock {
  readonly label: string;
  /** Lines before the base64 such as `Proc-Type`, which old encrypted keys have. */
  readonly hasHeaders: boolean;
  /** Throws where the base64 is broken. */
  der(): Uint8Array<ArrayBuffer>;
}

export type Pem =
  | { readonly kind: "binary" }
  | { readonly kind: "text"; readonly blocks: readonly PemBlock[]; readonly hasOtherText: boolean };

/** Finds every block, and whether anything but blocks and white space is there. */
export function scanPem(bytes: Uint8Array): Pem {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  if (/[^\t\n\r -~]/.test(text)) return { kind: "binary" };
  const blocks: PemBlock[] = [];
  let hasOtherText = false;
  let open: { label: string; lines: string[] } | null = null;
  // One after the other: a file of nothing but short lines would take a hundred times its size.
  for (const [line] of text.matchAll(/[^\r\n]+/g)) {
    const boundary = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----[ \t]*$/.exec(line);
    if (boundary?.[1] === "BEGIN" && open === null) {
      open = { label: boundary[2] ?? "", lines: [] };
    } else if (boundary?.[1] === "END" && open !== null && open.label === boundary[2]) {
      blocks.push(makeBlock(open.label, open.lines));
      open = null;
    } else if (boundary !== null) {
      hasOtherText = true;
    } else if (open !== null) {
      open.lines.push(line);
    } else if (line.trim() !== "") {
      hasOtherText = true;
    }
  }
  return { kind: "text", blocks, hasOtherText: hasOtherText || open !== null };
}

function makeBlock(label: string, lines: string[]): PemBlock {
  return {
    label,
    hasHeaders: lines.some((line) => line.includes(":")),
    der() {
      return Uint8Array.fromBase64(lines.join(""));
    },
  };
}
