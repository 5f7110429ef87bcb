// Stand-ins on PATH that run the real program, and kill certsync before or after one of the calls.

import { readdir, rm } from "node:fs/promises";
import { tempDir } from "../kit/temp_dir.ts";

export interface Killers extends AsyncDisposable {
  bin: string;
  /** Sets which call is to be the last, from 1, and forgets the calls so far; 0 for none. */
  aim(call: number, when: "before" | "after"): Promise<void>;
  /** How many calls there were. */
  calls(): Promise<number>;
}

/** For programs that certsync starts itself: their parent is killed. */
export async function killers(programs: Record<string, string>): Promise<Killers> {
  const dir = await tempDir();
  const [counts, aim] = [`${dir.path}/counts`, `${dir.path}/aim`];
  for (const [name, real] of Object.entries(programs)) {
    // Several begin at once: each takes the first number that nobody has.
    await Deno.writeTextFile(
      `${dir.path}/${name}`,
      `#!/bin/sh
number=1
until mkdir ${counts}/$number 2>/dev/null; do number=$((number + 1)); done
read -r call when <${aim}
[ "$number" = "$call" ] || exec ${real} "$@"
[ "$when" = after ] || kill -KILL "$PPID"
${real} "$@"
code=$?
kill -KILL "$PPID"
exit $code
`,
      { mode: 0o755 },
    );
  }
  return {
    bin: dir.path,
    aim: async (call, when) => {
      await rm(counts, { recursive: true, force: true });
      await Deno.mkdir(counts);
      await Deno.writeTextFile(aim, `${call} ${when}\n`);
    },
    calls: async () => (await readdir(counts)).length,
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
