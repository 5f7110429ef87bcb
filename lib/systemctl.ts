// Whether the timers of the chain are active on this host, where systemd runs.

import * as fs from "node:fs";
import type { Host } from "./host.ts";
import { MissingProgram, run, TimedOut } from "./run.ts";
import { formatTime } from "./time.ts";

export interface Timer {
  readonly unit: string;
  readonly active: boolean;
  /** ISO 8601; null where it is not going to elapse. */
  readonly next: string | null;
}

/** Every `mailcow-cert-*.timer` that is installed. systemctl(1) */
export async function readTimers(host: Host): Promise<Timer[]> {
  if (!fs.existsSync("/run/systemd/system")) return []; // sd_booted(3)
  const list = await systemctl([
    "list-unit-files",
    "--no-legend",
    "--no-pager",
    "mailcow-cert-*.timer",
  ], host);
  const units = list.split("\n").flatMap((line) => /^(\S+\.timer)\s/.exec(line)?.[1] ?? []);
  if (units.length === 0) return [];
  const shown = await systemctl([
    "show",
    "--timestamp=unix",
    "--property=Id,ActiveState,NextElapseUSecRealtime",
    ...units,
  ], host);
  return shown.trim().split("\n\n").map((block) => {
    const property = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(block)?.[1] ?? "";
    const seconds = /^@(\d+)/.exec(property("NextElapseUSecRealtime"))?.[1];
    return {
      unit: property("Id"),
      active: property("ActiveState") === "active",
      next: seconds === undefined ? null : formatTime(new Date(Number(seconds) * 1_000)),
    };
  });
}

async function systemctl(args: readonly string[], host: Host): Promise<string> {
  try {
    return (await run("systemctl", args, { timeoutMs: 5_000 }, host)).stdout;
  } catch (error) {
    if (error instanceof TimedOut || error instanceof MissingProgram) return "";
    throw error;
  }
}
