// Which directories must be apart, whatever names lead to them.

import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { quote, UsageFailure } from "../failure.ts";

interface Place {
  /** How the operator names it. */
  readonly key: string;
  readonly path: string;
}

/**
 * What certsync remembers, keys too, must neither lie where mailcow serves nor where others write.
 * Throws a UsageFailure that names both keys.
 */
export function checkPlaces(
  { mailcow, staging, state }: Record<"mailcow" | "staging" | "state", string>,
): void {
  const own: Place = { key: "deploy.state", path: state };
  const ssl = { key: "the SSL directory of deploy.mailcow", path: `${mailcow}/data/assets/ssl` };
  const staged = { key: "deploy.staging", path: staging };
  if (isWithin(own, ssl)) throw tooClose(own, ssl);
  if (isWithin(own, staged) || isWithin(staged, own)) throw tooClose(own, staged);
}

function tooClose(own: Place, other: Place): UsageFailure {
  return new UsageFailure(
    `${own.key} ${quote(own.path)} and ${other.key} ${quote(other.path)} are not apart`,
    {
      hint:
        `set ${own.key} to a directory that is root's own, such as /var/lib/mailcow-cert-deploy`,
    },
  );
}

function isWithin(inner: Place, outer: Place): boolean {
  return `${realPath(inner.path)}/`.startsWith(`${realPath(outer.path)}/`.replace(/^\/\/$/, "/"));
}

/** As far as there is one. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}
