// What a run with --config tells to type on its own host names that file too.

import { deepEqual } from "node:assert/strict";
import { withNamedFile } from "../lib/config/named_file.ts";

Deno.test("commands of this host get the config file, those of another host and those that have it do not", () => {
  const words = {
    hint: "on the NPM host: certsync push --force; then here: certsync deploy --force --only a.b",
    certificates: [{ name: "a.b", hint: "see with: certsync status; certsync deploy", times: 2 }],
    warnings: ["certsync deploy --config '/x y'", "certsync deployed it", "certsync verify"],
    error: null,
  };
  deepEqual(withNamedFile(words, "/etc/my config.yaml", ["deploy", "status"]), {
    hint: "on the NPM host: certsync push --force; then here: " +
      "certsync deploy --config '/etc/my config.yaml' --force --only a.b",
    certificates: [{
      name: "a.b",
      hint: "see with: certsync status --config '/etc/my config.yaml'; " +
        "certsync deploy --config '/etc/my config.yaml'",
      times: 2,
    }],
    warnings: ["certsync deploy --config '/x y'", "certsync deployed it", "certsync verify"],
    error: null,
  });
});
