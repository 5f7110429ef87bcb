// Port 25 as the world sees it: through postscreen, with TLS by tlsproxy.

import { equal, match } from "node:assert/strict";
import { startLab } from "./lab.ts";
import { assertServed, HOSTNAME } from "./wire.ts";

Deno.test("port 25 serves the new certificate inside and outside mynetworks", async () => {
  await using lab = await startLab({
    sni: async (issue) => [{ name: HOSTNAME, leaf: await issue(), domains: [HOSTNAME] }],
  });
  for (const algorithm of ["ecdsa-p384", "rsa"] as const) {
    const leaf = await lab.issue({ algorithm });
    const { code, json } = await lab.deliver(leaf);
    equal(code, 0, json.error);
    await assertServed(leaf, ["smtp"]);
    await assertServed(leaf, ["smtp"], { from: "127.0.0.2" });
  }
  const log = await lab.compose("logs", "postfix-mailcow");
  match(log, /postscreen\[\d+\]: CONNECT from \[127\.0\.0\.2\]/);
  match(log, /tlsproxy\[\d+\]: CONNECT from \[127\.0\.0\.2\]/);
});
