// The public half in a key file against the certificate's, seen without arithmetic.

import { deepEqual, equal } from "node:assert/strict";
import { keyFits, parsePair } from "../lib/certificate/pair.ts";
import { publicHalfFits } from "../lib/certificate/public_half.ts";
import { type Algorithm, authority } from "./kit/authority.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const paths = { chain: "chain", key: "key" };
const bytes = (text: string) => new TextEncoder().encode(text);
const read = (fullchainPem: string, keyPem: string) =>
  parsePair({ chainPem: bytes(fullchainPem), keyPem: bytes(keyPem) }, paths);

Deno.test("a key file's public half is told from another's, in every form that carries one", async () => {
  const kinds: Algorithm[] = ["rsa", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521"];
  const pairs = await Promise.all(kinds.map(async (algorithm) => {
    const [own, other] = await Promise.all(
      [1, 2].map(() => ca.issue({ names: ["mail.example.org"], algorithm })),
    );
    return { algorithm, own: own!, other: other! };
  }));
  for (const { algorithm, own, other } of pairs) {
    const old = algorithm === "rsa" ? ["rsa", "-traditional"] : ["ec"];
    const traditional = (keyPem: string) => run(need("openssl"), old, { stdin: keyPem });
    for (const form of [(keyPem: string) => keyPem, traditional]) {
      const [right, wrong] = [
        read(own.fullchainPem, await form(own.keyPem)),
        read(own.fullchainPem, await form(other.keyPem)),
      ];
      deepEqual([publicHalfFits(right), publicHalfFits(wrong)], [true, false], algorithm);
      deepEqual([keyFits(right), keyFits(wrong)], [true, false], algorithm);
    }
  }
  const [rsa, ...curves] = pairs;
  for (const { own } of curves) {
    equal(publicHalfFits(read(rsa!.own.fullchainPem, own.keyPem)) ?? false, false);
    equal(publicHalfFits(read(own.fullchainPem, rsa!.own.keyPem)) ?? false, false);
  }
});

Deno.test("of a key file without a public half nothing is said", async () => {
  const ed25519 = await ca.issue({ names: ["mail.example.org"], algorithm: "ed25519" });
  equal(publicHalfFits(read(ed25519.fullchainPem, ed25519.keyPem)), null);
  const leaf = await ca.issue({ names: ["mail.example.org"] });
  const bare = ["ec", "-no_public"];
  const keyPem = await run(need("openssl"), bare, { stdin: leaf.keyPem });
  equal(publicHalfFits(read(leaf.fullchainPem, keyPem)), null);
});
