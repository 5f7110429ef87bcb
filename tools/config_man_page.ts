// The man page certsync.yaml(5), from the schema by which the config file is read.

import { isKey, type Key, type Section } from "../lib/config/reader.ts";
import { schema } from "../lib/config/schema.ts";
import { exampleConfig } from "./example_config.ts";
import { bold, heading, italic, literal, tagged, text } from "./roff.ts";

/** Pure; roff for the man macros, ending without a line break. The date is ISO 8601's, of the day. */
export function configManPage(version: string, date: string): string {
  const entries = Object.entries<Key<unknown> | Section>(schema);
  const keys = entries.flatMap(([name, entry]) => isKey(entry) ? [[name, entry] as const] : []);
  const sections = entries.flatMap(([name, entry]) =>
    isKey(entry) ? [] : [[name, Object.entries(entry)] as const]
  );
  return [
    heading({ title: "CERTSYNC.YAML", section: 5, date, version }),
    ".SH NAME",
    text("certsync.yaml - configuration of certsync"),
    ".SH SYNOPSIS",
    italic("/etc/certsync/config.yaml"),
    ".SH DESCRIPTION",
    text(
      "YAML that certsync reads at every start, unless --config names another file. Options of the " +
        "command line override it, and it overrides mailcow.conf.",
    ),
    ".PP",
    text(
      "Every key is optional but domain and push.to on the NPM host. A file with a key that does " +
        "not exist, or with a value that cannot be right, is refused before anything runs. Where a " +
        "list is meant, one item alone will do. Each value is taken as it is written: 0600, no and " +
        "1e3 are texts.",
    ),
    ".PP",
    text("A DURATION is a number and one of s, m, h, d. An AGE is one too, or a percentage."),
    ".SH KEYS",
    ...keys.flatMap(([name, key]) => describe(name, key)),
    ...sections.flatMap(([section, keys]) => [
      `.SS ${section}:`,
      ...keys.flatMap(([name, key]) => describe(name, key)),
    ]),
    ".SH EXAMPLES",
    text("On the NPM host:"),
    ".PP",
    ...literal([
      "domain: mail.example.org",
      "push:",
      "  live: [/opt/npm/letsencrypt/live]",
      "  to: certsync@mail.example.org:/home/certsync/incoming/",
      "  identity: /root/.ssh/mailcow_certsync",
    ]),
    ".PP",
    text("All that there is:"),
    ".PP",
    ...literal(exampleConfig().filter((line) => !/^ *(#|$)/.test(line))),
    ".SH SEE ALSO",
    `${bold("certsync")}(1)`,
  ].join("\n");
}

function describe(name: string, key: Key<unknown>): string[] {
  return tagged(`${bold(`${name}:`)} ${italic(key.argument)}`, text(`${key.help}${absence(key)}`));
}

/** What holds without the key. */
export function absence({ standard, otherwise }: Key<unknown>): string {
  const value = standard ?? otherwise;
  return value === undefined ? "" : ` Default: ${value}.`;
}
