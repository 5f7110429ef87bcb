// Which directories must be apart, whatever names lead to them.

import { quote, UsageFailure } from "../failure.ts";
import { isPathWithin } from "../files/real_path.ts";

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
  return isPathWithin(inner.path, outer.path);
}
