/** Stands in for `@std/cli/parse-args` where JSR cannot be reached: as much of it as is used. */

interface ParseOptions {
  /** Options with a value, each of them a list of those given. */
  string: readonly string[];
  collect: readonly string[];
  boolean: readonly string[];
  /** The one letter that stands for a boolean. */
  alias: Readonly<Record<string, string>>;
  /** Told of whatever no option names; a word that is none is told without a key. */
  unknown(arg: string, key?: string): void;
}

export function parseArgs(
  args: readonly string[],
  { string, boolean, alias, unknown }: ParseOptions,
): Record<string, unknown> & { _: string[] } {
  const switches = new Map(boolean.map((name) => [name, false]));
  const lists = new Map(
    string.filter((name) => name !== "_").map((name) => [name, [] as string[]]),
  );
  const words: string[] = [];
  const end = args.indexOf("--");
  const queue = end === -1 ? [...args] : args.slice(0, end);
  for (let arg = queue.shift(); arg !== undefined; arg = queue.shift()) {
    const [, name, value] = /^--(.[^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name !== undefined && lists.has(name)) {
      const isNext = queue[0] !== undefined && queue[0] !== "" && !queue[0].startsWith("-");
      lists.get(name)?.push(value ?? (isNext ? queue.shift() : undefined) ?? "");
    } else if (name !== undefined) {
      if (switches.has(name)) switches.set(name, true);
      else unknown(arg, name);
    } else if (/^-./s.test(arg)) {
      for (const letter of arg.slice(1)) {
        const long = boolean.find((name) => alias[name] === letter);
        if (long === undefined) unknown(arg, letter);
        else switches.set(long, true);
      }
    } else {
      unknown(arg);
      words.push(arg);
    }
  }
  const rest = end === -1 ? [] : args.slice(end + 1);
  return { ...Object.fromEntries([...switches, ...lists]), _: [...words, ...rest] };
}
