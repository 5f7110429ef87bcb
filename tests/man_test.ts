// The man page says what --help says, and is roff that nothing is wrong with.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Command, type CommandName, commands } from "../lib/cli/commands.ts";
import { manPage } from "../tools/man_page.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";

const top = fileURLToPath(new URL("..", import.meta.url));
const page = manPage("1.2.3");

/** As a reader sees it, without the line breaks of a terminal. */
async function read(): Promise<string> {
  const args = ["-man", "-Tutf8", "-rLL=1000n", "-P-c", "-P-b", "-P-u", "-"];
  return await run(need("groff"), args, { stdin: page });
}

Deno.test("groff finds nothing wrong with the man page", async () => {
  const { code, stderr } = await tryRun(need("groff"), ["-man", "-ww", "-z", "-Tutf8", "-"], {
    stdin: page,
  });
  deepEqual([code, stderr], [0, ""]);
});

Deno.test("the man page holds every command, option and example that --help shows", async () => {
  const seen = await read();
  match(seen, /certsync 1\.2\.3/);
  for (const name of Object.keys(commands) as CommandName[]) {
    const { summary, operand, options, examples }: Command = commands[name];
    const title = `certsync ${name}${operand === undefined ? "" : ` ${operand}`}`;
    const section = seen.split(/^ {3}(?=\S)/m).find((part) => part.startsWith(`${title}\n`))
      ?.replace(/ +/g, " ");
    equal(section?.toLowerCase().includes(summary.toLowerCase()), true, name);
    for (const { name: option, argument, help } of options) {
      const tag = `--${option}${argument === undefined ? "" : ` ${argument}`}`;
      match(section ?? "", new RegExp(`^ ${RegExp.escape(tag)}\\s+${RegExp.escape(help)}$`, "m"));
    }
    for (const { line } of examples) {
      match(section ?? "", new RegExp(`^ ${RegExp.escape(line)}$`, "m"));
    }
  }
});

Deno.test("make man writes it, with the version of the binary", async () => {
  const printed = await run(`${top}/tools/deno`, [
    "run",
    "--no-check",
    `${top}/tools/print_man_page.ts`,
  ]);
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  equal(printed, `${manPage(version)}\n`);
});
