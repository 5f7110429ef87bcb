// What the compiled binary may do is what the code asks for, and no more.

import { deepEqual } from "node:assert/strict";
import { programs } from "../lib/programs/run.ts";

Deno.test("the programs that the binary may run are those that the code can name", async () => {
  const makefile = await Deno.readTextFile(new URL("../Makefile", import.meta.url));
  const [, allowed = ""] = /--allow-run=(\S+)/.exec(makefile) ?? [];
  deepEqual(allowed.split(",").sort(), [...programs].sort());
});
