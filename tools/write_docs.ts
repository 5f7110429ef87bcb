// Writes what of docs/ is made from the program itself, for make docs.

import { exampleConfig } from "./example_config.ts";

const docs = new URL("../docs/", import.meta.url);
await Deno.mkdir(docs, { recursive: true });
await Deno.writeTextFile(new URL("config.yaml", docs), `${exampleConfig().join("\n")}\n`);
