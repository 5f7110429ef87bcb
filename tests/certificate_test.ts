// What a certificate says of itself, as read here and as openssl reads it.

import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import {
  type Certificate,
  isStagingIssuer,
  lifeLeft,
  parseChain,
  parseFirst,
  timeState,
} from "../lib/certificate/certificate.ts";
import { readTime } from "../lib/certificate/der.ts";
import { Failure } from "../lib/failure.ts";
import { scanPem } from "../lib/values/pem.ts";
import { tlsaRecord } from "../lib/certificate/certificate.ts";
import { type Algorithm, authority, type LeafOptions, tlsa } from "./kit/authority.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const encode = (text: string) => new TextEncoder().encode(text);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: [NAME] });

async function issue(options: Partial<LeafOptions>): Promise<Certificate> {
  const issued = await ca.issue({ names: [NAME], ...options });
  return parseChain(encode(issued.fullchainPem), "x")[0];
}

function x509(pem: string, ...args: string[]): Promise<string> {
  return run(need("openssl"), ["x509", "-noout", ...args], { stdin: pem });
}

for (
  const algorithm of ["rsa", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519"] as Algorithm[]
) {
  Deno.test(`a certificate with an ${algorithm} key reads as openssl reads it`, async () => {
    const issued = await ca.issue({ names: [NAME, "*.example.net"], algorithm });
    const chain = parseChain(encode(issued.fullchainPem), "x");
    equal(chain.length, 2);
    const [read] = chain;
    deepEqual(read.names, [NAME, "*.example.net"]);
    deepEqual([read.notBefore, read.notAfter], [issued.notBefore, issued.notAfter]);
    match(
      await x509(issued.certPem, "-fingerprint", "-sha256"),
      new RegExp(`=${read.fingerprint}$`, "m"),
    );
    const spki = btoa(String.fromCharCode(...read.publicKey));
    equal((await x509(issued.certPem, "-pubkey")).replaceAll(/-----.*-----|\s/g, ""), spki);
    equal(tlsaRecord(read), await tlsa(issued));
  });
}

Deno.test("subject and issuer are written as openssl's RFC 2253 has them", async () => {
  const subjects = [
    "/CN=mail.example.org",
    "/C=DE/ST=Bayern/L=Nürnberg/O=Müller & Söhne/OU=IT/CN=mail.example.org",
    "/O=Comma\\, Inc./CN=a+b=c",
    '/O=Quote " and <angle>; done/CN=x',
    "/O= leading and trailing /CN=#hash",
    "/O=back\\\\slash/CN=x",
    "/DC=org/DC=example/UID=me/CN=x",
    "/O=Ключ 🔑/CN=x",
    "/emailAddress=me@example.org/CN=x",
    "/serialNumber=1/title=t/street=s/SN=n/CN=x",
    "/O=(STAGING) Let's Encrypt/CN=(STAGING) Wannabe Watercress R11",
    "",
  ];
  await Promise.all(subjects.map(async (subject) => {
    const issued = await ca.issue({ names: [NAME], subject });
    const [read] = parseChain(encode(issued.certPem), "x");
    const words = await x509(issued.certPem, "-subject", "-issuer", "-nameopt", "RFC2253");
    equal(`subject=${read.subject}\nissuer=${read.issuer}\n`, words);
  }));
});

/** What `openssl req` writes only when told so in a configuration file. */
async function selfSigned(configuration: string[]): Promise<string> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/cnf`, configuration.join("\n"));
  return await run(need("openssl"), [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"],
    ...["-keyout", "/dev/null", "-config", `${dir.path}/cnf`, "-days", "9"],
  ]);
}

Deno.test("names of other string types and of several values are written as openssl has them", async () => {
  const request = ["[req]", "distinguished_name=dn", "prompt=no"];
  const pems = await Promise.all([
    selfSigned([...request, "string_mask=default", "utf8=yes", "[dn]", "O=Müller", "CN=x"]),
    selfSigned([...request, "string_mask=MASK:0x800", "utf8=yes", "[dn]", "O=Müller €", "CN=x"]),
    selfSigned([...request, "[dn]", "O=a", "+OU=b", "CN=x", "+UID=y"]),
  ]);
  for (const pem of pems) {
    const words = await x509(pem, "-subject", "-nameopt", "RFC2253");
    equal(`subject=${parseFirst(encode(pem), "x").subject}\n`, words);
  }
});

Deno.test("the names are the DNS names, or the CN where there are none", async () => {
  const cases: [Partial<LeafOptions>, string[]][] = [
    [{ subject: "/CN=other.example.org" }, [NAME]],
    [{ san: [] }, [NAME]],
    [{ san: ["192.0.2.1", "2001:db8::1"] }, [NAME]],
    [{ san: ["192.0.2.1", "www.example.org"] }, ["www.example.org"]],
    [{ subject: "" }, [NAME]],
    [{ subject: "/O=no name", san: [] }, []],
    [{ subject: "/CN=one/CN=two", san: [] }, ["one", "two"]],
  ];
  for (const [options, names] of cases) {
    deepEqual((await issue(options)).names, names, JSON.stringify(options));
  }
});

Deno.test("a hostile name stays one name", async () => {
  const request = [
    ...["[req]", "distinguished_name=dn", "prompt=no", "x509_extensions=ext"],
    ...["[dn]", "CN=x", "[ext]"],
  ];
  const ia5 = (name: string) =>
    encode(name).length.toString(16).padStart(2, "0") + encode(name).toHex();
  for (
    const name of [
      "evil.example, DNS:mail.example.org",
      "mail.example.org\0.evil.example",
      "mail.example.org\n",
      'a", DNS:"mail.example.org',
    ]
  ) {
    const dns = `82${ia5(name)}`;
    const sequence = `30${(dns.length / 2).toString(16).padStart(2, "0")}${dns}`;
    const pem = await selfSigned([...request, `subjectAltName=DER:${sequence}`]);
    deepEqual(parseFirst(encode(pem), "x").names, [name]);
  }
});

Deno.test("a chain file holds certificates and nothing else", () => {
  const { certPem, fullchainPem, keyPem } = leaf;
  for (
    const text of [certPem, fullchainPem, fullchainPem.replaceAll("\n", "\r\n"), `\n${certPem}\n`]
  ) {
    equal(parseChain(encode(text), "x")[0].fingerprint, leaf.fingerprint);
  }
  const der = Uint8Array.fromBase64(certPem.replaceAll(/-----.*-----|\s/g, ""));
  const pemOf = (bytes: Uint8Array) =>
    `-----BEGIN CERTIFICATE-----\n${bytes.toBase64()}\n-----END CERTIFICATE-----\n`;
  equal(parseChain(encode(pemOf(der)), "x")[0].fingerprint, leaf.fingerprint);
  const broken: Record<string, [string | Uint8Array<ArrayBuffer>, RegExp]> = {
    "nothing": ["", /^not a certificate: x/],
    "text": ["hello\n", /^not a certificate: x/],
    "DER": [der, /^not a certificate: x is not PEM text/],
    "NULs": [new Uint8Array(9), /^not a certificate: x is not PEM text/],
    "a key": [keyPem, /^a private key is in the chain file: x/],
    "a key behind": [fullchainPem + keyPem, /^a private key is in the chain file: x/],
    "a key before": [keyPem + fullchainPem, /^a private key is in the chain file: x/],
    "a key of another kind": [
      certPem + keyPem.replaceAll("PRIVATE KEY", "EC PRIVATE KEY"),
      /^a private key is in the chain file: x/,
    ],
    "a key without its end": [
      certPem + keyPem.replace(/-----END.*\n/, ""),
      /^not a certificate that every program reads alike: x holds a block without its end/,
    ],
    "parameters": [
      `${certPem}-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n`,
      /^anything but certificates in the chain file: x holds another kind of block/,
    ],
    "text before": [`subject=x\n${certPem}`, /^anything but certificates in the chain file: x/],
    "text behind": [`${certPem}x`, /^anything but certificates in the chain file: x/],
    "no end": [certPem.replace(/-----END.*\n/, ""), /^not a certificate: x/],
    "another end": [certPem.replace("END CERTIFICATE", "END X509 CRL"), /^not a certificate: x/],
    "base64 that is none": [
      certPem.replace(/\n.{9}/, "\n!!!!!!!!!"),
      /^not a certificate that every program reads alike: x holds base64 that is none/,
    ],
    "a DER cut off": [pemOf(der.subarray(0, -9)), /^not a certificate: x/],
    "a DER with something behind": [pemOf(Uint8Array.of(...der, 0, 0)), /^not a certificate: x/],
    "a DER with a length in more bytes than it takes": [
      pemOf(Uint8Array.of(0x30, 0x83, 0, ...der.subarray(2))),
      /^not a certificate: x/,
    ],
    "a lone CR": [
      certPem.replaceAll("\n", "\r") + "\n" + certPem,
      /^not a certificate that every program reads alike: x has a carriage return/,
    ],
    "a BOM": [`\ufeff${certPem}`, /^not a certificate: x begins with a byte order mark/],
    "X509 CERTIFICATE": [
      certPem.replaceAll("CERTIFICATE", "X509 CERTIFICATE"),
      /^anything but certificates in the chain file: x holds another kind of block/,
    ],
    "an intermediate that is none": [
      certPem + pemOf(Uint8Array.of(48, 0)),
      /^not a certificate: x/,
    ],
    "a chain without end": [certPem.repeat(33), /^not a certificate chain: x holds 33/],
  };
  for (const [what, [content, message]] of Object.entries(broken)) {
    const bytes = typeof content === "string" ? encode(content) : content;
    throws(
      () => parseChain(bytes, "x"),
      (error) => error instanceof Failure && message.test(error.message),
      what,
    );
  }
});

Deno.test("the first certificate is found in whatever is around it", () => {
  const text = `depth=0\n${leaf.keyPem}---\n${leaf.fullchainPem}---\n`;
  equal(parseFirst(encode(text), "x").fingerprint, leaf.fingerprint);
  throws(() => parseFirst(encode("nothing"), "x"), Failure);
});

Deno.test("PEM is found block by block, with what not everybody would read alike", () => {
  const scan = (text: string) => {
    const { blocks, doubt } = scanPem(encode(text));
    return [blocks.map(({ label }) => label), doubt];
  };
  const block = (label: string, inner = "AAAA") =>
    `-----BEGIN ${label}-----\n${inner}\n-----END ${label}-----`;
  const cases: [text: string, labels: string[], doubt: RegExp | null][] = [
    ["", [], null],
    [" \t\r\n", [], null],
    [block("A"), ["A"], null],
    [`\n\n${block("A")}\n\r\n${block("B")}  \n`, ["A", "B"], null],
    [block("A").replaceAll("\n", "\r\n"), ["A"], null],
    [block("A", "AAAA\nAA\nAAAAAA"), ["A"], null],
    [block("A", "A".repeat(4 * 254)), ["A"], null],
    [`${block("A")}\rtext\r${block("B")}`, [], /carriage return/],
    [block("A").replaceAll("\n", "\r"), [], /carriage return/],
    [`${block("A").replaceAll("\n", "\r")}\n${block("B")}`, ["B"], /carriage return/],
    [block("A", "AAAA\n\nAAAA"), ["A"], /blank line in a block/],
    [block("A", "\nAAAA"), ["A"], /blank line in a block/],
    [block("A", "x: y\n\nAAAA"), ["A"], /headers/],
    [block("A", "AAA"), ["A"], /base64/],
    [block("A", "AAB="), ["A"], /base64/],
    [block("A", "AA==\nAAAA"), ["A"], /base64/],
    [block("A", "AA AA"), ["A"], /base64/],
    [block("A", " AAAA"), ["A"], /base64/],
    [block("A", "AA-_"), ["A"], /base64/],
    [`\ufeff${block("A")}`, [], /byte order mark/],
    [`${block("A")}\0`, ["A"], /not PEM text/],
    ["é", [], /not PEM text/],
    ["-----END A-----", [], /other text/],
    [`-----BEGIN\n${block("A")}`, ["A"], /other text/],
    [`subject=x\n${block("A")}`, ["A"], /other text/],
    [` ${block("A")}`, [], /other text/],
    [`-----BEGIN A-----\n${block("B")}`, [], /without its end/],
    [block("A").replace("END A", "END B"), [], /without its end/],
    [`${block("A")}\n-----BEGIN A-----\nAAAA`, ["A"], /without its end/],
    [block("A").replace("-----\nAAAA", "-----AAAA"), [], /other text/],
  ];
  for (const [text, labels, doubt] of cases) {
    const [found, why] = scan(text);
    deepEqual(found, labels, JSON.stringify(text));
    if (doubt === null) equal(why, null, JSON.stringify(text));
    else match(String(why), doubt, JSON.stringify(text));
  }
});

Deno.test("a year is read as everybody reads it, or refused", () => {
  const time = (tag: number, text: string) =>
    readTime({ tag, content: encode(text), encoded: new Uint8Array() }).toISOString();
  const known: [tag: number, text: string, iso: string][] = [
    [0x17, "491231235959Z", "2049-12-31T23:59:59.000Z"],
    [0x17, "500101000000Z", "1950-01-01T00:00:00.000Z"],
    [0x18, "20500101000000Z", "2050-01-01T00:00:00.000Z"],
    [0x18, "99991231235959Z", "9999-12-31T23:59:59.000Z"],
    [0x17, "240229000000Z", "2024-02-29T00:00:00.000Z"],
  ];
  for (const [tag, text, iso] of known) equal(time(tag, text), iso);
  const strange: [tag: number, text: string][] = [
    [0x18, "00300101000000Z"], // 2030 to some
    [0x18, "19490101000000Z"],
    [0x18, "20300101000000.5Z"],
    [0x18, "20300101000000+0100"],
    [0x18, "2030010100Z"],
    [0x18, "300101000000Z"],
    [0x17, "20300101000000Z"],
    [0x17, "3001010000Z"],
    [0x17, "300101000000+0000"],
    [0x17, "300230000000Z"],
    [0x17, "300101240000Z"],
    [0x17, "300101000060Z"],
    [0x17, "30010100000 Z"],
    [0x17, "300101000000Z\0"],
    [0x0c, "300101000000Z"],
  ];
  for (const [tag, text] of strange) throws(() => time(tag, text), RangeError, text);
});

Deno.test("a certificate is valid from its first second to its last", () => {
  const [read] = parseChain(encode(leaf.certPem), "x");
  const at = (time: Date, ms: number) => timeState(read, new Date(time.getTime() + ms));
  equal(at(leaf.notBefore, -1), "not-yet-valid");
  equal(at(leaf.notBefore, 0), "valid");
  equal(at(leaf.notAfter, 0), "valid");
  equal(at(leaf.notAfter, 1), "expired");
  equal(lifeLeft(read, leaf.notBefore), 1);
  equal(lifeLeft(read, leaf.notAfter), 0);
  ok(lifeLeft(read, new Date(leaf.notAfter.getTime() + 1)) < 0);
});

Deno.test("Let's Encrypt's staging issuers are known by their beginning", () => {
  for (
    const [issuer, isStaging] of [
      ["CN=(STAGING) Wannabe Watercress R11,O=Let's Encrypt", true],
      ["CN=R11,O=(STAGING) Let's Encrypt,C=US", true],
      ["CN=R11,O=Let's Encrypt,C=US", false],
      ["CN=not (STAGING),O=x", false],
      ["OU=(STAGING) x,CN=y", false],
      ["", false],
    ] as const
  ) {
    equal(isStagingIssuer({ issuer }), isStaging, issuer);
  }
});
