/** The part of js-yaml 4 that yaml.ts uses; the package carries no types of its own. */

export class YAMLException extends Error {
  reason: string;
  /** Counted from 0. */
  mark?: { line: number; column: number };
}

export const FAILSAFE_SCHEMA: unique symbol;

export function load(text: string, options: { schema: typeof FAILSAFE_SCHEMA }): unknown;
