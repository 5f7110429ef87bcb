// Reads DER (ITU-T X.690), the encoding inside a certificate, one element at a time.

export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content as they stood. */
  readonly encoded: Uint8Array;
}

export const tags = {
  integer: 0x02,
  octetString: 0x04,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
} as const;

/**
 * Of one element's parts. No public CA puts more than some hundred names into a certificate (Let's
 * Encrypt 100), and each takes a thousand times the memory of its two bytes.
 */
export const MAX_PARTS = 1_000;

/** Throws a RangeError where the bytes are no DER, or more parts than any CA issues. */
export function readElements(bytes: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let start = 0; start < bytes.length;) {
    if (elements.length === MAX_PARTS) throw new RangeError("DER of too many parts");
    const header = readHeader(bytes, start);
    const end = header.contentStart + header.length;
    if (end > bytes.length) throw new RangeError("DER element runs past its end");
    elements.push({
      tag: header.tag,
      content: bytes.subarray(header.contentStart, end),
      encoded: bytes.subarray(start, end),
    });
    start = end;
  }
  return elements;
}

/** The one element that the bytes hold. */
export function readElement(bytes: Uint8Array): Element {
  const [element, ...others] = readElements(bytes);
  if (element === undefined || others.length > 0) throw new RangeError("not one DER element");
  return element;
}

function readHeader(bytes: Uint8Array, start: number) {
  const tag = byteAt(bytes, start);
  if ((tag & 0x1f) === 0x1f) throw new RangeError("DER tag in the long form");
  const first = byteAt(bytes, start + 1);
  if (first < 0x80) return { tag, length: first, contentStart: start + 2 };

  const lengthBytes = first & 0x7f;
  if (lengthBytes === 0 || lengthBytes > 4) throw new RangeError("DER length out of range");
  let length = 0;
  for (let i = 0; i < lengthBytes; i++) length = length * 256 + byteAt(bytes, start + 2 + i);
  const shortest = length < 0x80 ? 0 : Math.ceil(Math.log2(length + 1) / 8);
  if (lengthBytes !== shortest) throw new RangeError("DER length longer than it need be");
  return { tag, length, contentStart: start + 2 + lengthBytes };
}

function byteAt(bytes: Uint8Array, index: number): number {
  const byte = bytes[index];
  if (byte === undefined) throw new RangeError("DER ends too early");
  return byte;
}

/**
 * A time to the second in UTC, as RFC 5280 has them: readers differ on what else X.690 allows, and on
 * years that two digits, or a Date, cannot tell from those of another century.
 */
export function readTime({ tag, content }: Element): Date {
  const digits = /^(\d+)Z$/.exec(String.fromCharCode(...content.subarray(0, 16)))?.[1] ?? "";
  const isUtc = tag === tags.utcTime && digits.length === 12;
  const full = isUtc ? (digits < "50" ? "20" : "19") + digits : digits;
  const [date, hour, minute, second] = full.match(/^.{8}|../g) ?? [];
  const iso = date?.replace(/(....)(..)(..)/, "$1-$2-$3") + `T${hour}:${minute}:${second}.000Z`;
  const time = new Date(iso);
  const isKnown = (isUtc || tag === tags.generalizedTime) && full.length === 14 && full >= "1950" &&
    !Number.isNaN(time.getTime()) && time.toISOString() === iso;
  if (!isKnown) throw new RangeError("a time that not everybody reads alike");
  return time;
}

/** Dotted notation, `2.5.29.17`. */
export function objectIdentifier(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (arcs.length === 0) {
      arcs.push(Math.min(Math.floor(arc / 40), 2), arc < 80 ? arc % 40 : arc - 80);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join(".");
}
