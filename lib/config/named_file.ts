// Commands of a hint that are to be typed on this host, with the config file that this run was given: so
// they mean what it meant.

import { join, resolve } from "node:path";
import { isMissing } from "../files/read_file.ts";
import { mapTexts } from "../values/map_texts.ts";
import { shellWord } from "../values/shell_word.ts";
import type { ConfigFile } from "./config_file.ts";
import { isOneMachine } from "./one_machine.ts";
import { MAILCOW } from "./standard.ts";

/** In no report is any of these meant for another host. */
const ANYWHERE = ["status", "verify", "setup local", "setup monitor"];
const OF_PUSH = ["push", "find-npm-dir"];
const OF_DEPLOY = ["deploy"];

/**
 * The commands that a report of this one means for this very host: push and deploy tell of the other
 * side what it is to do, the others whatever this host's part is. `file` is null where it could not be
 * read.
 */
export function commandsHere(command: string, file: ConfigFile | null): string[] {
  const isAlone = file !== null && isOneMachine(file);
  const isBeside = !OF_PUSH.includes(command) && !OF_DEPLOY.includes(command);
  const pushesHere = isAlone || OF_PUSH.includes(command) ||
    (isBeside && file?.push !== undefined);
  const deploysHere = isAlone || OF_DEPLOY.includes(command) ||
    (isBeside && file !== null && (file.deploy !== undefined || hasMailcow(file)));
  return [
    ...ANYWHERE,
    ...(pushesHere ? OF_PUSH : []),
    ...(deploysHere ? OF_DEPLOY : []),
    // Which of the two this host is to become, nobody knows before it is set up.
    ...(command === "status" ? ["setup push", "setup deploy"] : []),
  ];
}

/** The same of what setup tells, which is for two hosts as well. */
export function setupsHere([role = ""]: readonly string[]): string[] {
  return /^\w+$/.test(role) ? ["setup local", `setup ${role}`] : [];
}

/** deploy needs no section of its own. */
function hasMailcow({ deploy = {} }: ConfigFile): boolean {
  return !isMissing(join(deploy.mailcow ?? MAILCOW, "mailcow.conf"));
}

/** What status says is so, and what happened, is nothing to type. */
const DESCRIPTIONS = ["words", "history"];

/** Pure, but for a relative path. */
export function withNamedFile<Value>(
  value: Value,
  file: string,
  commands: readonly string[],
): Value {
  if (commands.length === 0) return value;
  const pattern = new RegExp(
    `(?<![\\w./-])certsync (?:${commands.join("|")})(?![\\w-])(?! --config)`,
    "g",
  );
  return mapTexts(
    value,
    (text) => text.replace(pattern, (call) => `${call} --config ${shellWord(resolve(file))}`),
    DESCRIPTIONS,
  );
}
