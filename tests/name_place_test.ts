// What stands where a further name's directory would be made, and whether one can be.

import { equal, match } from "node:assert/strict";
import type { Made } from "../lib/chain/deploy_memory.ts";
import { type Place, placeOf, refusePlace } from "../lib/chain/name_place.ts";
import { tempDir } from "./kit/temp_dir.ts";

Deno.test("a directory is made for a name only where nothing of somebody else's stands", async () => {
  await using dir = await tempDir();
  const put = (path: string, text: string) => Deno.writeTextFile(`${dir.path}/${path}`, text);
  const within = async (path: string, files: Record<string, string>) => {
    await Deno.mkdir(`${dir.path}/${path}`);
    for (const [file, text] of Object.entries(files)) await put(`${path}/${file}`, text);
  };
  await put("file", "");
  await Deno.symlink("/nonexistent", `${dir.path}/link`);
  await within("pair", { "cert.pem": "", "key.pem": "" });
  await within("wildcard", { domains: "*.example.com\n" });
  await within("nobodys", { domains: "\n" });
  await within("named", { domains: "Other named\n" });
  await within("keyed", { domains: "keyed\n", "key.pem": "" });
  const expected: [name: string, made: Made | null, place: Place, refusal: RegExp | null][] = [
    ["nothing", null, "free", null],
    ["nothing", "anew", "free", /went away again/],
    ["file", null, "foreign", /is not for "file"/],
    ["link", null, "foreign", /is not for "link"/],
    ["pair", null, "foreign", /is not for "pair"/],
    ["pair", "begun", "ours", null],
    ["wildcard", "made", "foreign", /is not for "wildcard"/],
    ["nobodys", "made", "foreign", /is not for "nobodys"/],
    ["named", null, "ours", null],
    [
      "keyed",
      null,
      "keyed",
      /key\.pem" lies there without a certificate, and certsync did not put/,
    ],
    ["keyed", "begun", "ours", null],
  ];
  for (const [name, made, place, refusal] of expected) {
    equal(placeOf(name, { sslDirectory: dir.path }, made !== null), place, name);
    const refused = refusePlace({ name, place, made, isForced: false }, dir.path);
    if (refusal === null) equal(refused, null, name);
    else match(refused?.message ?? "", refusal);
  }
});
