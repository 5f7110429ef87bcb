// Writes what of the documents is made from the program itself, for make docs.

import { documents, withTranscript } from "./documents.ts";
import { record } from "./record.ts";

const top = new URL("../", import.meta.url);
const shown = await record();
for (const [name, text] of Object.entries(documents(shown))) {
  await Deno.writeTextFile(new URL(`docs/${name}`, top), text);
}
const readme = new URL("README.md", top);
await Deno.writeTextFile(readme, withTranscript(await Deno.readTextFile(readme), shown));
