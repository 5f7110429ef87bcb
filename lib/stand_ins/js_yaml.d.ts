/** The part of js-yaml 4 that yaml.ts uses; the package carries no types of its own. */

export interface Mark {
  /** Counted from 0. */
  line: number;
  /** Counted from 0. */
  column: number;
}

export class YAMLException extends Error {
  reason: string;
  mark?: Mark;
}

export class Type {
  constructor(tag: string, options: {
    kind: "scalar";
    resolve(text: string | null): boolean;
    construct(text: string): unknown;
  });
}

export class Schema {
  extend(types: { implicit: Type[]; explicit: Type[] }): Schema;
}

export const FAILSAFE_SCHEMA: Schema;

export const types: Record<
  "binary" | "bool" | "merge" | "null" | "omap" | "pairs" | "set" | "timestamp",
  Type
>;

export function loadAll(
  text: string,
  iterator: null,
  options: { schema: Schema; json: boolean; onWarning?(warning: YAMLException): void },
): unknown[];
