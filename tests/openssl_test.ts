// What openssl's answers are taken for, whatever its version.

import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import {
  parseChainError,
  parseLeafJudgement,
  publicKeyOf,
  Unreadable,
} from "../lib/programs/openssl.ts";
import { BrokenProgram } from "../lib/programs/run.ts";
import { formatPem } from "../lib/values/pem.ts";
import { runContext } from "./kit/run_context.ts";

const KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
const FINGERPRINT = Array(32).fill("AB").join(":");
const READ = `${KEY}sha256 Fingerprint=${FINGERPRINT}\n`;
const DOES = "Hostname mail.example.org does match certificate\n";
const DOES_NOT = "Hostname mail.example.org does NOT match certificate\n";

Deno.test("openssl's word for a name counts only where its exit code says nothing else", () => {
  const cases: [what: string, code: number, stdout: string, covers: boolean][] = [
    ["it covers the name", 0, READ + DOES, true],
    ["it does not, up to 3.1", 0, READ + DOES_NOT, false],
    ["it does not, from 3.2", 1, READ + DOES_NOT, false],
    ["it does, and something failed", 1, READ + DOES, false],
    ["as 1.1.1 calls a fingerprint", 0, READ.replace("sha256", "SHA256") + DOES, true],
  ];
  for (const [what, code, stdout, covers] of cases) {
    const { coversHost, fingerprint } = parseLeafJudgement({ code, stdout, stderr: "" });
    deepEqual([coversHost, fingerprint], [covers, FINGERPRINT], what);
  }
});

Deno.test("where openssl does not say it, nothing is known, and that is no answer", () => {
  const cases: [what: string, code: number, stdout: string][] = [
    ["not asked for the name, as with -checkend in one call", 0, READ],
    ["more was said behind it", 0, `${READ}${DOES}but\n`],
    ["no fingerprint", 0, KEY + DOES],
    ["a key that openssl does not write so", 0, `${READ.replace("AAAA", "AAAA\0")}${DOES}`],
    ["no key", 0, `sha256 Fingerprint=${FINGERPRINT}\n${DOES}`],
    ["nothing", 0, ""],
    ["nothing, and it failed", 1, ""],
  ];
  for (const [what, code, stdout] of cases) {
    throws(() => parseLeafJudgement({ code, stdout, stderr: "" }), BrokenProgram, what);
  }
});

Deno.test("where openssl reads no certificate that is its answer, in its last words", () => {
  const stderr =
    "Could not read certificate from <stdin>\n4067:error:…\nUnable to load certificate\n";
  throws(() => parseLeafJudgement({ code: 1, stdout: "", stderr }), (error) => {
    if (!(error instanceof Unreadable)) throw error;
    equal(
      error.message,
      "Could not read certificate from <stdin>; 4067:error:…; Unable to load certificate",
    );
    return true;
  });
});

Deno.test("a chain is whole only where openssl says so in as many words", () => {
  const answer = (code: number, stdout: string, stderr = "") =>
    parseChainError({ code, stdout, stderr });
  equal(answer(0, "/tmp/chain.pem: OK\n"), null);
  const error = "CN = x\nerror 20 at 0 depth lookup: unable to get local issuer certificate\n";
  const words = "unable to get local issuer certificate";
  deepEqual(answer(2, "", `${error}error chain.pem: verification failed\n`), {
    ...{ code: 20, depth: 0, words },
  });
  deepEqual(answer(0, "chain.pem: OK, but\n", error), { code: 20, depth: 0, words });
  deepEqual(answer(1, "", "Error loading file ca.pem\n80:error\n"), {
    ...{ code: null, words: "Error loading file ca.pem" },
  });
  for (const [code, stdout] of [[0, ""], [0, "chain.pem: verified\n"], [2, ""]] as const) {
    throws(() => answer(code, stdout), BrokenProgram, `${code} ${stdout}`);
  }
});

Deno.test("a key of an elliptic curve whose two halves are of two keys is none", async () => {
  const [one, other] = [1, 2].map(() => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const secret = Buffer.from(privateKey.export({ format: "jwk" }).d ?? "", "base64url");
    return { der: privateKey.export({ type: "pkcs8", format: "der" }), secret };
  });
  if (!one || !other) throw new Error("two keys");
  const keyOf = (der: Uint8Array) =>
    formatPem([{ label: "PRIVATE KEY", der: new Uint8Array(der) }]);
  const mixed = Buffer.from(one.der);
  other.secret.copy(mixed, mixed.indexOf(one.secret));
  equal((await publicKeyOf(keyOf(one.der), "ec", runContext())).length > 0, true);
  await rejects(publicKeyOf(keyOf(mixed), "ec", runContext()), Unreadable);
});
