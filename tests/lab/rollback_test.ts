// The previous certificate, put back by hand.

import { equal, notEqual } from "node:assert/strict";
import { startLab } from "./lab.ts";
import { assertServed, HOSTNAME } from "./wire.ts";

Deno.test("deploy --rollback serves the previous certificate on all endpoints", async () => {
  await using lab = await startLab({
    isDeployed: true,
    first: {},
    sni: async (issue) => [{ name: HOSTNAME, leaf: await issue(), domains: [HOSTNAME] }],
  });
  const leaf = await lab.issue();
  await lab.deliver(leaf);
  await assertServed(leaf);

  const { code, json } = await lab.deploy(["--rollback"]);
  await assertServed(lab.first);
  equal(code, 0, json.error);
  equal(json.fingerprint, lab.first.fingerprint);
  equal(json.served.length, 18);
});

Deno.test("deploy --rollback without a previous certificate fails and touches nothing", async () => {
  await using lab = await startLab();
  const { code, json } = await lab.deploy(["--rollback"]);
  notEqual(code, 0);
  notEqual(json.outcome, "deployed");
  await assertServed(lab.first);
});
