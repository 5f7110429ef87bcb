// Nginx Proxy Manager in a container: where this host sees its certificates, and that it is told.

import { deepEqual, equal, match } from "node:assert/strict";
import { hostPath, volumesIn } from "../lib/programs/npm_container.ts";
import { type Mount, parseMounts } from "../lib/programs/mounts.ts";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";

Deno.test("a path in a container is looked for in the longest mount that it lies in", () => {
  const mounts = [
    { destination: "/data", source: "/srv/npm/data" },
    { destination: "/data/custom_ssl", source: "/srv/ssl" },
    { destination: "/etc/letsencrypt/", source: "/var/lib/docker/volumes/le/_data" },
    { destination: "/etc/let", source: "/srv/let" },
  ];
  const cases: [path: string, expected: string | null][] = [
    ["/etc/letsencrypt/live", "/var/lib/docker/volumes/le/_data/live"],
    ["/data/custom_ssl", "/srv/ssl"],
    ["/data/tls/certbot/live", "/srv/npm/data/tls/certbot/live"],
    ["/opt", null],
  ];
  for (const [path, expected] of cases) equal(hostPath(mounts, path), expected);
});

Deno.test("what docker prints of mounts is read whatever else it prints", () => {
  deepEqual(
    parseMounts("/npm\tjc21/nginx-proxy-manager:latest\t/data\t/srv/a b\n\nfoo\n/x\ty\t\t\n"),
    [{
      container: "npm",
      image: "jc21/nginx-proxy-manager:latest",
      destination: "/data",
      source: "/srv/a b",
    }],
  );
});

Deno.test("live directories are those that this host sees whole, of NPM and NPMplus, with what was uploaded", async () => {
  await using ca = await authority("Volumes");
  await using dir = await tempDir();
  const leaf = await ca.issue({ names: [NAME] });
  const npm = await npmTree(`${dir.path}/npm`);
  await npm.add(5, leaf);
  await Deno.mkdir(`${npm.root}/renewal`);
  await npm.addCustom(7, leaf);
  await Deno.symlink(npm.root, `${dir.path}/link`);
  const plus = await npmTree(`${dir.path}/plus/tls/certbot`);
  await plus.add(1, leaf);
  await Deno.mkdir(`${plus.root}/renewal`);
  await Deno.mkdir(`${dir.path}/plus/tls/custom`);
  const custom = await npmTree(`${dir.path}/custom/tls`);
  await custom.addCustom(2, leaf);
  await Deno.rename(custom.customSsl, `${dir.path}/custom/tls/custom`);

  const mount = (destination: string, source: string, image = "jc21/nginx-proxy-manager:2") => ({
    ...{ container: image, image, destination, source },
  });
  const plusImage = "docker.io/zoeyvid/npmplus:latest";
  const cases: [what: string, mounts: Mount[], expected: string[]][] = [
    ["NPM", [mount("/etc/letsencrypt", npm.root)], [npm.live]],
    ["through a link", [mount("/etc/letsencrypt", `${dir.path}/link`)], [npm.live]],
    ["live/ alone", [mount("/etc/letsencrypt/live", npm.live)], [npm.live]],
    ["live/ alone elsewhere", [mount("/etc/letsencrypt/live", `${dir.path}/plus/tls/custom`)], []],
    [
      "uploads",
      [mount("/etc/letsencrypt", npm.root), mount("/data/custom_ssl", npm.customSsl)],
      [npm.live, npm.customSsl],
    ],
    ["NPMplus", [mount("/data", `${dir.path}/plus`, plusImage)], [plus.live]],
    [
      "NPMplus with an upload alone",
      [mount("/data", `${dir.path}/custom`, plusImage)],
      [`${dir.path}/custom/tls/custom`],
    ],
    ["another image", [mount("/etc/letsencrypt", npm.root, "nginx:latest")], []],
    ["gone", [mount("/etc/letsencrypt", `${dir.path}/nowhere`)], []],
    [
      "two of them",
      [mount("/etc/letsencrypt", npm.root), mount("/data", `${dir.path}/plus`, plusImage)],
      [npm.live, plus.live],
    ],
  ];
  for (const [what, mounts, expected] of cases) deepEqual(volumesIn(mounts), expected, what);
});

/** The engine lists one container, with that as its volume. */
async function engine(bin: string, name: string, source: string): Promise<void> {
  await Deno.writeTextFile(
    `${bin}/${name}`,
    `#!/bin/sh
case $1 in
ps) echo 0123abcd ;;
inspect) printf '/npm\\tjc21/nginx-proxy-manager:latest\\t/etc/letsencrypt\\t${source}\\n' ;;
esac
`,
    { mode: 0o755 },
  );
}

Deno.test("where NPM runs in docker or podman, the hint is the line that ends the error", async () => {
  await using ca = await authority("Volumes");
  await using dir = await tempDir();
  const npm = await npmTree(`${dir.path}/npm`);
  const directory = await npm.add(5, await ca.issue({ names: [NAME] }));
  await Deno.mkdir(`${npm.root}/renewal`);
  for (const name of ["docker", "podman"]) {
    const bin = `${dir.path}/${name}`;
    await Deno.mkdir(bin);
    await engine(bin, name, npm.root);
    const config = `${dir.path}/${name}.yaml`;
    await Deno.writeTextFile(config, "push:\n  to: a@b.example:/in/\n");
    const find = (path: string) =>
      certsync(["find-npm-dir", NAME, "--config", config], { env: { PATH: path } });
    const { code, stderr } = await find(bin);
    equal(code, 1);
    const [, line = ""] = /write below push: in the config file: (.*)$/m.exec(stderr) ?? [];
    equal(line, `live: [${npm.live}]`);
    const push = await certsync(["push", "--domain", NAME, "--dry-run", "--config", config], {
      env: { PATH: bin },
    });
    match(push.stderr, new RegExp(`in the config file: ${RegExp.escape(line)}$`, "m"));

    await Deno.writeTextFile(config, `push:\n  to: a@b.example:/in/\n  ${line}\n`);
    const followed = await find(bin);
    deepEqual([followed.code, followed.stdout, followed.stderr], [0, `${directory}\n`, ""]);
  }
});
