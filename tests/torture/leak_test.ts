// Nothing of a private key shows in an argument, an environment, a file of others, or the output.

import { ok } from "node:assert/strict";
import { startCertsync } from "../kit/certsync.ts";
import { need } from "../kit/programs.ts";
import { forcedCommand } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { ca, deployRun, fresh, old, oldest, scenarios, tortureHost } from "./mail_side.ts";
import * as pushing from "./push_side.ts";
import { Faults, size, some, tell } from "./size.ts";
import type { Run } from "./strace.ts";

Deno.test.afterAll(async () => {
  await Promise.all([ca, pushing.ca].map((one) => one[Symbol.asyncDispose]()));
});

const leaves = [fresh, old, oldest, pushing.first, pushing.second];
const secrets = leaves.flatMap(({ keyPem }) => keyPem.split("\n"))
  .filter((line) => line.length > 20 && !line.startsWith("-----"));
const isSecret = (text: string) => secrets.some((line) => text.includes(line));

const CALLS = "execve,openat,write,writev,pwrite64,sendto,fchmod,fchmodat,?chmod,fchown,?chown";

interface Seen {
  programs: number;
  /** Files that a key was written to. */
  keyFiles: number;
}

/** Everything that it starts too, with a umask that hides nothing. */
async function watch({ args, options }: Run): Promise<Seen> {
  await using dir = await tempDir();
  const log = `${dir.path}/log`;
  const strace = [need("strace"), "-f", "-qq", "-y", "-v", "-s", "100000", "-o", log, "-e"];
  const under = ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", ...strace, `trace=${CALLS}`];
  const result = await startCertsync(args, { ...options, under }).result;
  ok(!isSecret(result.stdout + result.stderr), "a key is in the output");

  const lines = (await Deno.readTextFile(log)).split("\n");
  const programs = lines.filter((line) => /^\d+ +execve\(/.test(line));
  for (const line of programs) {
    ok(!isSecret(line), `a key is in an argument: ${line.slice(0, 200)}`);
  }
  const modes = new Map<string, number>();
  const keyFiles = new Set<string>();
  for (const line of lines) {
    const created = /openat\(.*O_CREAT.*, (0\d*)\) = \d+<(\/[^>]*)>/.exec(line);
    const changed = /fchmod\(\d+<(\/[^>]*)>, (0\d*)\)/.exec(line) ??
      /chmod(?:at)?\((?:[^"]*)"(\/[^"]*)", (0\d*)/.exec(line);
    if (created?.[1] && created[2]) modes.set(created[2], parseInt(created[1], 8));
    if (changed?.[1] && changed[2]) modes.set(changed[1], parseInt(changed[2], 8));
    const written = /(?:write|writev|pwrite64)\(\d+<(\/[^>]*)>/.exec(line)?.[1];
    if (written !== undefined && isSecret(line)) {
      ok(!/^\/(dev|proc)\//.test(written) || written === "/dev/null", written);
      keyFiles.add(written);
    }
    for (const path of keyFiles) {
      const mode = modes.get(path);
      ok(mode !== undefined && (mode & 0o077) === 0, `${path} had mode ${mode?.toString(8)}`);
    }
  }
  return { programs: programs.length, keyFiles: keyFiles.size };
}

Deno.test("no run of deploy or push gives away a key", async () => {
  const faults = new Faults();
  let [runs, programs, keyFiles] = [0, 0, 0];
  async function check(what: string, run: Run) {
    await faults.try(what, async () => {
      const seen = await watch(run);
      runs++;
      programs += seen.programs;
      keyFiles += seen.keyFiles;
    });
  }
  {
    await using host = await tortureHost();
    for (const scenario of size === "quick" ? some(scenarios, 2) : scenarios) {
      await scenario.prepare(host);
      await check(scenario.name, deployRun(host, scenario));
    }
    const [first] = scenarios;
    ok(first);
    const spoilt: [string, string, string][] = [
      ["a key in the certificate file", fresh.fullchainPem + fresh.keyPem, fresh.keyPem],
      ["another's key", fresh.fullchainPem, old.keyPem],
      ["a broken key", fresh.fullchainPem, fresh.keyPem.replace("\n", "\nA")],
    ];
    for (const [what, fullchainPem, keyPem] of size === "quick" ? some(spoilt, 1) : spoilt) {
      await first.prepare(host);
      await host.stage({ fullchainPem, keyPem });
      await check(`deploy: ${what}`, deployRun(host, first));
    }
  }
  {
    await using side = await pushing.pushSide();
    await side.begin();
    await check("push", side.run());
    await check("push --dry-run --force", side.run(["--dry-run", "--force"]));
    await side.begin();
    await side.server.force(forcedCommand("-aL", side.incoming));
    await check("push with a forced command for -aL", side.run());
    await Deno.remove(`${side.npm.dir(5)}/fullchain.pem`);
    await Deno.writeTextFile(
      `${side.npm.dir(5)}/fullchain.pem`,
      pushing.second.fullchainPem + pushing.second.keyPem,
    );
    await check("push of a key in the certificate file", side.run(["--source", side.npm.dir(5)]));
  }
  tell(`leaks: ${runs} runs, ${programs} programs, ${keyFiles} key files watched`);
  faults.assertNone();
  ok(keyFiles >= runs, "no key was seen being written, so nothing was seen");
});
