// Where this host sees the certificates of a Nginx Proxy Manager, or NPMplus, that runs in a container.

import * as fs from "node:fs";
import { join } from "node:path";
import { type Mount, readMounts } from "./mounts.ts";
import type { RunContext } from "../run_context.ts";

/** As the images are called, and those that others made of them. */
const IMAGE = /nginx-proxy-manager|npmplus/i;

/** Where certbot keeps its own in the container: NPM's place, and NPMplus'. */
const LIVE = ["/etc/letsencrypt/live", "/data/tls/certbot/live"];
/** What was uploaded. */
const CUSTOM = ["/data/custom_ssl", "/data/tls/custom"];

/** Live directories as `push.live` is to have them; none where no such container is found. */
export async function findVolumes(context: RunContext): Promise<string[]> {
  for (const engine of ["docker", "podman"] as const) {
    const live = volumesIn(await readMounts(engine, context));
    if (live.length > 0) return live;
  }
  return [];
}

/** As the config file has it. */
export function liveList(live: readonly string[]): string {
  const texts = live.map((path) => /^[\w./-]+$/.test(path) ? path : JSON.stringify(path));
  return `[${texts.join(", ")}]`;
}

/** Those of the mounts that are there. */
export function volumesIn(mounts: readonly Mount[]): string[] {
  const ours = Map.groupBy(
    mounts.filter(({ image }) => IMAGE.test(image)),
    ({ container }) => container,
  );
  const found = Array.from(ours.values(), (mounts) => [
    ...LIVE.flatMap((path) => realDirectory(hostPath(mounts, path)).filter(isWhole)),
    ...CUSTOM.flatMap((path) => realDirectory(hostPath(mounts, path)).filter(holdsLineages)),
  ]);
  return [...new Set(found.flat())];
}

/** By the longest mount that the path lies in. Pure. */
export function hostPath(
  mounts: readonly Pick<Mount, "destination" | "source">[],
  path: string,
): string | null {
  const [mount] = mounts
    .filter(({ destination }) => `${path}/`.startsWith(`${destination.replace(/\/$/, "")}/`))
    .toSorted((a, b) => b.destination.length - a.destination.length);
  return mount === undefined ? null : join(mount.source, path.slice(mount.destination.length));
}

function realDirectory(path: string | null): string[] {
  try {
    if (path === null) return [];
    const real = fs.realpathSync(path);
    return fs.statSync(real).isDirectory() ? [real] : [];
  } catch (error) {
    if (error instanceof Error && "code" in error) return [];
    throw error;
  }
}

/** With live/ alone mounted, its links would lead out of what this host sees. */
function isWhole(live: string): boolean {
  return ["archive", "renewal"].every((name) => realDirectory(join(live, "..", name)).length > 0);
}

function holdsLineages(directory: string): boolean {
  try {
    return fs.readdirSync(directory).some((name) => /^npm-./.test(name));
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}
