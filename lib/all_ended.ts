// Several things at once, none of which is left running when the others have failed.

/** As Promise.all, but only when every one has ended: so nobody cleans up under one that has not. */
export async function allEnded<T extends readonly unknown[] | []>(
  tasks: T,
): Promise<{ -readonly [Index in keyof T]: Awaited<T[Index]> }> {
  await Promise.allSettled(tasks);
  return await Promise.all(tasks);
}
