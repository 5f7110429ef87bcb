// Every parser takes anything: it gives what is there, or a Failure, and soon.

import { equal, ok, throws } from "node:assert/strict";
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { cpuUsage } from "node:process";
import { parse as parseYaml } from "@std/yaml/parse";
import { parseChain } from "../../lib/certificate/certificate.ts";
import { parseContainers } from "../../lib/programs/containers.ts";
import { readConfigDocument } from "../../lib/config/config_file.ts";
import { parseLoaded } from "../../lib/chain/deploy_memory.ts";
import { Failure } from "../../lib/failure.ts";
import { parseLastPushed } from "../../lib/chain/last_fp.ts";
import { parseMailcowConf } from "../../lib/chain/mailcow_conf.ts";
import { parseChainError, parseLeafJudgement } from "../../lib/programs/openssl.ts";
import { keyFits, parsePair, samePair } from "../../lib/certificate/pair.ts";
import { parsePushTarget } from "../../lib/values/push_target.ts";
import { parseHandshake } from "../../lib/chain/served.ts";
import { authority } from "../kit/authority.ts";
import { mailcowTree } from "../kit/mailcow_tree.ts";
import { need } from "../kit/programs.ts";
import { run, tryRun } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { generator, mutate } from "./mutation.ts";
import { sized, tell } from "./size.ts";

const INPUTS = sized({ quick: 2_000, ci: 10_000, full: 100_000 });
/** Of processor time. */
const MAX_MS = 1_000;

await using stack = new AsyncDisposableStack();
const ca = stack.use(await authority("Torture", "ecdsa-p384"));
const dir = stack.use(await tempDir());
const leaf = await ca.issue({ names: ["mail.example.org", "*.example.org"] });
const odd = await ca.issue({ names: ["x.example"], subject: "/O=a, b + c/CN=\u00fc\x1b\n<x>" });
const openssl = need("openssl");

/** Whatever comes out that is no Failure must be right: `check` throws where it is not. */
function torture<T>(
  what: string,
  good: readonly string[],
  parser: (input: string) => T,
  check: (result: T, input: string) => void,
): void {
  Deno.test(`${what}: ${INPUTS} generated inputs`, () => {
    for (const input of good) check(parser(input), input); // or the oracle would be none
    const seed = Number(Deno.env.get("CERTSYNC_TORTURE_SEED") ?? Date.now() % 2 ** 32);
    const random = generator(seed);
    let taken = 0;
    for (let count = 0; count < INPUTS; count++) {
      const input = mutate(good, random);
      const start = cpuUsage();
      try {
        check(parser(input), input);
        taken++;
      } catch (error) {
        if (error instanceof Failure) continue;
        const message = `seed ${seed}, input ${count}: ${JSON.stringify(input)}`;
        throw new Error(message, { cause: error });
      }
      const ms = cpuUsage(start).user / 1_000;
      ok(ms < MAX_MS, `${ms} ms for ${JSON.stringify(input)}`);
    }
    tell(`parsers: ${what}: ${INPUTS} inputs, ${taken} taken, from seed ${seed}`);
    ok(taken > 0, "none was taken, so nothing was seen");
  });
}

const mailcow = await mailcowTree(dir.path);
const conf = await Deno.readTextFile(mailcow.confFile);
const PORTS = ["SMTP", "SUBMISSION", "SMTPS", "IMAP", "IMAPS", "POP", "POPS", "SIEVE", "HTTPS"]
  .map((name) => `${name}_PORT`);
torture(
  "mailcow.conf",
  [
    conf,
    "MAILCOW_HOSTNAME=mail.example.org\nSKIP_LETS_ENCRYPT=y\nIMAPS_PORT=127.0.0.1:993\n",
    'export SKIP_LETS_ENCRYPT="yes" # so\nHTTPS_BIND=[::1]\nHTTPS_PORT=8443\nSMTP_PORT=[::1]:25\n',
    "SKIP_LETS_ENCRYPT=n\nDOCKER_COMPOSE_VERSION=standalone\nNGINX_USE_PROXY_PROTOCOL=yes\n",
  ],
  (text) => parseMailcowConf(text, "mailcow.conf"),
  ({ hostname, endpoints, skipsLetsEncrypt, composeVersion }, text) => {
    const last = lastValue(text, "SKIP_LETS_ENCRYPT");
    equal(skipsLetsEncrypt, /^(y|yes)$/i.test(last));
    ok(hostname === null || /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(hostname), hostname ?? "");
    ok(["native", "standalone", null].includes(composeVersion));
    // All nine, but for https behind the PROXY protocol, and for a port that docker chooses.
    const chosen = PORTS.filter((key) => /:$|\d-\d+$|\$/.test(lastValue(text, key)));
    ok(endpoints.length >= 8 - chosen.length, `${endpoints.length}`);
    for (const { host, port } of endpoints) {
      ok(isIP(host) && Number.isInteger(port) && port > 0 && port < 65_536, `${host} ${port}`);
    }
  },
);

/** As a shell would have it, written another way than the parser. */
function lastValue(text: string, key: string): string {
  const lines = text.split("\n").flatMap((line) => line.split("\r"));
  const at = lines.findLast((line) => {
    const words = line.trimStart().replace(/^export\s+/, "");
    return words.startsWith(`${key}=`);
  });
  if (at === undefined) return "";
  const value = at.slice(at.indexOf("=") + 1);
  const inner = value.replace(/^[ \t]+/, "");
  const quote = inner[0] === '"' || inner[0] === "'" ? inner[0] : null;
  if (quote !== null && inner.indexOf(quote, 1) > 0) return inner.slice(1, inner.indexOf(quote, 1));
  const words: string[] = [];
  let previous = " ";
  for (const letter of value) {
    if (letter === "#" && (previous === " " || previous === "\t")) break;
    words.push(letter);
    previous = letter;
  }
  while (words[0] === " " || words[0] === "\t") words.shift();
  while (words.at(-1) === " " || words.at(-1) === "\t") words.pop();
  return words.join("");
}

const config = `domain: mail.example.org
push:
  live: [/etc/nginx/letsencrypt/live, /etc/letsencrypt/live]
  source: npm-5
  to: certsync@mail.example.org:/home/certsync/incoming/
  port: 22
  identity: /root/.ssh/mailcow_certsync
  trust: system
  timeout: 60s
deploy:
  mailcow: /opt/mailcow-dockerized
  apply: reload
  settle: 30s
  endpoints: [imaps://127.0.0.1:993, "smtp://[::1]:25"]
verify:
  source: npm-host:/etc/letsencrypt/live/npm-5/fullchain.pem
  warn: 25%
  critical: 21d
`;
torture(
  "the config file",
  [config, "push: {to: [a@b:/c/, 'd@[::1]:/e/']}\n", "deploy: {trust: /x, restart_timeout: 5m}\n"],
  (text) => {
    let document: unknown;
    try {
      document = parseYaml(text, { schema: "failsafe" }) ?? {};
    } catch (error) {
      ok(error instanceof Error); // what the program says it is: no YAML
      throw new Failure("the config file is not YAML");
    }
    return readConfigDocument(document, "config.yaml");
  },
  ({ domain, push, deploy, verify, ...rest }) => {
    equal(Object.keys(rest).length, 0);
    ok(domain === undefined || /^[a-z0-9_.-]+$/.test(domain));
    for (const target of push?.to ?? []) {
      const { text, directory } = target;
      equal(target.kind === "local", text.startsWith("/"));
      // A path begins with a slash; whatever colons follow it, rsync looks for no host in it.
      if (target.kind === "ssh") {
        ok(!target.host.startsWith("-"), target.host);
        ok(!/^-|^rsync:\/\/|^[^:[]*::|^[^:[]*\[[^\]]*\]::/i.test(text), text);
      }
      // deno-lint-ignore no-control-regex -- they would be rsync's to interpret
      ok(!/[\x00-\x1f]/.test(text) && directory !== "" && !directory.startsWith("-"), text);
    }
    const paths = [push?.identity, push?.state, deploy?.mailcow, deploy?.staging, deploy?.state];
    for (const path of [...paths, ...push?.live ?? []]) {
      ok(path === undefined || path.startsWith("/"), path);
    }
    for (const ms of [push?.timeout, deploy?.settle, deploy?.restart_timeout, verify?.timeout]) {
      ok(ms === undefined || Number.isFinite(ms) && ms >= 0, String(ms));
    }
    ok(push?.port === undefined || push.port > 0 && push.port < 65_536);
    for (const { host, port } of [...deploy?.endpoints ?? [], ...verify?.endpoints ?? []]) {
      ok(port > 0 && port < 65_536 && /^[A-Za-z0-9_.:-]+$/.test(host) && !host.startsWith("-"));
    }
  },
);

const target = parsePushTarget("u@one:/in/", "to");
const FINGERPRINT = /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/;
torture(
  "last_fp",
  [
    `${leaf.fingerprint} u@one:/in/\n${odd.fingerprint} u@two:/in/\n`,
    `sha256 Fingerprint=${leaf.fingerprint}\n`,
    leaf.fingerprint.toLowerCase(),
  ],
  (text) => parseLastPushed(text, [target]),
  (pushed, text) => {
    const known = pushed.get(target.text);
    for (const fingerprint of pushed.values()) ok(FINGERPRINT.test(fingerprint), fingerprint);
    if (known === undefined) return;
    const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    const has = (suffix: string) =>
      lines.some((line) => line.toUpperCase().endsWith(`${known}${suffix}`.toUpperCase()));
    ok(has(` ${target.text}`) || lines.length === 1 && has(""), text);
  },
);
torture(
  "loaded",
  [`dovecot-mailcow ${leaf.fingerprint}\nnginx-mailcow ${odd.fingerprint}\n`],
  parseLoaded,
  (loaded, text) => {
    for (const [service, fingerprint] of [...loaded.values()].flatMap((own) => [...own])) {
      ok(FINGERPRINT.test(fingerprint) && text.includes(`${service} ${fingerprint}`), text);
    }
  },
);

const bytes = (text: string) => new TextEncoder().encode(text);
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
const fingerprintOf = (block: string) =>
  (createHash("sha256").update(Uint8Array.fromBase64(block.replace(/-----[^-]*-----/g, "")))
    .digest("hex").toUpperCase().match(/../g) ?? []).join(":");
/** What some readers take for less, more or other blocks than the rest do. */
function assertOneReading(text: string): void {
  ok(!/\r(?!\n)|:|[^\t\n\r -~]/.test(text), "a character that not all read alike");
  for (const block of text.match(/-----BEGIN[^]*?-----END/g) ?? []) {
    ok(!/\n[ \t\r]*\n/.test(block), "a blank line in a block");
    ok(!/[A-Za-z0-9+/=][ \t]+[A-Za-z0-9+/=]/.test(block.split("\n").slice(1, -1).join("\n")));
  }
}
function isBlockOf({ fingerprint }: { fingerprint: string }, block: string): boolean {
  try {
    return fingerprintOf(block) === fingerprint;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}
torture(
  "certificates in PEM",
  [leaf.fullchainPem, odd.certPem, `${leaf.fullchainPem}${odd.fullchainPem}`],
  (text) => parseChain(bytes(text), "here"),
  (chain, text) => {
    const blocks = text.match(BLOCK) ?? [];
    equal(chain.length, blocks.length);
    chain.forEach(({ fingerprint }, index) =>
      equal(fingerprint, fingerprintOf(blocks[index] ?? ""))
    );
    equal(text.replace(BLOCK, "").trim(), "");
    assertOneReading(text);
    for (const { names, notBefore, notAfter } of chain) {
      ok(names.every((name) => typeof name === "string"));
      ok(!Number.isNaN(notBefore.getTime()) && !Number.isNaN(notAfter.getTime()));
    }
  },
);

const der = (pem: string) =>
  String.fromCharCode(...Uint8Array.fromBase64(pem.replaceAll(/-----.*-----|\s/g, "")));
torture(
  "certificates in DER",
  [der(leaf.certPem), der(odd.certPem)],
  (text) => {
    const encoded = Uint8Array.from(text, (letter) => letter.charCodeAt(0) & 255).toBase64();
    return parseChain(
      bytes(`-----BEGIN CERTIFICATE-----\n${encoded}\n-----END CERTIFICATE-----\n`),
      "here",
    );
  },
  ([{ publicKey, names, subject, issuer }]) => {
    ok(publicKey.length > 0);
    ok([...names, subject, issuer].every((text) => typeof text === "string"));
  },
);
torture(
  "a pair",
  [leaf.keyPem, odd.keyPem, await run(openssl, ["ec"], { stdin: leaf.keyPem })],
  (text) =>
    parsePair({ chainPem: bytes(leaf.fullchainPem), keyPem: bytes(text) }, {
      chain: "c",
      key: "k",
    }),
  (pair, text) => {
    equal((text.match(/^-----BEGIN [A-Z ]*PRIVATE KEY-----\s*$/gm) ?? []).length, 1);
    assertOneReading(text);
    const again = parsePair(pair, { chain: "c", key: "k" });
    ok(samePair(pair, again), "what was written anew reads differently");
    const written = new TextDecoder().decode(pair.keyPem);
    ok(/^-----BEGIN [A-Z ]+-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END [A-Z ]+-----\n$/.test(written));
    const isOther = text.includes(odd.keyPem.split("\n")[2] ?? "");
    if (keyFits(pair)) ok(!isOther, "another's key was taken");
  },
);

// What openssl really says, of what is right and of what is not

await Deno.writeTextFile(`${dir.path}/leaf.pem`, leaf.certPem);
const judged = await Promise.all(
  ["mail.example.org", "www.example.net"].map((name) =>
    run(
      openssl,
      ["x509", "-noout", "-pubkey", "-fingerprint", "-sha256", "-checkhost", name],
      { stdin: leaf.certPem },
    )
  ),
);
torture(
  "openssl x509",
  judged,
  (stdout) => parseLeafJudgement({ code: 0, stdout, stderr: "" }),
  ({ coversHost, publicKey, fingerprint }, text) => {
    equal(/ does match certificate\s*$/.test(text), coversHost);
    ok(text.replace(/\s/g, "").includes(publicKey.toBase64()));
    ok(text.includes(fingerprint));
  },
);
const refusals = await Promise.all([leaf, odd].map(async ({ certPem }, index) => {
  await Deno.writeTextFile(`${dir.path}/${index}.pem`, certPem);
  return (await tryRun(openssl, ["verify", "-CAfile", ca.rootFile, `${dir.path}/${index}.pem`]))
    .stderr;
}));
torture(
  "openssl verify",
  refusals,
  (stderr) => parseChainError({ code: 2, stdout: "", stderr }),
  (error, text) => {
    ok(error !== null, "a refusal was taken for consent");
    ok(error.code === null || /^error \d+ at \d+ depth lookup:/m.test(text));
    throws(() => parseChainError({ code: 0, stdout: "", stderr: "" }), /could not tell/);
  },
);

const handshake = `CONNECTED(00000003)
---
Certificate chain
 0 s:CN = mail.example.org
   i:O = Torture, CN = Torture Intermediate E1
   a:PKEY: id-ecPublicKey, 384 (bit); sigalg: ecdsa-with-SHA256
${leaf.certPem} 1 s:O = Torture, CN = Torture Intermediate E1
   i:O = Torture, CN = Torture Root X1
${leaf.chainPem}---
Server certificate
subject=CN = mail.example.org
issuer=O = Torture, CN = Torture Intermediate E1
---
SSL handshake has read 2046 bytes and written 400 bytes
---
* OK ready
${odd.certPem}`;
torture(
  "openssl s_client",
  [
    handshake,
    handshake.replaceAll("\n", "\r\n"),
    handshake.slice(0, handshake.indexOf("---\nServer")),
  ],
  (stdout) =>
    parseHandshake({ stdout, stderr: "" }, { protocol: "imaps", host: "127.0.0.1", port: 993 }),
  (served, text) => {
    if (served.kind === "none") return ok(served.reason !== "");
    const blocks = (text.split("\nServer certificate\n")[0] ?? "").match(BLOCK) ?? [];
    if (text === handshake) equal(served.leaf.fingerprint, leaf.fingerprint);
    ok(blocks.some((block) => isBlockOf(served.leaf, block)), "no block of the chain");
  },
);
torture(
  "docker compose ps",
  [
    '{"Name":"x","State":"running","Health":"starting","ExitCode":0}\n{"State":"exited"}\n',
    '[{"State":"exited","ExitCode":143}]\n',
  ],
  parseContainers,
  (containers) => {
    const states = ["running", "starting", "paused", "broken", "stopped", "unknown"];
    ok(containers.every(({ state }) => states.includes(state)));
  },
);
