// A renewal, installed and confirmed on all nine endpoints, beside the script that checks nothing.

import { ok } from "node:assert/strict";
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { call, type Command, inTurns, median, medianOf } from "../bench/measure.ts";
import { startLab } from "./lab.ts";
import { HOSTNAME } from "./wire.ts";

const CERTSYNC = fileURLToPath(new URL("../../dist/certsync", import.meta.url));
const SCRIPT = fileURLToPath(new URL("../bench/deploy.sh", import.meta.url));

/** Far above what it takes, below what one wait for `settle` or a restart would cost. */
const LIMIT = 4;

Deno.test("a renewal is confirmed without a wait: in a few times what the script takes to reload", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const env = { PATH: Deno.env.get("PATH") ?? "", HOME: lab.path, LC_ALL: "C" };
  const installed = `${lab.tree.root}/data/assets/ssl/cert.pem`;
  const sinceInstall = { script: [] as number[], certsync: [] as number[] };
  const timed = (name: keyof typeof sinceInstall, argv: string[]) => ({
    prepare: async () => await lab.stage(await lab.issue()),
    run: async () => {
      await call({ argv, env });
      // Written a moment before it was renamed; Deno gives the time of that in whole seconds.
      sinceInstall[name].push(Date.now() - statSync(installed).mtimeMs);
    },
  });
  const reloads = reloadCommands.map((command): Command => ({
    argv: ["docker", "compose", "exec", "-T", ...command],
    cwd: lab.tree.root,
    env,
  }));
  const times = await inTurns({
    script: timed("script", [SCRIPT, lab.staging, lab.tree.root, HOSTNAME]),
    certsync: timed("certsync", [CERTSYNC, "deploy", "--config", lab.config]),
    reloads: { run: () => Promise.all(reloads.map(call)) },
  }, { rounds: 9, warmUp: 1 });

  const ratio = medianOf(times, ({ script, certsync }) => certsync / script);
  const figure = (values: number[]) => `${median(values).toFixed(0)} ms`;
  console.log(
    `from install to the end: script ${figure(sinceInstall.script)}, ` +
      `certsync, all confirmed, ${figure(sinceInstall.certsync)}; ` +
      `the three reloads alone, at once: ${figure(times.reloads)}; ` +
      `the whole: script ${figure(times.script)}, certsync ${figure(times.certsync)}`,
  );
  ok(ratio < LIMIT, `certsync takes ${ratio.toFixed(2)} times as long as the script`);
});

const reloadCommands = [
  ["postfix-mailcow", "postfix", "reload"],
  ["dovecot-mailcow", "dovecot", "reload"],
  ["nginx-mailcow", "nginx", "-s", "reload"],
];
