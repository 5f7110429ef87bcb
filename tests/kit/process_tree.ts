// Ends a process that the kit started, with what it started in turn.

/** Ends the child and all below it, by pid, and waits for the child. */
export async function endTree(child: Deno.ChildProcess): Promise<void> {
  const pids = descendants(child.pid);
  for (const pid of [child.pid, ...pids]) kill(pid);
  await child.status;
}

function descendants(pid: number): number[] {
  const children = childrenOf(pid);
  return [...children, ...children.flatMap(descendants)];
}

function childrenOf(pid: number): number[] {
  try {
    const list = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`);
    return list.split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // ended meanwhile
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (isGone(error)) return;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof TypeError;
}
