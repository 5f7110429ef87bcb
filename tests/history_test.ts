// What is remembered of the runs of push and deploy, for whoever asks what happened last.

import { deepEqual, equal, match } from "node:assert/strict";
import {
  addToHistory,
  type Happening,
  type HistoryLine,
  readHistory,
  writeHistory,
} from "../lib/chain/history.ts";
import { tempDir } from "./kit/temp_dir.ts";

const refused: Happening = {
  time: "2026-11-01T03:15:00Z",
  outcome: "refused",
  name: "mail.example.org",
  old: "AA",
  new: "BB",
  error: "certificate expired",
};

Deno.test("a run like the one before it is counted there, and any other is a line of its own", () => {
  const again = { ...refused, time: "2026-11-01T15:15:00Z" };
  let lines: readonly HistoryLine[] = [refused, again].reduce(addToHistory, []);
  deepEqual(lines, [{ ...refused, last: again.time, times: 2 }]);
  for (
    const change of [
      { outcome: "deployed" },
      { name: "shop.example.org" },
      { old: null },
      { new: "CC" },
      { error: null },
    ]
  ) {
    equal(addToHistory(lines, { ...again, ...change }).length, 2, JSON.stringify(change));
  }
  lines = addToHistory(lines, { ...again, outcome: "deployed", error: null });
  deepEqual(addToHistory(lines, again).map(({ times }) => times), [2, 1, 1]);
});

Deno.test("the newest 200 lines are kept", () => {
  let lines: readonly HistoryLine[] = [];
  for (let i = 0; i < 250; i++) lines = addToHistory(lines, { ...refused, error: String(i) });
  deepEqual([lines.length, lines[0]?.error, lines.at(-1)?.error], [200, "50", "249"]);
});

Deno.test("what is no line of a history is passed over, and one that cannot be written is told", async () => {
  await using dir = await tempDir();
  equal(writeHistory(dir.path, [refused]), null);
  const line = Deno.readTextFileSync(`${dir.path}/history`);
  equal(Deno.statSync(`${dir.path}/history`).mode! & 0o777, 0o600); // Linux has modes
  await Deno.writeTextFile(`${dir.path}/history`, `{\n[]\nnull\n{"time":1}\n${line}\n\0`);
  deepEqual(readHistory(dir.path), [{ ...refused, last: refused.time, times: 1 }]);
  await Deno.remove(`${dir.path}/history`);
  await Deno.mkdir(`${dir.path}/history/full`, { recursive: true });
  match(writeHistory(dir.path, [refused]) ?? "", /^the history could not be written: .*history/);
});
