// Every key of the config file as it may stand there, each under its meaning.

import { exampleOf } from "../lib/config/example.ts";
import { isKey, type Key, type Section } from "../lib/config/reader.ts";
import { schema } from "../lib/config/schema.ts";

/** In lines. Pure. */
export function exampleConfig(): string[] {
  return [
    "# Every key of /etc/certsync/config.yaml: take what differs on your host, and leave the rest out.",
    "# Options override this file, and it overrides mailcow.conf. A duration is a number and one of",
    "# s m h d.",
    "",
    ...Object.entries<Key<unknown> | Section>(schema).flatMap(([name, entry]) =>
      isKey(entry) ? exampleOf(name, entry, "") : [
        `${name}:`,
        ...Object.entries(entry).flatMap(([name, key]) => exampleOf(name, key, "  ")),
      ]
    ),
  ];
}
