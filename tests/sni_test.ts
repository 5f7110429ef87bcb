// Which leaves are right for a service and a name: one model for each of mailcow's readers.

import { deepEqual } from "node:assert/strict";
import { ownDirectory, rightLeaves } from "../lib/chain/sni.ts";
import type { Certificate } from "../lib/certificate/certificate.ts";
import { type Service, serviceNames, type SniDirectory } from "../lib/chain/mailcow.ts";

const NAME = "mail.example.org";
const NOW = new Date("2026-06-01T00:00:00Z");
const [postfix, dovecot, nginx] = serviceNames as [Service, Service, Service];

function leaf(fingerprint: string, notAfter = "2026-08-01T00:00:00Z"): Certificate {
  return { fingerprint, notAfter: new Date(notAfter) } as Certificate; // all that is looked at
}
const [ours, theirs, more] = ["ours", "theirs", "more"].map((name) => leaf(name)) as [
  Certificate,
  Certificate,
  Certificate,
];
const past = leaf("past", "2026-05-31T00:00:00Z");

function directory(
  name: string,
  domainsText: string,
  leaf: Certificate | null = theirs,
): SniDirectory {
  const pair = leaf && { leaf } as SniDirectory["pair"];
  const domains = domainsText.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return { name, domainsText, domains, pair } as Partial<SniDirectory> as SniDirectory; // all that is looked at
}

function right(
  service: Service,
  name: string | null,
  sniDirectories: SniDirectory[],
  top: Certificate | null = ours,
): string[] {
  return rightLeaves({ service, name }, { top, sniDirectories, hostname: NAME }, NOW);
}

Deno.test("who reads a directory in which way", () => {
  const shop = "shop.example.net";
  const cases: [what: string, name: string, directory: SniDirectory, readers: Service[]][] = [
    ["mailcow's own", NAME, directory(NAME, `${NAME} autodiscover.example.org`), [
      postfix,
      dovecot,
    ]],
    ["whatever case", NAME, directory("x", "Mail.Example.ORG"), [postfix, dovecot]],
    ["the second line", NAME, directory("x", `a.example.org\n${NAME}`), [dovecot]],
    ["an empty first line", NAME, directory("x", `\n${NAME}`), [dovecot]],
    ["behind a tab", NAME, directory("x", `a.example.org\t${NAME}`), [dovecot]],
    ["a line that ends in CRLF", NAME, directory("x", `${NAME}\r\n`), [postfix, dovecot]],
    ["a trailing dot", NAME, directory("x", `${NAME}.`), []],
    ["a wildcard", NAME, directory("*.example.org", "*.example.org"), [dovecot]],
    ["a wildcard two labels up", NAME, directory("x", "*.org"), []],
    ["a hidden one", NAME, directory(".old", NAME), []],
    ["for somebody else", NAME, directory("x", shop), []],
    ["another name, its own", shop, directory("x", shop), [postfix, dovecot, nginx]],
    ["CRLF, another name", shop, directory("x", `${shop}\r\n`), [postfix, dovecot, nginx]],
    ["a wildcard two labels up, another name", shop, directory("x", "*.net"), [nginx]],
    ["another name by a wildcard", shop, directory("x", "*.example.net"), [dovecot, nginx]],
    ["beside the mail hostname", shop, directory("x", `${NAME} ${shop}`), [postfix, dovecot]],
    ["hidden, another name", shop, directory(".old", shop), [nginx]],
    ["nobody's", shop, directory("x", ""), []],
    ["without a pair", NAME, directory("x", NAME, null), []],
  ];
  for (const [what, name, one, readers] of cases) {
    for (const service of serviceNames) {
      const own = readers.includes(service) ? ["theirs"] : [];
      deepEqual(right(service, name, [one]), ["ours", ...own], `${service}: ${what}`);
    }
  }
});

Deno.test("a client without SNI gets the top-level leaf", () => {
  for (const service of serviceNames) {
    deepEqual(right(service, null, [directory("x", NAME)]), ["ours"]);
  }
});

Deno.test("of several directories each may answer, and a leaf counts once", () => {
  const several = [directory("a", NAME), directory("b", NAME, more), directory("c", NAME, ours)];
  deepEqual(right(dovecot, NAME, several), ["ours", "theirs", "more"]);
});

Deno.test("an expired leaf is never right, wherever it lies", () => {
  deepEqual(right(dovecot, NAME, [directory("x", NAME, past)]), ["ours"]);
  deepEqual(right(dovecot, NAME, [directory("x", NAME)], past), ["theirs"]);
  deepEqual(right(dovecot, null, [], past), []);
  deepEqual(right(postfix, null, [], null), []);
});

const SHOP = "shop.example.com";

Deno.test("a name's own directory is the one whose file holds it exactly, whatever it is called", () => {
  const [one, two] = [directory("x", `${SHOP} b.example.com`), directory(SHOP, "*.example.com")];
  deepEqual(ownDirectory(SHOP, [one, two]), { kind: "own", directory: one });
  deepEqual(ownDirectory(SHOP, [two]), { kind: "none" });
  deepEqual(ownDirectory(SHOP, []), { kind: "none" });
  const again = directory("y", `a.example.com ${SHOP}`);
  deepEqual(ownDirectory(SHOP, [one, again]), { kind: "several", directories: [one, again] });
  const hidden = directory(".x", SHOP);
  deepEqual(ownDirectory(SHOP, [hidden]), { kind: "hidden", directory: hidden });
});

Deno.test("a file that the services do not read alike is told with the line that it should be", () => {
  const alike = [SHOP, `${SHOP}\n`, `a.example.com  ${SHOP} \n\n`, SHOP.toUpperCase()];
  for (const text of alike) {
    const { kind } = ownDirectory(SHOP, [directory("x", text)]);
    deepEqual(kind, "own", JSON.stringify(text));
  }
  const odd: Record<string, string> = {
    [`${SHOP}\nb.example.com\n`]: `${SHOP} b.example.com`,
    [`${SHOP}\r\n`]: SHOP,
    [`${SHOP}.`]: SHOP,
    [`${SHOP}. ${SHOP}`]: SHOP,
    [`${SHOP}\tb.example.com`]: `${SHOP} b.example.com`,
    [`\n${SHOP}`]: SHOP,
  };
  for (const [text, line] of Object.entries(odd)) {
    const found = ownDirectory(SHOP, [directory("x", text)]);
    deepEqual([found.kind, "line" in found && found.line], ["unlike", line], JSON.stringify(text));
  }
});
