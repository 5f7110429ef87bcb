// The config file: read whole, refused whole where it cannot be right.

import { dirname, resolve } from "node:path";
import { nearest } from "../cli/nearest.ts";
import { quote, UsageFailure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { FileProblem, readFileIfAny } from "../files/read_file.ts";
import { parseEndpoint, parsePort } from "../values/endpoint_url.ts";
import { parseFurtherName, parseHostName } from "../values/host_name.ts";
import { type Location, parseLocation } from "../values/location.ts";
import { parsePushTarget, type PushTarget } from "../values/push_target.ts";
import { parseResolver } from "../values/resolver.ts";
import { parseAge, parseDuration } from "../values/time.ts";

export const STANDARD_FILE = "/etc/certsync/config.yaml";

/** Where in the file a value stands: `push.port` in `/etc/certsync/config.yaml`. */
interface Place {
  readonly file: string;
  readonly key: string;
}

/** Turns a value into what it means, or throws a UsageFailure that names the place. */
type Reader<T> = (value: unknown, place: Place) => T;

type Read<Schema> = {
  readonly [Key in keyof Schema]?: Schema[Key] extends Reader<infer T> ? T : never;
};

/** Whose word a certificate chain is taken on. */
export type Trust = { readonly kind: "system" | "none" } | {
  readonly kind: "file";
  readonly path: string;
};

/** Which lineage push sends. */
export type Source = { readonly kind: "auto" } | {
  readonly kind: "lineage" | "directory";
  readonly name: string;
};

const schema = {
  domain: text(parseHostName),
  also: list(text(parseFurtherName)),
  resolver: text(parseResolver),
  push: section({
    live: list(text(parsePath)),
    source: text(parseSource),
    to: list(targetEntry),
    port: text(parsePort),
    identity: text(parsePath),
    known_hosts: text(parsePath),
    state: text(parsePath),
    trust: text(parseTrust),
    timeout: text(parseDuration),
  }),
  deploy: section({
    mailcow: text(parsePath),
    staging: text(parsePath),
    state: text(parsePath),
    trust: text(parseTrust),
    apply: text(parseApply),
    settle: text(parseDuration),
    restart_timeout: text(parseDuration),
    endpoints: list(text(parseEndpoint)),
    dane: text(parseDane),
  }),
  verify: section({
    source: text(parseFixedLocation),
    deployed: text(parseFixedLocation),
    endpoints: list(text(parseEndpoint)),
    trust: text(parseTrust),
    warn: text(parseAge),
    critical: text(parseAge),
    timeout: text(parseDuration),
  }),
};

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

function section<Schema extends Record<string, Reader<unknown>>>(
  schema: Schema,
): Reader<Read<Schema>> {
  return (value, place) => {
    if (value === null) return {}; // a key whose lines are all comments
    if (typeof value !== "object" || Array.isArray(value)) {
      throw new UsageFailure(
        `${describe(place)} must be a mapping, not ${kindOf(value)}`,
      );
    }
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => {
        const key = place.key === "" ? name : `${place.key}.${name}`;
        const reader = Object.hasOwn(schema, name) ? schema[name] : undefined;
        if (reader === undefined) throw unknownKey({ ...place, key }, Object.keys(schema));
        return [name, reader(item, { ...place, key })];
      }),
    ) as Read<Schema>; // each key was read by its own reader
  };
}

function unknownKey({ file, key }: Place, siblings: readonly string[]): UsageFailure {
  const name = key.slice(key.lastIndexOf(".") + 1);
  // Whatever else was given for a config file is not to be read in the journal.
  if (!/^[\w. -]{1,40}$/.test(name)) {
    return new UsageFailure(`a key that cannot be one in ${file}`, {
      hint: `the keys here are ${siblings.join(" ")}`,
    });
  }
  const suggestion = nearest(name, siblings);
  return new UsageFailure(`unknown key ${quote(key)} in ${file}`, {
    hint: suggestion === null
      ? `the keys here are ${siblings.join(" ")}`
      : `did you mean ${quote(key.slice(0, -name.length) + suggestion)}?`,
  });
}

function describe({ file, key }: Place): string {
  return key === "" ? file : `${key} in ${file}`;
}

function text<T>(parse: (text: string, what: string) => T): Reader<T> {
  return (value, place) => {
    if (typeof value === "string" && value !== "") return parse(value, describe(place));
    throw new UsageFailure(`${describe(place)} must be a text, not ${kindOf(value)}`, {
      hint: "give it one value, or take the key out",
    });
  };
}

/** A list, or one item alone. */
function list<T>(item: Reader<T>): Reader<readonly T[]> {
  return (value, place) => {
    if (!Array.isArray(value)) return [item(value, place)];
    if (value.length === 0) {
      throw new UsageFailure(`${describe(place)} is an empty list`, {
        hint: "name what belongs there, or take the key out",
      });
    }
    return value.map((entry) => item(entry, place));
  };
}

/** A target, and what differs there from the keys of the same names beside `push.to`. */
export interface TargetEntry extends PushTarget {
  readonly port?: number;
  readonly identity?: string;
  readonly known_hosts?: string;
}

function targetEntry(value: unknown, place: Place): TargetEntry {
  const target = text(parsePushTarget);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return target(value, place);
  }
  const { to, ...settings } = section({
    to: target,
    port: text(parsePort),
    identity: text(parsePath),
    known_hosts: text(parsePath),
  })(value, place);
  if (to !== undefined) return { ...to, ...settings };
  throw new UsageFailure(`${describe(place)} has an entry without its target`, {
    hint: "write {to: user@host:/dir/, port: 2222}",
  });
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (value === "") return "an empty text";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a mapping" : "a text";
}

export function parsePath(path: string, what: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this refuses
  if (/[\x00-\x1f\x7f]/.test(path)) {
    throw new UsageFailure(`${what} holds a control character: ${quote(path)}`);
  }
  if (path.startsWith("/")) return path;
  throw new UsageFailure(`${what} is not an absolute path: ${quote(path)}`, {
    hint: "write it from the root on, beginning with / (no ~)",
  });
}

/** A local one must not depend on where certsync was started. */
function parseFixedLocation(value: string, what: string): Location {
  const location = parseLocation(value, what);
  if (location.kind === "local") parsePath(location.path, what);
  return location;
}

/** `auto`, the name of a lineage such as `npm-5`, or a directory. */
export function parseSource(value: string, what: string): Source {
  if (value === "auto") return { kind: "auto" };
  if (/^npm-\d+(-\d+)?$/.test(value)) return { kind: "lineage", name: value };
  if (value.startsWith("/")) return { kind: "directory", name: parsePath(value, what) };
  throw new UsageFailure(`${what} is not a source: ${quote(value)}`, {
    hint: "write auto, a lineage's name such as npm-5, or a directory's path",
  });
}

function parseTrust(value: string, what: string): Trust {
  if (value === "system" || value === "none") return { kind: value };
  if (value.startsWith("/")) return { kind: "file", path: parsePath(value, what) };
  throw new UsageFailure(`${what} is not system, none or a CA file's path: ${quote(value)}`);
}

function parseApply(value: string, what: string): "reload" | "restart" {
  if (value === "reload" || value === "restart") return value;
  throw new UsageFailure(`${what} is not reload or restart: ${quote(value)}`);
}

function parseDane(value: string, what: string): "warn" | "off" {
  if (value === "warn" || value === "off") return value;
  throw new UsageFailure(`${what} is not warn or off: ${quote(value)}`);
}
