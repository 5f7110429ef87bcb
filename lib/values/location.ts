// Where a certificate file lies: here, or on another host that ssh reaches.

import { quote, UsageFailure } from "../failure.ts";
import { holdsControl } from "./control_characters.ts";

export type Location =
  | { readonly kind: "local"; readonly path: string }
  | { readonly kind: "remote"; readonly host: string; readonly path: string };

/** A text with a `/` before any `:`, or without a `:`, is local; otherwise it is `host:/path`. */
export function parseLocation(text: string, what: string): Location {
  const colon = text.indexOf(":");
  const slash = text.indexOf("/");
  if (holdsControl(text) || text.startsWith("-")) throw refusal(text, what);
  if (colon === -1 || (slash !== -1 && slash < colon)) return { kind: "local", path: text };

  const [, host, ipv6, path] =
    /^((?:[A-Za-z0-9._-]+@)?(?:[A-Za-z0-9._][A-Za-z0-9._-]*|\[([0-9A-Fa-f:.]+)\])):(.+)$/.exec(
      text,
    ) ?? [];
  // The other side hands the path to a shell, so it may hold nothing that means anything there.
  if (host === undefined || path === undefined || !/^\/[A-Za-z0-9._/@+-]*$/.test(path)) {
    throw refusal(text, what);
  }
  return { kind: "remote", host: ipv6 === undefined ? host : host.replace(/[[\]]/g, ""), path };
}

function refusal(text: string, what: string): UsageFailure {
  return new UsageFailure(`${what} is not a location: ${quote(text)}`, {
    hint: "write a local path, or host:/path with letters, digits and ._/@+- only",
  });
}

export function formatLocation(location: Location): string {
  if (location.kind === "local") return location.path;
  return `${location.host}:${location.path}`;
}
