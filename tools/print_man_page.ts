// Prints the man page of certsync, for make man.

import { manPage } from "../lib/man_page.ts";
import { version } from "../lib/version.ts";

console.log(manPage(version));
