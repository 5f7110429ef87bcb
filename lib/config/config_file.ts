// The config file: read whole, refused whole where it cannot be right.

import { dirname, resolve } from "node:path";
import { quote, UsageFailure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { FileProblem, readFileIfAny } from "../files/read_file.ts";
import { type Read, section } from "./reader.ts";
import { schema } from "./schema.ts";

export const STANDARD_FILE = "/etc/certsync/config.yaml";

export type ConfigFile = Read<typeof schema>;

/** A missing standard file is an empty one; a missing named file is an error. */
export async function readConfigFile(named: string | undefined): Promise<ConfigFile> {
  const path = named ?? STANDARD_FILE;
  const document = await readYaml(path);
  if (document === null && named !== undefined) {
    throw new UsageFailure(`the config file does not exist: ${quote(path)}`);
  }
  return readConfigDocument(document, path);
}

/** Who else could write what the config file says. */
export function configWarnings(named: string | undefined): string[] {
  const path = resolve(named ?? STANDARD_FILE);
  return [exposure(path), exposure(dirname(path))].filter((words) => words !== null);
}

async function readYaml(path: string): Promise<unknown> {
  let text: string;
  try {
    const file = readFileIfAny(path, { follow: true });
    if (file === null) return null;
    text = new TextDecoder("utf-8", { fatal: true }).decode(file.bytes);
  } catch (error) {
    if (error instanceof FileProblem) {
      throw new UsageFailure(`the config file ${error.detail}: ${quote(path)}`);
    }
    if (error instanceof TypeError) {
      throw new UsageFailure(`the config file is not UTF-8 text: ${quote(path)}`);
    }
    throw error;
  }
  const { parse } = await import("@std/yaml/parse"); // most runs have no config file to parse
  try {
    return parse(text, { schema: "failsafe" }) ?? {};
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    const isDeep = cause instanceof RangeError; // "Maximum call stack size exceeded"
    const [words] = isDeep ? ["it is nested too deep"] : cause.message.split("\n");
    throw new UsageFailure(`the config file is not YAML: ${quote(path)}: ${words}`, {
      hint: "mend that line: each is `key: value`, a list `[a, b]`, and spaces indent, not tabs",
      cause,
    });
  }
}

/** `value` is the YAML document, each scalar a text; `file` names it in messages. Pure. */
export function readConfigDocument(value: unknown, file: string): ConfigFile {
  return section(schema)(value ?? {}, { file, key: "" });
}
