// Which errors a file system gives at which call, and what must be said of them.

import { match, ok } from "node:assert/strict";
import type { Call, Struck } from "./strace.ts";

export interface Injection {
  call: Call;
  error: string;
}

/** Every call with each of the errors that it may give. */
export function injections(calls: readonly Call[]): Injection[] {
  return calls.flatMap((call) => errorsOf(call).map((error) => ({ call, error })));
}

function errorsOf({ name, changes }: Call): string[] {
  if (/^(open|creat)/.test(name)) {
    return changes ? ["ENOSPC", "EIO", "EACCES", "EROFS", "EMFILE"] : ["EIO", "EACCES", "EMFILE"];
  }
  if (/write|sync/.test(name)) return ["ENOSPC", "EIO"];
  if (/chmod|chown/.test(name)) return ["EIO", "EROFS"];
  if (/unlink|rmdir/.test(name)) return ["EIO", "EACCES", "EROFS"];
  return ["ENOSPC", "EIO", "EACCES", "EROFS"];
}

/** What, where, and no stack: the operator reads it. */
export function assertClear(
  { code, stdout, stderr, changes }: Struck,
  { call }: Injection,
): void {
  ok(!/bug in certsync|^ +at /m.test(stdout + stderr), `a stack: ${stderr}`);
  // What cannot be read may be unknown, and what failed before may be there already.
  if (!changes || / = -1 /.test(call.text)) return ok(code === 0 || code === 1);
  // What was done is done, whether or not that can be written down.
  const isUnwritten = /^WARNING: this run is not in the history: .*\/history/m.test(stderr);
  if (isUnwritten) return ok(code === 0 || code === 1, `exit ${code}: ${stderr}`);
  ok(code === 1, `exit ${code}: ${stderr}`);
  match(stderr, /^ERROR: .*"?\/.*/m);
  match(
    stderr,
    /no space left|input\/output error|permission denied|read-only|too many open|may not be read|cannot be read/i,
  );
}
