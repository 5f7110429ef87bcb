// Reads and writes a connection by lines and bytes, whatever the peer does.

export interface Wire {
  /** What came and was not used yet. */
  pending: Uint8Array;
  /** Waits for more; false at the end. */
  more(): Promise<boolean>;
  /** The next line without its end; undefined at the end. */
  line(): Promise<string | undefined>;
  write(data: Uint8Array | string): Promise<void>;
}

export interface Stream {
  read(into: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<number>;
}

export interface WireOptions {
  /** What was read already. */
  pending?: Uint8Array;
  /** Writes byte by byte, that far apart. */
  everyMs?: number | undefined;
}

export function wire(stream: Stream, { pending, everyMs }: WireOptions = {}): Wire {
  const self: Wire = {
    pending: pending ?? new Uint8Array(),
    more: async () => {
      const chunk = await readChunk(stream);
      if (chunk === undefined) return false;
      self.pending = concat(self.pending, chunk);
      return true;
    },
    line: async () => {
      for (;;) {
        const end = self.pending.indexOf(10);
        if (end >= 0) {
          const line = new TextDecoder().decode(self.pending.subarray(0, end));
          self.pending = self.pending.subarray(end + 1);
          return line.replace(/\r$/, "");
        }
        if (!await self.more()) return undefined;
      }
    },
    write: async (data) => {
      const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
      if (everyMs === undefined) return await writeAll(stream, bytes);
      for (const byte of bytes) {
        await writeAll(stream, Uint8Array.of(byte));
        if (everyMs > 0) await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
    },
  };
  return self;
}

/** Passes on everything that comes from one until its end. */
export async function pump(from: Stream, to: Wire): Promise<void> {
  for (;;) {
    const chunk = await readChunk(from);
    if (chunk === undefined) return;
    await to.write(chunk);
  }
}

/** Whether an error only says that the other side, or we, closed. */
export function isDisconnect(error: unknown): boolean {
  return [
    Deno.errors.BadResource,
    Deno.errors.BrokenPipe,
    Deno.errors.ConnectionAborted,
    Deno.errors.ConnectionReset,
    Deno.errors.Interrupted,
    Deno.errors.NotConnected,
  ].some((kind) => error instanceof kind);
}

async function readChunk(stream: Stream): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(16_384);
  const size = await stream.read(buffer);
  return size === null ? undefined : buffer.subarray(0, size);
}

async function writeAll(stream: Stream, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length;) {
    at += await stream.write(data.subarray(at));
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
