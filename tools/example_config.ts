// Every key of the config file as it may stand there, each under its meaning.

import { isKey, type Key, type Section } from "../lib/config/reader.ts";
import { schema } from "../lib/config/schema.ts";

const WIDTH = 100;

/** In lines. Pure. */
export function exampleConfig(): string[] {
  return [
    "# Every key of /etc/certsync/config.yaml: take what differs on your host, and leave the rest out.",
    "# Options override this file, and it overrides mailcow.conf. A duration is a number and one of",
    "# s m h d.",
    "",
    ...Object.entries<Key<unknown> | Section>(schema).flatMap(([name, entry]) =>
      isKey(entry) ? lines(name, entry, "") : [
        `${name}:`,
        ...Object.entries(entry).flatMap(([name, key]) => lines(name, key, "  ")),
      ]
    ),
  ];
}

function lines(name: string, { help, standard, otherwise, example }: Key<unknown>, indent: string) {
  const absence = standard === undefined && otherwise !== undefined
    ? ` Default: ${otherwise}.`
    : "";
  return [...comment(`${help}${absence}`, indent), `${indent}${name}: ${example}`];
}

function comment(words: string, indent: string): string[] {
  const start = `${indent}#`;
  return words.split(" ").reduce<string[]>((lines, word) => {
    const last = lines.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= WIDTH) {
      return [...lines.slice(0, -1), `${last} ${word}`];
    }
    return [...lines, `${start} ${word}`];
  }, []);
}
