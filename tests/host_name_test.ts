import { equal, throws } from "node:assert/strict";
import { UsageFailure } from "../lib/failure.ts";
import { nameCovers, namesCover, parseHostName } from "../lib/values/host_name.ts";

Deno.test("a host name loses its case and its trailing dot", () => {
  for (
    const [text, name] of [
      ["mail.example.org", "mail.example.org"],
      ["MAIL.Example.ORG.", "mail.example.org"],
      ["xn--mller-kva.example", "xn--mller-kva.example"],
      ["_mta-sts.example.org", "_mta-sts.example.org"],
      ["localhost", "localhost"],
      ["192.0.2.1", "192.0.2.1"],
      [`${"a".repeat(63)}.example.org`, `${"a".repeat(63)}.example.org`],
    ] as const
  ) {
    equal(parseHostName(text, "x"), name);
  }
});

Deno.test("what is no host name is refused", () => {
  for (
    const text of [
      "",
      ".",
      ".example.org",
      "*.example.org",
      "mail.*.org",
      "mail..example.org",
      "mail.example.org..",
      "-mail.example.org",
      "mail-.example.org",
      "mail example.org",
      "mail.example.org\n",
      "mail.example.org\0",
      "müller.example",
      "mail.example.org/x",
      "user@example.org",
      "::1",
      `${"a".repeat(64)}.example.org`,
      Array(64).fill("abc").join("."),
    ]
  ) {
    throws(() => parseHostName(text, "x"), UsageFailure, JSON.stringify(text));
  }
  throws(() => parseHostName("müller.example", "x"), { hint: /xn--/ });
});

Deno.test("a certificate's name stands for itself, or as a wildcard for one whole left-most label", () => {
  const host = "mail.example.org";
  for (
    const [name, way] of [
      [host, "exact"],
      ["MAIL.EXAMPLE.ORG", "exact"],
      ["*.example.org", "wildcard"],
      ["*.EXAMPLE.org", "wildcard"],
      ["*.org", null],
      ["*", null],
      ["*.*.org", null],
      ["*.mail.example.org", null],
      ["m*.example.org", null],
      ["*l.example.org", null],
      ["mail.*.org", null],
      ["mail.example.*", null],
      [".example.org", null],
      ["example.org", null],
      ["mail.example.org.", null],
      ["mail.example.org\0.evil.example", null],
      ["mail.example.org, DNS:x", null],
      ["", null],
    ] as const
  ) {
    equal(nameCovers(name, host), way, JSON.stringify(name));
  }
  equal(nameCovers("*.", "localhost"), null);
  equal(nameCovers("*.localhost", "localhost"), null);
});

Deno.test("an exact name counts for more than a wildcard", () => {
  equal(namesCover(["*.example.org", "mail.example.org"], "mail.example.org"), "exact");
  equal(namesCover(["x.example.org", "*.example.org"], "mail.example.org"), "wildcard");
  equal(namesCover([], "mail.example.org"), null);
});
