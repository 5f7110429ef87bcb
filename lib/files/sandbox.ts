// Whether what a unit started is locked in, as its unit says: a machine may refuse that in silence.

import * as fs from "node:fs";
import { isMissing } from "./read_file.ts";
import { readStateOrNothing, writeState } from "./state.ts";

/** No service of ours may change it; to open it changes nothing. */
const SYSTEM_FILE = "/usr/lib/os-release";
const FILE = "sandbox";

/** Remembers it for who asks later, from outside. */
export function noteSandbox(state: string): void {
  if (isMissing(state)) return;
  const found = isLockedIn() ? "" : "none\n";
  if (readStateOrNothing(state, FILE) !== found) writeState(state, FILE, found);
}

function isLockedIn(): boolean {
  try {
    fs.closeSync(fs.openSync(SYSTEM_FILE, "r+"));
    return false;
  } catch (error) {
    if (error instanceof Error) return true; // a file system that is read-only anyway, too
    throw error;
  }
}

export function readSandbox(state: string): "none" | "unknown" {
  return readStateOrNothing(state, FILE).trim() === "none" ? "none" : "unknown";
}
