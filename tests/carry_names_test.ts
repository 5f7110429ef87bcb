// Two hosts in one test: what push brings of several names, deploy takes, by whichever way it came.

import { deepEqual, equal } from "node:assert/strict";
import { account } from "./kit/account.ts";
import { authority } from "./kit/authority.ts";
import { mailHost } from "./kit/mail_host.ts";
import { makeScene, NAME } from "./kit/push_scene.ts";
import { run } from "./kit/run.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";

const SHOP = "shop.example.net";

for (
  const [what, way] of [
    ["over ssh, as a user of its own with a forced command for rsync without -z", "ssh"],
    ["within one machine", "local"],
  ] as const
) {
  Deno.test(`deploy takes what push brings of two names ${what}`, async () => {
    await using ca = await authority();
    const [mail, shop, renewed] = await Promise.all(
      [NAME, SHOP, SHOP].map((name) => ca.issue({ names: [name] })),
    );
    if (!mail || !shop || !renewed) throw new Error("three were issued");
    await using host = await mailHost({
      ...{ trust: ca.rootFile, deployed: mail, also: [SHOP] },
      endpoints: ["smtps", "imaps", "https"],
    });
    await using user = await account();
    await using server = await sshServer({ user: user.name });
    await using scene = await makeScene({ ca, leaf: mail, server });
    await scene.npm.add(6, shop);
    const staging = `${host.staging}/`;
    if (way === "ssh") {
      await Deno.chmod(host.root, 0o711);
      await run("/bin/chown", [`${user.name}:`, host.staging]);
      await server.force(forcedCommand("-aL", staging));
    } else if (Deno.uid() === 0) {
      await run("/bin/chown", ["-R", "100000:100000", scene.npm.root]);
    }
    await scene.configure({ also: [SHOP], to: way === "ssh" ? server.target(staging) : staging });

    const carry = async (outcome: string) => {
      const pushed = await scene.push();
      equal(pushed.code, 0, pushed.stderr);
      const deployed = await host.deploy(["--json"]);
      const report = deployed.json();
      deepEqual([deployed.code, report.result], [0, outcome], deployed.stderr);
    };
    await carry("deployed");
    equal(host.services.serves("imaps", SHOP), shop.fingerprint);
    await scene.npm.renew(6, renewed);
    await carry("deployed");
    for (const endpoint of ["smtps", "imaps", "https"] as const) {
      equal(host.services.serves(endpoint, SHOP), renewed.fingerprint);
      equal(host.services.serves(endpoint, NAME), mail.fingerprint);
    }
    await carry("unchanged");
  });
}
