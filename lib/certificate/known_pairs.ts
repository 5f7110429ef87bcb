// Pairs that were parsed already: the same bytes are the same pair, wherever they lie, and it takes a
// tenth of the time to know them by their hash.

import { createHash } from "node:crypto";
import type { Reading } from "./certificate.ts";
import { type Pair, type PairFiles, type PairPaths, parsePair } from "./pair.ts";

/** Held by those who use them: files that change again and again must not take more memory than one. */
const parsed = new Map<string, WeakRef<Pair>>();

/** As parsePair; what is read strictly is what everybody reads. */
export function parseOnce(files: PairFiles, paths: PairPaths, reading: Reading = "strict"): Pair {
  const hash = createHash("sha256").update(`${files.chainPem.length} `).update(files.chainPem);
  const digest = hash.update(files.keyPem).digest("hex");
  const known = parsed.get(`strict ${digest}`)?.deref() ??
    parsed.get(`${reading} ${digest}`)?.deref();
  if (known !== undefined) return { ...known };
  const pair = parsePair(files, paths, reading);
  parsed.set(`${reading} ${digest}`, new WeakRef(pair));
  return pair;
}
