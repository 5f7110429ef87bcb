// What a report says went wrong, for the operator: its own fault, and those of single names.

import { firstFew } from "../failure.ts";

export interface Complaint {
  readonly message: string;
  readonly hint: string | undefined;
}

/** As reports have it; at the top is what is wrong with the first certificate, or with all. */
interface Report {
  readonly error?: string;
  readonly hint?: string;
  readonly certificates?: readonly {
    readonly name: string | null;
    readonly error?: string;
    readonly hint?: string;
  }[];
}

/** What is wrong with several names alike is told once. Pure. */
export function complaints({ error, hint, certificates = [] }: Report): Complaint[] {
  const groups = Map.groupBy(
    certificates.filter(({ error }) => error !== undefined),
    ({ error, hint }) => JSON.stringify([error, hint]),
  );
  const [common] = error === undefined ? [] : [{ message: error, hint }];
  if (common !== undefined && !groups.has(JSON.stringify([error, hint]))) return [common];
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first?.error === undefined) return [];
    const names = firstFew(group.flatMap(({ name }) => name ?? [])).join(", ");
    const whose = group.length === certificates.length ? "" : `${names}: `;
    return [{ message: `${whose}${first.error}`, hint: first.hint }];
  });
}
