// What two readers could read differently is refused, whichever of the two would be right.

import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import {
  assertRefused,
  at,
  type Attack,
  block,
  ca,
  deployed,
  derOf,
  good,
  NAME,
  other,
  write,
} from "./attacked.ts";

const openssl = (args: string[], stdin?: string) => run(need("openssl"), args, { stdin });

const attacks: Attack[] = [];
const own = await ca.issue({ names: [NAME], signedBy: "self" });
const older = await ca.issue({ names: [NAME], notBefore: at(-40) });

function chain(name: string, says: RegExp, text: string): void {
  attacks.push({ name, says, set: ({ chain }) => write(chain, text) });
}
function key(name: string, says: RegExp, text: string): void {
  attacks.push({ name, says, set: ({ key }) => write(key, text) });
}
function both(name: string, says: RegExp, fullchain: string, keyPem: string): void {
  attacks.push({
    name,
    says,
    set: async ({ chain, key }) => {
      await write(chain, fullchain);
      await write(key, keyPem);
    },
  });
}

// A certificate that one reader sees, and another one that the others see

const LONE_CR = /carriage return that ends no line/;
const hidden = own.certPem.trimEnd().replaceAll("\n", "\r");
both("a self-made one behind lone CRs", LONE_CR, `${hidden}\n${older.fullchainPem}`, own.keyPem);
both(
  "the same, with the real one's key",
  LONE_CR,
  `${hidden}\n${older.fullchainPem}`,
  older.keyPem,
);
both("the same, behind it", LONE_CR, `${good.fullchainPem}${hidden}\n`, good.keyPem);
chain("a lone CR at the end of the file", LONE_CR, `${good.fullchainPem}\r`);
chain("a lone CR in a line", LONE_CR, good.fullchainPem.replace(/\n(.{9})/, "\n$1\r"));
chain("CR CR LF", LONE_CR, good.fullchainPem.replaceAll("\n", "\r\r\n"));
key("a key behind lone CRs", LONE_CR, other.keyPem.replaceAll("\n", "\r") + "\n" + good.keyPem);
chain("a form feed", /not PEM text/, `\f\n${good.fullchainPem}`);
chain("a line separator", /not PEM text/, good.fullchainPem.replaceAll("\n", "\u2028"));
chain("a NUL behind the chain", /not PEM text/, `${good.fullchainPem}\0${older.fullchainPem}`);
chain("a BOM", /byte order mark/, `\ufeff${good.fullchainPem}`);
key("a BOM before the key", /byte order mark/, `\ufeff${good.keyPem}`);

const bodyOf = (pem: string) => pem.replaceAll(/-----.*-----\n/g, "");
const hiddenBody = `${bodyOf(own.certPem)}\n${bodyOf(good.certPem)}`;
chain("a body of headers", /blank line in a block/, block("CERTIFICATE", hiddenBody));
for (
  const [name, inner] of Object.entries({
    "a blank line first": `\n${bodyOf(good.certPem)}`,
    "a blank line last": `${bodyOf(good.certPem)}\n`,
    "a line of blanks inside": bodyOf(good.certPem).replace("\n", "\n   \t\n"),
  })
) chain(name, /blank line in a block/, block("CERTIFICATE", inner) + good.chainPem);
for (const header of ["X-Note: x", "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-256-CBC,00", ":"]) {
  const inner = `${header}\n\n${bodyOf(good.certPem)}`;
  chain(`the header ${header}`, /headers in a block/, block("CERTIFICATE", inner) + good.chainPem);
}
key("a header in the key", /encrypted/, good.keyPem.replace("-----\n", "-----\nX-Note: x\n\n"));

const FOREIGN = /another kind of block/;
for (
  const label of [
    "X509 CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "PKCS7",
    "CMS",
    "PUBLIC KEY",
    "CERTIFICATE REQUEST",
    "X509 CRL",
    "DH PARAMETERS",
    "EC PARAMETERS",
    " CERTIFICATE",
  ]
) {
  chain(
    `a block ${label} first`,
    FOREIGN,
    good.certPem.replaceAll("CERTIFICATE", label) + good.fullchainPem,
  );
  chain(
    `a block ${label} last`,
    FOREIGN,
    good.fullchainPem + good.certPem.replaceAll("CERTIFICATE", label),
  );
}
chain(
  "a label in small letters",
  /holds other text/,
  good.certPem.replaceAll("CERTIFICATE", "certificate") + good.fullchainPem,
);
const END = /without its end/;
chain("another END", END, good.certPem.replace("END CERT", "END X509 CERT") + good.fullchainPem);
chain("no END", END, good.certPem.replace(/-----END.*\n/, "") + good.fullchainPem);
chain(
  "a BEGIN in a block",
  END,
  good.certPem.replace("\n", "\n-----BEGIN CERTIFICATE-----\n") + good.fullchainPem,
);
chain("half a block behind", END, good.fullchainPem + good.certPem.slice(0, 300));
const TEXT = /holds other text/;
chain("text before", TEXT, `subject=x\n${good.fullchainPem}`);
chain("text between", TEXT, `${good.certPem}x\n${good.chainPem}`);
chain("text behind", TEXT, `${good.fullchainPem}x`);
chain("a BEGIN alone before", TEXT, `-----BEGIN\n${good.fullchainPem}`);
chain("four dashes before", TEXT, `${own.certPem.replaceAll("-----", "----")}${good.fullchainPem}`);
chain(
  "six dashes before",
  TEXT,
  `${own.certPem.replaceAll("-----", "------")}${good.fullchainPem}`,
);
chain(
  "an indented one before",
  TEXT,
  `${own.certPem.replace(/^/gm, " ").trimEnd()}\n${good.fullchainPem}`,
);
chain("Bag Attributes", TEXT, `Bag Attributes\n    localKeyID: 01\n${good.fullchainPem}`);
chain("x509 -text", TEXT, await openssl(["x509", "-text"], good.certPem) + good.chainPem);
key("text before the key", /anything but one private key/, `x\n${good.keyPem}`);
key("text behind the key", /anything but one private key/, `${good.keyPem}x`);

// Base64 that some take to its end, and others do not

const BASE64 = /base64 that is none|cannot be parsed/;
const encoded = derOf(good.certPem).toBase64();
for (
  const [name, text] of Object.entries({
    "padding in the middle": `${derOf(own.certPem).toBase64()}==${encoded}`,
    "a line that ends in padding": `MAA=\n${encoded}`,
    "padding that is missing": encoded.replace(/=*$/, "") + "A",
    "padding that is too much": `${encoded}====`,
    "the alphabet of URLs": `${encoded.slice(0, -8)}-_AAAA==`,
    "a blank in a line": encoded.replace(/^.{20}/, "$& "),
    "a tab in a line": encoded.replace(/^.{20}/, "$&\t"),
    "a comment of RFC 1421": `${encoded.slice(0, 64)}*x\n${encoded.slice(64)}`,
    "a dash in a line": `${encoded.slice(0, 64)}-x\n${encoded.slice(64)}`,
  })
) chain(name, BASE64, block("CERTIFICATE", text) + good.chainPem);

// DER that some take beyond, and others read differently

const PARSED = /cannot be parsed/;
const der = derOf(good.certPem);
const certificate = (bytes: Uint8Array) => block("CERTIFICATE", bytes.toBase64()) + good.chainPem;
chain(
  "a certificate behind the DER",
  PARSED,
  certificate(Uint8Array.of(...der, ...derOf(own.certPem))),
);
chain("a byte behind the DER", PARSED, certificate(Uint8Array.of(...der, 0)));
chain("aux data of a trusted certificate", PARSED, certificate(Uint8Array.of(...der, 0x30, 0)));
chain(
  "an indefinite length",
  PARSED,
  certificate(Uint8Array.of(0x30, 0x80, ...der.subarray(4), 0, 0)),
);
chain(
  "a length in three bytes",
  PARSED,
  certificate(Uint8Array.of(0x30, 0x83, 0, ...der.subarray(2))),
);
chain(
  "a length in five bytes",
  PARSED,
  certificate(Uint8Array.of(0x30, 0x85, 0, 0, 0, ...der.subarray(2))),
);
chain("a PKCS #7 in a block of a certificate", PARSED, certificate(derOf(good.keyPem)));

/** The same length, and other bytes: no signature holds, but what is read before it is what counts. */
function withDates(from: RegExp, to: string): string {
  const text = Array.from(der, (byte) => String.fromCharCode(byte)).join("");
  return certificate(Uint8Array.from(text.replace(from, to), (letter) => letter.charCodeAt(0)));
}
const UTC = /\d{12}Z/;
for (
  const date of [
    "261301000000Z",
    "260230000000Z",
    "260101240000Z",
    "260101000060Z",
    "26010100000\u00b2Z",
    "2601010000-00",
    " 60101000000Z",
  ]
) {
  chain(`the date ${JSON.stringify(date)}`, PARSED, withDates(UTC, date));
}
const far = await ca.issue({
  names: [NAME],
  notBefore: at(-1),
  notAfter: new Date("2060-01-01T00:00:00Z"),
});
for (const year of ["0030", "0060", "1060", "1949", "+060"]) {
  const text = Array.from(derOf(far.certPem), (byte) => String.fromCharCode(byte)).join("");
  const bytes = Uint8Array.from(
    text.replace("20600101", `${year}0101`),
    (letter) => letter.charCodeAt(0),
  );
  chain(`the year ${year}`, PARSED, certificate(bytes));
}

// Keys

const keyDer = derOf(good.keyPem);
const privateKey = (bytes: Uint8Array, label = "PRIVATE KEY") => block(label, bytes.toBase64());
key("a byte behind the key's DER", PARSED, privateKey(Uint8Array.of(...keyDer, 0)));
key(
  "another key behind the key's DER",
  PARSED,
  privateKey(Uint8Array.of(...keyDer, ...derOf(other.keyPem))),
);
key("a PKCS #8 key that says it is SEC1", PARSED, privateKey(keyDer, "EC PRIVATE KEY"));
key("a PKCS #8 key that says it is RSA's", PARSED, privateKey(keyDer, "RSA PRIVATE KEY"));
key(
  "a key of a kind that nobody has",
  /not a private key|key does not match/,
  privateKey(keyDer, "DSA PRIVATE KEY"),
);
const sec1 = await openssl(["ec"], good.keyPem);
key("a SEC1 key that says it is PKCS #8", PARSED, sec1.replaceAll("EC PRIVATE", "PRIVATE"));
const parameters = block("EC PARAMETERS", "BgUrgQQAIg==");
key("parameters behind the key", /anything but one private key/, sec1 + parameters);
key("parameters before a PKCS #8 key", /anything but one private key/, parameters + good.keyPem);
key("parameters twice", /anything but one private key/, parameters + parameters + sec1);
const sec1Der = derOf(sec1);
const publicHalf = derOf(await openssl(["ec"], other.keyPem)).subarray(-97);
key(
  "another key with the public half of ours",
  /not a private key: .*invalid/,
  privateKey(
    Uint8Array.of(
      ...derOf(await openssl(["ec"], other.keyPem)).subarray(0, -97),
      ...sec1Der.subarray(-97),
    ),
    "EC PRIVATE KEY",
  ),
);
key(
  "our key with the public half of another",
  /not a private key|key does not match/,
  privateKey(Uint8Array.of(...sec1Der.subarray(0, -97), ...publicHalf), "EC PRIVATE KEY"),
);
key("our key twice", /anything but one private key/, good.keyPem + good.keyPem);
both(
  "the deployed chain and the staged key",
  /key does not match/,
  deployed.fullchainPem,
  good.keyPem,
);

// Of which openssl alone makes minutes of work

const length = (count: number) => [0x82, count >> 8, count & 255];
const element = (tag: number, content: Uint8Array) =>
  Uint8Array.of(
    tag,
    ...(content.length < 128 ? [content.length] : length(content.length)),
    ...content,
  );
const joined = (...parts: Uint8Array[]) => Uint8Array.of(...parts.flatMap((part) => [...part]));
const integer = (byteCount: number) =>
  element(2, Uint8Array.of(1, ...crypto.getRandomValues(new Uint8Array(byteCount - 2)), 1));
const version = element(2, Uint8Array.of(0));
for (const [kind, oid] of [["DSA", "2a8648ce380401"], ["DH", "2a864886f70d010301"]] as const) {
  const parameters = element(0x30, joined(integer(15_000), integer(32), integer(14_999)));
  const algorithm = element(0x30, joined(element(6, Uint8Array.fromHex(oid)), parameters));
  const secret = element(4, element(2, Uint8Array.of(1, ...new Uint8Array(31).fill(7))));
  key(
    `a ${kind} key of 120,000 bits`,
    PARSED,
    privateKey(element(0x30, joined(version, algorithm, secret))),
  );
}
key(
  "an RSA key of 160,000 bits",
  /not a private key|does not match/,
  privateKey(
    element(
      0x30,
      joined(version, ...[20_000, 3, 12_000, 3_000, 3_000, 900, 900, 900].map(integer)),
    ),
    "RSA PRIVATE KEY",
  ),
);

// Memory and time: as much as goes into the largest file

const room = 48_000 / 4 * 3;
for (
  const [name, element] of Object.entries({
    "DNS names": [0x82, 4, 97, 46, 98, 99],
    "empty DNS names": [0x82, 0],
    "addresses": [0x87, 4, 127, 0, 0, 1],
  })
) {
  const names = new Uint8Array(Math.floor((room - 800) / element.length) * element.length)
    .map((_, index) => element[index % element.length] ?? 0);
  attacks.push({
    name: `a certificate full of ${name}`,
    says: /does not cover|does not verify|not a certificate|cannot be parsed/,
    set: async ({ host }) => {
      const san = `DER:${sequence(names).toHex()}`;
      const [certPem = "", keyPem = ""] = await selfSigned(["CN=x"], san);
      await host.stage({ fullchainPem: certPem + ca.rootPem, keyPem });
    },
  });
}
// As much as 64 KiB hold, looked at again and again as for half a push, and deployed already
const flood = new Uint8Array(43_000).map((_, index) => index % 2 === 0 ? 0x82 : 0);
const [floodPem = "", floodKeyPem = ""] = await selfSigned(
  ["CN=x"],
  `DER:${sequence(flood).toHex()}`,
);
const FLOODED = "all the names that there is room for";
for (const [how, keyPem] of [["", floodKeyPem], [", half pushed", good.keyPem]] as const) {
  both(`${FLOODED}${how}`, /cannot be parsed/, floodPem, keyPem);
}
attacks.push({
  name: `${FLOODED}, deployed too`,
  says: /cannot be parsed/,
  set: async ({ host, chain, key }) => {
    for (const path of [chain, host.mailcow.certFile]) await write(path, floodPem);
    for (const path of [key, host.mailcow.keyFile]) await write(path, floodKeyPem);
  },
});
attacks.push({
  name: "a subject of as many attributes as there is room for",
  says: /does not cover|does not verify|not a certificate|cannot be parsed/,
  set: async ({ host }) => {
    const [certPem = "", keyPem = ""] = await selfSigned(
      Array.from({ length: 1_900 }, (_, index) => `${index}.OU=x`),
      `DNS:${NAME}`,
    );
    await host.stage({ fullchainPem: certPem, keyPem });
  },
});

function sequence(content: Uint8Array): Uint8Array {
  return Uint8Array.of(0x30, 0x82, content.length >> 8, content.length & 255, ...content);
}

async function selfSigned(subject: string[], san: string): Promise<[string, string]> {
  const file = await Deno.makeTempFile();
  try {
    const keyPem = await openssl([
      "genpkey",
      "-algorithm",
      "EC",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
    ]);
    await write(`${file}.key`, keyPem);
    await write(
      file,
      ["[req]", "distinguished_name=dn", "prompt=no", "x509_extensions=ext", "[dn]", ...subject]
        .concat("[ext]", `subjectAltName=${san}`).join("\n"),
    );
    const certPem = await openssl([
      "req",
      "-x509",
      "-key",
      `${file}.key`,
      "-config",
      file,
      "-days",
      "9",
    ]);
    return [certPem, keyPem];
  } finally {
    await Deno.remove(file);
    await Deno.remove(`${file}.key`).catch(() => {});
  }
}

Deno.test("what two readers could read differently is refused", () =>
  assertRefused("forms", attacks.filter(({ name }) => !name.startsWith(FLOODED)), 16));

Deno.test("a certificate of more names than any CA issues takes neither memory nor time", () =>
  assertRefused("floods", attacks.filter(({ name }) => name.startsWith(FLOODED)), Infinity));
