// Where ssh looks for host keys when nothing names a file: in ours, and in its own.

import { deepEqual, match } from "node:assert/strict";
import { sshOptions } from "../lib/programs/ssh.ts";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { runContext } from "./kit/run_context.ts";
import { sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { unshare } from "./kit/unshare.ts";

Deno.test("ssh is told of files for host keys only where it shall not look into its own", () => {
  const file = (knownHosts: string[] | null) =>
    sshOptions({ port: null, identity: null, knownHosts }, runContext())
      .filter((option) => option.includes("KnownHosts"));
  deepEqual(file(null), []);
  deepEqual(file(["/a/known"]), ["UserKnownHostsFile=/a/known"]);
  deepEqual(file(["/a/known", "~/.ssh/known_hosts"]), [
    "UserKnownHostsFile=/a/known ~/.ssh/known_hosts",
  ]);
  deepEqual(file(['/a b/"%h"', "/c"]), ['UserKnownHostsFile="/a b/\\"%%h\\"" /c']);
});

const OURS = "etc/certsync/known_hosts";
const SSHS = "home/.ssh/known_hosts";

/** Which files there are: "right" holds the host's key, "foreign" that of another host. */
const cases: [what: string, files: Record<string, "right" | "foreign">, isKnown: boolean][] = [
  ["ours alone", { [OURS]: "right" }, true],
  ["ssh's own alone", { [SSHS]: "right" }, true],
  ["ssh's own beside ours", { [OURS]: "foreign", [SSHS]: "right" }, true],
  ["ssh's second one beside ours", { [OURS]: "foreign", [`${SSHS}2`]: "right" }, true],
  ["none that knows it", { [OURS]: "foreign", [SSHS]: "foreign" }, false],
];

Deno.test({
  name: "push and verify find a host key in /etc/certsync/known_hosts and in ssh's own files",
  ignore: unshare === undefined, // an /etc of its own takes a right that not every container has
  async fn() {
    await using dir = await tempDir();
    await using ca = await authority();
    await using server = await sshServer();
    const npm = await npmTree(`${dir.path}/npm`);
    const lineage = await npm.add(5, await ca.issue({ names: ["mail.example.org"] }));
    const lines = {
      right: server.knownHostsLine,
      foreign: server.knownHostsLine.replace(/:\d+/, ":1"),
    };

    await Promise.all(cases.map(async ([what, files, isKnown], index) => {
      const host = `${dir.path}/${index}`;
      for (const place of ["etc/certsync", "home/.ssh", "in"]) {
        await Deno.mkdir(`${host}/${place}`, { recursive: true });
      }
      await Deno.writeTextFile(`${host}/etc/passwd`, `root:x:0:0:root:${host}/home:/bin/sh\n`);
      for (const [file, holds] of Object.entries(files)) {
        await Deno.writeTextFile(`${host}/${file}`, `${lines[holds]}\n`);
      }
      await Deno.writeTextFile(
        `${host}/home/.ssh/config`,
        `Host npm-host\nHostName ${server.address}\nPort ${server.port}\nUser ${server.user}\n` +
          `IdentityFile ${server.identity}\n`,
      );
      await Deno.writeTextFile(
        `${host}/push.yaml`,
        JSON.stringify({
          domain: "mail.example.org",
          push: {
            ...{ live: npm.live, to: server.target(`${host}/in/`), port: server.port },
            ...{ identity: server.identity, state: `${host}/state`, trust: ca.rootFile },
          },
        }),
      );
      const under = [
        ...`${unshare} --mount /bin/sh -c`.split(" "),
        `mount --bind ${host}/etc /etc && exec "$0" "$@"`,
      ];
      const [pushed, verified] = await Promise.all([
        certsync(["push", "--config", `${host}/push.yaml`], { under }),
        certsync(["verify", "--source", `npm-host:${lineage}/fullchain.pem`], { under }),
      ]);
      deepEqual(
        [pushed.code, verified.code],
        isKnown ? [0, 0] : [1, 3],
        `${what}: ${pushed.stderr}${verified.stdout}`,
      );
      if (isKnown) return;
      match(pushed.stderr, /the host key is unknown/);
      match(verified.stdout, /the host key is unknown/);
    }));
  },
});
