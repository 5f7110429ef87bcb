/** Stands in for `@std/crypto/timing-safe-equal` where JSR cannot be reached. */
import { timingSafeEqual as equal } from "node:crypto";

type Bytes = ArrayBufferView | ArrayBufferLike;

export function timingSafeEqual(a: Bytes, b: Bytes): boolean {
  return a.byteLength === b.byteLength && equal(bytesOf(a), bytesOf(b));
}

function bytesOf(value: Bytes): Uint8Array {
  return ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : new Uint8Array(value);
}
