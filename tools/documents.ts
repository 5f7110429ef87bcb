// What of the documents is made from the program itself: the example config, the pictures, and the
// transcript with which the README begins.

import { exampleConfig } from "./example_config.ts";
import { picture } from "./picture.ts";
import { type Scenes, transcript } from "./record.ts";
import type { Shown } from "./scene.ts";

/** File by file, below docs/. Pure. */
export function documents({ one: shown }: Scenes): Readonly<Record<string, string>> {
  const [stale, , well] = shown;
  if (stale === undefined || well === undefined) throw new Error("the scene has three commands");
  return {
    "config.yaml": `${exampleConfig().join("\n")}\n`,
    "verify-stale.svg": picture("certsync verify finds the stale leg", onTerminal(stale)),
    "verify-well.svg": picture("certsync verify: all match", onTerminal(well)),
  };
}

function onTerminal({ command, output }: Shown): string[] {
  return [`$ ${command}`, ...output.trimEnd().split("\n")];
}

/** The text with the transcript of these in the place of the one that it has. Pure. */
export function withTranscript(text: string, shown: readonly Shown[]): string {
  const lines = transcript(shown).map((line) => line === "" ? "" : `    ${line}`);
  return text.replace(
    /^ {4}\$ certsync verify\n(?: {4}.*\n|\n(?= {4}))+/m,
    () => `${lines.join("\n")}\n`,
  );
}
