// Control characters, of either half of Latin-1: no path or target that somebody types has one.

// deno-lint-ignore no-control-regex -- they are what this is for
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;

export function holdsControl(text: string): boolean {
  return CONTROL.test(text);
}
