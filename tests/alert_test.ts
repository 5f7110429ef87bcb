// What tells the operator of a unit that failed, and the examples in docs/monitoring.md for
// /etc/certsync/alert.

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { need } from "./kit/programs.ts";
import { run, tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const UNIT = "mailcow-cert-deploy.service";
const TELL = fileURLToPath(new URL("../systemd/tell-alert", import.meta.url));

function examples(): string[] {
  const page = Deno.readTextFileSync(new URL("../docs/monitoring.md", import.meta.url));
  const [, chapter = ""] = page.split(/^## Alerts$/m);
  const [text = ""] = chapter.split(/^## /m);
  return Array.from(text.matchAll(/^```sh\n([^]*?)^```$/gm), ([, script = ""]) => script);
}

interface Host extends AsyncDisposable {
  /** What journalctl prints of a run. */
  journal: string;
  /** Replaces /etc/certsync/alert. */
  put(script: string): Promise<void>;
  /** The unit failed: gives the exit code. */
  fail(environment?: Record<string, string>, unit?: string): Promise<number>;
  /** What a program noted since this was asked the last time. */
  noted(file: string): Promise<string>;
  /** Makes what was told so many hours older. */
  age(hours: number): Promise<void>;
  told: string;
  /** What systemd still knows of the unit's last run. */
  know(invocation: string): Promise<void>;
}

/** With programs that note how they were called, and tell-alert with paths below a directory of its own. */
async function host(script: string): Promise<Host> {
  const dir = await tempDir();
  const { path } = dir;
  const program = (name: string, text: string) =>
    Deno.writeTextFile(`${path}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  await Deno.mkdir(`${path}/state`, { mode: 0o700 });
  // What systemd said of a run spans two moments, in microseconds.
  await program(
    "journalctl",
    `echo "$*" >>${path}/journalctl.called
    case $* in
    *=export) case $* in *INVOCATION_ID=?*) printf '%s=1767236400%s\\n' __REALTIME_TIMESTAMP 000001 __REALTIME_TIMESTAMP 900000 ;; esac ;;
    *) cat ${path}/journal ;;
    esac`,
  );
  await program(
    "systemctl",
    'case $* in *InvocationID*) cat "$0.run" ;; *Result*) echo timeout ;; *) echo "Thu 2026-01-01 03:00:00 UTC" ;; esac',
  );
  await Deno.writeTextFile(`${path}/systemctl.run`, "");
  for (const name of ["mail", "curl"]) {
    await program(
      name,
      `printf '%s\\n' "${name}" "$@" >>${path}/called\ncat >>${path}/said`,
    );
  }
  const tell = (await Deno.readTextFile(TELL)).replaceAll("/etc/certsync/alert", `${path}/alert`);
  await Deno.writeTextFile(`${path}/tell-alert`, tell);
  const put = (script: string) => Deno.writeTextFile(`${path}/alert`, script, { mode: 0o755 });
  await put(script);
  const self: Host = {
    journal: "<hint\nERROR: no staged cert\n",
    put,
    fail: async (environment = {}, unit = UNIT) => {
      await Deno.writeTextFile(`${path}/journal`, self.journal);
      const { code } = await tryRun(need("dash"), [`${path}/tell-alert`, unit], {
        env: {
          PATH: `${path}:${Deno.env.get("PATH")}`,
          STATE_DIRECTORY: `${path}/state`,
          ...environment,
        },
      });
      return code;
    },
    noted: async (file) => {
      const text = await Deno.readTextFile(`${path}/${file}`).catch(() => "");
      await Deno.writeTextFile(`${path}/${file}`, "");
      return text;
    },
    age: async (hours) => {
      const file = `${path}/state/${UNIT}`;
      const text = await Deno.readTextFile(file);
      await Deno.writeTextFile(
        file,
        text.replace(/^\d+/gm, (time) => String(Number(time) - hours * 3_600)),
      );
    },
    told: `${path}/state/${UNIT}`,
    know: (invocation) => Deno.writeTextFile(`${path}/systemctl.run`, `${invocation}\n`),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
  return self;
}

Deno.test("the documentation's alerts tell the unit's name, and its ERROR before the lines of its journal", async () => {
  const [mail = "", webhook = "", ...others] = examples();
  equal(others.length, 0);
  const name = (await run("uname", ["-n"])).trim();
  const subject = `${UNIT} failed on ${name}`;
  for (
    const [script, program, called] of [
      [mail, "mail", ["mail", "-s", subject, "root", ""]],
      [webhook, "curl", null],
    ] as const
  ) {
    await using one = await host(script);
    equal(await one.fail(), 0);
    const call = (await one.noted("called")).split("\n");
    if (called !== null) deepEqual(call, called);
    equal(call[0], program);
    equal(call.some((word) => word.includes(subject)), true);
    equal(await one.noted("said"), "ERROR: no staged cert\n\n<hint\nERROR: no staged cert\n");
  }
});

Deno.test("an alert of a failed run tells the lines of that run alone, whatever systemd says of it", async () => {
  const [mail = ""] = examples();
  await using one = await host(mail);
  const asked = async (environment: Record<string, string>) => {
    await Deno.remove(one.told).catch(() => {});
    equal(await one.fail(environment), 0);
    return await one.noted("journalctl.called");
  };
  const span = "--since @1767236400.000001 --until @1767236401.400000 --no-pager --output=cat";
  const ofRun = new RegExp(RegExp.escape(`\n--unit=${UNIT} ${span}\n`));
  const first = await asked({ MONITOR_INVOCATION_ID: "0123abcd" });
  match(first, /^INVOCATION_ID=0123abcd /m);
  match(first, ofRun);
  // Before 251, and for a path unit, it does not tell; where it does not know either, since its start.
  match(
    await asked({}),
    new RegExp(`^--unit=${UNIT} --since Thu 2026-01-01 03:00:00 UTC --no-pager`, "m"),
  );
  await one.know("beef");
  const known = await asked({});
  match(known, /^INVOCATION_ID=beef /m);
  match(known, ofRun);
});

Deno.test("the same ERROR of a unit is told at once, and then once a day", async () => {
  const [mail = ""] = examples();
  await using one = await host(mail);
  const isTold = async (error: string, unit = UNIT) => {
    one.journal = `what goes before\nERROR: ${error}\nhint: push again\n`;
    equal(await one.fail({}, unit), 0);
    return (await one.noted("called")) !== "";
  };
  equal(await isTold("no staged cert"), true);
  equal(await isTold("no staged cert"), false);
  equal(await isTold("no staged cert: another"), true);
  // Another cause in between does not make the first one new.
  equal(await isTold("no staged cert"), false);
  equal(await isTold("no staged cert", "mailcow-cert-push.service"), true);
  await one.age(13);
  equal(await isTold("no staged cert"), false);
  await one.age(10);
  equal(await isTold("no staged cert"), true);
  equal(await isTold("no staged cert"), false);
  equal(((await Deno.stat(one.told)).mode ?? 0) & 0o777, 0o600);
  // A clock that was set back does not silence it.
  await one.age(-48);
  equal(await isTold("no staged cert"), true);
});

Deno.test("only an alert that ended well counts as told", async () => {
  const [mail = ""] = examples();
  await using one = await host("#!/bin/sh\nexit 7\n");
  equal(await one.fail(), 7);
  await one.put(mail);
  equal(await one.fail(), 0);
  equal(await one.noted("called") !== "", true);
});

Deno.test("a unit that left no ERROR is told by its result", async () => {
  const [mail = ""] = examples();
  await using one = await host(mail);
  one.journal = "no words of ours\n";
  equal(await one.fail({ MONITOR_SERVICE_RESULT: "oom-kill" }), 0);
  equal(await one.noted("said"), "Result: oom-kill\n\nno words of ours\n");
  equal(await one.fail(), 0);
  match(await one.noted("said"), /^Result: timeout\n/);
  equal(await one.fail(), 0);
  equal(await one.noted("said"), "");
});

Deno.test("the unit runs what setup made, else what the package brought", async () => {
  const unit = await Deno.readTextFile(
    new URL("../systemd/mailcow-cert-alert@.service", import.meta.url),
  );
  const [, line = ""] = /^ExecStart=\/bin\/sh -c '(.*)' %i$/m.exec(unit) ?? [];
  await using dir = await tempDir();
  const script = line.replaceAll("$$", "$").replaceAll("/usr/", `${dir.path}/`);
  const start = () => tryRun(need("dash"), ["-c", script, UNIT]);
  equal((await start()).code, 127);
  for (const place of ["lib", "local/lib"]) {
    await Deno.mkdir(`${dir.path}/${place}/certsync`, { recursive: true });
    await Deno.writeTextFile(
      `${dir.path}/${place}/certsync/tell-alert`,
      `#!/bin/sh\necho ${place} "$@"\n`,
      { mode: 0o755 },
    );
    deepEqual(await start(), { code: 0, stdout: `${place} ${UNIT}\n`, stderr: "" });
  }
  match(unit, /^StateDirectory=mailcow-cert-alert\nStateDirectoryMode=0700$/m);
});

Deno.test("shellcheck finds nothing in the documentation's alerts, and in what calls them", async () => {
  for (const script of [...examples(), await Deno.readTextFile(TELL)]) {
    const { code, stdout } = await tryRun(need("shellcheck"), ["-"], { stdin: script });
    deepEqual([code, stdout], [0, ""]);
  }
});
