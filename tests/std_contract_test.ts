/** What certsync relies on in `@std/…`, true of the packages on JSR and of lib/stand_ins alike. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { parseArgs } from "@std/cli/parse-args";
import { crypto } from "@std/crypto/crypto";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";
import { ensureDir } from "@std/fs/ensure-dir";
import { parse } from "@std/yaml/parse";

type ParseOptions = NonNullable<Parameters<typeof parseArgs>[1]>;

const ARGUMENTS: [string, string[], ParseOptions, Record<string, unknown>][] = [
  ["takes the next argument", ["--to", "a", "b"], { string: "to" }, { to: "a", _: ["b"] }],
  ["takes what follows =", ["--to=a=b", "--to="], { string: ["to"] }, { to: "", _: [] }],
  ["takes no flag for a value", ["--to", "--x"], { string: ["to", "x"] }, {
    to: "",
    x: "",
    _: [],
  }],
  ["leaves strings as they are", ["--to", "022", "7"], { string: ["to", "_"] }, {
    to: "022",
    _: ["7"],
  }],
  ["makes numbers of the rest", ["--n", "022", "7", "1x"], {}, { n: 22, _: [7, "1x"] }],
  ["gives every boolean a value", ["--force", "x"], { boolean: ["force", "json"] }, {
    force: true,
    json: false,
    _: ["x"],
  }],
  ["reads a boolean's value", ["--json=false", "--force", "true"], {
    boolean: ["json", "force"],
  }, { json: false, force: true, _: [] }],
  ["lets the last one win", ["--to", "a", "--to", "b"], { string: "to" }, { to: "b", _: [] }],
  ["collects", ["--to", "a", "--to=b"], { string: "to", collect: ["to", "from"] }, {
    to: ["a", "b"],
    _: [],
  }],
  ["collects nothing as a list", [], { string: "to", collect: "to" }, { to: [], _: [] }],
  ["knows both names of an option", ["-t", "a", "-h"], {
    string: "to",
    boolean: "help",
    alias: { to: "t", help: ["h", "?"] },
  }, { to: "a", t: "a", help: true, h: true, "?": true, _: [] }],
  ["fills in defaults", ["--a", "1"], { string: ["a", "b"], default: { a: "x", b: "y" } }, {
    a: "1",
    b: "y",
    _: [],
  }],
  ["negates what may be", ["--no-a", "--no-b"], { boolean: ["a", "b"], negatable: "a" }, {
    a: false,
    b: false,
    "no-b": true,
    _: [],
  }],
  ["stops at the first word", ["--a", "push", "--a"], { boolean: "a", stopEarly: true }, {
    a: true,
    _: ["push", "--a"],
  }],
  ["keeps what follows -- apart", ["a", "--", "--b"], { "--": true }, { _: ["a"], "--": ["--b"] }],
  ["else adds it", ["a", "--", "--b", "1"], {}, { _: ["a", "--b", "1"] }],
  ["reads letters", ["-abc", "x", "-p22"], { boolean: "b" }, {
    a: true,
    b: true,
    c: "x",
    p: 22,
    _: [],
  }],
  ["takes - for a word", ["-", "--x", "-"], { boolean: "x" }, { x: true, _: ["-", "-"] }],
  ["nests dotted names", ["--a.b", "1", "--a.c"], {}, { a: { b: 1, c: true }, _: [] }],
  ["cannot be made to write to a prototype", ["--__proto__.x", "1"], {}, { _: [] }],
];

for (const [name, args, options, expected] of ARGUMENTS) {
  Deno.test(`parseArgs ${name}`, () => {
    assert.deepEqual({ ...parseArgs(args, options) }, expected);
  });
}

Deno.test("parseArgs asks about what no option names, and leaves out what is refused", () => {
  const asked: unknown[] = [];
  const args = parseArgs(["--nope", "1", "-x", "--known=1", "word"], {
    string: ["known"],
    unknown: (arg, key, value) => {
      asked.push([arg, key, value]);
      return false;
    },
  });
  assert.deepEqual({ ...args }, { known: "1", _: [] });
  assert.deepEqual(asked, [
    ["--nope", "nope", "1"],
    ["-x", "x", true],
    ["word", undefined, undefined],
  ]);
});

Deno.test("parseArgs types what it is told", () => {
  const args = parseArgs(["--to", "a", "--json"], {
    string: ["config", "to"],
    boolean: ["json"],
    collect: ["to"],
    alias: { json: "j" },
    "--": true,
  });
  const config: string | undefined = args.config;
  const to: string[] = args.to;
  const json: boolean = args.json;
  const j: boolean = args.j;
  const words: (string | number)[] = args._;
  const rest: string[] = args["--"];
  assert.deepEqual([config, to, json, j, words, rest], [undefined, ["a"], true, true, [], []]);
});

Deno.test("crypto digests bytes, parts of them, and does so without waiting", async () => {
  const whole = new TextEncoder().encode("certsync");
  const parts = [whole.subarray(0, 3), whole.slice(3).buffer];
  async function* arriving() {
    yield* parts;
  }
  const digests = [
    await crypto.subtle.digest("SHA-256", whole),
    await crypto.subtle.digest("SHA-256", parts),
    await crypto.subtle.digest("SHA-256", arriving()),
    crypto.subtle.digestSync("SHA-256", whole),
    crypto.subtle.digestSync("SHA-256", new Uint8Array([0, ...whole]).subarray(1)),
    crypto.subtle.digestSync("SHA-256", parts),
  ];
  for (const digest of digests) {
    assert.ok(digest instanceof ArrayBuffer);
    assert.equal(
      Buffer.from(digest).toString("hex"),
      "7b6fa27ab628609e45aa627bca179ff990e7578d25a00b2eb162af14b619053d",
    );
  }
});

Deno.test("timingSafeEqual compares bytes, whatever holds them", () => {
  const a = new Uint8Array([1, 2, 3]);
  assert.equal(timingSafeEqual(a, new Uint8Array([1, 2, 3])), true);
  assert.equal(timingSafeEqual(a, new Uint8Array([0, 1, 2, 3]).subarray(1)), true);
  assert.equal(timingSafeEqual(a, new DataView(a.buffer)), true);
  assert.equal(timingSafeEqual(a.buffer, a), true);
  assert.equal(timingSafeEqual(a, new Uint8Array([1, 2, 4])), false);
  assert.equal(timingSafeEqual(a, new Uint8Array([1, 2])), false);
  assert.equal(timingSafeEqual(new Uint8Array(), new Uint8Array()), true);
});

Deno.test("ensureDir makes what is lacking and leaves what is there", async () => {
  await inTemporaryDir(async (dir) => {
    await ensureDir(`${dir}/a/b`);
    Deno.writeTextFileSync(`${dir}/a/b/file`, "");
    await ensureDir(`${dir}/a/b`);
    assert.ok(Deno.statSync(`${dir}/a/b/file`).isFile);
    await Deno.symlink("a", `${dir}/link`);
    await ensureDir(`${dir}/link`);
    await assert.rejects(ensureDir(`${dir}/a/b/file`), /expected 'dir', got 'file'/);
    await assert.rejects(ensureDir(`${dir}/a/b/file/c`));
    await Deno.symlink("nowhere", `${dir}/dangling`);
    await assert.rejects(ensureDir(`${dir}/dangling`));
  });
});

const YAML: [string, string, unknown][] = [
  ["nothing", "", null],
  ["only a comment", "# nothing\n", null],
  ["a key without value", "domain:\n", { domain: null }],
  ["nested mappings", "push:\n  port: 22\n  to: a@b:/c/\n", { push: { port: 22, to: "a@b:/c/" } }],
  ["lists in both forms", "a: [x, y]\nb:\n- x\n- y\n", { a: ["x", "y"], b: ["x", "y"] }],
  ["a comment after a value", "a: 60s   # each attempt\n", { a: "60s" }],
  ["quotes", `a: "1"\nb: '2'\nc: "x\\ty"\n`, { a: "1", b: "2", c: "x\ty" }],
  ["durations and percentages as text", "a: 30s\nb: 25%\nc: 21d\n", {
    a: "30s",
    b: "25%",
    c: "21d",
  }],
  ["URLs and times as text", "a: imaps://[::1]:993\nb: 12:30\nc: 1:30:45\n", {
    a: "imaps://[::1]:993",
    b: "12:30",
    c: "1:30:45",
  }],
  ["yes and no as text", "a: yes\nb: no\nc: on\nd: y\n", { a: "yes", b: "no", c: "on", d: "y" }],
  ["true and false", "a: true\nb: False\n", { a: true, b: false }],
  ["null", "a: ~\nb: null\n", { a: null, b: null }],
  ["numbers", "a: -7\nb: 1_000\nc: 2.5e3\nd: .5\ne: 0x1F\nf: 0b11\ng: 0\n", {
    a: -7,
    b: 1000,
    c: 2500,
    d: 0.5,
    e: 31,
    f: 3,
    g: 0,
  }],
  ["a leading 0 as octal", "a: 010\nb: 0o10\nc: 08\nd: 1_\n", {
    a: 8,
    b: "0o10",
    c: "08",
    d: "1_",
  }],
  ["no finite numbers", "a: .inf\nb: -.inf\nc: .nan\n", { a: Infinity, b: -Infinity, c: NaN }],
  ["a date as one", "a: 2026-01-02\n", { a: new Date("2026-01-02") }],
  ["blocks of text", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", { a: "x\ny\n", b: "x y" }],
  ["anchors and merges", "a: &x {k: 1}\nb: *x\nc: {<<: *x, l: 2}\n", {
    a: { k: 1 },
    b: { k: 1 },
    c: { k: 1, l: 2 },
  }],
  ["one document with its marks", "---\na: 1\n...\n", { a: 1 }],
  ["a byte order mark and CRLF", "\ufeffa: 1\r\nb: 2\r\n", { a: 1, b: 2 }],
  ["a scalar", "text\n", "text"],
];

for (const [name, text, expected] of YAML) {
  Deno.test(`parse reads ${name}`, () => {
    assert.deepEqual(plain(parse(text)), expected);
  });
}

Deno.test("parse does not let a key reach the prototype", () => {
  const value = plain(parse("__proto__: {x: 1}\n"));
  assert.equal(Reflect.get(Object(value), "x"), undefined);
  assert.equal(Reflect.get({}, "x"), undefined);
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
    assert.throws(() => parse(text), (error) => {
      assert.ok(error instanceof SyntaxError);
      const place = /^[^\n]+ at line (\d+), column (\d+)(:\n|$)/.exec(error.message);
      assert.ok(place, error.message);
      if (line > 0) assert.equal(Number(place[1]), line);
      return true;
    });
  });
}

Deno.test("parse refuses a key given twice, and says which line", () => {
  assert.throws(() => parse("a: 1\nb: 2\na: 3\n"), {
    name: "SyntaxError",
    message: /duplicate[^\n]* at line 3, column 1/i,
  });
});

Deno.test("parse refuses more than one document", () => {
  assert.throws(() => parse("a: 1\n---\nb: 2\n"), {
    name: "SyntaxError",
    message: "Found more than 1 document in the stream: expected a single document",
  });
});

/** Without the prototypes that tell one parser's objects from another's. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
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
