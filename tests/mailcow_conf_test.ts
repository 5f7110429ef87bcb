// mailcow.conf, as shells, docker compose and people leave it behind.

import { deepEqual, equal, throws } from "node:assert/strict";
import { formatEndpoint } from "../lib/values/endpoint_url.ts";
import { UsageFailure } from "../lib/failure.ts";
import { type MailcowConf, parseMailcowConf } from "../lib/chain/mailcow_conf.ts";

const parse = (...lines: string[]): MailcowConf => parseMailcowConf(lines.join("\n"), "conf");
const urls = (...lines: string[]) => parse(...lines).endpoints.map(formatEndpoint);
const url = (protocol: string, ...lines: string[]) =>
  urls(...lines).find((url) => url.startsWith(`${protocol}:`));

Deno.test("an empty mailcow.conf means mailcow's own defaults", () => {
  const conf = parse("");
  deepEqual([conf.hostname, conf.skipsLetsEncrypt, conf.composeVersion], [null, false, null]);
  deepEqual(conf.endpoints.map(formatEndpoint), [
    "smtp://127.0.0.1:25",
    "submission://127.0.0.1:587",
    "smtps://127.0.0.1:465",
    "imap://127.0.0.1:143",
    "imaps://127.0.0.1:993",
    "pop3://127.0.0.1:110",
    "pop3s://127.0.0.1:995",
    "sieve://127.0.0.1:4190",
    "https://127.0.0.1:443",
  ]);
});

Deno.test("a published port is PORT or IP:PORT, split at the last colon", () => {
  const cases: [line: string, expected: string][] = [
    ["IMAPS_PORT=1993", "imaps://127.0.0.1:1993"],
    ["IMAPS_PORT=", "imaps://127.0.0.1:993"],
    ["IMAPS_PORT=192.0.2.1:993", "imaps://192.0.2.1:993"],
    ["IMAPS_PORT=0.0.0.0:993", "imaps://127.0.0.1:993"],
    ["IMAPS_PORT=:::993", "imaps://[::1]:993"],
    ["IMAPS_PORT=[::]:993", "imaps://[::1]:993"],
    ["IMAPS_PORT=2001:db8::1:993", "imaps://[2001:db8::1]:993"],
    ["IMAPS_PORT=[2001:db8::1]:993", "imaps://[2001:db8::1]:993"],
    ["IMAPS_PORT=127.0.0.1:1", "imaps://127.0.0.1:1"],
    ["IMAPS_PORT=65535", "imaps://127.0.0.1:65535"],
  ];
  for (const [line, expected] of cases) equal(url("imaps", line), expected, line);
});

Deno.test("a bind address holds where the port has none", () => {
  equal(url("https", "HTTPS_PORT=8443", "HTTPS_BIND=192.0.2.1"), "https://192.0.2.1:8443");
  equal(url("https", "HTTPS_PORT=8443", "HTTPS_BIND="), "https://127.0.0.1:8443");
  equal(url("https", "HTTPS_BIND=0.0.0.0"), "https://127.0.0.1:443");
  equal(url("https", "HTTPS_BIND=::"), "https://[::1]:443");
  equal(url("https", "HTTPS_BIND=[2001:db8::1]"), "https://[2001:db8::1]:443");
  equal(url("smtp", "SMTP_BIND=192.0.2.1"), "smtp://192.0.2.1:25");
  equal(url("smtp", "SMTP_BIND=192.0.2.1", "SMTP_PORT=192.0.2.2:26"), "smtp://192.0.2.2:26");
});

Deno.test("each port setting is that of its protocol", () => {
  const settings = {
    ...{ SMTP: "smtp", SMTPS: "smtps", SUBMISSION: "submission", IMAP: "imap", IMAPS: "imaps" },
    ...{ POP: "pop3", POPS: "pop3s", SIEVE: "sieve", HTTPS: "https" },
  };
  for (const [setting, protocol] of Object.entries(settings)) {
    const changed = urls(`${setting}_PORT=1025`).filter((url) => url.endsWith(":1025"));
    deepEqual(changed, [`${protocol}://127.0.0.1:1025`]);
  }
});

Deno.test("a carriage return that ends no line is refused, with its line", () => {
  for (const text of ["A=1\nB=2\rSKIP_LETS_ENCRYPT=y\n", "A=1\r\nB=2\r\r\n"]) {
    throws(
      () => parse(text),
      /^UsageFailure: line 2 of conf has a carriage return that does not end it/,
    );
  }
});

Deno.test("values may be quoted, and comments follow them", () => {
  const cases: [line: string, hostname: string | null][] = [
    ["MAILCOW_HOSTNAME=mail.example.org", "mail.example.org"],
    ["MAILCOW_HOSTNAME=mail.example.org\r", "mail.example.org"],
    ["MAILCOW_HOSTNAME=mail.example.org   ", "mail.example.org"],
    ['MAILCOW_HOSTNAME="mail.example.org"', "mail.example.org"],
    ["MAILCOW_HOSTNAME='mail.example.org' # ours", "mail.example.org"],
    ["MAILCOW_HOSTNAME=mail.example.org # ours", "mail.example.org"],
    ["MAILCOW_HOSTNAME=mail.example.org\t#ours", "mail.example.org"],
    ["  export MAILCOW_HOSTNAME=mail.example.org", "mail.example.org"],
    ["MAILCOW_HOSTNAME=Mail.Example.ORG.", "mail.example.org"],
    ["MAILCOW_HOSTNAME=first.example.org\nMAILCOW_HOSTNAME=mail.example.org", "mail.example.org"],
    ["DBNAME=mailcow\r\nMAILCOW_HOSTNAME=mail.example.org\r\n", "mail.example.org"],
    ["\ufeffMAILCOW_HOSTNAME=mail.example.org", "mail.example.org"],
    ["\ufeffDBNAME=mailcow\nMAILCOW_HOSTNAME=mail.example.org", "mail.example.org"],
    ["#MAILCOW_HOSTNAME=mail.example.org", null],
    ["# MAILCOW_HOSTNAME=mail.example.org", null],
    ["MAILCOW_HOSTNAME=", null],
    ['MAILCOW_HOSTNAME=""', null],
    ["MAILCOW_HOSTNAME=# not yet", null],
    ["MAILCOW_HOSTNAME mail.example.org", null],
    ["XMAILCOW_HOSTNAME=mail.example.org", null],
  ];
  for (const [line, hostname] of cases) equal(parse(line).hostname, hostname, line);
});

Deno.test("y and yes in any case mean yes, and nothing else does", () => {
  for (const yes of ["y", "Y", "yes", "YES", "Yes", '"y"', "y # by hand"]) {
    equal(parse(`SKIP_LETS_ENCRYPT=${yes}`).skipsLetsEncrypt, true, yes);
  }
  for (const no of ["n", "no", "", "true", "1", "yy", "yes please", "#y"]) {
    equal(parse(`SKIP_LETS_ENCRYPT=${no}`).skipsLetsEncrypt, false, no);
  }
});

Deno.test("https is not asked behind the PROXY protocol", () => {
  equal(url("https", "NGINX_USE_PROXY_PROTOCOL=y"), undefined);
  equal(urls("NGINX_USE_PROXY_PROTOCOL=y").length, 8);
  equal(url("https", "NGINX_USE_PROXY_PROTOCOL=n"), "https://127.0.0.1:443");
});

Deno.test("docker-compose is called where the file says standalone", () => {
  equal(parse("DOCKER_COMPOSE_VERSION=standalone").composeVersion, "standalone");
  equal(parse("DOCKER_COMPOSE_VERSION=native").composeVersion, "native");
  equal(parse("DOCKER_COMPOSE_VERSION=").composeVersion, null);
});

Deno.test("a value ends where the line ends, and only blanks and tabs stand beside it", () => {
  equal(parse("SKIP_LETS_ENCRYPT=y \t# so").skipsLetsEncrypt, true);
  for (const odd of ["\u00a0", "\u2028", "\u2003", "\ufeff", "\v", "\f"]) {
    equal(parse(`SKIP_LETS_ENCRYPT=y${odd}`).skipsLetsEncrypt, false);
    equal(parse(`SKIP_LETS_ENCRYPT=y\nSKIP_LETS_ENCRYPT=n${odd}`).skipsLetsEncrypt, false);
    equal(parse(`SKIP_LETS_ENCRYPT=${odd}y`).skipsLetsEncrypt, false);
  }
});

Deno.test("a setting that cannot be right is refused by its name and file", () => {
  const cases: [line: string, words: RegExp][] = [
    ["IMAPS_PORT=imaps", /^IMAPS_PORT in conf is not a port: "imaps"$/],
    ["IMAPS_PORT=0", /^IMAPS_PORT in conf is not a port/],
    ["IMAPS_PORT=65536", /^IMAPS_PORT in conf is not a port/],
    ["IMAPS_PORT=0x3e1", /^IMAPS_PORT in conf is not a port/],
    ["IMAPS_PORT=1e3", /^IMAPS_PORT in conf is not a port/],
    ["IMAPS_PORT=example.org:993", /^IMAPS_PORT in conf has no IP address: "example\.org"$/],
    ["IMAPS_PORT=-help:993", /^IMAPS_PORT in conf has no IP address/],
    ["HTTPS_BIND=eth0", /^HTTPS_BIND in conf has no IP address: "eth0"$/],
  ];
  for (const [line, words] of cases) {
    throws(
      () => parse(line),
      (error) => error instanceof UsageFailure && words.test(error.message),
      line,
    );
  }
});

Deno.test("a host name that is none is an error of those alone who have no other", () => {
  for (const name of ["-foo", "*.example.org"]) {
    const { hostname, hostnameProblem } = parse(`MAILCOW_HOSTNAME=${name}`);
    equal(hostname, null);
    equal(hostnameProblem?.message, `MAILCOW_HOSTNAME in conf is not a host name: "${name}"`);
  }
});

Deno.test("what docker compose takes for a port is no error, and no endpoint where it chooses itself", () => {
  const cases: [lines: string, url: string | undefined][] = [
    ["IMAPS_PORT=993-994", undefined],
    ["IMAPS_PORT=127.0.0.1:993-994", undefined],
    ["IMAPS_PORT=127.0.0.1:", undefined],
    ["OTHER=1993\nIMAPS_PORT=${OTHER}", "imaps://127.0.0.1:1993"],
    ["OTHER=1993\nIMAPS_PORT=127.0.0.2:$OTHER", "imaps://127.0.0.2:1993"],
    ["IMAPS_PORT=${NOWHERE:-1993}", "imaps://127.0.0.1:1993"],
    ["IMAPS_PORT=${NOWHERE}", undefined],
  ];
  for (const [lines, expected] of cases) equal(url("imaps", lines), expected, lines);
});
