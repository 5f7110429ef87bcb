// The same bytes to certsync, OpenSSL, Postfix, Dovecot and nginx: never another leaf than the judged one.

import { deepEqual, equal, ok } from "node:assert/strict";
import { Failure } from "../../lib/failure.ts";
import { parsePair } from "../../lib/certificate/pair.ts";
import { authority } from "../kit/authority.ts";
import { need } from "../kit/programs.ts";
import { run, tryRun } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { dovecot, nginx, postfix, type Served } from "./mail_servers.ts";
import { Faults, inPlaces, size, tell } from "./size.ts";

await using ca = await authority("Torture", "ecdsa-p384");
const openssl = need("openssl");
const NAME = "mail.example.org";
/** Ours, and one that somebody would rather see served, of the same key and of another. */
const good = await ca.issue({ names: [NAME] });
const other = await ca.issue({ names: [NAME], keyPem: good.keyPem });
const stranger = await ca.issue({ names: [NAME] });
const rsa = await ca.issue({ names: [NAME], algorithm: "rsa" });
const fallback = await ca.issue({ names: ["fallback.example"] });

type Form = readonly [name: string, change: (pem: string) => string];
const body = (pem: string) => pem.replaceAll(/-----.*-----\n|\n/g, "");
const wrapped = (pem: string, width: number, end = "\n") =>
  `-----BEGIN CERTIFICATE-----${end}${
    body(pem).match(new RegExp(`.{1,${width}}`, "g"))?.join(end)
  }${end}-----END CERTIFICATE-----${end}`;

/** What is done to the certificate that is before, behind or in the place of ours. */
const forms: Form[] = [
  ["as it is", (pem) => pem],
  ["lone CRs", (pem) => pem.replaceAll("\n", "\r")],
  ["lone CRs, then LF", (pem) => pem.replaceAll("\n", "\r") + "\n"],
  ["CRLF", (pem) => pem.replaceAll("\n", "\r\n")],
  ["CR CR LF", (pem) => pem.replaceAll("\n", "\r\r\n")],
  ["LF CR", (pem) => pem.replaceAll("\n", "\n\r")],
  ["one line", (pem) => wrapped(pem, 1e6)],
  ["76 columns", (pem) => wrapped(pem, 76)],
  ["253 columns", (pem) => wrapped(pem, 253)],
  ["254 columns", (pem) => wrapped(pem, 254)],
  ["255 columns", (pem) => wrapped(pem, 255)],
  ["3 columns", (pem) => wrapped(pem, 3)],
  ["blanks at the ends", (pem) => pem.replaceAll("\n", "  \t\n")],
  ["blanks at the beginnings", (pem) => pem.replaceAll("\n", "\n ")],
  ["a blank line first", (pem) => pem.replace("\n", "\n\n")],
  ["a blank line inside", (pem) => pem.replace(/\n(.{64})\n/, "\n$1\n\n")],
  ["two blank lines inside", (pem) => pem.replace(/\n(.{64})\n/, "\n$1\n\n\n")],
  ["headers", (pem) => pem.replace("\n", "\nX: y\n\n")],
  ["headers that do not end", (pem) => pem.replace("\n", "\nX: y\n")],
  ["X509 CERTIFICATE", (pem) => pem.replaceAll("CERTIFICATE", "X509 CERTIFICATE")],
  ["TRUSTED CERTIFICATE", (pem) => pem.replaceAll("CERTIFICATE", "TRUSTED CERTIFICATE")],
  ["another END", (pem) => pem.replace("END CERTIFICATE", "END X509 CERTIFICATE")],
  ["no END", (pem) => pem.replace(/-----END.*\n/, "")],
  ["no LF behind the END", (pem) => pem.trimEnd()],
  ["a BOM", (pem) => `\ufeff${pem}`],
  ["a NUL before", (pem) => `\0\n${pem}`],
  ["a NUL in a line", (pem) => pem.replace(/\n(.{9})/, "\n$1\0")],
  ["text", (pem) => `-----BEGIN\nx-----\n${pem}y\n`],
  ["no padding", (pem) => pem.replaceAll("=", "")],
  ["too much padding", (pem) => pem.replace(/=*\n-----END/, "====\n-----END")],
  ["a comment", (pem) => pem.replace(/\n(.{64})\n/, "\n$1*x\n")],
  ["UTF-16", (pem) => pem.split("").join("\0")],
];

interface Input {
  name: string;
  chain: string;
  key: string;
}

const inputs: Input[] = forms.flatMap(([name, change]) => [
  { name: `${name}, alone`, chain: change(good.certPem), key: good.keyPem },
  {
    name: `${name}, before ours`,
    chain: change(other.certPem) + good.fullchainPem,
    key: good.keyPem,
  },
  {
    name: `${name}, behind ours`,
    chain: good.fullchainPem + change(other.certPem),
    key: good.keyPem,
  },
  {
    name: `the key: ${name}`,
    chain: good.fullchainPem,
    key: change(stranger.keyPem.replaceAll("PRIVATE KEY", "CERTIFICATE"))
      .replaceAll("CERTIFICATE", "PRIVATE KEY") + good.keyPem,
  },
]);
inputs.push(
  { name: "RSA", chain: rsa.fullchainPem, key: rsa.keyPem },
  {
    name: "blank lines between",
    chain: `${good.certPem}\n\n${good.chainPem}`,
    key: `\n${good.keyPem}`,
  },
  { name: "SEC1 with parameters", chain: good.fullchainPem, key: await sec1() },
  { name: "two leaves", chain: good.certPem + other.certPem + good.chainPem, key: good.keyPem },
);

async function sec1(): Promise<string> {
  const block = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";
  return block + await run(openssl, ["ec"], { stdin: good.keyPem });
}

const bytes = (text: string) => new TextEncoder().encode(text);

/** What certsync would install; null where it refuses. */
function judged({ chain, key }: Input) {
  try {
    return parsePair({ chainPem: bytes(chain), keyPem: bytes(key) }, { chain: "c", key: "k" });
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

const leaves = [good, other, stranger, rsa];
const nameOf = (der: Uint8Array | null) =>
  der === null ? null : ["good", "other", "stranger", "rsa"][
    leaves.findIndex(({ certPem }) => body(certPem) === der.toBase64())
  ] ?? "unknown";

Deno.test(`${inputs.length} inputs: openssl reads the leaf that certsync reads, or certsync none`, async () => {
  const faults = new Faults();
  let taken = 0;
  await inPlaces([1, 2, 3, 4], inputs, async (input) => {
    const pair = judged(input);
    if (pair === null) return;
    taken++;
    await faults.try(input.name, async () => {
      const fingerprint = async (chain: string) =>
        (await tryRun(openssl, ["x509", "-noout", "-fingerprint", "-sha256"], { stdin: chain }))
          .stdout.split("=")[1]?.trim();
      const raw = await fingerprint(input.chain);
      ok(raw === undefined || raw === pair.leaf.fingerprint, `openssl reads ${raw}`);
      equal(await fingerprint(new TextDecoder().decode(pair.chainPem)), pair.leaf.fingerprint);
    });
  });
  tell(`differential: ${inputs.length} inputs to openssl, ${taken} of them taken`);
  ok(inputs.length >= 100 && taken >= 20);
  faults.assertNone();
});

if (size !== "quick") {
  Deno.test(`${inputs.length} inputs: mail servers load no other leaf than the judged one`, async () => {
    await using servers = new AsyncDisposableStack();
    const { path: dir } = servers.use(await tempDir());
    await Deno.chmod(dir, 0o755);
    const asGiven: Served[] = [];
    const anew: Served[] = [];
    for (const [index, input] of inputs.entries()) {
      asGiven.push(await put(dir, `given-${index}.example`, bytes(input.chain), bytes(input.key)));
      const pair = judged(input);
      if (pair) anew.push(await put(dir, `anew-${index}.example`, pair.chainPem, pair.keyPem));
    }
    const all = [...asGiven, ...anew];
    const base = await put(
      dir,
      "fallback.example",
      bytes(fallback.fullchainPem),
      bytes(fallback.keyPem),
    );
    const { top, sni } = await postfix(servers, `${dir}/postfix`, all);
    const readers = {
      postfix: top,
      "postfix by SNI": sni,
      nginx: await nginx(servers, `${dir}/nginx`, all),
      dovecot: await dovecot(servers, `${dir}/dovecot`, all, base),
    };
    const faults = new Faults();
    let handshakes = 0, divided = 0;
    await inPlaces([1, 2, 3, 4, 5, 6], [...inputs.entries()], async ([index, input]) => {
      const pair = judged(input);
      await faults.try(input.name, async () => {
        const ask = async (pair: Served) =>
          Object.fromEntries(
            await Promise.all(
              Object.entries(readers).map(async ([reader, read]) => {
                handshakes++;
                return [reader, nameOf(await read(pair))];
              }),
            ),
          );
        const given = await ask(asGiven[index] as Served);
        if (new Set(Object.values(given)).size > 1) divided++;
        if (pair === null) return;
        const wanted = nameOf(pair.leaf.der);
        for (const [reader, leaf] of Object.entries(given)) {
          ok(leaf === null || leaf === wanted, `${reader} reads ${leaf}, certsync ${wanted}`);
        }
        const written = anew.find(({ name }) => name === `anew-${index}.example`) as Served;
        deepEqual(
          await ask(written),
          Object.fromEntries(Object.keys(readers).map((reader) => [reader, wanted])),
        );
      });
    });
    tell(
      `differential: ${inputs.length} inputs to Postfix, Dovecot and nginx, ${anew.length} taken and ` +
        `written anew, ${divided} that the servers read differently, ${handshakes} handshakes`,
    );
    faults.assertNone();
  });
}

async function put(dir: string, name: string, chain: Uint8Array, key: Uint8Array): Promise<Served> {
  const [chainFile, keyFile] = [`${dir}/${name}.chain`, `${dir}/${name}.private`];
  await Deno.writeFile(chainFile, chain);
  await Deno.writeFile(keyFile, key, { mode: 0o600 });
  return { name, chainFile, keyFile };
}
