// What openssl's answers are taken for, whatever its version.

import { deepEqual, equal, throws } from "node:assert/strict";
import { parseLeafJudgement, Unreadable } from "../lib/programs/openssl.ts";
import { BrokenProgram } from "../lib/programs/run.ts";

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
