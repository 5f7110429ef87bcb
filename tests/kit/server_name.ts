// Reads the server name (SNI) out of a TLS ClientHello.

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;

/**
 * The name that a client asks for, lower-case; "" where it names none or does
 * not speak TLS at all, undefined as long as its hello is incomplete.
 */
export function serverName(bytes: Uint8Array): string | undefined {
  const hello = clientHello(bytes);
  if (hello === undefined || hello.length === 0) return hello && "";
  try {
    return nameIn(hello);
  } catch (error) {
    if (error instanceof RangeError) return "";
    throw error;
  }
}

/** The body of the ClientHello, which may span records; [] if it is none. */
function clientHello(bytes: Uint8Array): Uint8Array | undefined {
  const message: number[] = [];
  for (let at = 0;;) {
    if (at < bytes.length && bytes[at] !== HANDSHAKE_RECORD) {
      return new Uint8Array();
    }
    if (at + 5 > bytes.length) return undefined;
    const size = uint(bytes, at + 3, 2);
    message.push(...bytes.subarray(at + 5, at + 5 + size));
    at += 5 + size;
    if (message.length < 4) continue;
    const body = Uint8Array.from(message);
    if (uint(body, 0, 1) !== CLIENT_HELLO) return new Uint8Array();
    const end = 4 + uint(body, 1, 3);
    if (body.length >= end) return body.subarray(4, end);
  }
}

function nameIn(hello: Uint8Array): string {
  let at = 2 + 32; // version, random
  at += 1 + uint(hello, at, 1); // session
  at += 2 + uint(hello, at, 2); // cipher suites
  at += 1 + uint(hello, at, 1); // compression methods
  for (at += 2; at < hello.length;) { // extensions
    const type = uint(hello, at, 2);
    const size = uint(hello, at + 2, 2);
    if (type === SERVER_NAME) {
      const length = uint(hello, at + 7, 2); // after list length and name type
      const name = hello.subarray(at + 9, at + 9 + length);
      return new TextDecoder().decode(name).toLowerCase();
    }
    at += 4 + size;
  }
  return "";
}

function uint(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = at; i < at + size; i++) {
    const byte = bytes[i];
    if (byte === undefined) throw new RangeError("truncated ClientHello");
    value = value * 256 + byte;
  }
  return value;
}
