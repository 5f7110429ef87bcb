// Where Nginx Proxy Manager and mailcow are on one machine, there is no other host to go to: what a
// report says of one is said of this one.

import { mapTexts } from "../values/map_texts.ts";
import type { ConfigFile } from "./config_file.ts";
import { STAGING } from "./standard.ts";

/** Whether push delivers where deploy on this machine takes it from. */
export function isOneMachine({ push = {}, deploy = {} }: ConfigFile): boolean {
  const staging = withoutSlash(deploy.staging ?? STAGING);
  return push.to?.some((target) =>
    target.kind === "local" && withoutSlash(target.directory) === staging
  ) ?? false;
}

/** The same, and to nobody else: there is no other host that anything could be said of. */
export function hasNoOtherHost(file: ConfigFile): boolean {
  return isOneMachine(file) && (file.push?.to ?? []).every(({ kind }) => kind === "local");
}

function withoutSlash(path: string): string {
  return path.replace(/(.)\/+$/, "$1");
}

/** Pure. */
export function ofOneMachine<Value>(value: Value): Value {
  return mapTexts(
    value,
    (text) =>
      // One config file names for both.
      text.replace("name it in also on the NPM host too, and run there: ", "run here: ")
        .replace(/^(?:(.+ of )the )?(?:NPM|mail) host$/, "$1this machine")
        .replace(/\b(?:on|to|of) the (?:NPM|mail) host\b/g, "here"),
  );
}
