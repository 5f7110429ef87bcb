// Host names, and which of them a certificate's names stand for (RFC 6125, whole labels only).

import { quote, UsageFailure } from "../failure.ts";

const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A host name in lower case without its trailing dot; `what` names its origin in the message. */
export function parseHostName(text: string, what: string): string {
  const name = text.toLowerCase().replace(/\.$/, "");
  if (
    name.length > 253 || /^\d+$/.test(name) || !name.split(".").every((part) => label.test(part))
  ) {
    throw new UsageFailure(`${what} is not a host name: ${quote(text)}`, {
      hint: "give one name, such as mail.example.org; a wildcard or a leading dot is none" +
        (/[^ -~]/.test(name) ? ", and an international name is written in its xn-- form" : ""),
    });
  }
  return name;
}

/** A name that has directories of its own in staging and in mailcow's data/assets/ssl. */
export function parseFurtherName(text: string, what: string): string {
  const name = parseHostName(text, what);
  const hint = /(^backups|^acme|\.pem)$/.test(name)
    ? "mailcow keeps a file or a directory of its own under that name"
    : isNumber.test(name)
    ? "a certificate of its own is asked for by a name, which an address or a number is not"
    : yamlWord.test(name)
    ? "YAML takes that word for no name: write the whole name, such as mail.example.com"
    : null;
  if (hint === null) return name;
  throw new UsageFailure(`${what} is not a host name: ${quote(text)}`, { hint });
}

/** What ends in a number is read as an address (https://url.spec.whatwg.org/#ends-in-a-number-checker). */
const isNumber = /(^|\.)(\d+|0x[\da-f]*)$/;

const yamlWord = /^(true|false|null|yes|no|on|off)$/;

/** Whether one name of a certificate stands for the host: exactly, or as `*` for its first label. */
export function nameCovers(certificateName: string, host: string): "exact" | "wildcard" | null {
  const name = certificateName.toLowerCase();
  if (name === host) return "exact";
  if (!name.startsWith("*.") || name.indexOf("*", 1) !== -1) return null;
  const firstDot = host.indexOf(".");
  return firstDot > 0 && host.slice(firstDot) === name.slice(1) ? "wildcard" : null;
}

/** The best way in which the names cover the host. */
export function namesCover(names: readonly string[], host: string): "exact" | "wildcard" | null {
  let best: "wildcard" | null = null;
  for (const name of names) {
    const way = nameCovers(name, host);
    if (way === "exact") return way;
    best ??= way;
  }
  return best;
}
