/** Stands in for `@std/yaml/parse` over js-yaml, which that one was ported from. */
// @ts-types="./js_yaml.d.ts"
import { FAILSAFE_SCHEMA, loadAll, Type, types, YAMLException } from "js-yaml";

export interface ParseOptions {
  allowDuplicateKeys?: boolean;
  onWarning?(error: Error): void;
}

/** Throws a SyntaxError whose message says at which line and column, both counted from 1. */
export function parse(content: string, options: ParseOptions = {}): unknown {
  const documents = load(content, options);
  if (documents.length > 1) {
    throw new SyntaxError(
      "Found more than 1 document in the stream: expected a single document",
    );
  }
  return documents[0] ?? null;
}

// @std/yaml reads numbers as YAML 1.1 does, js-yaml 4 as YAML 1.2: 010 is eight there, ten here.
const INTEGER =
  /^[-+]?(?:0|0b[01_]*[01]|0x[0-9a-fA-F_]*[0-9a-fA-F]|0[0-7_]*[0-7]|[1-9](?:[0-9_]*[0-9])?)$/;
const FLOAT =
  /^(?:[-+]?(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?|\.[0-9_]+(?:e[-+]?[0-9]+)?)(?<!_)$/i;
const NOT_FINITE = /^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/;

const int = new Type("tag:yaml.org,2002:int", {
  kind: "scalar",
  resolve: (text) => text !== null && INTEGER.test(text),
  construct: toInteger,
});

const float = new Type("tag:yaml.org,2002:float", {
  kind: "scalar",
  resolve: (text) => text !== null && (FLOAT.test(text) || NOT_FINITE.test(text)),
  construct: toFloat,
});

const schema = FAILSAFE_SCHEMA.extend({
  implicit: [types.timestamp, types.merge, types.null, types.bool, int, float],
  explicit: [types.binary, types.omap, types.pairs, types.set],
});

function toInteger(text: string): number {
  const [, sign, digits = ""] = /^([-+]?)(.*)$/.exec(text.replaceAll("_", "")) ?? [];
  const value = /^0[0-7]+$/.test(digits) ? parseInt(digits, 8) : Number(digits);
  return sign === "-" && value !== 0 ? -value : value;
}

function toFloat(text: string): number {
  const digits = text.replaceAll("_", "").toLowerCase();
  if (digits === ".nan") return NaN;
  return parseFloat(digits.replace(".inf", "Infinity"));
}

function load(content: string, options: ParseOptions): unknown[] {
  const { onWarning } = options;
  try {
    return loadAll(content, null, {
      schema,
      json: options.allowDuplicateKeys ?? false,
      ...(onWarning && { onWarning: (warning) => onWarning(toSyntaxError(warning, content)) }),
    });
  } catch (error) {
    throw error instanceof YAMLException ? toSyntaxError(error, content) : error;
  }
}

function toSyntaxError(error: YAMLException, content: string): SyntaxError {
  const { mark, reason } = error;
  if (!mark) return new SyntaxError(reason);
  const where = `${reason} at line ${mark.line + 1}, column ${mark.column + 1}`;
  const line = content.split(/\r\n?|\n/)[mark.line];
  return new SyntaxError(
    line ? `${where}:\n    ${line}\n    ${" ".repeat(mark.column)}^` : where,
    { cause: error },
  );
}
