// What a config file that is kept should say for a setup, and does not: in lines as they would stand there.

import type { ConfigFile } from "../config/config_file.ts";

export type Setting = readonly [key: string, wanted: string, found: string | undefined];

/** Of each section what is wanted, and what the file has. */
export function missingLines(
  found: ConfigFile,
  { domain, also }: { readonly domain: string | null; readonly also: readonly string[] },
  sections: Readonly<Record<string, readonly Setting[]>>,
): string[] {
  return [
    ...(domain === null || domain === found.domain ? [] : [`domain: ${domain}`]),
    ...(also.length === (found.also ?? []).length ? [] : [alsoLine(also)]),
    ...Object.entries(sections).flatMap(([section, settings]) => {
      const lines = settings.filter(([, wanted, found]) => wanted !== found)
        .map(([key, wanted]) => `  ${key}: ${wanted}`);
      return lines.length === 0 ? [] : [`${section}:`, ...lines];
    }),
  ];
}

/** As the file has it. */
export function alsoLine(also: readonly string[]): string {
  return `also: [${also.join(", ")}]`;
}
