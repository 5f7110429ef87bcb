// Which version of an outside program this host has.

import type { RunContext } from "../run_context.ts";
import { lastWords, ProgramFailure, run } from "./run.ts";

/** The programs that are asked for it. */
export type VersionedProgram = keyof typeof questions;

const questions = {
  rsync: ["--version"],
  ssh: ["-V"],
  openssl: ["version"],
  docker: ["--version"],
} as const;

/** Its first line of that. Throws a Failure where it is missing, or does not tell. */
export async function readVersion(
  program: VersionedProgram,
  context: RunContext,
): Promise<string> {
  const { code, stdout, stderr } = await run(
    program,
    questions[program],
    { timeoutMs: 5_000 },
    context,
  );
  const [first = ""] = `${stdout}${stderr}`.trim().split("\n");
  if (code === 0) return first.replace(/\s+/g, " ");
  throw new ProgramFailure(`${program} does not tell its version: ${lastWords(stderr)}`, {
    hint: `see what it says: ${program} ${questions[program].join(" ")}`,
  });
}
