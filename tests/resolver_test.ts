// A DNS resolver as the operator names it.

import { deepEqual, match, throws } from "node:assert/strict";
import { UsageFailure } from "../lib/failure.ts";
import { parseResolver, type Resolver } from "../lib/values/resolver.ts";

Deno.test("a resolver is an address or a name, and its port may be left out", () => {
  const cases: [text: string, resolver: Resolver][] = [
    ["127.0.0.1:53", { host: "127.0.0.1", port: 53 }],
    ["127.0.0.1", { host: "127.0.0.1", port: 53 }],
    ["[::1]:5353", { host: "::1", port: 5353 }],
    ["[2001:db8::1]", { host: "2001:db8::1", port: 53 }],
    ["2001:db8::1", { host: "2001:db8::1", port: 53 }],
    ["DNS.example.org.:853", { host: "dns.example.org", port: 853 }],
    ["unbound", { host: "unbound", port: 53 }],
  ];
  for (const [text, resolver] of cases) deepEqual(parseResolver(text, "x"), resolver, text);
});

Deno.test("what dig would take for something else is no resolver", () => {
  const cases: [text: string, message: RegExp][] = [
    ["", /^x is not a resolver: ""$/],
    ["127.0.0.1:0", /is not a port/],
    ["127.0.0.1:65536", /is not a port/],
    ["127.0.0.1:", /is not a resolver/],
    ["127.0.0.1#53", /is not a resolver/],
    ["127.0.0.1 +cd", /is not a resolver/],
    ["@127.0.0.1", /is not a resolver/],
    ["127.1", /is not a resolver/],
    ["256.0.0.1", /is not a resolver/],
    ["53", /is not a resolver/],
    ["[::1", /is not a resolver/],
    ["[127.0.0.1]:53", /is not a resolver/],
    ["::1:53:x", /is not a resolver/],
    ["https://dns.example.org", /is not a resolver/],
    ["-x", /is not a host name/],
    ["a..b", /is not a host name/],
  ];
  for (const [text, message] of cases) {
    throws(() => parseResolver(text, "x"), (error) => {
      if (!(error instanceof UsageFailure)) throw error;
      match(error.message, message, text);
      return true;
    });
  }
});
