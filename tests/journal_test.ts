// What reaches the journal and the terminal: marked, and free of anything that could forge or hide.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { formatDiagnostic, isJournal, printable, printableJson } from "../lib/cli/terminal.ts";
import { certsync } from "./kit/certsync.ts";
import { tempDir } from "./kit/temp_dir.ts";

Deno.test("stderr is the journal where JOURNAL_STREAM names its device and inode", () => {
  const cases: [variable: string | undefined, isIt: boolean][] = [
    ["8:12345", true],
    [undefined, false],
    ["", false],
    ["8:1234", false],
    ["9:12345", false],
    ["8:12345 ", false],
    [":", false],
  ];
  for (const [variable, isIt] of cases) {
    equal(isJournal({ dev: 8, ino: 12_345 }, variable), isIt, String(variable));
  }
});

Deno.test("a line carries its sd-daemon priority to the journal and none elsewhere", () => {
  const lines = (["error", "warning", "info"] as const).map((severity) =>
    formatDiagnostic(severity, "line", { toJournal: true })
  );
  deepEqual(lines, ["<3>line", "<4>line", "<6>line"]);
  equal(formatDiagnostic("error", "line", { toJournal: false }), "line");
});

const hostile: [name: string, text: string, seen: string][] = [
  ["clear the screen", "\x1b[2Jx", "\\u001b[2Jx"],
  ["C1 control sequence", "\x9b2Jx", "\\u009b2Jx"],
  ["a new line", "ok\nERROR: forged", "ok\\u000aERROR: forged"],
  ["back to the line's start", "bad\rgood", "bad\\u000dgood"],
  ["backspace and delete", "a\b\x7f", "a\\u0008\\u007f"],
  ["NUL", "a\0b", "a\\u0000b"],
  ["right to left", "\u202egpj.exe\u202c", "\\u202egpj.exe\\u202c"],
  ["isolates", "\u2066a\u2069", "\\u2066a\\u2069"],
  ["marks", "\u200ea\u200f\u061c", "\\u200ea\\u200f\\u061c"],
  ["line separator", "a\u2028b\u2029", "a\\u2028b\\u2029"],
  ["no width", "a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\u00ad"],
];

Deno.test("what moves the cursor, turns the text or hides in it is made visible", () => {
  for (const [name, text, seen] of hostile) equal(printable(text), seen, name);
  equal(printable("mail.example.org müller 证书 …"), "mail.example.org müller 证书 …");
});

Deno.test("printable goes through lists and objects, and leaves everything else as it is", () => {
  deepEqual(printable({ a: ["\x1b", 1, null, { b: "\n" }], c: true, d: undefined }), {
    a: ["\\u001b", 1, null, { b: "\\u000a" }],
    c: true,
    d: undefined,
  });
});

Deno.test("JSON keeps every character, and none of them can act on a terminal", () => {
  for (const [name, text] of hostile) {
    const json = printableJson({ text });
    equal(JSON.parse(json).text, text, name);
    doesNotMatch(json.replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, name);
  }
});

Deno.test("under systemd every line on stderr has a priority, and stdout has none", async () => {
  const { code, stdout, stderr } = await certsync(["verify", "--bogus", "--json"], {
    stderr: "journal",
  });
  equal(code, 3);
  match(stderr, /^<3>ERROR: unknown option "--bogus" for certsync verify\n<3>hint: .+\n$/);
  doesNotMatch(stdout, /<\d>/);
});

Deno.test("JOURNAL_STREAM of another stream marks nothing", async () => {
  const { stderr } = await certsync(["bogus"], { env: { JOURNAL_STREAM: "1:1" } });
  match(stderr, /^ERROR: unknown command "bogus"\n/);
});

Deno.test("nothing that an operator typed or a file holds can forge a line", async () => {
  await using dir = await tempDir();
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(config, '"\\e[2J\\nERROR: forged": 1\n');
  const runs = await Promise.all([
    certsync(["\x1b[2J\nERROR: forged"]),
    certsync(["verify", "--\x1b[2J\nERROR: forged"]),
    certsync(["verify", "--domain", "\x1b[2J\nERROR: forged"]),
    certsync(["verify", "--config", "/\x1b[2J\nERROR: forged"]),
    certsync(["verify", "--config", config]),
  ]);
  for (const { stdout, stderr } of runs) {
    equal(stdout, "");
    equal(stderr.includes("\x1b"), false, stderr);
    doesNotMatch(stderr, /^ERROR: forged/m);
    equal(stderr.match(/^ERROR: /gm)?.length, 1, stderr);
  }
});
