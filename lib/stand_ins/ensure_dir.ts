/** Stands in for `@std/fs/ensure-dir` where JSR cannot be reached. */

/** Throws if something else than a directory has the name. */
export async function ensureDir(dir: string | URL): Promise<void> {
  try {
    await Deno.mkdir(dir, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    refuseOther(dir, await Deno.stat(dir));
  }
}

function refuseOther(dir: string | URL, info: Deno.FileInfo): void {
  if (!info.isDirectory) {
    const kind = info.isFile ? "file" : "undefined";
    throw new Error(
      `Failed to ensure directory exists: expected 'dir', got '${kind}': ${String(dir)}`,
    );
  }
}
