// How a value of the config file is read, or refused with the place where it stands.

import { nearest } from "../cli/nearest.ts";
import { quote, UsageFailure } from "../failure.ts";

/** Where in the file a value stands: `push.port` in `/etc/certsync/config.yaml`. */
export interface Place {
  readonly file: string;
  readonly key: string;
}

/** Turns a value into what it means, or throws a UsageFailure that names the place. */
export type Reader<T> = (value: unknown, place: Place) => T;

/** A key with all that is known of it, for those who read the file and for those who write it. */
export interface Key<T> extends Described {
  readonly read: Reader<T>;
}

/** What the man page and the example say of a key. */
export interface Described {
  /** Sentences. */
  readonly help: string;
  /** What it holds, as a usage line has it. */
  readonly argument: string;
  /** A value as it stands in the example, of one line. */
  readonly example: string;
  /** What holds where the file has no such key, as it would stand there. */
  readonly standard?: string;
  /** The same where it is no one value: words. */
  readonly otherwise?: string;
}

export type Section = Readonly<Record<string, Key<unknown>>>;

export type Read<S> = {
  readonly [Name in keyof S]?: S[Name] extends Key<infer T> ? T : Read<S[Name]>;
};

/** The value of a key that the file does not have. */
export function standard<T>({ read, standard }: Key<T>): T {
  if (standard === undefined) throw new Error("a key without a standard value");
  return read(standard, { file: "", key: "" });
}

export function section<S extends Readonly<Record<string, Key<unknown> | Section>>>(
  schema: S,
): Reader<Read<S>> {
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
        const entry = Object.hasOwn(schema, name) ? schema[name] : undefined;
        if (entry === undefined) throw unknownKey({ ...place, key }, Object.keys(schema));
        const read = isKey(entry) ? entry.read : section(entry);
        return [name, read(item, { ...place, key })];
      }),
    ) as Read<S>; // each key was read by its own reader
  };
}

export function isKey(entry: Key<unknown> | Section): entry is Key<unknown> {
  return typeof entry.read === "function";
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

export function describe({ file, key }: Place): string {
  return key === "" ? file : `${key} in ${file}`;
}

export function text<T>(parse: (text: string, what: string) => T): Reader<T> {
  return (value, place) => {
    if (typeof value === "string" && value !== "") return parse(value, describe(place));
    throw new UsageFailure(`${describe(place)} must be a text, not ${kindOf(value)}`, {
      hint: "give it one value, or take the key out",
    });
  };
}

/** A list, or one item alone. */
export function list<T>(item: Reader<T>): Reader<readonly T[]> {
  const read = listOrNone(item);
  return (value, place) => {
    const items = read(value, place);
    if (items.length > 0) return items;
    throw new UsageFailure(`${describe(place)} is an empty list`, {
      hint: "name what belongs there, or take the key out",
    });
  };
}

/** The same where nothing at all may belong there. */
export function listOrNone<T>(item: Reader<T>): Reader<readonly T[]> {
  return (value, place) =>
    Array.isArray(value) ? value.map((entry) => item(entry, place)) : [item(value, place)];
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (value === "") return "an empty text";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a mapping" : "a text";
}
