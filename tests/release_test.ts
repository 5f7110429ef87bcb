// make release: archives and packages of nothing but what Deno and JSR publish, or none.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const top = fileURLToPath(new URL("..", import.meta.url));

const PROGRAMS = ["release", "deb", "packaging"];
const SOURCES = [
  "deno.json",
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "SECURITY.md",
  "docs",
  "systemd",
];

/** A checkout whose set-up chose this, and whose compiler only notes what it was asked. */
async function release(choice: Record<string, string>) {
  const dir = await tempDir();
  const path = dir.path;
  await Deno.mkdir(`${path}/tools`);
  await Deno.mkdir(`${path}/.tools`);
  const copies = [...SOURCES, ...PROGRAMS.map((name) => `tools/${name}`)];
  for (const name of copies) await run("cp", ["-r", `${top}/${name}`, `${path}/${name}`]);
  const programs = {
    build:
      'output=$1\nshift\nmkdir -p "${output%/*}"\nprintf "%s\\n" "$@" >"$output"\nchmod 755 "$output"',
    extras:
      'for name in certsync.1 certsync.yaml.5 completion.bash completion.zsh; do echo "$name" >"$1/$name"; done',
  };
  for (const [name, script] of Object.entries(programs)) {
    await Deno.writeTextFile(`${path}/tools/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const lines = Object.entries(choice).map(([name, value]) => `${name}='${value}'\n`);
  await Deno.writeTextFile(`${path}/.tools/choice`, lines.join(""));
  const output = await tryRun(`${path}/tools/release`, ["--allow-read"], {
    env: { SOURCE_DATE_EPOCH: "1700000000" },
  });
  return { ...dir, ...output };
}

const names = (dir: string) => Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();

Deno.test("make release makes an archive and a package for both architectures, with their checksums", async () => {
  await using made = await release({ runtime: "official", packages: "jsr" });
  equal(made.code, 0, made.stderr);
  const { version } = JSON.parse(await Deno.readTextFile(`${top}/deno.json`));
  const dist = `${made.path}/dist/release`;
  const targets = { amd64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" };
  deepEqual(
    names(dist),
    Object.keys(targets).flatMap((arch) => [
      `certsync_${version}_${arch}.deb`,
      `certsync_${version}_linux_${arch}.tar.gz`,
    ]).concat("SHA256SUMS").sort(),
  );
  await run("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: dist });
  for (const [arch, target] of Object.entries(targets)) {
    const asked = `--target\n${target}\n--allow-read\n`;
    const archive = `${dist}/certsync_${version}_linux_${arch}.tar.gz`;
    equal(await run("tar", ["-xzOf", archive, "certsync"]), asked);
    const listing = await run("tar", ["--numeric-owner", "-tvzf", archive]);
    match(listing, /^-rwxr-xr-x 0\/0 +\d+ 2023-11-14 22:13 certsync$/m);
    match(listing, /^-rw-r--r-- 0\/0 .* certsync\.yaml\.5$/m);
    match(listing, /^-rw-r--r-- 0\/0 .* docs\/config\.yaml$/m);
    const deb = `${dist}/certsync_${version}_${arch}.deb`;
    equal(await run(need("dpkg-deb"), ["--field", deb, "Architecture"]), `${arch}\n`);
    await run(need("dpkg-deb"), ["--extract", deb, `${made.path}/${arch}`]);
    equal(await Deno.readTextFile(`${made.path}/${arch}/usr/bin/certsync`), asked);
  }
});

Deno.test("make release makes the same bytes of the same source", async () => {
  const sums = async () => {
    await using made = await release({ runtime: "official", packages: "jsr" });
    return await Deno.readTextFile(`${made.path}/dist/release/SHA256SUMS`);
  };
  equal(await sums(), await sums());
});

Deno.test("make release refuses another runtime or other packages, and makes nothing", async () => {
  const cases = [
    { runtime: "npm", packages: "stand-ins", says: /Deno's own runtime.*: npm\n/ },
    { runtime: "npm", packages: "jsr", says: /Deno's own runtime.*: npm\n/ },
    { runtime: "DENORT_BIN", packages: "jsr", says: /Deno's own runtime.*: DENORT_BIN\n/ },
    { runtime: "official", packages: "stand-ins", says: /packages of JSR.*: stand-ins\n/ },
    { runtime: "official", packages: "import-map", says: /packages of JSR.*: import-map\n/ },
  ];
  for (const { says, ...choice } of cases) {
    await using made = await release(choice);
    equal(made.code, 1);
    match(made.stderr, says);
    match(made.stderr, /^ERROR: [^\n]+\nhint: [^\n]+\n$/);
    equal(names(made.path).includes("dist"), false);
  }
});
