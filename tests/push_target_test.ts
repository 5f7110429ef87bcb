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
    deepEqual(parsePushTarget(text, "x"), { kind: "ssh", text, host, login, directory });
  }
});

Deno.test("a target may be a directory of this host", () => {
  for (
    const [text, directory] of [
      ["/var/lib/mailcow-cert-incoming", "/var/lib/mailcow-cert-incoming"],
      ["/in/", "/in/"],
      ["/a b/u@mail:/in", "/a b/u@mail:/in"], // to rsync too, since a slash comes first
      ["//in/./x/../y/", "/in/y/"],
    ] as const
  ) {
    deepEqual(parsePushTarget(text, "x"), { kind: "local", text, directory });
  }
});

Deno.test("what rsync would take for something else is refused", () => {
  for (
    const [text, why] of [
      ["", /is not a target/],
      ["./a:b", /is not a target/],
      ["/", /is the root/],
      ["/./..//", /is the root/],
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
      ["ssh://u@mail:2222/in/", /is a URL/],
      ["sftp://u@mail/in/", /is a URL/],
      ["mail:2222:/in/", /holds a port/],
      ["u@mail:2222/in/", /holds a port/],
      ["u@[2001:db8::1]:2222:/in/", /holds a port/],
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

Deno.test("a port in the target is told where it belongs, and how the target is then written", () => {
  for (
    const [text, target, port] of [
      ["ssh://u@mail:2222/in/", "u@mail:/in/", 2222],
      ["scp://mail:2222/in/", "mail:/in/", 2222],
      ["u@mail:2222:/in/", "u@mail:/in/", 2222],
      ["u@[2001:db8::1]:2222:/in/", "u@[2001:db8::1]:/in/", 2222],
      ["sftp://u@mail/in/", "u@mail:/in/", null],
    ] as const
  ) {
    throws(() => parsePushTarget(text, "push.to"), (error) => {
      const hint = error instanceof UsageFailure ? error.hint ?? "" : "";
      parsePushTarget(target, "push.to"); // what is advised is taken
      return hint.startsWith(`write ${target}, `) &&
        hint.includes(port === null ? "push.port" : `(push.port: ${port})`);
    });
  }
});
