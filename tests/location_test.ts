// Where a certificate lies: here, or on a host that ssh reaches.

import { deepEqual, equal, throws } from "node:assert/strict";
import { UsageFailure } from "../lib/failure.ts";
import { formatLocation, type Location, parseLocation } from "../lib/values/location.ts";

const local = (path: string): Location => ({ kind: "local", path });
const remote = (host: string, path: string): Location => ({ kind: "remote", host, path });

Deno.test("a location is local where a slash comes before any colon, else on another host", () => {
  const cases: [text: string, location: Location][] = [
    [
      "/etc/letsencrypt/live/npm-5/fullchain.pem",
      local("/etc/letsencrypt/live/npm-5/fullchain.pem"),
    ],
    ["/with:colon and space", local("/with:colon and space")],
    ["./host:/path", local("./host:/path")],
    ["../cert.pem", local("../cert.pem")],
    ["cert.pem", local("cert.pem")],
    ["npm-host:/live/npm-5/fullchain.pem", remote("npm-host", "/live/npm-5/fullchain.pem")],
    ["root@192.0.2.1:/c.pem", remote("root@192.0.2.1", "/c.pem")],
    ["[2001:db8::1]:/c.pem", remote("2001:db8::1", "/c.pem")],
    ["root@[::1]:/c.pem", remote("root@::1", "/c.pem")],
    ["h:/a-Z_0.9/@+-", remote("h", "/a-Z_0.9/@+-")],
  ];
  for (const [text, location] of cases) deepEqual(parseLocation(text, "--source"), location, text);
});

Deno.test("a location that could mean something to a shell or to ssh is refused", () => {
  const cases = [
    "host:relative.pem",
    "host:",
    ":/path",
    "host:/a b",
    "host:/$(id)",
    "host:/`id`",
    "host:/a;id",
    "host:/a|id",
    "host:/a&id",
    "host:/a>b",
    "host:/*",
    "host:/~root",
    "host:/a'b",
    'host:/a"b',
    "host:/a\\b",
    "host::module/path",
    "host:/ä",
    "-oProxyCommand=id:/path",
    "user@-oProxyCommand=id:/path",
    "user@-host:/path",
    "-file",
    "ho st:/path",
    "user@host@host:/path",
    "host:/a\nb",
    "/local\nname",
    "/local\x1b[2J",
    "ssh://host:22/path",
  ];
  for (const text of cases) {
    throws(
      () => parseLocation(text, "--source"),
      (error) =>
        error instanceof UsageFailure &&
        error.message === `--source is not a location: ${JSON.stringify(text)}` &&
        error.hint?.includes("host:/path"),
      text,
    );
  }
});

Deno.test("a location is printed as it was written, but for brackets", () => {
  equal(formatLocation(parseLocation("npm-host:/c.pem", "it")), "npm-host:/c.pem");
  equal(formatLocation(parseLocation("/c.pem", "it")), "/c.pem");
});
