// How a key of the config file may stand there, under its meaning.

import type { Key } from "./reader.ts";

const WIDTH = 100;

/** In lines. Pure. */
export function exampleOf(name: string, key: Key<unknown>, indent: string): string[] {
  return [...meaningOf(key, indent), `${indent}${name}: ${key.example}`];
}

/** The same as comments alone: what holds anyway. */
export function commentedExampleOf(name: string, key: Key<unknown>, indent: string): string[] {
  return [...meaningOf(key, indent), `${indent}# ${name}: ${key.example}`];
}

/** What it means, and what holds without it. */
export function meaningOf({ help, standard, otherwise }: Key<unknown>, indent: string): string[] {
  const absence = standard === undefined && otherwise !== undefined
    ? ` Default: ${otherwise}.`
    : "";
  const start = `${indent}#`;
  return `${help}${absence}`.split(" ").reduce<string[]>((lines, word) => {
    const last = lines.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= WIDTH) {
      return [...lines.slice(0, -1), `${last} ${word}`];
    }
    return [...lines, `${start} ${word}`];
  }, []);
}
