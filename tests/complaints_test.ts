// What a report says went wrong, as the operator is told it.

import { deepEqual } from "node:assert/strict";
import { complaints } from "../lib/cli/complaints.ts";

const well = (name: string) => ({ name });
const ill = (name: string, error: string, hint?: string) => ({
  name,
  error,
  ...(hint && { hint }),
});
const told = (report: Parameters<typeof complaints>[0]) =>
  complaints(report).map(({ message, hint }) => [message, hint]);

Deno.test("what is wrong with some names is told with them, what is wrong with all without", () => {
  const many = Array.from({ length: 12 }, (_, index) => ill(`n${index}`, "expired"));
  const cases: [report: Parameters<typeof complaints>[0], lines: unknown[]][] = [
    [{}, []],
    [{ certificates: [well("a"), well("b")] }, []],
    [{ error: "locked", hint: "wait" }, [["locked", "wait"]]],
    // A fault of the run goes alone, whatever is known of the names.
    [{ error: "locked", certificates: [well("a"), ill("b", "x")] }, [["locked", undefined]]],
    [{ error: "x", hint: "h", certificates: [ill("a", "x", "h")] }, [["x", "h"]]],
    [{ error: "x", certificates: [ill("a", "x"), ill("b", "x")] }, [["x", undefined]]],
    [{ error: "x", certificates: [ill("a", "x"), well("b")] }, [["a: x", undefined]]],
    [{ certificates: [well("a"), ill("b", "x", "h"), ill("c", "x", "h")] }, [["b, c: x", "h"]]],
    // Of one cause with two ways out each is told.
    [{ certificates: [well("a"), ill("b", "x", "h"), ill("c", "x", "i")] }, [
      ["b: x", "h"],
      ["c: x", "i"],
    ]],
    [{ certificates: [well("a"), ...many] }, [
      ["n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, and 2 more: expired", undefined],
    ]],
  ];
  for (const [report, lines] of cases) deepEqual(told(report), lines, JSON.stringify(report));
});
