// A server that shows a certificate whose key it does not have: the signature is garbage.

import { createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import { Buffer } from "node:buffer";

/** TLS 1.2 with ECDHE, up to the signature, which the client must refuse. */
function flight(certPem: string): Uint8Array<ArrayBuffer> {
  const { raw, publicKey } = new X509Certificate(certPem);
  const share = createPublicKey(generateKeyPairSync("x25519").privateKey)
    .export({ format: "der", type: "spki" }).subarray(-32);
  const isRsa = publicKey.asymmetricKeyType === "rsa";
  const cipher = isRsa ? [0xc0, 0x2f] : [0xc0, 0x2b];
  const algorithm = isRsa ? [8, 4] : [4, 3];
  const signature = isRsa ? randomBytes(256) : Buffer.from("3006020101020101", "hex");
  const messages = [
    message(2, [3, 3], randomBytes(32), [0], cipher, [0], [0, 5, 0xff, 1, 0, 1, 0]),
    message(11, length(raw.length + 3, 3), length(raw.length, 3), raw),
    message(12, [3, 0, 29, 32], share, algorithm, length(signature.length, 2), signature),
    message(14),
  ].map((body) => Buffer.concat([Buffer.from([22, 3, 3, ...length(body.length, 2)]), body]));
  return Uint8Array.from(Buffer.concat(messages));
}

function message(type: number, ...parts: (number[] | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([type, ...length(body.length, 3)]), body]);
}

function length(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => (value >> (8 * (bytes - 1 - index))) & 0xff);
}

/** Listens on loopback where TLS begins at once. */
export function keylessServer(certPem: string): AsyncDisposable & { port: number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const talks = new Set<Promise<void>>();
  async function talk(connection: Deno.TcpConn): Promise<void> {
    using _ = { [Symbol.dispose]: () => connection.close() };
    const buffer = new Uint8Array(16_384);
    try {
      await connection.read(buffer);
      await connection.write(flight(certPem));
      await connection.read(buffer); // the client's alert
    } catch { /* it has gone */ }
  }
  const accepting = (async () => {
    for await (const connection of listener) talks.add(talk(connection));
  })();
  return {
    port: listener.addr.port,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await accepting;
      await Promise.allSettled(talks);
    },
  };
}
