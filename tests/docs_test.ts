// The documents: what is made from the program is as it is now, what they show can be typed, links lead.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { readCommandLine } from "../lib/cli/command_line.ts";
import { isKey } from "../lib/config/reader.ts";
import { schema } from "../lib/config/schema.ts";
import { documents, withTranscript } from "../tools/documents.ts";
import { record, unchanging } from "../tools/record.ts";

const top = fileURLToPath(new URL("..", import.meta.url));
const read = (name: string) => Deno.readTextFileSync(`${top}/${name}`);

const pages = ["README.md", "CHANGELOG.md", "SECURITY.md", "BENCH.md"].concat(
  Array.from(Deno.readDirSync(`${top}/docs`), ({ name }) => `docs/${name}`)
    .filter((name) => name.endsWith(".md")).sort(),
);

Deno.test("pictures, transcript and example config are what a fresh run gives", async () => {
  const scenes = await record();
  for (const shown of [scenes.one, scenes.two]) {
    deepEqual(shown.map(({ command, code }) => [command, code]), [
      ["certsync verify", 2],
      ["certsync deploy", 0],
      ["certsync verify", 0],
    ]);
  }
  for (const [name, text] of Object.entries(documents(scenes))) {
    equal(read(`docs/${name}`), text, `docs/${name} is not as it would be now: run make docs`);
  }
  for (
    const [name, shown] of [
      ["README.md", scenes.one],
      ["docs/several-names.md", scenes.two],
    ] as const
  ) {
    equal(read(name), withTranscript(read(name), shown), `${name}: run make docs`);
  }
  match(documents(scenes)["verify-stale.svg"] ?? "", /1 of 8 match, stale at deployed/);
  match(documents(scenes)["verify-well.svg"] ?? "", />all 8 match</);
});

Deno.test("whatever a run's names and dates are, the documents have the same", () => {
  const name = (pair: string) => Array(32).fill(pair).join(":");
  const run = (pairs: [string, string], days: [string, string]) =>
    unchanging({
      fingerprints: [name(pairs[0]), name(pairs[1])],
      expires: [`${days[0]}T01:02:03Z`, `${days[1]}T04:05:06Z`],
      shown: [{
        command: "certsync verify",
        code: 2,
        output: `${name(pairs[0])} ${name(pairs[1]).slice(0, 11)} ${days[0]} ${days[1]}`,
      }],
    });
  deepEqual(
    run(["AA", "BB"], ["2031-01-02", "2031-03-04"]),
    run(["C0", "D1"], ["2032-05-06", "2032-07-08"]),
  );
});

Deno.test("the README begins with what certsync does, and is no longer than what is read", () => {
  const readme = read("README.md");
  match(readme, /^# certsync\n\ncertsync carries .*\n.*\n\n {4}\$ certsync verify\n/);
  equal(readme.trimEnd().split("\n").length <= 220, true);
  // CI takes the command of the tests from here.
  match(readme.slice(0, readme.indexOf("\n## ")), /^ {4}make demo .*\n {4}make test /m);
  const chapters = Array.from(readme.matchAll(/^## (.*)$/gm), ([, title]) => title);
  deepEqual(chapters, [
    "Get it",
    "Quick start",
    "Several names",
    "One machine",
    "Monitoring",
    "DANE",
    "When something is wrong",
    "Upgrade",
    "Uninstall",
    "Where the rest is",
  ]);
});

Deno.test("the README's steps of one machine are those that setup local prints", () => {
  const [, steps = ""] = /^## One machine\n\n((?: {4}.*\n)+)/m.exec(read("README.md")) ?? [];
  const [, printed = ""] = /todo 'last:' (.*)$/m.exec(read("lib/setup/local.sh")) ?? [];
  deepEqual(
    steps.trim().split(/\n +/).slice(1),
    Array.from(printed.matchAll(/"([^"$]*)\$config_flag"/g), ([, command]) => command),
  );
});

Deno.test("who has a private CA is told in the README of every command that is to trust it", () => {
  for (const [section, keys] of Object.entries(schema)) {
    if (!isKey(keys) && "trust" in keys) {
      match(read("README.md"), new RegExp(`\`${section}.trust\``));
    }
  }
});

Deno.test("every link of the documents leads to a file, and to a heading in it", () => {
  for (const page of pages) {
    const links = Array.from(read(page).matchAll(/\]\(([^)\s]+)\)/g), ([, link = ""]) => link)
      .filter((link) => !/^[a-z]+:/.test(link));
    for (const link of links) {
      const [path = "", anchor] = link.split("#");
      const file = path === "" ? page : new URL(path, `file:///${page}`).pathname.slice(1);
      const text = read(file);
      const headings = Array.from(
        text.matchAll(/^#+ (.*)$/gm),
        ([, title = ""]) => title.toLowerCase().replaceAll(" ", "-").replace(/[^a-z0-9-]/g, ""),
      );
      if (anchor !== undefined) equal(headings.includes(anchor), true, `${page}: ${link}`);
    }
  }
});

Deno.test("every certsync command of the documents is one that certsync takes", () => {
  const commands = pages.filter((page) => page !== "CHANGELOG.md").flatMap((page) => {
    const text = read(page).replaceAll(/ \\\n +/g, " ");
    const typed = Array.from(
      text.matchAll(/^ {4,}(?:\$ )?(certsync .*)$/gm),
      ([, line = ""]) => line,
    );
    const named = Array.from(text.matchAll(/`(certsync [^`]+)`/g), ([, line = ""]) => line);
    return [...typed, ...named].flatMap((line) => line.replace(/ +#.*$/, "").split(/ && | \| |; /))
      .map((line) => line.replaceAll(/\s+/g, " ").trim())
      .filter((line) => line.startsWith("certsync "))
      // In words: what stands for a command, a role or an option.
      .filter((line) => !/ COMMAND\b| …$| \w+\|\w+/.test(line))
      .map((line) => ({ page, line: line.replace(/ …$/, "") }));
  });
  equal(commands.length > 30, true);
  const wrong = commands.flatMap(({ page, line }) => {
    const words = Array.from(
      line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g),
      ([, single, double, plain]) => single ?? double ?? plain ?? "",
    ).slice(1);
    const command = readCommandLine(words);
    return command.kind === "misuse" ? [`${page}: ${line}: ${command.why.message}`] : [];
  });
  deepEqual(wrong, []);
});
