// make release: two binaries of nothing but what Deno and JSR publish, or none.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const top = fileURLToPath(new URL("..", import.meta.url));

/** A checkout whose set-up chose this, and whose compiler only notes what it was asked. */
async function release(choice: Record<string, string>) {
  const dir = await tempDir();
  const path = dir.path;
  await Deno.mkdir(`${path}/tools`);
  await Deno.mkdir(`${path}/.tools`);
  await Deno.copyFile(`${top}/deno.json`, `${path}/deno.json`);
  await Deno.copyFile(`${top}/tools/release`, `${path}/tools/release`);
  await Deno.writeTextFile(
    `${path}/tools/build`,
    '#!/bin/sh\noutput=$1\nshift\nprintf "%s\\n" "$@" >"$output"\n',
    { mode: 0o755 },
  );
  const lines = Object.entries(choice).map(([name, value]) => `${name}='${value}'\n`);
  await Deno.writeTextFile(`${path}/.tools/choice`, lines.join(""));
  const output = await tryRun(`${path}/tools/release`, ["--allow-read"]);
  return { ...dir, ...output };
}

Deno.test("make release compiles for both architectures, with their checksums", async () => {
  await using made = await release({ runtime: "official", packages: "jsr" });
  equal(made.code, 0, made.stderr);
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  const dist = `${made.path}/dist/release`;
  const names = ["x86_64", "aarch64"].map((arch) => `certsync-${version}-linux-${arch}`);
  deepEqual(
    Array.from(Deno.readDirSync(dist), ({ name }) => name).sort(),
    ["SHA256SUMS", ...names].sort(),
  );
  equal(
    await Deno.readTextFile(`${dist}/${names[1]}`),
    "--target\naarch64-unknown-linux-gnu\n--allow-read\n",
  );
  await run("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: dist });
});

Deno.test("make release refuses another runtime or other packages, and makes nothing", async () => {
  const cases = [
    { runtime: "npm", packages: "stand-ins", names: /Deno's own runtime.*: npm\n/ },
    { runtime: "npm", packages: "jsr", names: /Deno's own runtime.*: npm\n/ },
    { runtime: "DENORT_BIN", packages: "jsr", names: /Deno's own runtime.*: DENORT_BIN\n/ },
    { runtime: "official", packages: "stand-ins", names: /packages of JSR.*: stand-ins\n/ },
    { runtime: "official", packages: "import-map", names: /packages of JSR.*: import-map\n/ },
  ];
  for (const { names, ...choice } of cases) {
    await using made = await release(choice);
    equal(made.code, 1);
    match(made.stderr, names);
    match(made.stderr, /^ERROR: [^\n]+\nhint: [^\n]+\n$/);
    deepEqual(Array.from(Deno.readDirSync(made.path), ({ name }) => name).sort(), [
      ".tools",
      "deno.json",
      "tools",
    ]);
  }
});
