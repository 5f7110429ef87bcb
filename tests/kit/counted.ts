// Counts the programs that something starts: each is on PATH as a script that notes its name first.

import { tempDir } from "./temp_dir.ts";

export interface Counted extends AsyncDisposable {
  /** The directory to put first on PATH. */
  bin: string;
  /** The names of those started since the last time, in order. */
  taken(): string[];
}

/** `path` is where the programs themselves are looked up; one that is not there is left out. */
export async function counted(programs: readonly string[], path: string): Promise<Counted> {
  // Apart, because Deno may not write to a directory below which a program lies that it may run.
  await using stack = new AsyncDisposableStack();
  const { path: bin } = stack.use(await tempDir());
  const { path: logs } = stack.use(await tempDir());
  const log = `${logs}/started`;
  await Deno.writeTextFile(log, "");
  for (const name of programs) {
    const real = path.split(":").map((dir) => `${dir}/${name}`).find(isThere);
    if (real === undefined) continue;
    const script = `#!/bin/sh\nprintf '%s\\n' ${name} >>${log}\nexec ${real} "$@"\n`;
    await Deno.writeTextFile(`${bin}/${name}`, script, { mode: 0o755 });
  }
  const owned = stack.move();
  return {
    bin,
    taken: () => {
      const names = Deno.readTextFileSync(log).split("\n").filter(Boolean);
      Deno.writeTextFileSync(log, "");
      return names;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
