// Whoever hangs, dribbles or dies on the other side is bounded by the time-outs, and named.

import { equal, match, ok } from "node:assert/strict";
import { certsync } from "../kit/certsync.ts";
import type { Manner } from "../kit/mail_services.ts";
import { need } from "../kit/programs.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { ca, fresh, NAME, scenarios, tortureHost } from "./mail_side.ts";
import * as pushing from "./push_side.ts";
import { Faults, sized, tell } from "./size.ts";

Deno.test.afterAll(async () => {
  await Promise.all([ca, pushing.ca].map((one) => one[Symbol.asyncDispose]()));
});

const manners: [what: string, Manner, "imap" | "imaps", says: RegExp][] = [
  ["accepts and says nothing", "silent", "imaps", /no certificate within 1 s/],
  ["says nothing before STARTTLS", "silent", "imap", /no certificate within 1 s/],
  ["accepts and closes", "hangs-up", "imaps", /closed the connection/],
  ["closes before STARTTLS", "hangs-up", "imap", /closed the connection/],
  ["is closed", "closed", "imaps", /connection refused/],
  ["refuses STARTTLS", "refuses-starttls", "imap", /STARTTLS is not offered/],
  ["speaks plainly", "refuses-starttls", "imaps", /answered, but not with TLS/],
  ["gives garbage", "garbage", "imaps", /not with TLS|closed the connection|refused the TLS/],
  ["gives garbage after STARTTLS", "garbage", "imap", /answered STARTTLS, but not with TLS|closed/],
  ["dribbles", { dribbleMs: 50 }, "imaps", /no certificate within 1 s/],
  ["dribbles before STARTTLS", { greetingMs: 50 }, "imap", /within 1 s|STARTTLS|with TLS|closed/],
  ["never closes", "never-closes", "imaps", /^$/],
];

Deno.test("an endpoint's manners are bounded by the time-out, and named", async () => {
  await using host = await tortureHost();
  const faults = new Faults();
  for (const [what, manner, endpoint, says] of manners) {
    await faults.try(what, async () => {
      await host.services.behave(endpoint, manner);
      const config = `${host.root}/verify.yaml`;
      await Deno.writeTextFile(
        config,
        JSON.stringify({
          domain: NAME,
          deploy: { mailcow: host.mailcow.root, state: host.state, staging: host.staging },
          verify: { endpoints: [host.services.url(endpoint)], timeout: "1s" },
        }),
      );
      const start = performance.now();
      const result = await certsync(["verify", "--json", "--config", config]);
      ok(performance.now() - start < 8_000, `${performance.now() - start} ms`);
      const served = result.json().legs.filter(({ leg }: { leg: string }) => leg === "served");
      ok(served.length > 0);
      for (const { error = "" } of served) match(error, says);
      await host.services.behave(endpoint, "normal");
    });
  }
  tell(`hangs: ${manners.length} manners of endpoints`);
  faults.assertNone();
});

Deno.test("deploy comes to its end beside an endpoint that says nothing", async () => {
  const rounds = sized<Manner[]>({
    quick: ["hangs-up"],
    full: ["hangs-up", "garbage", "silent", { dribbleMs: 200 }],
  });
  await Promise.all(rounds.map(async (manner) => {
    await using host = await tortureHost();
    const [first] = scenarios;
    ok(first);
    await first.prepare(host);
    await host.services.behave("imaps", manner);
    const start = performance.now();
    const result = await host.deploy(["--json"]);
    ok(performance.now() - start < 50_000, `${performance.now() - start} ms`);
    equal(result.code, 0, result.stderr);
    match(result.json().warnings.join(), /imaps:\/\//);
    await host.assertInstalled(fresh);
  }));
  tell(`hangs: ${rounds.length} deploys beside such endpoints`);
});

Deno.test("push ends when ssh hangs, and when rsync dies half-way, and the next one heals", async () => {
  await using side = await pushing.pushSide();
  await using dir = await tempDir();
  const faults = new Faults();
  const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    await faults.try("ssh that hangs", async () => {
      await side.begin();
      await side.configure({ port: silent.addr.port, timeout: "2s" });
      const start = performance.now();
      const result = await side.push();
      ok(performance.now() - start < 8_000, `${performance.now() - start} ms`);
      equal(result.code, 1);
      match(result.json().error, /no end within 2 s/);
      match(result.json().hint, /firewall/);
    });
  } finally {
    silent.close();
  }
  await side.configure({ port: side.server.port, timeout: "5s" });

  const deaths = sized({ quick: 4, full: 30 });
  for (let death = 0; death < deaths; death++) {
    const seconds = (0.02 + Math.random() * 0.3).toFixed(3);
    await faults.try(`rsync killed after ${seconds} s here`, async () => {
      await side.begin();
      await Deno.writeTextFile(
        `${dir.path}/rsync`,
        `#!/bin/sh\nexec timeout -s KILL ${seconds} ${need("rsync")} "$@"\n`,
        { mode: 0o755 },
      );
      const result = await side.push([], { path: dir.path });
      if (result.code !== 0) {
        match(result.json().error, /rsync|closed the connection|forced command/);
      }
      await pushing.assertSafe(side);
      await pushing.assertHealed(side);
    });
    await faults.try(`rsync killed after ${seconds} s over there`, async () => {
      await side.begin();
      await side.server.force(`timeout -s KILL ${seconds} $SSH_ORIGINAL_COMMAND`);
      const result = await side.push();
      if (result.code !== 0) {
        match(result.json().error, /rsync|closed the connection|forced command/);
      }
      await side.server.force();
      await pushing.assertSafe(side);
      await pushing.assertHealed(side);
    });
  }
  tell(`hangs: ssh that hangs, and ${2 * deaths} deaths of rsync`);
  faults.assertNone();
});
