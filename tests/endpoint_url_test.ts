// Endpoints as the operator names them.

import { deepEqual, equal, throws } from "node:assert/strict";
import {
  type Endpoint,
  formatEndpoint,
  parseEndpoint,
  protocols,
} from "../lib/values/endpoint_url.ts";
import { UsageFailure } from "../lib/failure.ts";

Deno.test("every protocol has its registered port and knows whether it begins in plain text", () => {
  const expected: Record<string, [port: number, starttls: string | null]> = {
    smtp: [25, "smtp"],
    submission: [587, "smtp"],
    smtps: [465, null],
    imap: [143, "imap"],
    imaps: [993, null],
    pop3: [110, "pop3"],
    pop3s: [995, null],
    sieve: [4190, "sieve"],
    https: [443, null],
  };
  const found = Object.entries(protocols).map((
    [name, { port, starttls }],
  ) => [name, [port, starttls]]);
  deepEqual(Object.fromEntries(found), expected);
});

Deno.test("an endpoint is a URL whose port may be left out", () => {
  const cases: [text: string, endpoint: Endpoint][] = [
    ["imaps://mail.example.org", { protocol: "imaps", host: "mail.example.org", port: 993 }],
    ["smtp://mail.example.org:2525", { protocol: "smtp", host: "mail.example.org", port: 2525 }],
    ["sieve://mail.example.org/", { protocol: "sieve", host: "mail.example.org", port: 4190 }],
    ["https://192.0.2.1:65535", { protocol: "https", host: "192.0.2.1", port: 65_535 }],
    ["pop3s://[2001:db8::1]", { protocol: "pop3s", host: "2001:db8::1", port: 995 }],
    ["imap://[::1]:1", { protocol: "imap", host: "::1", port: 1 }],
  ];
  for (const [text, endpoint] of cases) {
    deepEqual(parseEndpoint(text, "--endpoint"), endpoint, text);
  }
});

Deno.test("what is no endpoint is refused with a hint", () => {
  const cases: [text: string, words: RegExp][] = [
    ["mail.example.org", /is not an endpoint/],
    ["mail.example.org:993", /is not an endpoint/],
    ["imaps:mail.example.org", /is not an endpoint/],
    ["imaps://", /is not an endpoint/],
    ["imaps://:993", /is not an endpoint/],
    ["imaps://-connect", /is not an endpoint/],
    ["imaps://user@host", /is not an endpoint/],
    ["imaps://host/path", /is not an endpoint/],
    ["imaps://::1", /is not an endpoint/],
    ["imaps://host\n", /is not an endpoint/],
    ["imaps://ho st", /is not an endpoint/],
    ["imaps://höst", /is not an endpoint/],
    ["imaps://host:123456", /is not an endpoint/],
    ["imaps://host:-1", /is not an endpoint/],
    ["imaps://host:0", /is not a port: "0"/],
    ["imaps://host:65536", /is not a port: "65536"/],
    ["ftp://host", /has an unknown protocol/],
    ["constructor://host", /has an unknown protocol/],
    ["IMAPS://host", /is not an endpoint/],
  ];
  for (const [text, words] of cases) {
    throws(
      () => parseEndpoint(text, "--endpoint"),
      (error) =>
        error instanceof UsageFailure && words.test(error.message) && error.hint !== undefined &&
        error.message.startsWith("--endpoint "),
      text,
    );
  }
});

Deno.test("an endpoint is printed with its port, and an IPv6 address in brackets", () => {
  equal(
    formatEndpoint(parseEndpoint("imaps://mail.example.org", "it")),
    "imaps://mail.example.org:993",
  );
  equal(formatEndpoint(parseEndpoint("smtp://[::1]", "it")), "smtp://[::1]:25");
});
