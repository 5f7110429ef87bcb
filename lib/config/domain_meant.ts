// Whose report it is, where what was asked for is at fault: so that it takes no other report's place.

import { valueIn } from "../cli/command_line.ts";
import { STANDARD_FILE } from "./config_file.ts";
import { Failure } from "../failure.ts";
import { textOrNothing } from "../files/read_file.ts";
import { parseHostName } from "../values/host_name.ts";

/**
 * The name that the command line or the config file gives, whatever else is wrong with them; as far as an
 * operand is one, with that.
 */
export function domainMeant(argv: readonly string[], operand?: string): string | null {
  return hostNameIn(valueIn(argv, "domain")) ?? hostNameIn(operand) ??
    hostNameIn(domainLine.exec(textOrNothing(valueIn(argv, "config") ?? STANDARD_FILE))?.[1]);
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
