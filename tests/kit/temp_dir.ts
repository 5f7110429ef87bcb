// A directory that is gone when its scope ends.

export interface TempDir extends AsyncDisposable {
  path: string;
}

export async function tempDir(): Promise<TempDir> {
  // Resolved, because what the tests compare are paths without links in them.
  const path = await Deno.realPath(
    await Deno.makeTempDir({ prefix: "certsync-kit-" }),
  );
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}
