// Which leaves are rejected from now on, where a person forces one or goes back from one by hand.

import type { Pair } from "../certificate/pair.ts";
import type { Rejected } from "../chain/deploy_memory.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { DeployFacts } from "./facts.ts";
import { changeRejected } from "./memory.ts";
import type { Plan } from "./plan.ts";
import { readPreviousOfName } from "./previous.ts";
import { wishFor } from "./wish.ts";

/**
 * What is forced is tried whatever was said of it; what is gone back from is not taken again: for what was
 * kept, or for the top-level pair in its stead. Not where another name's pair stood in.
 */
export function clearForced(
  facts: DeployFacts,
  plan: Plan | null,
  config: DeployConfig,
): Rejected {
  const { memory, mailcow, further, domain, candidate, now } = facts;
  const isBack = (name: string, { leaf }: Pair) => {
    const kept = readPreviousOfName(config.state, name);
    return kept !== null &&
      [kept, candidate].some((pair) => pair.leaf.fingerprint === leaf.fingerprint);
  };
  const all: { wish: string; to: Pair; from: Pair | null }[] = [
    ...(plan === null ? [] : [{
      wish: wishFor(null, config, domain),
      to: candidate,
      from: plan.changesLeaf ? mailcow.deployed.pair : null,
    }]),
    ...further.flatMap(({ name, serving: to, former, refusal }) => {
      const wish = wishFor(name, config, domain);
      if (to === null || refusal !== null || (wish === "rollback" && !isBack(name, to))) {
        return [];
      }
      const isOther = to.leaf.fingerprint !== former?.leaf.fingerprint;
      return [{ wish, to, from: isOther ? former : null }];
    }),
  ];
  return all.filter(({ wish }) => wish !== "take").reduce(
    (rejected, { wish, to, from }) =>
      changeRejected(
        rejected,
        { add: wish === "rollback" ? from : null, remove: to },
        now,
        config.state,
      ),
    memory.rejected,
  );
}
