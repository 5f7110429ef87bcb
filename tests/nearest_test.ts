// The word that an unknown one was probably meant to be.

import { equal } from "node:assert/strict";
import { nearest } from "../lib/cli/nearest.ts";

const commands = ["push", "deploy", "verify", "find-npm-dir"];
const options = ["--domain", "--source", "--to", "--force", "--dry-run", "--json"];

Deno.test("nearest suggests what was probably meant, and nothing where that cannot be told", () => {
  const cases: [word: string, known: readonly string[], meant: string | null][] = [
    ["vefiry", commands, "verify"],
    ["Verify", commands, "verify"],
    ["DEPLOY", commands, "deploy"],
    ["pusj", commands, "push"],
    ["find-npm", commands, "find-npm-dir"],
    ["--domian", options, "--domain"],
    ["--dryrun", options, "--dry-run"],
    ["--forse", options, "--force"],
    ["tx", ["to"], "to"],
    ["", ["to"], null],
    ["xyzzy", commands, null],
    ["certificate", commands, null],
    ["x".repeat(100_000), commands, null],
    ["push", [], null],
  ];
  for (const [word, known, meant] of cases) {
    equal(nearest(word, known), meant, `${word.slice(0, 20)} among ${known.join(" ")}`);
  }
});

Deno.test("nearest prefers the first of two that are equally near", () => {
  equal(nearest("cat", ["bat", "hat"]), "bat");
});
