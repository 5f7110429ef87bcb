// What becomes of an outside program that does not behave; docker's name stands for all of them.

import { equal, rejects } from "node:assert/strict";
import { ProgramFailure, run } from "../lib/programs/run.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { runContext } from "./kit/run_context.ts";

/** Runs a script in the place of docker. */
async function runScript(script: string, { timeoutMs = 20_000 } = {}) {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/docker`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return await run("docker", [], { timeoutMs }, runContext({ bin: dir.path }));
}

const LIMIT = 4 * 1024 ** 2;

Deno.test("a program may print 4 MiB on either stream", async () => {
  const script = `head -c ${LIMIT} /dev/zero; head -c ${LIMIT} /dev/zero >&2; exit 3`;
  const { code, stdout, stderr } = await runScript(script);
  equal(code, 3);
  equal(stdout.length, LIMIT);
  equal(stderr.length, LIMIT);
});

Deno.test("a program that prints more than 4 MiB is ended at once, and it is said", async () => {
  const scripts = [
    `head -c ${LIMIT + 1} /dev/zero; exec sleep 30`,
    `head -c ${LIMIT + 1} /dev/zero >&2; exec sleep 30`,
    "exec yes",
  ];
  const start = performance.now();
  await Promise.all(scripts.map((script) =>
    rejects(
      runScript(script),
      (error) =>
        error instanceof ProgramFailure && error.message === "docker printed more than 4 MiB",
      script,
    )
  ));
  const took = performance.now() - start;
  equal(took < 15_000, true, `it was waited for: ${took} ms`);
});
