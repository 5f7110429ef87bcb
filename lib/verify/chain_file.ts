// What a file of certificates holds, as a leg of the chain has it.

import { type Certificate, parseChain, parseFirst } from "../certificate/certificate.ts";
import { Failure, quote } from "../failure.ts";
import { readFile } from "../files/read_file.ts";
import type { Leg } from "./leg.ts";

/** What a chain file holds, if it was read before; else it is read now. */
export function holding(
  read: readonly Certificate[] | null | undefined,
  path: string,
): Partial<Leg> {
  const chain = read ?? readChain(path);
  return { certificate: chain[0] ?? null, chain };
}

/** Of whatever is between the certificates, servers take no notice either. */
function readChain(path: string): readonly Certificate[] {
  const { bytes } = readFile(path, { follow: true });
  try {
    return parseChain(bytes, quote(path), "lenient");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [parseFirst(bytes, quote(path))];
  }
}
