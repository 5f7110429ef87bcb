// A directory that is gone when its scope ends.

export interface TempDir extends AsyncDisposable {
  path: string;
}

/** Where temporary files go, unless it is to lie elsewhere. */
export async function tempDir(parent?: string): Promise<TempDir> {
  // Resolved, because what the tests compare are paths without links in them.
  const path = await Deno.realPath(
    await Deno.makeTempDir({ prefix: "certsync-kit-", ...(parent && { dir: parent }) }),
  );
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}
