// Makes inputs out of good ones, the same from the same seed.

/** Numbers from 0 to 1, exclusive. Mulberry32. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const TOKENS = [
  ...["\n", "\r", "\r\n", "\0", "\t", " ", "\x1b[2J", "\u202e", "\ufeff", "\ufffd", "\u2028", "é"],
  ...[
    "=",
    ":",
    "::",
    "#",
    '"',
    "'",
    "`",
    "$(x)",
    "\\",
    "/",
    "..",
    "-",
    "--",
    "*",
    "*.",
    "@",
    "[",
    "]",
  ],
  ...[
    "{",
    "}",
    "&a",
    "*a",
    "!!js/function",
    "!!binary",
    "<<: *a",
    "- ",
    "? ",
    "| ",
    "> ",
    "~",
    "null",
  ],
  ...[
    "0",
    "-1",
    "65535",
    "65536",
    "1e999",
    "NaN",
    "0x1F",
    "99999999999999999999",
    "1d",
    "0s",
    "5%",
  ],
  ...["y", "n", "yes", "YES", "no", "true", "false", "127.0.0.1:", "[::1]:", "::", "0.0.0.0"],
  ...["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"],
  ...["-----BEGIN X509 CERTIFICATE-----", "-----END TRUSTED CERTIFICATE-----", "-----BEGIN\n"],
  ...[
    "\r\r\n",
    "\n\r",
    "\n\n",
    "\n \t\n",
    "\f",
    "X: y\n\n",
    "Proc-Type: 4,ENCRYPTED\n",
    "==",
    "=A",
  ],
  ...[
    "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n",
    " ".repeat(255),
  ],
  ...[
    "-----BEGIN ",
    "-----",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "SKIP_LETS_ENCRYPT=",
  ],
  ...[
    "sha256 Fingerprint=",
    "error 20 at 0 depth lookup: ",
    "does match certificate",
    "A".repeat(300),
  ],
];

/** One of the good ones with a few things done to it. */
export function mutate(good: readonly string[], random: () => number): string {
  const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)] as T;
  let text = pick(good);
  const place = () => Math.floor(random() * (text.length + 1));
  for (let times = 1 + Math.floor(random() * 6); times > 0; times--) {
    const [from, to] = [place(), place()].sort((a, b) => a - b) as [number, number];
    const near = Math.min(to, from + Math.floor(random() * 20));
    switch (Math.floor(random() * 11)) {
      case 0: // leave out
        text = text.slice(0, from) + text.slice(near);
        break;
      case 1: // leave out much
        text = text.slice(0, from) + text.slice(to);
        break;
      case 2: // repeat
        text = text.slice(0, to) + text.slice(from);
        break;
      case 3: // put in
      case 4:
        text = text.slice(0, from) + pick(TOKENS) + text.slice(from);
        break;
      case 5: // put in place of
        text = text.slice(0, from) + pick(TOKENS) + text.slice(near);
        break;
      case 6: // another letter
        text = text.slice(0, from) + String.fromCharCode(Math.floor(random() * 256)) +
          text.slice(from + 1);
        break;
      case 7: { // a piece of another one
        const other = pick(good);
        const at = Math.floor(random() * other.length);
        text = text.slice(0, from) + other.slice(at, at + Math.floor(random() * 200)) +
          text.slice(from);
        break;
      }
      case 9: // other ends of lines, all of them or those of a piece
        text = text.slice(0, from) +
          text.slice(from, to).replaceAll("\n", pick(["\r", "\r\n", "\n\n", " \n", "\r\r\n", ""])) +
          text.slice(to);
        break;
      case 10: { // another one whole, in a form of its own
        const ends = pick(["\r", "\r\n", "\n", "\n\n", "\n "]);
        text = pick([text, ""]) + pick(good).replaceAll("\n", ends) + pick(["", "\n"]) + text;
        break;
      }
      case 8: { // lines in another order
        const lines = text.split("\n");
        const [line = ""] = lines.splice(Math.floor(random() * lines.length), 1);
        lines.splice(Math.floor(random() * lines.length), 0, line);
        text = lines.join("\n");
        break;
      }
    }
  }
  return text.slice(0, 20_000);
}
