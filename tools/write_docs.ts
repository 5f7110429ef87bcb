// Writes what of the documents is made from the program itself, for make docs.

import { documents, withTranscript } from "./documents.ts";
import { record } from "./record.ts";

const top = new URL("../", import.meta.url);
const scenes = await record();
for (const [name, text] of Object.entries(documents(scenes))) {
  await Deno.writeTextFile(new URL(`docs/${name}`, top), text);
}
for (
  const [name, shown] of [["README.md", scenes.one], ["docs/several-names.md", scenes.two]] as const
) {
  const file = new URL(name, top);
  await Deno.writeTextFile(file, withTranscript(await Deno.readTextFile(file), shown));
}
