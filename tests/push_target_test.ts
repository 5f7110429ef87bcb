import { deepEqual, throws } from "node:assert/strict";
import { UsageFailure } from "../lib/failure.ts";
import { parsePushTarget } from "../lib/values/push_target.ts";

Deno.test("a target is a directory on a host", () => {
  for (
    const [text, host, login, directory] of [
      [
        "certsync@mail.example.org:/home/certsync/incoming/",
        "mail.example.org",
        "certsync@mail.example.org",
        "/home/certsync/incoming/",
      ],
      ["mail:/in", "mail", "mail", "/in"],
      ["u@192.0.2.1:/in/", "192.0.2.1", "u@192.0.2.1", "/in/"],
      ["u@[2001:db8::1]:/in/", "2001:db8::1", "u@2001:db8::1", "/in/"],
      ["[fe80::1%eth0]:/in/", "fe80::1%eth0", "fe80::1%eth0", "/in/"],
      ["u@mail:/", "mail", "u@mail", "/"],
      ["u@mail:in/", "mail", "u@mail", "in/"],
      ["u@mail:/a b/c:d/", "mail", "u@mail", "/a b/c:d/"],
    ] as const
  ) {
    deepEqual(parsePushTarget(text, "x"), { text, host, login, directory });
  }
});

Deno.test("what rsync would take for something else is refused", () => {
  for (
    const [text, why] of [
      ["", /is not a target/],
      ["/home/certsync/incoming/", /is not a target/],
      ["./a:b", /is not a target/],
      ["mail.example.org", /is not a target/],
      ["u@mail:", /is not a target/],
      ["u@:/in/", /is not a target/],
      ["u@2001:db8::1:/in/", /IPv6 address without brackets/],
      ["u@[2001:db8::1:/in/", /is not a target/],
      ["u@a@mail:/in/", /is not a target/],
      ["u@mail host:/in/", /is not a target/],
      ["u;id@mail:/in/", /is not a target/],
      ["mail::module", /daemon/],
      ["u@mail::module/in/", /daemon/],
      ["[2001:db8::1]::module", /daemon/],
      ["rsync://mail/module", /daemon/],
      ["RSYNC://mail/module", /daemon/],
      ["-oProxyCommand=id:/in/", /hyphen/],
      ["u@-oProxyCommand:/in/", /hyphen/],
      ["u@mail:-in/", /hyphen/],
      ["u@mail:/in/\n", /control character/],
      ["u@mail:/in\0/", /control character/],
      ["u@mail:/in\x9b/", /control character/],
    ] as const
  ) {
    throws(
      () => parsePushTarget(text, "push.to"),
      (error) =>
        error instanceof UsageFailure && why.test(error.message) &&
        error.message.startsWith("push.to ") && error.hint !== undefined,
      JSON.stringify(text),
    );
  }
});
