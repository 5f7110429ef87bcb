// Where Nginx Proxy Manager and mailcow are on one machine, there is no other host to go to: what a
// report says of one is said of this one.

import type { ConfigFile } from "./config_file.ts";
import { STAGING } from "./standard.ts";

/** Whether push delivers where deploy on this machine takes it from. */
export function isOneMachine({ push = {}, deploy = {} }: ConfigFile): boolean {
  const staging = withoutSlash(deploy.staging ?? STAGING);
  return push.to?.some((target) =>
    target.kind === "local" && withoutSlash(target.directory) === staging
  ) ?? false;
}

function withoutSlash(path: string): string {
  return path.replace(/(.)\/+$/, "$1");
}

/** Pure. */
export function ofOneMachine<Value>(value: Value): Value;
export function ofOneMachine(value: unknown): unknown {
  if (typeof value === "string") {
    return value.replace(/\b(?:on|to|of) the (?:NPM|mail) host\b/g, "here")
      .replace(/^(?:NPM|mail) host$/, "this machine");
  }
  if (Array.isArray(value)) return value.map((item) => ofOneMachine<unknown>(item));
  if (typeof value !== "object" || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, ofOneMachine<unknown>(item)]),
  );
}
