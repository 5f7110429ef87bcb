// Whether DANE can be looked at from this host: who would be asked, and whether that one validates.

import type { Mailcow } from "../chain/mailcow.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { explainUnasked, readTlsa } from "../programs/dig.ts";
import type { RunContext } from "../run_context.ts";
import { type Point, point } from "./point.ts";

/** The programs are optional, and what cannot be asked holds nothing back: never more than a note. */
export async function danePoint(
  { directory, conf }: Pick<Mailcow, "directory" | "conf">,
  { resolver }: Pick<DeployConfig, "resolver">,
  context: RunContext,
): Promise<Point> {
  const resolvers = { resolver, mailcow: { directory, version: conf.composeVersion ?? "native" } };
  const lookup = await readTlsa([], resolvers, context);
  if (lookup.kind === "asked") return point("dane", "ok", `${lookup.whom} is asked, and validates`);
  const { words, hint } = explainUnasked(lookup.tried, resolvers);
  return point("dane", "note", `nobody can be asked for TLSA records: ${words}`, hint);
}
