// Prints a man page of certsync, for make man: tools/print_man_page.ts certsync.1|certsync.yaml.5

import { version } from "../lib/cli/version.ts";
import { configManPage } from "./config_man_page.ts";
import { manPage } from "./man_page.ts";
import { releaseDate } from "./release_date.ts";

const pages = { "certsync.1": manPage, "certsync.yaml.5": configManPage };

const [name = ""] = Deno.args;
const page = Object.entries(pages).find(([page]) => page === name)?.[1];
if (page === undefined) throw new Error(`the pages are ${Object.keys(pages).join(", ")}`);
const changelog = await Deno.readTextFile(new URL("../CHANGELOG.md", import.meta.url));
console.log(page(version, releaseDate(changelog, Deno.env.get("SOURCE_DATE_EPOCH"))));
