// What shows that a renewal was cut off in a lineage, or is under way there, and what ends that.

import { basename } from "node:path";
import { deliveredPaths } from "../certificate/pair.ts";
import { leftByCertbot, targetOf } from "../chain/lineage_file.ts";

/** Whether somebody put plain files there, and not certbot its links. */
export function isWritten(directory: string): boolean {
  return linksIn(directory).length === 0 && leftByCertbot(directory).length === 0;
}

function linksIn(directory: string): string[] {
  return Object.values(deliveredPaths(directory)).flatMap((path) => {
    const target = targetOf(path);
    return target === null ? [] : [`${basename(path)} leads to ${basename(target)}`];
  });
}

export function whatMayEndIt(directory: string): string {
  return `a renewal is under way there, or was cut off; where it stays so: ${
    whatEndsIt(directory)
  }`;
}

export function whatEndsIt(directory: string): string {
  const left = leftByCertbot(directory);
  const found = [
    ...linksIn(directory),
    ...(left.length === 0 ? [] : [`certbot left ${left.join(" ")}`]),
  ];
  return `${found.join(", ")}; renew ${basename(directory)} once more in Nginx Proxy Manager: ` +
    "certbot then clears it up";
}
