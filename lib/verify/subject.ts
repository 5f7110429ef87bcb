// The names whose certificates a run looks at, each with a chain of legs of its own.

import { checkDistinct } from "../config/names.ts";
import type { VerifyConfig } from "../config/verify_config.ts";

export interface Subject {
  /** Null where nobody said which one is meant, and mailcow is not here to tell. */
  readonly name: string | null;
  /** Its pair lies in directories of its own, and not at the top. */
  readonly isFurther: boolean;
}

/** The domain first. Throws a UsageFailure where mailcow's own name is among the further ones. */
export function subjectsOf(
  domain: string | null,
  { also, only }: Pick<VerifyConfig, "also" | "only">,
): readonly Subject[] {
  if (only !== null) return [{ name: only, isFurther: true }];
  checkDistinct(domain ?? undefined, also);
  return [
    { name: domain, isFurther: false },
    ...also.map((name) => ({ name, isFurther: true })),
  ];
}

/** As the readers of the chain's places take it: null for what lies at the top. */
export function furtherName({ name, isFurther }: Subject): string | null {
  return isFurther ? name : null;
}
