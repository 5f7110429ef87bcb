// Dovecot stopped, paused or slow, before or while deploy is at work: nobody else is punished for it,
// and the new certificate is not.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { run, tryRun } from "../kit/run.ts";
import { textOf } from "../kit/text_of.ts";
import { type Lab, SERVICES, startLab } from "./lab.ts";
import {
  ask,
  assertServed,
  DOVECOT,
  HOSTNAME,
  until,
  untilAnswered,
  WITHOUT_LOGIN,
} from "./wire.ts";

/** How often each case of chance is tried. */
const RUNS = Number(Deno.env.get("LAB_RUNS") ?? 1);

interface Fate {
  befall(lab: Lab): Promise<unknown>;
  end(lab: Lab): Promise<unknown>;
}

/** What befalls Dovecot before deploy, or while it is at work. */
const fates: Record<string, Fate> = {
  "stopped": {
    befall: (lab) => lab.compose("stop", "--timeout", "1", "dovecot-mailcow"),
    end: (lab) => lab.compose("start", "dovecot-mailcow"),
  },
  "paused": {
    befall: (lab) => lab.compose("pause", "dovecot-mailcow"),
    end: goOn,
  },
  "slow": {
    befall: async (lab) => {
      await lab.tell("dovecot-mailcow", "slow", "4");
      await lab.compose("restart", "--timeout", "1", "dovecot-mailcow");
    },
    end: (lab) => lab.tell("dovecot-mailcow", "slow", null),
  },
};

/** What deploy says then; see below. */
const BLOCKED = /dovecot-mailcow: docker did not finish within/;

/**
 * A pause that meets the reload while docker starts that blocks docker, whatever it is asked of the
 * container, for as long as it lasts: only who stands below docker can end it.
 */
async function goOn(lab: Lab): Promise<void> {
  const unpause = ["10", "docker", "compose", "unpause", "dovecot-mailcow"];
  const { code } = await tryRun("timeout", unpause, { cwd: lab.tree.root });
  if (code !== 124) return;
  const find = ["ps", "--quiet", "--no-trunc", "--filter", "name=dovecot-mailcow"];
  const container = (await run("docker", find)).trim();
  await run("runc", ["--root", "/run/lab/exec/runtime-runc/moby", "resume", container]);
  await lab.compose("restart", "dovecot-mailcow");
}

for (const [fate, { befall, end }] of Object.entries(fates)) {
  for (const apply of ["reload", "restart"]) {
    Deno.test(`the new certificate is never rejected where Dovecot is ${fate} during a ${apply}`, async () => {
      const ends: string[] = [];
      for (let turn = 0; turn < RUNS; turn++) {
        await using lab = await startLab({
          settle: "3s",
          restartTimeout: "6s",
          isDeployed: true,
          first: {},
        });
        await lab.configure({ apply });
        const isBefore = turn % 2 === 0;
        if (isBefore) await befall(lab);
        const leaf = await lab.issue();
        let outcome = "";
        const restarts = await lab.restartsDuring(async () => {
          const [{ code, json }] = await Promise.all([
            lab.deliver(leaf),
            isBefore
              ? null
              : new Promise((go) => setTimeout(go, 100 * turn)).then(() => befall(lab)),
          ]);
          outcome = json.outcome;
          if (fate === "paused" && outcome === "failed") match(json.error, BLOCKED);
          else equal(["deployed", "stale"].includes(outcome), true, json.error);
          equal(code, outcome === "deployed" ? 0 : 1);
        });
        equal(await textOf(`${lab.state}/rejected`), "");
        equal(await Deno.readTextFile(lab.tree.certFile), leaf.fullchainPem);
        equal(await ask("smtp", HOSTNAME), leaf.fingerprint);
        const ofOthers = restarts.filter((service) => service !== "dovecot-mailcow");
        const asTold = apply === "reload" ? [] : ["nginx-mailcow", "postfix-mailcow"];
        deepEqual(ofOthers, asTold, "they are not to blame");
        const own = restarts.length - ofOthers.length;
        ok(own <= (fate === "slow" && !isBefore ? 2 : 1), `${own} restarts of Dovecot`);
        ends.push(`${outcome}, ${restarts.join(" and ") || "nothing"} restarted`);

        await end(lab);
        await untilAnswered(DOVECOT);
        await lab.configure({ apply: "reload" });
        const later = await lab.restartsDuring(async () => {
          const second = await lab.deploy();
          equal(second.code, 0, second.json.error);
          const third = await lab.deploy();
          deepEqual([third.code, third.json.outcome], [0, "unchanged"], third.json.error);
        });
        deepEqual(later, []);
        await assertServed(leaf, WITHOUT_LOGIN);
        const loaded = (await textOf(`${lab.state}/loaded`)).trim().split("\n").sort();
        deepEqual(loaded, [...SERVICES].sort().map((name) => `${name} ${leaf.fingerprint}`));
        for (const file of ["rejected", "unhelped"]) {
          equal(await textOf(`${lab.state}/${file}`), "", file);
        }
      }
      console.log(`lab: Dovecot ${fate} during a ${apply}: ${countEach(ends)}`);
    });
  }
}

function countEach(texts: readonly string[]): string {
  return Array.from(
    Map.groupBy(texts, (text) => text),
    ([text, alike]) => `${alike.length} ${text}`,
  )
    .join("; ");
}

Deno.test("where Dovecot is away Postfix ends whoever logs in, which is Dovecot's trouble", async () => {
  await using lab = await startLab({
    settle: "2s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
  });
  await lab.configure({ endpoints: "[smtps://127.0.0.1, imaps://127.0.0.1]" });
  await lab.compose("stop", "dovecot-mailcow");
  // The first ones still get through, each in ten seconds at most, and take their servers with them.
  await until(
    async () => (await ask("smtps", null)).startsWith("none") ? [] : ["smtps answers"],
    60_000,
  );
  const leaf = await lab.issue();
  const restarted = await lab.restartedBy(async () => {
    const { code, json } = await lab.deliver(leaf);
    deepEqual([code, json.outcome], [0, "deployed"], json.error);
    match(json.warnings.join(), /dovecot-mailcow is not running/);
  });
  deepEqual(restarted, []);
  await lab.compose("start", "dovecot-mailcow");
  await untilAnswered(DOVECOT);
  const after = await lab.deploy();
  deepEqual([after.code, after.json.outcome], [0, "repaired"], after.json.error);
  await assertServed(leaf, DOVECOT);
  equal((await lab.deploy()).json.outcome, "unchanged");
});
