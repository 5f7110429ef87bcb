// Commands of a hint that are to be typed on this host, with the config file that this run was given: so
// they mean what it meant.

import { resolve } from "node:path";
import { mapTexts } from "../values/map_texts.ts";
import { shellWord } from "../values/shell_word.ts";

/** `commands` are those that are never meant for another host. */
export function withNamedFile<Value>(
  value: Value,
  file: string,
  commands: readonly string[],
): Value {
  const pattern = new RegExp(`\\bcertsync (${commands.join("|")})\\b(?! --config)`, "g");
  return mapTexts(
    value,
    (text) => text.replace(pattern, (call) => `${call} --config ${shellWord(resolve(file))}`),
  );
}
