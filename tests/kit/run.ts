// Runs a program to its end with a small environment and gives what it said.

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string;
  env?: Record<string, string>;
  cwd?: string;
}

/** Runs a program whatever its exit code. */
export async function tryRun(
  path: string,
  args: string[],
  options: RunOptions = {},
): Promise<Output> {
  const child = new Deno.Command(path, {
    args,
    cwd: options.cwd,
    clearEnv: true,
    env: {
      PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin",
      LC_ALL: "C",
      // openssl would load the whole CA bundle at every call.
      SSL_CERT_FILE: "/dev/null",
      ...options.env,
    },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    options.stdin === undefined ? undefined : feed(child.stdin, options.stdin),
  ]);
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** Runs a program and gives its stdout; throws its own words if it fails. */
export async function run(
  path: string,
  args: string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await tryRun(path, args, options);
  if (code !== 0) {
    throw new Error(`${path} ${args.join(" ")}: exit ${code}: ${stderr}`);
  }
  return stdout;
}

/** Writes all of a child's stdin; a child that does not want it is no error. */
export async function feed(
  stdin: WritableStream<Uint8Array>,
  text: string,
): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
