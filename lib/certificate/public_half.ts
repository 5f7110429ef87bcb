// The public half that a key file carries, compared with the certificate's: a thousandth of the work of
// deriving it, for seeing that nothing changed. What is sent or installed is judged by openssl.

import { scanPem } from "../values/pem.ts";
import { type Element, objectIdentifier, readElement, readElements, tags } from "./der.ts";
import type { Pair } from "./pair.ts";

/** Null where the file carries none, or none of a kind that is known here. */
export function publicHalfFits({ leaf, keyPem }: Pick<Pair, "leaf" | "keyPem">): boolean | null {
  const [block] = scanPem(keyPem).blocks;
  if (block === undefined || block.der === null) return null;
  try {
    const [algorithm, bits] = readElements(readElement(leaf.publicKey).content);
    if (algorithm === undefined || bits === undefined) return null;
    const key = innerKey(block.label, block.der, algorithm);
    if (key === null) return null;
    const parts = readElements(readElement(key).content);
    return pointFits(parts, bits) ?? numbersFit(parts, bits);
  } catch (error) {
    if (error instanceof RangeError) return null; // whoever reads the key says so
    throw error;
  }
}

/** The key of its own kind in the common wrapping, if it is of the certificate's kind. */
function innerKey(label: string, der: Uint8Array, algorithm: Element): Uint8Array | null {
  if (label !== "PRIVATE KEY") return der;
  const [, own, wrapped] = readElements(readElement(der).content);
  if (own === undefined || wrapped?.tag !== tags.octetString) return null;
  return kindOf(own) === kindOf(algorithm) ? wrapped.content : null;
}

function kindOf({ content }: Element): string {
  const [kind] = readElements(content);
  return kind === undefined ? "" : objectIdentifier(kind.content);
}

/** Of an elliptic curve's key. RFC 5915 */
function pointFits([, secret, ...rest]: readonly Element[], bits: Element): boolean | null {
  if (secret?.tag !== tags.octetString) return null;
  const point = rest.find(({ tag }) => tag === 0xa1);
  return point === undefined ? null : isSame(point.content, bits.encoded);
}

/** Of an RSA key: modulus and exponent. RFC 8017 */
function numbersFit(
  [, modulus, exponent]: readonly Element[],
  bits: Element,
): boolean | null {
  if (modulus?.tag !== tags.integer || exponent?.tag !== tags.integer) return null;
  const [theirModulus, theirExponent] = readElements(readElement(bits.content.subarray(1)).content);
  return theirModulus !== undefined && theirExponent !== undefined &&
    isSame(modulus.encoded, theirModulus.encoded) &&
    isSame(exponent.encoded, theirExponent.encoded);
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
