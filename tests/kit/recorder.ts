// Programs on PATH that note how they were called, and run the real ones.

import { need } from "./programs.ts";
import { namesIn } from "./push_scene.ts";
import { tempDir } from "./temp_dir.ts";

export interface Call {
  /** With the program's name first. */
  argv: string[];
  env: Record<string, string>;
}

export interface Recorder extends AsyncDisposable {
  /** The directory to put first on PATH. */
  bin: string;
  calls(): Call[];
}

/** Every program that the binary may start, noted and then run; `scripts` replace what is run. */
export async function recorder(scripts: Record<string, string> = {}): Promise<Recorder> {
  const dir = await tempDir();
  const real = Object.fromEntries(
    (["rsync", "ssh", "ssh-keygen", "ssh-add", "openssl"] as const)
      .map((name) => [name, `exec ${need(name)} "$@"`]),
  );
  const others = ["docker", "docker-compose", "systemctl", "getent"].map((
    name,
  ) => [name, "exit 1"]);
  const programs = { ...Object.fromEntries(others), ...real, ...scripts };
  await Deno.mkdir(`${dir.path}/bin`);
  await Deno.mkdir(`${dir.path}/calls`);
  for (const [name, script] of Object.entries(programs)) {
    await Deno.writeTextFile(
      `${dir.path}/bin/${name}`,
      `#!/bin/sh
{ printf '%s\\0' ${name} "$@"; printf '\\0'; cat /proc/$$/environ; } >${dir.path}/calls/.$$
mv ${dir.path}/calls/.$$ ${dir.path}/calls/$$
${script}
`,
      { mode: 0o755 },
    );
  }
  const read = (name: string): Call => {
    const text = Deno.readTextFileSync(`${dir.path}/calls/${name}`);
    const end = text.indexOf("\0\0");
    const environ = text.slice(end + 2).split("\0").filter((entry) => entry !== "");
    return {
      argv: text.slice(0, end).split("\0"),
      env: Object.fromEntries(environ.map((entry) => {
        const equals = entry.indexOf("=");
        return [entry.slice(0, equals), entry.slice(equals + 1)];
      })),
    };
  };
  return {
    bin: `${dir.path}/bin`,
    calls: () => namesIn(`${dir.path}/calls`).filter((name) => !name.startsWith(".")).map(read),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
