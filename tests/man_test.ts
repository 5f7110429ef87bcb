// The man pages say what --help and the checks of the config say, and are roff that nothing is wrong with.

import { deepEqual, equal, match, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse } from "@std/yaml/parse";
import { type Command, type CommandName, commands } from "../lib/cli/commands.ts";
import { readConfigDocument } from "../lib/config/config_file.ts";
import { isKey, type Key, type Section } from "../lib/config/reader.ts";
import { schema } from "../lib/config/schema.ts";
import { configManPage } from "../tools/config_man_page.ts";
import { manPage } from "../tools/man_page.ts";
import { releaseDate } from "../tools/release_date.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";

const top = fileURLToPath(new URL("..", import.meta.url));
const pages = {
  "certsync.1": manPage("1.2.3", "2026-02-03"),
  "certsync.yaml.5": configManPage("1.2.3", "2026-02-03"),
};

const PERMISSIONS = ["--allow-read", "--allow-env=SOURCE_DATE_EPOCH"];

/** As a reader sees it, without the line breaks of a terminal. */
async function read(page: string): Promise<string> {
  const args = ["-man", "-Tutf8", "-rLL=1000n", "-P-c", "-P-b", "-P-u", "-"];
  return await run(need("groff"), args, { stdin: page });
}

Deno.test("groff and mandoc find nothing wrong with the man pages", async () => {
  for (const [name, page] of Object.entries(pages)) {
    for (
      const [program, ...args] of [
        ["groff", "-man", "-ww", "-z", "-Tutf8", "-"],
        ["mandoc", "-T", "lint"],
      ] as const
    ) {
      const { code, stdout, stderr } = await tryRun(need(program), [...args], {
        stdin: `${page}\n`,
      });
      deepEqual([name, program, code, stdout, stderr], [name, program, 0, "", ""]);
    }
  }
});

Deno.test("the man page says what each exit status means, of status and verify too", async () => {
  const seen = await read(pages["certsync.1"]);
  const [, section = ""] = /^EXIT STATUS\n([^]*?)^ENVIRONMENT$/m.exec(seen) ?? [];
  match(
    section,
    /^ +0 +done, or nothing to do\n[^]*^ +status has 1 where a point is in error or a /m,
  );
  match(section, /^ +verify has those of monitoring plugins: 0 ok, 1 warning, 2 critical, 3 /m);
});

Deno.test("the man page holds every command, option and example that --help shows", async () => {
  const seen = await read(pages["certsync.1"]);
  match(seen, /certsync 1\.2\.3 +2026-02-03 +CERTSYNC\(1\)/);
  for (const name of Object.keys(commands) as CommandName[]) {
    const { summary, operand, options, examples }: Command = commands[name];
    const title = `certsync ${name}${operand === undefined ? "" : ` ${operand}`}`;
    const section = seen.split(/^ {3}(?=\S)/m).find((part) => part.startsWith(`${title}\n`))
      ?.replace(/ +/g, " ");
    equal(section?.toLowerCase().includes(summary.toLowerCase()), true, name);
    for (const { name: option, letter, argument, help } of options) {
      const short = letter === undefined ? "" : `-${letter}, `;
      const tag = `${short}--${option}${argument === undefined ? "" : ` ${argument}`}`;
      match(section ?? "", new RegExp(`^ ${RegExp.escape(tag)}\\s+${RegExp.escape(help)}$`, "m"));
    }
    for (const { line } of examples) {
      match(section ?? "", new RegExp(`^ ${RegExp.escape(line)}$`, "m"));
    }
  }
});

/** Each with the section that it stands in, "" for none. */
const keys = Object.entries<Key<unknown> | Section>(schema).flatMap((
  [name, entry],
): (readonly [string, string, Key<unknown>])[] =>
  isKey(entry)
    ? [["", name, entry]]
    : Object.entries(entry).map(([key, described]) => [name, key, described] as const)
);

Deno.test("certsync.yaml(5) holds every key in its section, with what it means and defaults to", async () => {
  const seen = (await read(pages["certsync.yaml.5"])).split(/^(?:KEYS|EXAMPLES)$/m)[1] ?? "";
  const sections = seen.split(/^ {3}(?=\S)/m);
  for (const [section, name, { argument, help, standard, otherwise }] of keys) {
    const words = sections[
      section === "" ? 0 : sections.findIndex((part) => part.startsWith(`${section}:`))
    ]
      ?.replace(/ +/g, " ").replaceAll("…", "...");
    const absence = standard ?? otherwise;
    const expected = `${help}${absence === undefined ? "" : ` Default: ${absence}.`}`
      .replaceAll("…", "...");
    match(
      words ?? "",
      new RegExp(`^ ${RegExp.escape(`${name}: ${argument}`)}\\s+${RegExp.escape(expected)}$`, "m"),
    );
  }
});

Deno.test("docs/config.yaml has every key, as it can be read and with what holds anyway", async () => {
  const text = await Deno.readTextFile(`${top}/docs/config.yaml`);

  const document = parse(text, { schema: "failsafe" }) as Record<string, unknown>;
  const { domain, also } = readConfigDocument(document, "config.yaml");
  deepEqual([domain, also], ["mail.example.org", ["mail.example.com"]]);
  for (const [section, name, { example, standard }] of keys) {
    const place = section === "" ? document : document[section] as Record<string, unknown>;
    equal(Object.hasOwn(place, name), true, `${section}.${name}`);
    // Whoever takes the example as it is changes nothing by it.
    if (standard !== undefined) equal(example, standard, `${section}.${name}`);
  }
});

Deno.test("make man writes them with the version of the binary and the day of its release", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  const changelog = await Deno.readTextFile(`${top}/CHANGELOG.md`);
  const date = releaseDate(changelog, undefined);
  match(changelog, new RegExp(`^## ${RegExp.escape(version)}, ${date}$`, "m"));
  for (
    const [name, page] of Object.entries({
      "certsync.1": manPage,
      "certsync.yaml.5": configManPage,
    })
  ) {
    const printed = await run(
      `${top}/tools/deno`,
      ["run", "--no-check", ...PERMISSIONS, `${top}/tools/print_man_page.ts`, name],
    );
    equal(printed, `${page(version, date)}\n`);
  }
});

Deno.test("the day of a man page is the newest release's, or what SOURCE_DATE_EPOCH says", () => {
  const changelog = "# Changes\n\n## 1.1.0, 2026-05-06\n\n## 1.0.0, 2026-01-02\n";
  equal(releaseDate(changelog, undefined), "2026-05-06");
  equal(releaseDate(changelog, ""), "2026-05-06");
  equal(releaseDate(changelog, "86400"), "1970-01-02");
  throws(() => releaseDate("# Changes\n", undefined));
});
