// Whose turn it is, where several leaves were rolled back together and are tried one a run.

import type { Decided } from "./domain.ts";
import { directoriesLacking, type Situation } from "./facts.ts";
import type { NamePlan } from "./name_plan.ts";

/**
 * Which of the leaves that were rolled back together is tried in this run; null where none is left. What
 * is refused, or lies there already, would keep the turn for ever.
 */
export function turnOf(
  { plan, facts }: Decided,
  draft: readonly NamePlan[],
  { memory: { suspects } }: Situation,
): string | null {
  const own = plan !== null && facts !== null && directoriesLacking(facts).length > 0
    ? [facts.candidate]
    : [];
  const waiting = [
    ...own,
    ...draft.flatMap(({ serving, deed, refusal }) =>
      serving === null || deed === "none" || refusal !== null ? [] : [serving]
    ),
  ];
  return waiting.find(({ leaf }) => suspects.has(leaf.fingerprint))?.leaf.fingerprint ?? null;
}
