// Finds loopback ports that nobody listens on, nor will while a service of ours is stopped.

// Below Linux's ephemeral range, so that no outgoing connection of someone else takes a port; and in
// blocks, so that no test that runs beside this one does.
const LOWEST = 20_000;
const HIGHEST = 32_000;
const BLOCK = 500;

// Its first port is held open as long as this process, or this worker of it, lives.
const block = claimBlock();
let next = block;

/** A port that is free on all these addresses, and not given out again soon. */
export function freePort(addresses: string[] = ["127.0.0.1"]): number {
  for (let attempt = 1; attempt < BLOCK; attempt++) {
    next = next + 1 < block + BLOCK ? next + 1 : block + 1;
    if (addresses.every((hostname) => isFree(hostname, next))) return next;
  }
  throw new Error(`no free port on ${addresses.join(", ")}`);
}

function claimBlock(): number {
  const blocks = (HIGHEST - LOWEST) / BLOCK;
  const start = Math.floor(Math.random() * blocks);
  for (let index = 0; index < blocks; index++) {
    const port = LOWEST + ((start + index) % blocks) * BLOCK;
    try {
      Deno.listen({ hostname: "127.0.0.1", port });
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error(`no free block of ports between ${LOWEST} and ${HIGHEST}`);
}

function isFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}
