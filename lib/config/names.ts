// The host names that a run is about: the domain, and the further names with certificates of their own.

import type { Flags } from "../cli/command_line.ts";
import { quote, UsageFailure } from "../failure.ts";
import { parseFurtherName, parseHostName } from "../values/host_name.ts";
import type { ConfigFile } from "./config_file.ts";

export function flagDomain(flags: Flags): string | undefined {
  const domain = flags.value("domain");
  return domain === undefined ? undefined : parseHostName(domain, "--domain");
}

/** Those of the config file, and what --also adds to them; the domain is none of them. */
export function furtherNames(
  { also = [] }: ConfigFile,
  flags: Flags,
  domain: string | undefined,
): readonly string[] {
  const added = flags.values("also") ?? [];
  const names = [...also, ...added.map((text) => parseFurtherName(text, "--also"))];
  checkDistinct(domain, names);
  return names;
}

/** Throws a UsageFailure where a name is there twice, or is the domain again. */
export function checkDistinct(domain: string | undefined, also: readonly string[]): void {
  const twice = also.find((name, index) => name === domain || also.indexOf(name) < index);
  if (twice === undefined) return;
  throw new UsageFailure(
    twice === domain
      ? `also names the domain itself: ${quote(twice)}`
      : `also names a host name twice: ${quote(twice)}`,
    { hint: "take it out of also in the config file, or out of --also" },
  );
}

/** Of which the domain is one: what --only names must be one of them. */
export function checkOnly(only: Only, domain: string, also: readonly string[]): void {
  const unknown = only === "all"
    ? undefined
    : only.find((name) => name !== domain && !also.includes(name));
  if (unknown === undefined) return;
  throw new UsageFailure(`--only names what is neither the domain nor in also: ${quote(unknown)}`, {
    hint: `the names are ${[domain, ...also].join(", ")}; or write --only all`,
  });
}

/** Which names --force and --rollback are about; none named means the domain alone. */
export type Only = "all" | readonly string[];

export function parseOnly(flags: Flags): Only {
  const texts = flags.values("only") ?? [];
  if (texts.length > 0 && !flags.has("force") && !flags.has("rollback")) {
    throw new UsageFailure("--only has no meaning without --force or --rollback", {
      hint: "deploy looks after every name anyway; give one of the two, or leave --only out",
    });
  }
  return texts.includes("all") ? "all" : texts.map((text) => parseHostName(text, "--only"));
}
