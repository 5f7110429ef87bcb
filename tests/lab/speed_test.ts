// A renewal, installed and confirmed on all nine endpoints, beside the script that checks nothing.

import { ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { call, inTurns, median, medianOf } from "../bench/measure.ts";
import { startLab } from "./lab.ts";
import { HOSTNAME } from "./wire.ts";

const CERTSYNC = fileURLToPath(new URL("../../dist/certsync", import.meta.url));
const SCRIPT = fileURLToPath(new URL("../bench/deploy.sh", import.meta.url));

/** Far above what it takes, below what one wait for `settle` or a restart would cost. */
const LIMIT = 4;

Deno.test("a renewal is confirmed without a wait: in a few times what the script takes to reload", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const env = { PATH: Deno.env.get("PATH") ?? "", HOME: lab.path, LC_ALL: "C" };
  const prepare = async () => await lab.stage(await lab.issue());
  const script = [SCRIPT, lab.staging, lab.tree.root, HOSTNAME];
  const certsync = [CERTSYNC, "deploy", "--config", lab.config];
  const times = await inTurns({
    script: { prepare, run: () => call({ argv: script, env }) },
    certsync: { prepare, run: () => call({ argv: certsync, env }) },
  }, { rounds: 9, warmUp: 1 });
  const ratio = medianOf(times, ({ script, certsync }) => certsync / script);
  const [theirs, ours] = [median(times.script), median(times.certsync)];
  console.log(
    `script ${theirs.toFixed(0)} ms, certsync ${ours.toFixed(0)} ms: ${ratio.toFixed(2)}`,
  );
  ok(ratio < LIMIT, `certsync takes ${ratio.toFixed(2)} times as long as the script`);
});
