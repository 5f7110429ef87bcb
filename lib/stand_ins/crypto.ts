/** Stands in for `@std/crypto/crypto`: the runtime's own, and digests of parts and without waiting. */
import { createHash } from "node:crypto";

export type DigestAlgorithm = "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";

export interface StdSubtleCrypto extends SubtleCrypto {
  digest(
    algorithm: DigestAlgorithm,
    data: BufferSource | AsyncIterable<BufferSource> | Iterable<BufferSource>,
  ): Promise<ArrayBuffer>;
  digestSync(
    algorithm: DigestAlgorithm,
    data: BufferSource | Iterable<BufferSource>,
  ): ArrayBuffer;
}

export interface StdCrypto extends Crypto {
  readonly subtle: StdSubtleCrypto;
}

const web = globalThis.crypto;

export const crypto: StdCrypto = {
  getRandomValues: web.getRandomValues.bind(web),
  randomUUID: web.randomUUID.bind(web),
  subtle: {
    decrypt: web.subtle.decrypt.bind(web.subtle),
    deriveBits: web.subtle.deriveBits.bind(web.subtle),
    deriveKey: web.subtle.deriveKey.bind(web.subtle),
    encrypt: web.subtle.encrypt.bind(web.subtle),
    exportKey: web.subtle.exportKey.bind(web.subtle),
    generateKey: web.subtle.generateKey.bind(web.subtle),
    importKey: web.subtle.importKey.bind(web.subtle),
    sign: web.subtle.sign.bind(web.subtle),
    unwrapKey: web.subtle.unwrapKey.bind(web.subtle),
    verify: web.subtle.verify.bind(web.subtle),
    wrapKey: web.subtle.wrapKey.bind(web.subtle),

    async digest(algorithm, data) {
      if (isBytes(data)) return await web.subtle.digest(algorithm, data);
      const hash = hashFor(algorithm);
      for await (const part of data) hash.update(bytesOf(part));
      return toArrayBuffer(hash.digest());
    },

    digestSync(algorithm, data) {
      const hash = hashFor(algorithm);
      for (const part of isBytes(data) ? [data] : data) hash.update(bytesOf(part));
      return toArrayBuffer(hash.digest());
    },
  },
};

function hashFor(algorithm: DigestAlgorithm) {
  return createHash(algorithm.replace("-", "").toLowerCase());
}

function isBytes(data: unknown): data is BufferSource {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data);
}

function bytesOf(part: BufferSource): Uint8Array {
  if (!isBytes(part)) throw new TypeError("data holds a part that is no ArrayBuffer nor a view");
  return ArrayBuffer.isView(part)
    ? new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
    : new Uint8Array(part);
}

function toArrayBuffer(digest: Uint8Array): ArrayBuffer {
  return new Uint8Array(digest).buffer;
}
