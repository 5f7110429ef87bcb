// Whether a pair may be served for a name, and whether what it takes the place of would pass as well.

import { deliveredPaths, installedPaths, type Pair } from "../certificate/pair.ts";
import type { Installed } from "../chain/mailcow.ts";
import { mixedHint, stagedDirectory } from "../chain/staging.ts";
import { Unsuitable } from "../chain/unsuitable.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { isOlder } from "./plan.ts";
import { noWayBack, previousDirectory, previousOfName } from "./previous.ts";

interface Question {
  readonly name: string;
  /** The same; null for the domain, whose pairs lie at the top. */
  readonly further: string | null;
  readonly candidate: Pair;
  /** What lies there; null where that may give way to an older one anyway. */
  readonly deployed: Installed | null;
  readonly isReturning: boolean;
}

interface Judgement {
  readonly unfit: Failure | null;
  /** Only asked of one that is newer. */
  readonly deployedIsFit: boolean;
}

export async function judge(
  { name, further, candidate, deployed, isReturning }: Question,
  { staging, state, trust, dryRun }: DeployConfig,
  context: RunContext,
): Promise<Judgement> {
  // Loaded where there is work: reading it takes longer than finding that there is none.
  const { judgePair } = await import("../certificate/judgement.ts");
  const demands = {
    domain: name,
    trust,
    trustKey: "deploy.trust",
    mismatchHint: mixedHint(staging, further, context.now),
  } as const;
  const scratch = dryRun ? null : state;
  const kept = further === null ? previousDirectory(state) : previousOfName(state, further);
  const paths = isReturning
    ? installedPaths(kept)
    : deliveredPaths(stagedDirectory(staging, further));
  const found = await judgePair(candidate, paths, demands, scratch, context);
  if (found !== null) {
    const only = further === null ? "" : ` --only ${further}`;
    return {
      unfit: isReturning ? noWayBack(found, only) : new Unsuitable(found),
      deployedIsFit: false,
    };
  }
  if (deployed === null || deployed.pair === null || !isOlder(candidate, deployed)) {
    return { unfit: null, deployedIsFit: false };
  }
  const own = installedPaths(deployed.directory);
  const unfit = await judgePair(deployed.pair, own, demands, scratch, context);
  return { unfit: null, deployedIsFit: unfit === null };
}
