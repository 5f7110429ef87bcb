// Prints the man page of certsync, for make man.

import { manPage } from "./man_page.ts";
import { version } from "../lib/cli/version.ts";

console.log(manPage(version));
