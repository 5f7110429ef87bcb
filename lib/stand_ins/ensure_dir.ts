/** Stands in for `@std/fs/ensure-dir` where JSR cannot be reached. */

/** Throws if something else than a directory has the name. */
export async function ensureDir(dir: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
}
