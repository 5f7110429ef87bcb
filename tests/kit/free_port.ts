// Finds loopback ports that nobody listens on.

// Below Linux's ephemeral range, so that no outgoing connection of someone
// else takes a port while its service is stopped.
const LOWEST = 20_000;
const HIGHEST = 32_000;

const taken = new Set<number>();

/** A port that is free on all these addresses, and given out only once. */
export function freePort(addresses: string[] = ["127.0.0.1"]): number {
  for (let attempt = 0; attempt < 1_000; attempt++) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (taken.has(port)) continue;
    if (addresses.every((hostname) => isFree(hostname, port))) {
      taken.add(port);
      return port;
    }
  }
  throw new Error(`no free port on ${addresses.join(", ")}`);
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
