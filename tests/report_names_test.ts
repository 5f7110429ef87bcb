// What a program is told of each name by a run that came to nothing.

import { deepEqual, equal, match } from "node:assert/strict";
import { certsync, type CertsyncResult } from "./kit/certsync.ts";
import { type Certificate, CLUB, NAME, SHOP } from "./kit/names_host.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";

Deno.test("what befalls a whole run is told of every name, the domain first, and once in words", async (t) => {
  await using dir = await tempDir();
  const [state, pushState, staging, config] = ["state", "push", "incoming", "c.yaml"]
    .map((name) => `${dir.path}/${name}`) as [string, string, string, string];
  const mailcow = await mailcowTree(`${dir.path}/mailcow`);
  const write = (settings: Record<string, unknown>) =>
    Deno.writeTextFile(
      config,
      JSON.stringify({
        ...settings,
        also: [SHOP, CLUB],
        deploy: { mailcow: mailcow.root, staging, state, trust: "none" },
        push: { to: "u@127.0.0.1:/in/", state: pushState },
      }),
    );
  const conf = mailcow.confFile;
  const text = await Deno.readTextFile(conf);
  const cases: Record<
    string,
    [prepare: () => Promise<unknown>, call: string, names: (string | null)[], error: RegExp]
  > = {
    "a state file in the way": [
      () => Deno.mkdir(`${state}/rejected`, { recursive: true }),
      "deploy",
      [NAME, SHOP, CLUB],
      /rejected" is not a regular file/,
    ],
    "a mailcow.conf that cannot be right": [
      () => Deno.writeTextFile(conf, `${text}\nSMTP_PORT=x\n`),
      "deploy",
      [NAME, SHOP, CLUB],
      /SMTP_PORT in /,
    ],
    "no mailcow.conf": [
      () => Deno.remove(conf),
      "deploy",
      [null, SHOP, CLUB],
      /mailcow\.conf" does not exist/,
    ],
    "none, and a domain in the config": [
      () => write({ domain: NAME }),
      "deploy",
      [NAME, SHOP, CLUB],
      /mailcow\.conf" does not exist/,
    ],
    "a wrong option": [
      () => write({ domain: NAME }),
      "deploy --bogus --domain mail.example.com",
      ["mail.example.com"],
      /--bogus/,
    ],
    "a wrong option of push": [
      () => write({ domain: NAME }),
      "push --bogus",
      [NAME],
      /--bogus/,
    ],
    "a state directory of push that is a link": [
      () => Deno.symlink("/nonexistent/x", pushState),
      "push",
      [NAME, SHOP, CLUB],
      /cannot use the state directory ".*push"/,
    ],
  };
  await write({});
  for (const [what, [prepare, call, names, error]] of Object.entries(cases)) {
    await t.step(what, async () => {
      await prepare();
      const run = (...more: string[]): Promise<CertsyncResult> =>
        certsync([...call.split(" "), "--config", config, ...more]);
      const { code, json, stderr } = await run("--json");
      const report = json();
      equal(code > 0, true);
      const certificates: Certificate[] = report.certificates;
      deepEqual(certificates.map(({ name }) => name), names);
      equal(report.domain, names[0]);
      match(report.error, error);
      for (const one of certificates) {
        deepEqual([one.outcome, one.error, one.hint], ["failed", report.error, report.hint]);
      }
      equal(stderr.match(/^ERROR: /gm)?.length, 1, stderr);
      equal((await run()).stdout, "");
    });
  }
});
