// Which names a failed call of rsync is blamed on, by what rsync said of their places.

import { deepEqual, equal } from "node:assert/strict";
import { blame, type Place } from "../lib/programs/rsync_blame.ts";
import { plainView } from "../lib/programs/ssh_view.ts";

const view = plainView("certsync@mail.example.org");
const LOGIN = 'Authenticated to mail.example.org ([192.0.2.1]:22) using "publickey".\n';
const END = "rsync error: some files/attrs were not transferred (code 23) at main.c(1347)\n";
const places: Place[] = [null, "shop.example.net", "blog.example.com", "net"];
const DIR = "/home/certsync/incoming";

function blamed(lines: readonly string[], all = places, code: number | null = 23) {
  const stderr = LOGIN + lines.map((line) => `${line}\n`).join("") + END;
  const found = blame({ code, stderr }, all, view);
  return found && [...found.keys()];
}

Deno.test("a name is blamed where rsync names its directory or a file of its pair", () => {
  const cases: [line: string, place: Place | undefined][] = [
    [
      `rsync: [receiver] mkstemp "${DIR}/shop.example.net/.fullchain.pem.x1Y2z3" failed: Permission denied (13)`,
      "shop.example.net",
    ],
    [
      `rsync: [generator] recv_generator: failed to stat "${DIR}/shop.example.net/privkey.pem": Permission denied (13)`,
      "shop.example.net",
    ],
    [
      `rsync: [generator] recv_generator: mkdir "${DIR}/blog.example.com" failed: Permission denied (13)`,
      "blog.example.com",
    ],
    [
      `rsync: [generator] failed to set times on "${DIR}/blog.example.com": Operation not permitted (1)`,
      "blog.example.com",
    ],
    ["cannot delete non-empty directory: shop.example.net/privkey.pem", "shop.example.net"],
    ["could not make way for new regular file: shop.example.net/privkey.pem", "shop.example.net"],
    ["*** Skipping any contents from this failed directory ***", undefined],
    ["could not make way for new regular file: fullchain.pem", null],
    [`rsync: [receiver] mkstemp "${DIR}/.privkey.pem.x1Y2z3" failed: Permission denied (13)`, null],
    // In the way to the staging, and as a part of another name.
    [
      `rsync: [receiver] mkstemp "/srv/shop.example.net/in/.privkey.pem.x1Y2z3" failed: Permission denied (13)`,
      null,
    ],
    [
      `rsync: [receiver] mkstemp "/srv/shop.example.net/in/blog.example.com/.privkey.pem.x" failed: x`,
      "blog.example.com",
    ],
    [`rsync: chown "${DIR}/shop.example.net.old/x" failed: x`, undefined],
    ["a banner of somebody's", undefined],
  ];
  for (const [line, place] of cases) {
    deepEqual(blamed([line]), place === undefined ? null : [place], line);
  }
  const lines = cases.flatMap(([line, place]) => place === "shop.example.net" ? [line] : []);
  deepEqual(blamed([...lines, "could not make way for new regular file: fullchain.pem"]), [
    "shop.example.net",
    null,
  ]);
});

Deno.test("nobody is blamed where all are, where the end was another, or ssh was not let in", () => {
  const line = "could not make way for new regular file: net/privkey.pem";
  deepEqual(blamed([line]), ["net"]);
  equal(blamed([line], ["net"]), null);
  equal(blamed([line], places, 12), null);
  equal(blamed([line], places, null), null);
  equal(blame({ code: 23, stderr: `${line}\n${END}` }, places, view), null);
  deepEqual([...blame({ code: 23, stderr: `${line}\n${END}` }, places, null)?.keys() ?? []], [
    "net",
  ]);
});

Deno.test("each is told what was said of it, and what was said of all", () => {
  const found = blame(
    {
      code: 23,
      stderr: `${LOGIN}cannot delete non-empty directory: net/privkey.pem\n` +
        `cannot delete non-empty directory: shop.example.net/privkey.pem\n${END}`,
    },
    places,
    view,
  );
  equal(
    found?.get("net"),
    `${LOGIN.trimEnd()}\ncannot delete non-empty directory: net/privkey.pem\n${END}`,
  );
});
