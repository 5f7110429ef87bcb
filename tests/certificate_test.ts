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
import { Failure } from "../lib/failure.ts";
import { scanPem } from "../lib/certificate/pem.ts";
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
      /^anything but certificates in the chain file: x/,
    ],
    "parameters": [
      `${certPem}-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n`,
      /^anything but certificates in the chain file: x holds another kind of block/,
    ],
    "text before": [`subject=x\n${certPem}`, /^anything but certificates in the chain file: x/],
    "text behind": [`${certPem}x`, /^anything but certificates in the chain file: x/],
    "no end": [certPem.replace(/-----END.*\n/, ""), /^not a certificate: x/],
    "another end": [certPem.replace("END CERTIFICATE", "END X509 CRL"), /^not a certificate: x/],
    "base64 that is none": [certPem.replace(/\n.{9}/, "\n!!!!!!!!!"), /^not a certificate: x/],
    "a DER cut off": [pemOf(der.subarray(0, -9)), /^not a certificate: x/],
    "a DER with something behind": [pemOf(Uint8Array.of(...der, 0, 0)), /^not a certificate: x/],
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

Deno.test("PEM is found block by block", () => {
  const scan = (text: string) => {
    const pem = scanPem(encode(text));
    return pem.kind === "binary" ? null : [pem.blocks.map(({ label }) => label), pem.hasOtherText];
  };
  const block = (label: string) => `-----BEGIN ${label}-----\nAAAA\n-----END ${label}-----`;
  deepEqual(scan(""), [[], false]);
  deepEqual(scan(" \t\r\n"), [[], false]);
  deepEqual(scan(block("A")), [["A"], false]);
  deepEqual(scan(`${block("A")}\n${block("B")}  \n`), [["A", "B"], false]);
  deepEqual(scan(`${block("A")}\rtext\r${block("B")}`), [["A", "B"], true]);
  deepEqual(scan("-----END A-----"), [[], true]);
  deepEqual(scan(`-----BEGIN A-----\n${block("B")}`), [[], true]);
  deepEqual(scan(` ${block("A")}`), [[], true]);
  equal(scan("\x00"), null);
  equal(scan("é"), null);
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
