// How a wait looks: on a terminal one line that is rewritten, in the journal one line, or none.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describeWaits, type Wait } from "../lib/cli/terminal.ts";
import { authority } from "./kit/authority.ts";
import { certsync, startCertsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { makeScene, NAME, type Scene } from "./kit/push_scene.ts";
import { forcedCommand } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: [NAME] });

const wait = (what: string, seconds: number, mostMs = 60_000): Wait => ({ what, seconds, mostMs });
const sending = wait("sending to mail.example.org", 12);

Deno.test("a line of waits says how far they are, and is never wider than it may be", () => {
  const cases: [waits: Wait[], width: number, line: string][] = [
    [[], 39, ""],
    [[sending], 79, "12s of 60s: sending to mail.example.org"],
    [[sending], 39, "12s of 60s: sending to mail.example.org"],
    [[sending], 30, "12s of 60s: sending to mail.e…"],
    [
      [sending, wait("asking a", 1, 10_000)],
      79,
      "12s of 60s: sending to mail.example.org; 1s of 10s: asking a",
    ],
    [[sending, wait("asking a", 1)], 43, "12s of 60s: sending to mail.example.o… (+1)"],
    [[wait("スキップ", 3)], 18, "3s of 60s: スキッ…"],
  ];
  for (const [waits, width, line] of cases) {
    equal(describeWaits(waits, width), line);
    ok(line.length <= width, line);
  }
});

interface Screen extends AsyncDisposable {
  /** Its lines, without the empty ones. */
  lines(): Promise<string[]>;
}

/** A terminal in which certsync runs. */
async function screen(columns: number, args: readonly string[]): Promise<Screen> {
  const binary = fileURLToPath(new URL("../dist/certsync", import.meta.url));
  const socket = `certsync-${crypto.randomUUID()}`;
  const tmux = async (...words: string[]) => {
    const { stdout } = await new Deno.Command(need("tmux"), {
      args: ["-L", socket, "-f", "/dev/null", ...words],
    }).output();
    return new TextDecoder().decode(stdout);
  };
  const size = ["-x", String(columns), "-y", "24"];
  // What is done stays on the screen.
  const command = ["sh", "-c", '"$@"; exec sleep 60', "sh", binary, ...args];
  await tmux("new-session", "-d", ...size, ...command);
  return {
    lines: async () => (await tmux("capture-pane", "-p")).split("\n").filter((line) => line !== ""),
    [Symbol.asyncDispose]: async () => {
      await tmux("kill-server");
    },
  };
}

/** All that the screen shows until `isLast` holds of it, each once. */
async function shown(screen: Screen, isLast: (lines: string[]) => boolean): Promise<string[][]> {
  const seen = new Map<string, string[]>();
  await until(async () => {
    const lines = await screen.lines();
    seen.set(lines.join("\n"), lines);
    return isLast(lines);
  }, 50);
  return [...seen.values()];
}

async function slowScene(seconds: number): Promise<Scene> {
  const scene = await makeScene({ ca, leaf });
  await scene.server.force(`sleep ${seconds}; ${forcedCommand("-azL", scene.incoming)}`);
  return scene;
}

const widths = [80, 40];

Deno.test("on a terminal a push tells in one line how far it is, at 80 and at 40 columns", async () => {
  await Promise.all(widths.map(async (columns) => {
    await using scene = await slowScene(3);
    await using terminal = await screen(columns, scene.args([]));
    const all = await shown(terminal, (lines) => lines.join("").includes("fingerprint"));
    const waiting = all.filter((lines) => lines[0]?.includes(" of 20s: "));
    ok(waiting.length >= 2, "it was not rewritten");
    for (const lines of waiting) {
      equal(lines.length, 1, lines.join("\n"));
      match(lines[0] ?? "", /^\d+s of 20s: sending to 127\.0\.0\.1$/);
    }
    const end = await terminal.lines();
    match(end.join(""), /^pushed mail\.example\.org /);
    equal(end.join("").includes("sending to"), false, "the line is left there");
  }));
});

Deno.test("on a terminal who waits for another run is told in one line, at 80 and at 40 columns", async () => {
  await Promise.all(widths.map(async (columns) => {
    await using scene = await makeScene({ ca, leaf });
    await Deno.mkdir(scene.state, { mode: 0o700 });
    using lock = await Deno.open(`${scene.state}/lock`, { create: true, write: true });
    await lock.lock(true);
    await using terminal = await screen(columns, scene.args([]));
    const all = await shown(terminal, ([line = ""]) => /^[2-9]s of 60s: another /.test(line));
    deepEqual(all.filter((lines) => lines.length > 1), []);
    ok(all.flat().every((line) => line.length < columns), all.flat().join("\n"));
    await lock.unlock();
    await until(async () => (await terminal.lines())[0]?.startsWith("pushed mail") ?? false, 50);
  }));
});

Deno.test("in the journal a wait longer than 2 s is one line, and with -q none", async () => {
  const push = async (...args: string[]) => {
    await using scene = await slowScene(4);
    const started = startCertsync(scene.args(args), { stderr: "journal" });
    const { code, stderr, waits } = await started.result;
    deepEqual([code, stderr], [0, ""]);
    return waits;
  };
  const verify = async () => {
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using dir = await tempDir();
    const endpoint = `imaps://127.0.0.1:${silent.addr.port}`;
    const config = `${dir.path}/c.yaml`;
    await Deno.writeTextFile(config, `verify: {timeout: 3s, endpoints: ["${endpoint}"]}`);
    return (await certsync(["verify", NAME, "--leg", "served", "--config", config])).waits;
  };
  deepEqual(await Promise.all([push(), push("-q"), verify()]), [
    ["<6>sending to 127.0.0.1, for at most 20s\n"],
    [],
    ["looking at every copy of the certificate, for at most 9s\n"],
  ]);
});
