// What bash and zsh offer after certsync, asked of the shells themselves.

import { deepEqual, equal, match } from "node:assert/strict";
import { type Command, type CommandName, commands } from "../lib/cli/commands.ts";
import { certsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const names = Object.keys(commands) as CommandName[];

function optionsOf(name: CommandName): string[] {
  const command: Command = commands[name];
  return command.options.map(({ name }) => `--${name}`);
}

async function script(shell: string): Promise<string> {
  const { code, stdout, stderr } = await certsync(["completion", shell]);
  deepEqual([code, stderr], [0, ""]);
  return stdout;
}

async function askBash(words: string[], cwd?: string): Promise<string[]> {
  const ask = `
    source /dev/stdin
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _certsync
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const answer = await run(need("bash"), ["-c", ask, "bash", "certsync", ...words], {
    stdin: await script("bash"),
    ...(cwd !== undefined && { cwd }),
  });
  return answer.split("\n").filter((line) => line !== "");
}

Deno.test("bash offers the commands, and every option of each", async () => {
  deepEqual(await askBash([""]), [...names, "--help", "--version"]);
  deepEqual(await askBash(["ver"]), ["verify"]);
  for (const name of names) deepEqual(await askBash([name, "--"]), optionsOf(name));
  deepEqual(await askBash(["help", ""]), names);
});

Deno.test("bash offers what an option or an operand can be", async () => {
  deepEqual(await askBash(["setup", "m"]), ["monitor"]);
  deepEqual(await askBash(["completion", ""]).then((all) => all.slice(0, 2)), ["bash", "zsh"]);
  deepEqual(await askBash(["verify", "--format", ""]), ["text", "nagios", "prometheus"]);
  deepEqual(await askBash(["verify", "--format", "=", "na"]), ["nagios"]);
  deepEqual(await askBash(["push", "--to", ""]), []);
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/a dir`);
  await Deno.writeTextFile(`${dir.path}/a file`, "");
  deepEqual((await askBash(["push", "--config", "a"], dir.path)).sort(), ["a dir", "a file"]);
  deepEqual(await askBash(["deploy", "--mailcow", "a"], dir.path), ["a dir"]);
  deepEqual(await askBash(["deploy", "--mailcow", "=", "a"], dir.path), ["a dir"]);
});

Deno.test("shellcheck finds nothing in the completion for bash", async () => {
  const { code, stdout } = await tryRun(need("shellcheck"), ["--shell=bash", "-"], {
    stdin: await script("bash"),
  });
  equal(stdout, "");
  equal(code, 0);
});

/** A zsh at a terminal of its own, that says what it would offer at the end of a line. */
async function askZsh(lines: string[]): Promise<string[][]> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/_certsync`, await script("zsh"));
  await Deno.writeTextFile(
    `${dir.path}/.zshrc`,
    `PS1= PS2= RPS1=
setopt no_beep no_prompt_sp no_prompt_cr
unset zle_bracketed_paste
fpath=(${dir.path} $fpath)
autoload -Uz compinit && compinit -D -u
offer() {
    compadd() {
        local -a found
        local one
        builtin compadd -O found "$@"
        for one in $found; do print -r -- "offered:$one:"; done
        builtin compadd "$@"
    }
    _main_complete
    print all-was-offered
}
zle -C offer list-choices offer
bindkey '^T' offer
print zsh-is-ready
`,
  );
  const ask = `zmodload zsh/zpty
for line in "$@"; do
    zpty shell ${need("zsh")} -i
    zpty -r shell said '*zsh-is-ready*'
    zpty -w -n shell "$line"$'\\C-t'
    zpty -r shell said '*all-was-offered*'
    print -r -- "line:$said"
    zpty -d shell
done`;
  const said = await run(need("zsh"), ["-f", "-c", ask, "zsh", ...lines], {
    cwd: dir.path,
    env: { ZDOTDIR: dir.path, HOME: dir.path, TERM: "dumb" },
  });
  return said.split(/^line:/m).slice(1).map((part) => [
    ...new Set(Array.from(part.matchAll(/offered:(.*):/g), ([, offered]) => offered ?? "")),
  ]);
}

Deno.test("zsh offers commands, options, and what they can be", async () => {
  const [all, ver, helped, roles, formats, ...options] = await askZsh([
    "certsync ",
    "certsync ver",
    "certsync help ",
    "certsync setup ",
    "certsync verify --format ",
    ...names.map((name) => `certsync ${name} --`),
  ]);
  deepEqual(all?.sort(), [...names].sort());
  deepEqual(ver, ["verify"]);
  deepEqual(helped?.sort(), [...names].sort());
  deepEqual(roles, ["push", "deploy", "local", "monitor"]);
  deepEqual(formats, ["text", "nagios", "prometheus"]);
  deepEqual(
    options.map((offered) => offered.sort()),
    names.map((name) => optionsOf(name).sort()),
  );
});

Deno.test("the completion for zsh can be read as well as laid down", async () => {
  const sourced = 'autoload -Uz compinit && compinit -D -u; source "$1"; print $_comps[certsync]';
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/any-name`, await script("zsh"));
  const args = ["-f", "-c", sourced, "zsh", `${dir.path}/any-name`];
  equal(await run(need("zsh"), args, { env: { HOME: dir.path } }), "_certsync\n");
});

Deno.test("another shell is refused", async () => {
  for (const [argv, message] of [[[], /for which shell/], [["fish"], /knows no "fish"/]] as const) {
    const { code, stdout, stderr } = await certsync(["completion", ...argv]);
    deepEqual([code, stdout], [2, ""]);
    match(stderr, message);
  }
});
