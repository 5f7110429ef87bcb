/** Stands in for `@std/yaml/parse` over js-yaml, which that one was ported from: the failsafe schema. */
// @ts-types="./js_yaml.d.ts"
import { FAILSAFE_SCHEMA, load, YAMLException } from "js-yaml";

/** Every scalar is a text. Throws a SyntaxError that says at which line and column, from 1. */
export function parse(content: string, _options: { schema: "failsafe" }): unknown {
  try {
    return load(content, { schema: FAILSAFE_SCHEMA }) ?? null;
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const { reason, mark } = error;
    const where = mark ? ` at line ${mark.line + 1}, column ${mark.column + 1}` : "";
    throw new SyntaxError(reason + where, { cause: error });
  }
}
