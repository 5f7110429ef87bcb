// The examples in docs/monitoring.md for /etc/certsync/alert, run as the unit runs them.

import { deepEqual, equal, match } from "node:assert/strict";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const UNIT = "mailcow-cert-deploy.service";

function examples(): string[] {
  const readme = Deno.readTextFileSync(new URL("../docs/monitoring.md", import.meta.url));
  const [, chapter = ""] = readme.split(/^## Alerts$/m);
  const [text = ""] = chapter.split(/^## /m);
  return Array.from(text.matchAll(/^```sh\n([^]*?)^```$/gm), ([, script = ""]) => script);
}

/** The unit's own command line, with this as /etc/certsync/alert and programs that note their call. */
async function alert(script: string, environment: Record<string, string> = {}) {
  await using dir = await tempDir();
  const unit = await Deno.readTextFile(
    new URL("../systemd/mailcow-cert-alert@.service", import.meta.url),
  );
  const [, line = ""] = /^ExecStart=\/bin\/sh -c '(.*)' sh %i$/m.exec(unit) ?? [];
  const program = (name: string, text: string) =>
    Deno.writeTextFile(`${dir.path}/${name}`, text, { mode: 0o755 });
  await program("alert", script);
  await program("journalctl", '#!/bin/sh\necho "$*"\necho "ERROR: no staged cert"\n');
  for (const name of ["mail", "curl"]) {
    await program(
      name,
      `#!/bin/sh\nprintf '%s\\n' "${name}" "$@" >>${dir.path}/called\ncat >>${dir.path}/said\n`,
    );
  }
  const path = `${dir.path}:${Deno.env.get("PATH")}`;
  const { code, stderr } = await tryRun(
    need("dash"),
    [
      "-c",
      line.replaceAll("$$", "$").replaceAll("/etc/certsync/alert", `${dir.path}/alert`),
      ...["sh", UNIT],
    ],
    { env: { PATH: path, ...environment } },
  );
  deepEqual([code, stderr], [0, ""]);
  const read = (name: string) => Deno.readTextFile(`${dir.path}/${name}`);
  return { called: (await read("called")).split("\n"), said: await read("said") };
}

Deno.test("the alerts in the documents tell the unit's name and the last lines of its journal", async () => {
  const [mail = "", webhook = "", ...others] = examples();
  equal(others.length, 0);
  const name = (await run("uname", ["-n"])).trim();
  const subject = `${UNIT} failed on ${name}`;
  const mailed = await alert(mail);
  deepEqual(mailed.called, ["mail", "-s", subject, "root", ""]);
  const posted = await alert(webhook);
  equal(posted.called[0], "curl");
  equal(posted.called.includes(`Title: ${subject}`), true);
  for (const { said } of [mailed, posted]) {
    match(said, new RegExp(`--unit=${UNIT} --lines=50`));
    match(said, /^ERROR: no staged cert$/m);
  }
});

Deno.test("an alert of a failed run tells the lines of that run alone", async () => {
  const [mail = ""] = examples();
  const { called, said } = await alert(mail, { MONITOR_INVOCATION_ID: "0123abcd" });
  equal(called[2]?.startsWith(`${UNIT} failed on`), true);
  const [line] = said.split("\n").filter((line) => line.includes("INVOCATION"));
  match(line ?? "", /_SYSTEMD_INVOCATION_ID=0123abcd \+ INVOCATION_ID=0123abcd --lines=50/);
  equal(said.includes("--unit"), false);
});

Deno.test("shellcheck finds nothing in the alerts in the documents", async () => {
  for (const script of examples()) {
    const { code, stdout } = await tryRun(need("shellcheck"), ["-"], { stdin: script });
    deepEqual([code, stdout], [0, ""]);
  }
});
