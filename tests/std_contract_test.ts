/** What certsync relies on in `@std/…`, true of the packages on JSR and of lib/stand_ins alike. */
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { parseArgs } from "@std/cli/parse-args";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";
import { ensureDir } from "@std/fs/ensure-dir";
import { parse } from "@std/yaml/parse";

/** As lib/cli/command_line.ts calls it. */
const OPTIONS = {
  string: ["_", "to"],
  collect: ["to"],
  boolean: ["force", "help"],
  alias: { help: "h", force: "f" },
};

const ARGUMENTS: [string, string[], Record<string, unknown>][] = [
  ["takes the next argument", ["--to", "a", "b"], { to: ["a"], _: ["b"] }],
  ["takes what follows =", ["--to=a=b"], { to: ["a=b"], _: [] }],
  ["takes nothing for a value", ["--to=", "--to", "", "--to"], { to: ["", "", ""], _: [""] }],
  ["takes no flag for a value", ["--to", "--force"], { to: [""], force: true, _: [] }],
  ["leaves numbers as they are", ["--to", "022", "7"], { to: ["022"], _: ["7"] }],
  ["gives every switch a value", ["--force", "x"], { force: true, _: ["x"] }],
  ["collects", ["--to", "a", "--to=b"], { to: ["a", "b"], _: [] }],
  ["collects nothing as a list", [], { _: [] }],
  ["adds what follows --", ["a", "--", "--b", "1"], { _: ["a", "--b", "1"] }],
  ["reads letters", ["-hf", "x"], { help: true, force: true, _: ["x"] }],
  ["takes - for a word", ["-", "--force", "-"], { force: true, _: ["-", "-"] }],
];

for (const [name, args, found] of ARGUMENTS) {
  Deno.test(`parseArgs ${name}`, () => {
    const { h: _h, f: _f, ...parsed } = parseArgs(args, { ...OPTIONS, unknown: () => {} });
    deepEqual(parsed, { to: [], force: false, help: false, ...found });
  });
}

Deno.test("parseArgs tells of what no option names, and of a word without a key", () => {
  const told: unknown[] = [];
  parseArgs(["word", "--nope", "-x", "--other=1"], {
    ...OPTIONS,
    unknown: (arg, key) => void told.push([arg, key]),
  });
  deepEqual(told, [
    ["word", undefined],
    ["--nope", "nope"],
    ["-x", "x"],
    ["--other=1", "other"],
  ]);
});

Deno.test("timingSafeEqual compares bytes of one length, whatever holds them", () => {
  const a = new Uint8Array([1, 2, 3]);
  equal(timingSafeEqual(a, new Uint8Array([1, 2, 3])), true);
  equal(timingSafeEqual(a, new Uint8Array([0, 1, 2, 3]).subarray(1)), true);
  equal(timingSafeEqual(a, new Uint8Array([1, 2, 4])), false);
  equal(timingSafeEqual(new Uint8Array(), new Uint8Array()), true);
});

Deno.test("ensureDir makes what is lacking and leaves what is there", async () => {
  await inTemporaryDir(async (dir) => {
    await ensureDir(`${dir}/a/b`);
    Deno.writeTextFileSync(`${dir}/a/b/file`, "");
    await ensureDir(`${dir}/a/b`);
    ok(Deno.statSync(`${dir}/a/b/file`).isFile);
    await Deno.symlink("a", `${dir}/link`);
    await ensureDir(`${dir}/link`);
    await rejects(ensureDir(`${dir}/a/b/file`));
    await rejects(ensureDir(`${dir}/a/b/file/c`));
    await Deno.symlink("nowhere", `${dir}/dangling`);
    await rejects(ensureDir(`${dir}/dangling`));
  });
});

const YAML: [string, string, unknown][] = [
  ["nothing", "", null],
  ["only a comment", "# nothing\n", null],
  ["a key without value", "domain:\n", { domain: null }],
  ["nested mappings", "push:\n  port: 22\n  to: a@b:/c/\n", {
    push: { port: "22", to: "a@b:/c/" },
  }],
  ["lists in both forms", "a: [x, y]\nb:\n- x\n- y\n", { a: ["x", "y"], b: ["x", "y"] }],
  ["a comment after a value", "a: 60s   # each attempt\n", { a: "60s" }],
  ["quotes", `a: "1"\nb: '2'\nc: "x\\ty"\n`, { a: "1", b: "2", c: "x\ty" }],
  [
    "every scalar as a text",
    "a: 010\nb: 25%\nc: 2026-01-02\nd: imaps://[::1]:993\ne: true\nf: ~\ng: -1.5\nh: 1_0\n",
    {
      a: "010",
      b: "25%",
      c: "2026-01-02",
      d: "imaps://[::1]:993",
      e: "true",
      f: "~",
      g: "-1.5",
      h: "1_0",
    },
  ],
  ["blocks of text", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", { a: "x\ny\n", b: "x y" }],
  ["anchors", "a: &x {k: 1}\nb: *x\n", { a: { k: "1" }, b: { k: "1" } }],
  ["one document with its marks", "---\na: x\n...\n", { a: "x" }],
  ["a byte order mark and CRLF", "\ufeffa: x\r\nb: y\r\n", { a: "x", b: "y" }],
  ["a scalar", "text\n", "text"],
];

for (const [name, text, expected] of YAML) {
  Deno.test(`parse reads ${name}`, () => {
    deepEqual(plain(read(text)), expected);
  });
}

Deno.test("parse does not let a key reach the prototype", () => {
  const value = plain(read("__proto__: {x: y}\n"));
  equal(Reflect.get(Object(value), "x"), undefined);
  equal(Reflect.get({}, "x"), undefined);
});

const BROKEN: [string, string, number][] = [
  ["an unfinished list", "a: 1\nb: [x\nc: 2\n", 3],
  ["an unfinished quote", 'a: 1\nb: "x\n', 3],
  ["a bad indent", "push:\n  port: 22\n to: x\n", 3],
  ["a second colon", "a: b: c\n", 1],
  ["an unknown alias", "a: 1\nb: *nope\n", 2],
  ["an unknown tag", "a: 1\nb: !nope x\n", 2],
  ["a control character", "a: 1\nb: \u0001\n", 0],
];

for (const [name, text, line] of BROKEN) {
  Deno.test(`parse refuses ${name}, and says where`, () => {
    throws(() => read(text), (error) => {
      ok(error instanceof SyntaxError);
      const place = /^[^\n]+ at line (\d+), column (\d+)(:\n|$)/.exec(error.message);
      ok(place, error.message);
      if (line > 0) equal(Number(place[1]), line);
      return true;
    });
  });
}

Deno.test("parse refuses a key given twice, and says which line", () => {
  throws(() => read("a: 1\nb: 2\na: 3\n"), { message: /duplicate[^\n]* at line 3, column 1/i });
});

Deno.test("parse refuses more than one document", () => {
  throws(() => read("a: 1\n---\nb: 2\n"), SyntaxError);
});

/** As lib/config/config_file.ts calls it. */
function read(text: string): unknown {
  return parse(text, { schema: "failsafe" });
}

/** Without the prototypes that tell one parser's objects from another's. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

async function inTemporaryDir(test: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await test(await Deno.realPath(dir));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
