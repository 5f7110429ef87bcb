/** Stands in for `@std/cli/parse-args` where JSR cannot be reached. */

type Name = string | undefined;
type Names<T extends Name> = T | ReadonlyArray<Extract<T, string>>;
type Aliases = Readonly<Record<string, string | ReadonlyArray<string>>>;
type Value = string | number | boolean;

export interface ParseOptions<
  B extends Name | boolean = Name | boolean,
  S extends Name = Name,
  C extends Name = Name,
  N extends Name = Name,
  D extends Record<string, unknown> | undefined = Record<string, unknown> | undefined,
  A extends Aliases | undefined = Aliases | undefined,
  DD extends boolean | undefined = boolean | undefined,
> {
  /** Whether what follows `--` is kept apart, under that name, and not in `_`. */
  "--"?: DD;
  alias?: A;
  boolean?: B | ReadonlyArray<Extract<B, string>>;
  default?: D;
  stopEarly?: boolean;
  string?: Names<S>;
  collect?: Names<C>;
  negatable?: Names<N>;
  /** Called for whatever no option names; if it returns false, that is left out. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

type Known<T> = Extract<T, string>;
type Literal<T> = string extends T ? never : Known<T>;
type AliasesOf<K, A> = K extends keyof A
  ? A[K] extends ReadonlyArray<infer E> ? Literal<E> : Literal<A[K]>
  : never;
type WithAliases<T, A> = { [K in keyof T as K | AliasesOf<K, A>]: T[K] };
type Negated<K, N> = K extends N ? false : never;
type Typed<B, S, C, N, D> =
  & { [K in Exclude<Known<S>, C | keyof D>]?: string | Negated<K, N> }
  & { [K in Extract<Known<S>, C>]: string[] | Negated<K, N> }
  & { [K in Exclude<Known<B>, C | keyof D>]: boolean }
  & { [K in Extract<Known<B>, C>]: boolean[] }
  & { [K in Exclude<Known<C>, Known<S> | Known<B>>]: unknown[] | Negated<K, N> }
  & {
    [K in Exclude<keyof D, C>]: K extends Known<S> ? string | D[K] | Negated<K, N>
      : K extends Known<B> ? boolean | D[K]
      : unknown;
  };
type Flat<T> = { [K in keyof T]: T[K] };
type Rest<DD> = true extends DD ? { "--": string[] } : unknown;

/** What was found, by name; positional arguments are in `_`. */
export type Args<T = Record<string, unknown>, DD = undefined> =
  & T
  & { [name: string]: unknown; _: Array<string | number> }
  & Rest<DD>;

export function parseArgs<
  const B extends Name | boolean = undefined,
  const S extends Name = undefined,
  const C extends Name = undefined,
  const N extends Name = undefined,
  D extends Record<string, unknown> | undefined = undefined,
  const A extends Aliases | undefined = undefined,
  DD extends boolean | undefined = undefined,
>(
  args: readonly string[],
  options: ParseOptions<B, S, C, N, D, A, DD> = {},
): Args<Flat<WithAliases<Typed<B, S, C, N, D>, A>>, DD> {
  // The types promise what `parse` finds out only at run time.
  return parse(args, options) as Args<Flat<WithAliases<Typed<B, S, C, N, D>, A>>, DD>;
}

type Found = { [name: string]: unknown; _: Array<string | number> };

function parse(args: readonly string[], options: ParseOptions): Found {
  const others = readAliases(options.alias);
  const named = (names: Names<Name> | boolean) => {
    const list = typeof names === "string" ? [names] : typeof names === "object" ? names : [];
    return new Set(list.filter(Boolean).flatMap((name) => [name, ...others(name)]));
  };
  const booleans = named(options.boolean ?? false);
  const strings = named(options.string);
  const collected = named(options.collect);
  const negatable = named(options.negatable);
  const allBoolean = options.boolean === true;
  const unknown = options.unknown ?? (() => true);

  const found: Found = { _: [] };

  const isKnown = (key: string, arg: string) =>
    booleans.has(key) || strings.has(key) || collected.has(key) || others(key).length > 0 ||
    (allBoolean && /^--[^=]+$/.test(arg));
  const takesNone = (key: string) =>
    booleans.has(key) || others(key).some((other) => booleans.has(other));
  const ofNothing = (key: string) => strings.has(key) ? "" : true;

  function set(key: string, value: Value, arg: string, adds = true): void {
    if (!isKnown(key, arg) && unknown(arg, key, value) === false) return;
    const typed = typeof value === "string" && !strings.has(key) ? numberIfOne(value) : value;
    for (const name of [key, ...others(key)]) put(found, name, typed, adds && collected.has(key));
  }

  /** Returns how many of the arguments after it were its value. */
  function readLong(arg: string, next: string | undefined): 0 | 1 {
    const [, no = "", name = "", value] = /^--(no-(?=.))?(.+?)(?:=(.*))?$/s.exec(arg) ?? [];
    if (value !== undefined) {
      set(name, booleans.has(name) ? value !== "false" : value, arg);
      return 0;
    }
    if (no && negatable.has(name)) {
      set(name, false, arg, false);
      return 0;
    }
    const key = no + name;
    if (next && !takesNone(key) && !allBoolean && !next.startsWith("-")) {
      set(key, next, arg);
      return 1;
    }
    if (next === "true" || next === "false") {
      set(key, next === "true", arg);
      return 1;
    }
    set(key, ofNothing(key), arg);
    return 0;
  }

  /** Letters in a row; the last one, or what makes the rest look like a value, may have one. */
  function readShort(arg: string, next: string | undefined): 0 | 1 {
    for (let i = 1; i < arg.length - 1; i++) {
      const letter = arg.charAt(i);
      const rest = arg.slice(i + 1);
      if (rest === "-") {
        set(letter, rest, arg);
        continue;
      }
      const value = rest === "=" ? "" : valueAfter(letter, rest);
      if (value !== undefined) {
        set(letter, value, arg);
        return 0;
      }
      set(letter, ofNothing(letter), arg);
    }
    const key = arg.slice(-1);
    if (key === "-") return 0;
    if (next && !/^--?[^-]/.test(next) && !takesNone(key)) {
      set(key, next, arg);
      return 1;
    }
    if (next === "true" || next === "false") {
      set(key, next === "true", arg);
      return 1;
    }
    set(key, ofNothing(key), arg);
    return 0;
  }

  const end = args.indexOf("--");
  const flags = end === -1 ? args : args.slice(0, end);
  const rest = end === -1 ? [] : args.slice(end + 1);

  for (let i = 0; i < flags.length; i++) {
    const arg = flags[i] ?? "";
    if (arg.startsWith("--")) {
      i += readLong(arg, flags[i + 1]);
    } else if (/^-./s.test(arg)) {
      i += readShort(arg, flags[i + 1]);
    } else {
      if (unknown(arg) !== false) found._.push(strings.has("_") ? arg : numberIfOne(arg));
      if (options.stopEarly) {
        found._.push(...flags.slice(i + 1));
        break;
      }
    }
  }

  for (const [key, value] of Object.entries(options.default ?? {})) {
    if (has(found, key)) continue;
    for (const name of [key, ...others(key)]) put(found, name, value, false);
  }
  for (const key of booleans) {
    if (!has(found, key)) put(found, key, collected.has(key) ? [] : false, false);
  }
  for (const key of strings) {
    if (!has(found, key) && collected.has(key)) put(found, key, [], false);
  }

  if (options["--"]) found["--"] = rest;
  else found._.push(...rest);
  return found;
}

function readAliases(aliases: Aliases = {}): (name: string) => string[] {
  const others = new Map<string, string[]>();
  for (const [key, value] of Object.entries(aliases)) {
    const group = [key, ...(typeof value === "string" ? [value] : value)];
    for (const name of group) others.set(name, group.filter((other) => other !== name));
  }
  return (name) => others.get(name) ?? [];
}

function valueAfter(letter: string, rest: string): string | undefined {
  if (/[A-Za-z]/.test(letter)) {
    const assigned = /=(.+)/.exec(rest)?.[1];
    if (assigned !== undefined) return assigned;
    if (/-?\d+(\.\d*)?(e-?\d+)?$/.test(rest)) return rest;
  }
  return rest.length > 1 && /^\W/.test(rest) ? rest : undefined;
}

function numberIfOne(text: string): string | number {
  return /\S/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** `a.b` names b within a. */
function put(found: Found, name: string, value: unknown, adds: boolean): void {
  const path = name.split(".");
  const last = path.pop() ?? "";
  let at: Record<string, unknown> = found;
  for (const key of path) {
    if (isUnsafe(at, key)) return;
    at = (at[key] ??= {}) as Record<string, unknown>;
  }
  if (isUnsafe(at, last)) return;
  const before = at[last];
  if (!adds) at[last] = value;
  else if (Array.isArray(before)) before.push(value);
  else at[last] = before ? [before, value] : [value];
}

function has(found: Found, name: string): boolean {
  let at: unknown = found;
  for (const key of name.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return false;
    at = (at as Record<string, unknown>)[key];
  }
  return true;
}

function isUnsafe(at: Record<string, unknown>, key: string): boolean {
  return key === "__proto__" || (key === "constructor" && typeof at[key] === "function");
}
