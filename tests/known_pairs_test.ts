// What is known of pairs by their bytes is known of those bytes alone.

import { deepEqual, equal, notEqual, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { fits, foundFitting, recallFitting } from "../lib/certificate/key_fit.ts";
import { parseOnce } from "../lib/certificate/known_pairs.ts";
import { authority } from "./kit/authority.ts";

await using ca = await authority();
const [own, other] = await Promise.all([1, 2].map(() => ca.issue({ names: ["a.example.org"] })));
const paths = { chain: "chain", key: "key" };
const bytes = (text: string) => new TextEncoder().encode(text);
const files = { chainPem: bytes(own!.fullchainPem), keyPem: bytes(own!.keyPem) };

Deno.test("the same bytes are parsed once, and are a pair of its own in each place", () => {
  const [staged, deployed] = [parseOnce(files, paths), parseOnce(files, paths, "lenient")];
  equal(staged.leaf, deployed.leaf);
  notEqual(staged, deployed);
  const another = parseOnce({ ...files, keyPem: bytes(other!.keyPem) }, paths);
  deepEqual([another.keyPem, another.leaf.fingerprint], [bytes(other!.keyPem), own!.fingerprint]);
});

Deno.test("what was read leniently is not taken for what everybody reads alike", () => {
  const odd = { ...files, chainPem: bytes(`some text\n${own!.fullchainPem}`) };
  equal(parseOnce(odd, paths, "lenient").leaf.fingerprint, own!.fingerprint);
  throws(() => parseOnce(odd, paths), /anything but certificates/);
});

Deno.test("a key that an earlier run found to fit is believed for that leaf and that key alone", () => {
  const { leaf } = parseOnce(files, paths);
  equal(fits(leaf, files.keyPem), true);
  equal(fits(leaf, bytes(other!.keyPem)), false);
  const known = foundFitting();
  equal(known.length, 1);

  const unknown = parseOnce({ chainPem: bytes(other!.fullchainPem), keyPem: files.keyPem }, paths);
  recallFitting(known);
  equal(fits(unknown.leaf, files.keyPem), false);
  const strange = bytes("no key at all");
  equal(fits(leaf, strange), null);
  deepEqual(foundFitting(), known);

  const noted = createHash("sha256").update(`${leaf.fingerprint} another`).digest("hex");
  recallFitting([noted]);
  deepEqual(["another", "a third"].map((key) => fits(leaf, bytes(key))), [true, null]);
  deepEqual(foundFitting(), [...known, noted]);
});
