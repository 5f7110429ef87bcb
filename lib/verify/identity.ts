// Whose report it is, where what was asked for is at fault: so that it takes no other report's place.

import { readFileSync } from "node:fs";
import { valueIn } from "../cli/command_line.ts";
import { STANDARD_FILE } from "../config/config_file.ts";
import { Failure } from "../failure.ts";
import { parseHostName } from "../values/host_name.ts";

/** The name that the command line or the config file gives, whatever else is wrong with them. */
export function domainMeant(argv: readonly string[]): string | null {
  const [, operand = ""] = argv;
  return hostNameIn(valueIn(argv, "domain")) ??
    hostNameIn(operand.startsWith("-") ? undefined : operand) ??
    hostNameIn(domainLine.exec(textOf(valueIn(argv, "config") ?? STANDARD_FILE))?.[1]);
}

/** At the top level, in YAML as in JSON. */
const domainLine = /^(?:\{\s*)?["']?domain["']?\s*:\s*["']?([^\s"',#}]+)/m;

function hostNameIn(text: string | undefined): string | null {
  try {
    return text === undefined ? null : parseHostName(text, "domain");
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // which is what the report is about
  }
}
