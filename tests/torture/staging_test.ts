// Staging belongs to somebody else, who may put there whatever he likes.

import { equal, ok } from "node:assert/strict";
import { chmod, chown, link, lstat, symlink } from "node:fs/promises";
import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import {
  assertRefused,
  at,
  type Attack,
  block,
  ca,
  deployed,
  derOf as der,
  foreign,
  good,
  hostAttacked,
  NAME,
  other,
  SHADOW,
  stage,
  type Staging,
  watched,
  write,
} from "./attacked.ts";
import { Faults, inPlaces, sized, tell } from "./size.ts";

const openssl = (args: string[], stdin?: string) => run(need("openssl"), args, { stdin });

const attacks: Attack[] = [];
function attack(name: string, says: RegExp, set: Attack["set"]): void {
  attacks.push({ name, says, set });
}

async function replace(path: string, put: () => Promise<unknown>): Promise<void> {
  await Deno.remove(path, { recursive: true });
  await put();
}
// What stands there is no file of its own

const NO_CERT = /no staged cert: /;
const LINK = /is a symbolic link/;
const targets = ["/etc/shadow", "/nonexistent", "/dev/zero", "/proc/self/environ", "/proc/kcore"];
for (const target of [...targets, "/dev/stdin", "/", ".", "fullchain.pem", "privkey.pem"]) {
  attack(
    `a certificate that is a link to ${target}`,
    LINK,
    ({ chain }) => replace(chain, () => symlink(target, chain)),
  );
  attack(
    `a key that is a link to ${target}`,
    LINK,
    ({ key }) => replace(key, () => symlink(target, key)),
  );
}
attack(
  "a key that is a link to the deployed one",
  LINK,
  ({ host, key }) => replace(key, () => symlink(host.mailcow.keyFile, key)),
);
attack(
  "a certificate that is a second name of /etc/shadow",
  /hard link/,
  ({ host, chain }) =>
    replace(chain, async () => {
      const shadow = `${host.root}/shadow`; // as on the same file system
      await write(shadow, SHADOW);
      await link(shadow, chain);
    }),
);
attack("a key with a second name", /hard link/, ({ host, key }) => link(key, `${host.root}/mine`));
attack("a staging that is a link", /not a real directory/, async ({ host }) => {
  await Deno.rename(host.staging, `${host.staging}.real`);
  await symlink(`${host.staging}.real`, host.staging);
});
attack(
  "a staging that is a file",
  /not a real directory/,
  ({ host }) => replace(host.staging, () => write(host.staging, "x")),
);
attack(
  "no staging",
  /does not exist/,
  ({ host }) => Deno.remove(host.staging, { recursive: true }),
);

for (const which of ["chain", "key"] as const) {
  const special = (name: string, make: (path: string) => Promise<unknown>) =>
    attack(
      `a ${which} that is ${name}`,
      NO_CERT,
      (staging) => replace(staging[which], () => make(staging[which])),
    );
  special("a FIFO", (path) => run("/usr/bin/mkfifo", [path]));
  special("a socket", (path) => {
    Deno.listen({ transport: "unix", path }).close(); // closing leaves it there
    return lstat(path).catch(() => run("/usr/bin/mkfifo", [path]));
  });
  special("a character device", (path) => run("/usr/bin/mknod", [path, "c", "1", "5"]));
  special("a block device", (path) => run("/usr/bin/mknod", [path, "b", "7", "0"]));
  special("a directory", (path) => Deno.mkdir(path));
  special("sparse, of 1 TiB", async (path) => {
    await write(path, "");
    await Deno.truncate(path, 2 ** 40);
  });
  special("a byte too large", (path) => write(path, new Uint8Array(2 ** 16 + 1).fill(10)));
  attack(
    `a ${which} of 64 KiB of newlines`,
    /not a (certificate|private key)/,
    (staging) => write(staging[which], new Uint8Array(2 ** 16).fill(10)),
  );
  attack(
    `an empty ${which}`,
    /not a (certificate|private key)/,
    (staging) => write(staging[which], ""),
  );
  attack(`a ${which} of another user`, /belongs to uid 65534/, async (staging) => {
    await chown(staging.host.staging, 65533, 65533);
    await chown(staging[which], 65534, 65534);
  });
  attack(
    `a ${which} of random bytes`,
    /not PEM text/,
    (staging) => write(staging[which], crypto.getRandomValues(new Uint8Array(4096))),
  );
  attack(
    `a ${which} with a NUL`,
    /not PEM text/,
    async (staging) =>
      write(staging[which], (await Deno.readTextFile(staging[which])).replace("\n", "\n\0")),
  );
  attack(`a ${which} in UTF-16`, /not PEM text/, async (staging) => {
    const text = await Deno.readTextFile(staging[which]);
    await write(
      staging[which],
      Uint8Array.from(text.split("").join("\0"), (letter) => letter.charCodeAt(0)),
    );
  });
  attack(
    `a ${which} cut in half`,
    /without its end/,
    async (staging) => {
      const text = await Deno.readTextFile(staging[which]);
      await write(staging[which], text.slice(0, text.length / 2));
    },
  );
  attack(
    `a ${which} with terminal escapes before it`,
    /anything but|not PEM/,
    async (staging) =>
      write(staging[which], `\x1b]0;x\x07\x1b[2J${await Deno.readTextFile(staging[which])}`),
  );
  attack(
    `a ${which} of one line of 64 KiB`,
    /not a (certificate|private key)|anything/,
    (staging) => write(staging[which], "A".repeat(2 ** 16)),
  );
}

// The file is one, and what it holds is not right

attack(
  "a bomb of 1,000 certificates",
  /holds 1000 certificates/,
  ({ chain }) => write(chain, block("CERTIFICATE", "MA==").repeat(1_000)),
);
attack(
  "a bomb of 70 real certificates",
  /holds \d+ certificates/,
  ({ chain }) =>
    write(
      chain,
      good.certPem.repeat(70).slice(0, 2 ** 16).replace(/-----BEGIN[^-]*$/, "").replace(
        /-----BEGIN CERTIFICATE-----[^-]*(-----END CERT[A-Z-]*)?$/,
        "",
      ),
    ),
);
attack(
  "a bomb of 1,000 keys",
  /anything but one private key/,
  ({ key }) => write(key, block("PRIVATE KEY", "MA==").repeat(1_000)),
);
attack(
  "two keys in one file",
  /anything but one private key/,
  ({ key }) => write(key, good.keyPem + other.keyPem),
);
attack(
  "an encrypted key",
  /is encrypted/,
  async ({ key }) =>
    write(key, await openssl(["pkcs8", "-topk8", "-passout", "pass:x"], good.keyPem)),
);
attack("an encrypted key of the old kind", /is encrypted/, async ({ key }) =>
  write(
    key,
    await openssl(["ec", "-aes128", "-passout", "pass:x"], good.keyPem),
  ));
attack(
  "a key in the certificate file",
  /private key is in the chain file/,
  ({ chain }) => write(chain, good.fullchainPem + good.keyPem),
);
attack(
  "a certificate in the key file",
  /anything but one private key/,
  ({ key }) => write(key, good.keyPem + good.certPem),
);
attack(
  "a public key",
  /not a private key/,
  async ({ key }) => write(key, await openssl(["pkey", "-pubout"], good.keyPem)),
);
attack("a certificate in DER", /not PEM text/, ({ chain }) => write(chain, der(good.certPem)));
attack(
  "a trusted certificate",
  /anything but certificates/,
  ({ chain }) => write(chain, good.fullchainPem.replaceAll(" CERTIFICATE", " TRUSTED CERTIFICATE")),
);
attack(
  "text between the certificates",
  /holds other text/,
  ({ chain }) => write(chain, `${good.certPem}hello\n${good.chainPem}`),
);
attack(
  "base64 that is none",
  /base64 that is none/,
  ({ chain }) => write(chain, block("CERTIFICATE", "%%%%")),
);
attack(
  "a certificate with a byte too many",
  /cannot be parsed|does not verify|not a cert/,
  (s) => write(s.chain, block("CERTIFICATE", der(good.certPem).toBase64() + "AAAA")),
);
attack(
  "the key of another certificate",
  /key does not match/,
  ({ key }) => write(key, other.keyPem),
);
attack(
  "a chain in the wrong order",
  /leaf is not first/,
  ({ chain }) => write(chain, good.chainPem + good.certPem),
);
attack("a missing intermediate", /does not verify/, ({ chain }) => write(chain, good.certPem));
attack(
  "another's intermediate",
  /does not verify/,
  async ({ chain }) =>
    write(chain, good.certPem + (await foreign.issue({ names: [NAME] })).chainPem),
);
attack(
  "an older certificate",
  /is older/,
  async (staging) => stage(await ca.issue({ names: [NAME], notBefore: at(-40) }))(staging),
);
attack(
  "an expired certificate",
  /expired/,
  async (staging) =>
    stage(await ca.issue({ names: [NAME], notBefore: at(-9), notAfter: at(-0.01) }))(staging),
);
attack(
  "a certificate of tomorrow",
  /not yet valid/,
  async (staging) => stage(await ca.issue({ names: [NAME], notBefore: at(1) }))(staging),
);
attack(
  "a self-signed certificate",
  /does not verify/,
  async (staging) => stage(await ca.issue({ names: [NAME], signedBy: "self" }))(staging),
);
attack(
  "a certificate of another CA",
  /does not verify/,
  async (staging) => stage(await foreign.issue({ names: [NAME] }))(staging),
);
attack(
  "a client's certificate",
  /does not verify/,
  async (staging) =>
    stage(await ca.issue({ names: [NAME], extendedKeyUsage: "clientAuth" }))(staging),
);
attack(
  "a CA's certificate as leaf",
  /is the certificate of a CA/,
  async (staging) => stage(await ca.issue({ names: [NAME], basicConstraints: "CA:TRUE" }))(staging),
);
for (const bits of ["512", "1024"]) {
  attack(`an RSA key of ${bits} bits`, /does not verify: .*too weak/, async (staging) => {
    const keyPem = await openssl([
      "genpkey",
      "-algorithm",
      "RSA",
      "-pkeyopt",
      `rsa_keygen_bits:${bits}`,
    ]);
    await stage(await ca.issue({ names: [NAME], keyPem }))(staging);
  });
}
attack("a key on a curve of 160 bits", /does not verify: .*too weak|not a /, async (staging) => {
  const keyPem = await openssl([
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:secp160r1",
  ]);
  await stage(await ca.issue({ names: [NAME], keyPem }))(staging);
});

const names = [
  "mail.example.org.evil.example",
  "evil-mail.example.org",
  "m\u0430il.example.org".replace("m\u0430il", "xn--mil-5cd"), // a Cyrillic a
  "mail.example.0rg",
  "rnail.example.org",
  "mail.example.org.",
  "m*.example.org",
  "*.*.org",
  "*.org",
  "*",
  "*.mail.example.org",
  ".example.org",
];
for (const name of names) {
  attack(
    `the name ${name}`,
    /does not cover/,
    async (staging) => stage(await ca.issue({ names: [name] }))(staging),
  );
}
attack(
  "the name in the CN alone, beside another",
  /does not cover/,
  async (staging) => stage(await ca.issue({ names: [NAME], san: ["www.example.net"] }))(staging),
);
attack("a NUL in the name", /does not cover|does not verify|not a cert/, async (staging) => {
  const leaf = await ca.issue({ names: [`${NAME}X.evil.example`], subject: "" });
  const bytes = der(leaf.certPem);
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  bytes[text.indexOf(`${NAME}X`) + NAME.length] = 0;
  const certPem = block("CERTIFICATE", bytes.toBase64());
  await stage({ fullchainPem: certPem + leaf.chainPem, keyPem: leaf.keyPem })(staging);
});
const subjects = [
  "/CN=\x1b[2J\x1b]0;owned\x07",
  "/CN=x\nERROR: all is well\nhint: run rm",
  "/CN=\u202egro.elpmaxe",
  `/CN=${NAME}, DNS:${NAME}`,
  "/O=nothing to do/CN=\u009b31m",
];
for (const subject of subjects) {
  attack(
    `the subject ${JSON.stringify(subject)}`,
    /does not cover/,
    async (staging) =>
      stage(
        await ca.issue({ names: [NAME], subject, san: [`x, DNS:${NAME}`, "\\x1b.example"] })
          .catch(() => ca.issue({ names: [NAME], subject, san: ["www.example.net"] })),
      )(staging),
  );
}

Deno.test("no attack on staging makes deploy install, read or print what it should not", () =>
  assertRefused("staging", attacks, 24));

/** Somebody who changes the staging as fast as he can, while deploy runs again and again. */
const races: [name: string, change: (staging: Staging, turn: number) => Promise<unknown>][] = [
  ["the certificate grows", ({ chain }) => Deno.writeTextFile(chain, "\n", { append: true })],
  [
    "the certificate is swapped for another one",
    ({ chain }, turn) =>
      swap(chain, () => write(`${chain}.x`, turn % 2 ? other.fullchainPem : good.fullchainPem)),
  ],
  [
    "the key is swapped for a link",
    ({ host, key }, turn) =>
      swap(
        key,
        () =>
          turn % 2
            ? symlink(host.mailcow.keyFile, `${key}.x`)
            : write(`${key}.x`, good.keyPem).then(() => chmod(`${key}.x`, 0o600)),
      ),
  ],
  [
    "the certificate is swapped for a FIFO",
    ({ chain }, turn) =>
      swap(
        chain,
        () =>
          turn % 2
            ? run("/usr/bin/mkfifo", [`${chain}.x`])
            : write(`${chain}.x`, good.fullchainPem),
      ),
  ],
  ["the staging is swapped for a link", async ({ host: { staging, mailcow } }) => {
    await Deno.rename(staging, `${staging}.x`);
    await symlink(mailcow.ssl, staging);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
    await Deno.remove(staging);
    await Deno.rename(`${staging}.x`, staging);
  }],
  ["the certificate is truncated and written again", async ({ chain }) => {
    await Deno.truncate(chain);
    await write(chain, good.fullchainPem);
  }],
];

async function swap(path: string, make: () => Promise<unknown>): Promise<void> {
  await make();
  await Deno.rename(`${path}.x`, path);
}

Deno.test("a staging that changes while it is read gives a pair that was there, or none", async () => {
  const faults = new Faults();
  let runs = 0;
  await inPlaces([1, 2], races, async ([name, change]) => {
    await faults.try(name, async () => {
      await using host = await hostAttacked();
      const staging = {
        host,
        chain: `${host.staging}/fullchain.pem`,
        key: `${host.staging}/privkey.pem`,
      };
      let isOver = false;
      const changing = (async () => {
        for (let turn = 0; !isOver; turn++) {
          await change(staging, turn);
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
        }
      })();
      try {
        for (let round = 0; round < sized({ quick: 2, full: 25 }); round++, runs++) {
          const { result } = await watched(host);
          ok(!/bug in certsync|^ +at /m.test(result.stderr), result.stderr);
          const text = await Deno.readTextFile(host.mailcow.certFile);
          const leaf = [deployed, good].find(({ fullchainPem }) =>
            fullchainPem === text.trimEnd() + "\n"
          );
          ok(leaf, "something else is installed");
          equal(await Deno.readTextFile(host.mailcow.keyFile), leaf.keyPem);
        }
      } finally {
        isOver = true;
        await changing;
      }
    });
  });
  tell(`staging: ${runs} runs against ${races.length} races`);
  faults.assertNone();
});
