// What openssl's answers are taken for, whatever its version.

import { deepEqual, equal } from "node:assert/strict";
import { parseLeafJudgement } from "../lib/programs/openssl.ts";

const KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
const DOES = "Hostname mail.example.org does match certificate\n";
const DOES_NOT = "Hostname mail.example.org does NOT match certificate\n";

Deno.test("openssl's word for a name counts only where its exit code says nothing else", () => {
  const cases: [what: string, code: number, stdout: string, covers: boolean][] = [
    ["it covers the name", 0, `${KEY}\n${DOES}`, true],
    ["it does not, up to 3.1", 0, `${KEY}\n${DOES_NOT}`, false],
    ["it does not, from 3.2", 1, `${KEY}\n${DOES_NOT}`, false],
    ["it does, and something failed", 1, `${KEY}\n${DOES}`, false],
    ["not asked, as with -checkend in one call", 0, `${KEY}\n`, false],
    ["more was said behind it", 0, `${KEY}\n${DOES}but\n`, false],
    ["nothing", 0, "", false],
  ];
  for (const [what, code, stdout, covers] of cases) {
    equal(parseLeafJudgement({ code, stdout, stderr: "" }).coversHost, covers, what);
  }
});

Deno.test("where openssl reads no certificate there is no key, and its last words are kept", () => {
  const stderr =
    "Could not read certificate from <stdin>\n4067:error:…\nUnable to load certificate\n";
  deepEqual(parseLeafJudgement({ code: 1, stdout: "", stderr }), {
    publicKey: null,
    coversHost: false,
    words: "Could not read certificate from <stdin>; 4067:error:…; Unable to load certificate",
  });
  equal(parseLeafJudgement({ code: 0, stdout: `${KEY}\n${DOES}`, stderr: "" }).publicKey, KEY);
});
