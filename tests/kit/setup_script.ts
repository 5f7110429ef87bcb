// What certsync setup prints, and the parts of it.

import { setupHere } from "./in_process.ts";
import { need } from "./programs.ts";
import { run } from "./run.ts";

export interface SetupScript {
  text: string;
  /** What is fed to a command of the script: `unit mailcow-cert-push.service`. */
  fed(command: string): string | undefined;
  /** Runs lines of shell with the functions of the script, and nothing else of it. */
  call(lines: string): Promise<string>;
}

/**
 * Without the config file of this host, unless --config is among the arguments; `path` is first on
 * PATH. That the binary prints the same of each kind is a test of its own.
 */
export async function setup(
  args: string[],
  { path }: { path?: string } = {},
): Promise<SetupScript> {
  const stdout = await setupHere(args, path);
  const texts = new Map(
    Array.from(
      stdout.matchAll(/^ *(\S.*) <<'END_OF_FILE'\n([^]*?)^END_OF_FILE$/gm),
      ([, command, text]) => [command, text],
    ),
  );
  return {
    text: stdout,
    fed: (command) => texts.get(command),
    call: (lines) =>
      run(need("dash"), ["-s"], {
        stdin: stdout.slice(0, stdout.indexOf("\nmain() {\n")) + `\n${lines}\n`,
      }),
  };
}
