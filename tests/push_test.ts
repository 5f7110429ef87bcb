// certsync push against a real sshd, real rsync and real openssl, as the compiled binary.

import { deepEqual, doesNotMatch, equal, match, ok, throws } from "node:assert/strict";
import { authority, type Leaf, tlsa } from "./kit/authority.ts";
import { certsync, type CertsyncResult, startCertsync } from "./kit/certsync.ts";
import { freePort } from "./kit/free_port.ts";
import { historyIn, memoriesIn } from "./kit/history.ts";
import { need } from "./kit/programs.ts";
import { concurrently, sideBySide } from "./kit/concurrently.ts";
import {
  makeScene,
  modeOf,
  NAME,
  namesIn,
  type Scene,
  type SceneOptions,
} from "./kit/push_scene.ts";
import { recorder } from "./kit/recorder.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { run, tryRun } from "./kit/run.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { unshare } from "./kit/unshare.ts";
import { until } from "./kit/until.ts";

const DAY_MS = 86_400_000;
const FINGERPRINT = /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [first, second] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [NAME] }),
]);

const test = sideBySide("certsync push");

for (const algorithm of ["rsa", "ecdsa-p384", "ed25519"] as const) {
  test(`push delivers a changed ${algorithm} pair byte for byte, once`, async () => {
    const leaf = await ca.issue({ names: [NAME], algorithm });
    await using scene = await pushScene({ leaf });
    const { server, state } = scene;

    const pushed = await scene.push();
    deepEqual([pushed.code, pushed.stderr], [0, ""]);
    const until = leaf.notAfter.toISOString().slice(0, 10);
    const short = leaf.fingerprint.slice(0, 11);
    equal(
      pushed.stdout,
      `pushed ${NAME} ${short}, valid until ${until}\nfingerprint ${leaf.fingerprint}\n` +
        `to ${scene.to}\n`,
    );
    await scene.assertArrived(leaf);
    equal(await Deno.readTextFile(`${state}/last_fp`), `${leaf.fingerprint} ${scene.to}\n`);
    equal(modeOf(state), 0o700);
    deepEqual(namesIn(state), ["history", "last_fp", "lock"]);
    equal(server.connections(), 1);

    await using programs = await recorder();
    const before = await snapshot(scene.path);
    const again = await scene.push([], { path: programs.bin });
    deepEqual([again.code, again.stderr], [0, ""]);
    equal(
      again.stdout,
      `nothing to do: every target has ${NAME} ${short}, valid until ${until}\n`,
    );
    deepEqual(programs.calls(), []);
    equal(server.connections(), 1);
    assertSame(before, await snapshot(scene.path));
  });
}

test("push delivers every renewal, also those within one second", async () => {
  await using scene = await pushScene();
  const { npm } = scene;
  for (let renewal = 0; renewal < 3; renewal++) {
    const leaf = renewal % 2 === 0 ? first : second;
    await npm.renew(5, leaf);
    equal((await scene.push()).code, 0);
    await scene.assertArrived(leaf);
  }
});

test("push --force sends an unchanged certificate", async () => {
  await using scene = await pushScene();
  await scene.remember(`${first.fingerprint} ${scene.to}\n`);
  const result = await scene.push(["--force", "--json"]);
  equal(result.json().outcome, "pushed");
  await scene.assertArrived(first);
});

test("push takes what the old script remembered for the truth", async (t) => {
  await using scene = await pushScene();
  const lower = first.fingerprint.toLowerCase();
  await using programs = await recorder();
  for (
    const text of [
      first.fingerprint,
      `${first.fingerprint}\n`,
      `${lower}\r\n`,
      `sha256 Fingerprint=${first.fingerprint}\n`,
      `SHA256 Fingerprint=${lower}\n`,
      `SHA256 FINGERPRINT=${first.fingerprint}`,
    ]
  ) {
    await t.step(JSON.stringify(text.replace(/..:.*:../s, "…")), async () => {
      await scene.remember(text);
      const result = await scene.push(["--json"], { path: programs.bin });
      deepEqual([result.code, result.json().outcome], [0, "unchanged"]);
      equal(await Deno.readTextFile(`${scene.state}/last_fp`), text);
      deepEqual(programs.calls(), []);
    });
  }
});

test("push takes anything else in last_fp for unknown", async (t) => {
  await using server = await sshServer();
  const cases: [string, (to: string) => string][] = [
    ["nothing", () => ""],
    ["garbage", () => "garbage\n"],
    ["binary garbage", () => "\x00\x01\xff\n"],
    ["another certificate", (to) => `${second.fingerprint} ${to}\n`],
    ["another target", (to) => `${first.fingerprint} ${to}x\n`],
    ["a fingerprint with something behind", () => `${first.fingerprint}x\n`],
    ["a short fingerprint", () => `${first.fingerprint.slice(3)}\n`],
    ["SHA-1", () => `SHA1 Fingerprint=${first.fingerprint.slice(0, 59)}\n`],
    ["two bare fingerprints", () => `${first.fingerprint}\n${first.fingerprint}\n`],
  ];
  await concurrently(
    t,
    cases.map(([what, text]) => [what, async () => {
      await using scene = await pushScene({ server });
      await scene.remember(text(scene.to));
      equal((await scene.push(["--dry-run", "--json"])).json().outcome, "would-push");
    }]),
  );
  await using scene = await pushScene({ server });
  await scene.remember("garbage\n");
  equal((await scene.push()).code, 0);
  equal(await Deno.readTextFile(`${scene.state}/last_fp`), `${first.fingerprint} ${scene.to}\n`);
});

test("push does not know which of two targets a bare fingerprint belongs to", async () => {
  await using scene = await pushScene();
  const other = scene.server.target(`${scene.path}/other/`);
  await scene.configure({ to: [scene.to, other] });
  await scene.remember(`${first.fingerprint}\n`);
  const result = await scene.push(["--dry-run", "--json"]);
  deepEqual(result.json().targets, [
    { to: scene.to, outcome: "would-push" },
    { to: other, outcome: "would-push" },
  ]);
});

test("a failed transfer leaves last_fp and what was delivered as they were", async () => {
  await using scene = await pushScene();
  equal((await scene.push()).code, 0);
  await scene.npm.renew(5, second);
  await scene.configure({ port: freePort() });
  const [state, incoming] = [await snapshot(scene.state), await snapshot(scene.incoming)];
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "failed"]);
  const after = await snapshot(scene.state);
  state.delete(""), after.delete(""); // the scratch directory came and went
  const entries = (await historyIn(scene.state)).map(({ outcome }) => outcome);
  deepEqual(entries, ["pushed", "failed"]);
  state.delete("history"), after.delete("history");
  assertSame(state, after);
  assertSame(incoming, await snapshot(scene.incoming));
});

test("a memory that is none is named before anything is sent", async () => {
  await using scene = await pushScene();
  await Deno.mkdir(`${scene.state}/last_fp`, { recursive: true });
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "failed"]);
  match(result.json().error, /certsync did not make .*last_fp/);
  deepEqual(namesIn(scene.incoming), []);
  deepEqual(await memoriesIn(scene.state), ["last_fp", "lock"]);
});

test("a target that cannot be remembered has failed, and the report says that it was sent", async () => {
  await using scene = await pushScene();
  const inTheWay = `${scene.state}/.certsync-last_fp`;
  const received = forcedCommand("-azL", scene.incoming);
  await scene.server.force(`mkdir -p ${inTheWay}/full; ${received}`);
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "failed"]);
  equal(result.json().fingerprint, first.fingerprint);
  match(result.json().targets[0].error, /^sent, but .*a directory is in the way: ".*last_fp"/);
  await scene.assertArrived(first);
});

test("push succeeds at once where the forced command matches", async () => {
  await using scene = await pushScene();
  await scene.server.force(forcedCommand("-azL", scene.incoming));
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().warnings], [0, []]);
  equal(scene.server.connections(), 1);
  await scene.assertArrived(first);
});

test("push succeeds with the documentation's forced command, and says what would match", async () => {
  await using scene = await pushScene();
  const { server } = scene;
  await server.force(forcedCommand("-aL", scene.incoming));
  const result = await scene.push(["--json"]);
  equal(result.code, 0);
  equal(result.json().outcome, "pushed");
  equal(server.connections(), 2);
  await scene.assertArrived(first);
  equal(await Deno.readTextFile(`${scene.state}/last_fp`), `${first.fingerprint} ${scene.to}\n`);

  const line = `command="${forcedCommand("-azL", scene.incoming)}",restrict ${server.publicKey}`;
  const [warning, ...others] = result.json().warnings;
  deepEqual(others, []);
  ok(warning.endsWith(`: ${line}`), warning);
  match(result.stderr, /^WARNING: /);

  await server.authorize(`${line}\n`);
  const matched = await scene.push(["--force", "--json"]);
  deepEqual([matched.code, matched.json().warnings], [0, []]);
  equal(server.connections(), 3);
});

test("the line that push prints also matches a directory with a space and quotes", async () => {
  await using scene = await pushScene();
  const { server } = scene;
  const odd = `${scene.path}/in "c$/`;
  await Deno.mkdir(odd);
  await server.force("true; rsync --server -logDtpre.iLsfxCIvu . '" + odd + "'");
  await scene.configure({ to: server.target(odd) });
  const [warning] = (await scene.push(["--json"])).json().warnings;
  await server.authorize(`${warning.slice(warning.indexOf("command="))}\n`);
  deepEqual((await scene.push(["--force", "--json"])).json().warnings, []);
  equal(await Deno.readTextFile(`${odd}/privkey.pem`), first.keyPem);
});

test("push says where nothing but its number sets the lineage apart that it takes", async () => {
  await using scene = await pushScene();
  const best = await scene.npm.add(9, first);
  const report = (await scene.push(["--dry-run", "--json"])).json();
  deepEqual([report.outcome, report.source], ["would-push", best]);
  deepEqual(report.warnings, [
    `"${scene.npm.dir(5)}" holds an equally good certificate; "${best}" is used`,
  ]);
  await scene.npm.renew(9, await ca.issue({ names: [NAME], notBefore: ago(0) }));
  deepEqual((await scene.push(["--dry-run", "--json"])).json().warnings, []);
});

test("of one number in two live directories push takes the better one, and verify looks there", async () => {
  await using scene = await pushScene();
  const other = await npmTree(`${scene.path}/other`);
  await other.add(5, await ca.issue({ names: [NAME], notBefore: ago(0) }));
  for (const live of [[scene.npm.live, other.live], [other.live, scene.npm.live]]) {
    await scene.configure({ source: "npm-5", live });
    equal((await scene.push(["--dry-run", "--json"])).json().source, other.dir(5));
    const endpoint = ["--endpoint", `imaps://127.0.0.1:${freePort()}`];
    const verified = await certsync([
      "verify",
      "--config",
      scene.configFile,
      "--json",
      ...endpoint,
    ]);
    equal(verified.json().legs[0].where, `${other.dir(5)}/fullchain.pem`);
  }
});

// Refusals

interface Refusal {
  /** How the scene differs from one that would be pushed. */
  arrange(scene: Scene): Promise<unknown>;
  error: RegExp;
  hint?: RegExp;
  /** More of the command line. */
  args?: string[];
}

const refusals: Record<string, Refusal> = {
  "text that is no certificate": {
    arrange: ({ source }) => Deno.writeTextFile(`${source}/fullchain.pem`, "hello\n"),
    error: /^not a certificate: .*fullchain\.pem/,
    hint: /^it is damaged, or none at all: put a whole fullchain\.pem there/,
  },
  "binary garbage": {
    arrange: ({ source }) =>
      Deno.writeFile(`${source}/fullchain.pem`, Uint8Array.from({ length: 999 }, (_, i) => i)),
    error: /^not a certificate: .*fullchain\.pem.* is not PEM text/,
    hint: /^it is damaged, or none at all: put a whole fullchain\.pem there/,
  },
  "an empty chain file": {
    arrange: ({ source }) => Deno.writeTextFile(`${source}/fullchain.pem`, ""),
    error: /^not a certificate: .*fullchain\.pem/,
    hint: /^it is damaged, or none at all: put a whole fullchain\.pem there/,
  },
  "a certificate cut off": {
    arrange: ({ source }) =>
      Deno.writeTextFile(
        `${source}/fullchain.pem`,
        first.certPem.replace(/\n.{64}\n(-----END)/, "\n$1").replace(
          /\n[^\n]+\n(?=-----END)/,
          "\n",
        ),
      ),
    error: /^not a certificate: .*fullchain\.pem/,
    hint: /^it is damaged, or none at all: put a whole fullchain\.pem there/,
  },
  "a key in the chain file": {
    arrange: ({ source }) =>
      Deno.writeTextFile(`${source}/fullchain.pem`, first.fullchainPem + first.keyPem),
    error: /^a private key is in the chain file: .*fullchain\.pem/,
    hint: /replace it if others could read/,
  },
  "other text in the chain file": {
    arrange: ({ source }) =>
      Deno.writeTextFile(`${source}/fullchain.pem`, `subject=CN = x\n${first.fullchainPem}`),
    error: /^anything but certificates in the chain file: .*fullchain\.pem/,
    hint: /BEGIN CERTIFICATE/,
  },
  "a key of another certificate": {
    arrange: ({ source }) => Deno.writeTextFile(`${source}/privkey.pem`, second.keyPem),
    error: /^key does not match certificate: .*privkey\.pem/,
    hint: /renewal/,
  },
  "text that is no key": {
    arrange: ({ source }) => Deno.writeTextFile(`${source}/privkey.pem`, "hello\n"),
    error: /^not a private key: .*privkey\.pem/,
    hint: /^put the whole privkey\.pem of that certificate there/,
  },
  "an encrypted key": {
    arrange: async ({ source }) => {
      const args = ["pkcs8", "-topk8", "-v2", "aes-128-cbc", "-passout", "pass:secret"];
      const encrypted = await run(need("openssl"), args, { stdin: first.keyPem });
      await Deno.writeTextFile(`${source}/privkey.pem`, encrypted);
    },
    error: /^the private key is encrypted: .*privkey\.pem/,
    hint: /without/,
  },
  "an expired certificate": {
    arrange: (scene) => scene.store({ notBefore: ago(90 * DAY_MS), notAfter: ago(DAY_MS) }),
    error: /^certificate expired at \d{4}-.*Z: .*fullchain\.pem/,
    hint: /renew it in Nginx Proxy Manager/,
  },
  "a certificate that is not yet valid": {
    arrange: (scene) => scene.store({ notBefore: ago(-DAY_MS) }),
    error: /^certificate is not yet valid before \d{4}-.*Z: .*fullchain\.pem/,
    hint: /clock/,
  },
  "a certificate for another name": {
    arrange: (scene) => scene.store({ names: ["www.example.org", "example.org"] }),
    error: /^certificate does not cover "mail\.example\.org": .*fullchain\.pem/,
    hint: /"www\.example\.org", "example\.org"/,
  },
  "a wildcard for a part of a label": {
    arrange: (scene) => scene.store({ names: ["m*.example.org"] }),
    error: /^certificate does not cover "mail\.example\.org"/,
    hint: /^it is for "m?\*\./,
  },
  "a wildcard for two labels": {
    arrange: (scene) => scene.store({ names: ["*.org"] }),
    error: /^certificate does not cover "mail\.example\.org"/,
    hint: /^it is for "m?\*\./,
  },
  "a wildcard for all of a top-level domain, which openssl alone takes for none": {
    arrange: (scene) => scene.store({ names: ["*.org"] }),
    args: ["--domain", "example.org"],
    error: /^certificate does not cover "example\.org"/,
    hint: /^it is for "\*\.org"$/,
  },
  "a certificate for TLS clients": {
    arrange: (scene) => scene.store({ extendedKeyUsage: "clientAuth" }),
    error: /^certificate chain does not verify: .*purpose/,
    hint: /^have the certificate issued anew/,
  },
  "a self-signed certificate": {
    arrange: (scene) => scene.store({ signedBy: "self" }),
    error: /^certificate chain does not verify: .*fullchain\.pem.*self-signed/,
    hint: /self-signed.*push\.trust/,
  },
  "a leaf without its intermediate": {
    arrange: async (scene) => {
      await Deno.writeTextFile(`${scene.source}/fullchain.pem`, first.certPem);
      await scene.configure({ trust: "system" });
    },
    error: /^certificate chain does not verify/,
    hint: /leaf alone.*intermediates.*fullchain\.pem/,
  },
  "a leaf without its intermediate, and a CA file": {
    arrange: ({ source }) => Deno.writeTextFile(`${source}/fullchain.pem`, first.certPem),
    error: /^certificate chain does not verify/,
    hint: /leaf alone.*intermediates.*fullchain\.pem/,
  },
  "a certificate from Let's Encrypt's staging environment": {
    arrange: async (scene) => {
      await scene.store({ issuerName: "(STAGING) Wannabe Watercress R11" });
      await scene.configure({ trust: "system" });
    },
    error: /^certificate chain does not verify/,
    hint: /staging environment/,
  },
  "a root that this host's CA bundle does not know": {
    arrange: (scene) => scene.configure({ trust: "system" }),
    error: /^certificate chain does not verify/,
    hint: /CA bundle.*"CN=Kit Root X1,O=Kit".*ca-certificates.*push\.trust/,
  },
  "a root that the CA file does not hold": {
    arrange: async (scene) => {
      await Deno.writeTextFile(`${scene.path}/ca.pem`, await otherRoot());
      await scene.configure({ trust: `${scene.path}/ca.pem` });
    },
    error: /^certificate chain does not verify/,
    hint: /^push\.trust is ".*ca\.pem", which does not vouch for "CN=Kit Root X1,O=Kit"/,
  },
  "whatever a missing CA file should vouch for": {
    arrange: (scene) => scene.configure({ trust: `${scene.path}/none.pem` }),
    error: /^certificate chain does not verify/,
    hint: /".*none\.pem", which push\.trust names, is a CA file in PEM/,
  },
  "whatever a CA file without certificates should vouch for": {
    arrange: async (scene) => {
      await Deno.writeTextFile(`${scene.path}/ca.pem`, "hello\n");
      await scene.configure({ trust: `${scene.path}/ca.pem` });
    },
    error: /^certificate chain does not verify/,
    hint: /".*ca\.pem", which push\.trust names/,
  },
};

test("push refuses", async (t) => {
  await using server = await sshServer();
  await concurrently(
    t,
    Object.entries(refusals).map((
      [what, { arrange, error, hint = /^$/, args = [] }],
    ) => [what, async () => {
      await using scene = await pushScene({ server, plainFiles: true });
      await arrange(scene);
      const result = await scene.push(["--json", ...args]);
      const report = result.json();
      deepEqual([result.code, report.outcome], [1, "refused"], result.stderr);
      match(report.error, error);
      match(report.hint ?? "", hint);
      equal(report.source, scene.source);
      deepEqual(report.targets, [{ to: scene.to, outcome: "refused" }]);
      ok(result.stderr.startsWith(`ERROR: ${report.error}\n`), result.stderr);
      deepEqual(namesIn(scene.incoming), []);
      deepEqual(await memoriesIn(scene.state), ["lock"]);
    }]),
  );
  equal(server.connections(), 0);
});

test("push refuses an unchanged certificate that has become unfit", async (t) => {
  await using server = await sshServer();
  const cases: [string, (scene: Scene) => Promise<Leaf>, RegExp][] = [
    [
      "expired",
      (scene) => scene.store({ notBefore: ago(9 * DAY_MS), notAfter: ago(DAY_MS) }),
      /expired/,
    ],
    ["for another name", (scene) => scene.store({ names: ["www.example.org"] }), /does not cover/],
    [
      "beside another key than its own",
      async ({ source }) => {
        await Deno.writeTextFile(`${source}/privkey.pem`, second.keyPem);
        return first;
      },
      /^key does not match certificate: .*privkey\.pem/,
    ],
  ];
  await concurrently(
    t,
    cases.map(([what, arrange, error]) => [what, async () => {
      await using scene = await pushScene({ server, plainFiles: true });
      const leaf = await arrange(scene);
      await scene.remember(`${leaf.fingerprint} ${scene.to}\n`);
      const result = await scene.push(["--json"]);
      deepEqual([result.code, result.json().outcome], [1, "refused"]);
      match(result.json().error, error);
    }]),
  );
  equal(server.connections(), 0);
});

test("push finds a pair unchanged, though openssl alone knows that its key fits", async () => {
  await using scene = await pushScene({ plainFiles: true });
  const curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"];
  const leaf = await scene.store({ keyPem: await run(need("openssl"), curve) });
  await scene.remember(`${leaf.fingerprint} ${scene.to}\n`);
  const result = await scene.push(["--json"]);
  deepEqual([result.code, result.json().outcome], [0, "unchanged"], result.stderr);
  deepEqual(result.json().targets, [{ to: scene.to, outcome: "unchanged" }]);
  equal(scene.server.connections(), 0);
});

test("push takes any chain with trust: none", async () => {
  await using scene = await pushScene({ plainFiles: true });
  const own = await scene.store({ signedBy: "self" });
  await scene.configure({ trust: "none" });
  equal((await scene.push()).code, 0);
  await scene.assertArrived(own);
});

test("push fails where there is nothing to read, and contacts nobody", async (t) => {
  await using server = await sshServer();
  const cases: [string, (scene: Scene) => Promise<unknown>, RegExp, RegExp][] = [
    [
      "no such directory",
      (scene) => scene.configure({ source: `${scene.path}/none` }),
      /^source unreadable: ".*\/none\/fullchain\.pem" does not exist/,
      /find-npm-dir/,
    ],
    [
      "links that dangle",
      async (scene) => scene.configure({ source: await scene.npm.addDangling(7) }),
      /^source unreadable: ".*npm-7\/fullchain\.pem" is a symbolic link that leads nowhere/,
      /find-npm-dir/,
    ],
    [
      "a directory for a file",
      async ({ source }) => {
        await Deno.remove(`${source}/fullchain.pem`);
        await Deno.mkdir(`${source}/fullchain.pem`);
      },
      /^source unreadable: ".*fullchain\.pem" is a directory/,
      /./,
    ],
    [
      "a FIFO for a file",
      async ({ source }) => {
        await Deno.remove(`${source}/privkey.pem`);
        await run("/usr/bin/mkfifo", [`${source}/privkey.pem`]);
      },
      /^source unreadable: ".*privkey\.pem" is not a regular file/,
      /./,
    ],
    [
      "a file of 1 GB",
      ({ source }) => Deno.truncate(`${source}/fullchain.pem`, 2 ** 30),
      /^source unreadable: ".*fullchain\.pem" is larger than 64 KiB/,
      /./,
    ],
    [
      "no such lineage",
      (scene) => scene.configure({ source: "npm-99" }),
      /^there is no npm-99 in the live directories/,
      /find-npm-dir/,
    ],
    [
      "no certificate for the name",
      async (scene) => {
        await scene.npm.add(5, await ca.issue({ names: ["www.example.org"] }));
        await scene.configure({ source: "auto" });
      },
      /^no certificate for "mail\.example\.org" in the live directories/,
      /find-npm-dir/,
    ],
    [
      "no live directory",
      (scene) => scene.configure({ source: "auto", live: `${scene.path}/none` }),
      /^there is no live directory: ".*\/none"$/,
      /push\.live/,
    ],
  ];
  await concurrently(
    t,
    cases.map(([what, arrange, error, hint]) => [what, async () => {
      await using scene = await pushScene({ server, plainFiles: true });
      await arrange(scene);
      const result = await scene.push(["--json"]);
      deepEqual([result.code, result.json().outcome], [1, "failed"]);
      match(result.json().error, error);
      match(result.json().hint ?? "", hint);
      ok(!result.stderr.includes("    at "), result.stderr);
      deepEqual(await memoriesIn(scene.state), ["lock"]);
    }]),
  );
  equal(server.connections(), 0);
});

test("push says to run it as root where live/ is closed to it", async () => {
  await using scene = await pushScene();
  await using dir = await tempDir();
  // Nobody may enter the checkout, perhaps, nor the directories of the kit.
  await Deno.chmod(dir.path, 0o755);
  await Deno.chmod(scene.path, 0o755);
  const binary = `${dir.path}/certsync`;
  await Deno.copyFile(new URL("../dist/certsync", import.meta.url), binary);
  const asNobody = Deno.uid() === 0
    ? ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary]
    : [binary];
  if (Deno.uid() !== 0) await Deno.chmod(scene.npm.live, 0);
  await scene.configure({ state: `${dir.path}/state` });
  for (const source of ["auto", "npm-5", scene.npm.dir(5)]) {
    const args = ["push", "--dry-run", "--config", scene.configFile, "--source", source];
    const { code, stderr } = await tryRun(asNobody[0]!, [...asNobody.slice(1), ...args]);
    equal(code, 1, stderr);
    match(
      stderr,
      /^ERROR: (source unreadable:|cannot look into) .*\nhint: .*run this as root\b.*\n$/,
    );
  }
  if (Deno.uid() !== 0) await Deno.chmod(scene.npm.live, 0o700);

  await Deno.chmod(scene.npm.live, 0o755);
  await Deno.chmod(`${scene.npm.live}/../archive`, 0);
  const args = ["push", "--dry-run", "--config", scene.configFile];
  const { code, stderr } = await tryRun(asNobody[0]!, [...asNobody.slice(1), ...args]);
  equal(code, 1, stderr);
  match(stderr, /^ERROR: source unreadable: ".*npm-5.* read/);
  await Deno.chmod(`${scene.npm.live}/../archive`, 0o700);
});

// Hints

interface Trouble {
  arrange(scene: Scene): Promise<unknown>;
  error: RegExp;
  hint: RegExp;
  /** How often rsync is tried; default once, never where this host's key is no good. */
  attempts?: number;
  /** Programs that replace the real ones, as shell scripts. */
  programs?: Record<string, string>;
}

/**
 * rsync over there says why on stderr, and rsync here ends its ssh by SIGUSR1 as soon as it knows
 * that there was a failure: the words are lost where they come second.
 */
const LETS_FINISH = `trap '' USR1; exec ${need("ssh")} "$@"`;

const troubles: Record<string, Trouble> = {
  "an unknown host key": {
    arrange: (scene) => scene.configure({ known_hosts: scene.server.emptyKnownHosts }),
    error: /the host key is unknown: .*Host key verification failed/,
    hint: /line of \[127\.0\.0\.1\]:\d+ into .*known_hosts/,
  },
  "a changed host key": {
    arrange: (scene) => scene.configure({ known_hosts: scene.server.wrongKnownHosts }),
    error: /the host key has changed/,
    hint:
      /replace the line of \[127\.0\.0\.1\]:\d+ in ".*wrong_known_hosts" \(line 1\).*in between/,
  },
  "a key that the other side does not take": {
    arrange: (scene) => scene.configure({ identity: scene.server.strangerIdentity }),
    error: /permission denied: the key is not accepted: .*Permission denied \(publickey\)/,
    hint: /push\.identity.*authorized_keys/,
  },
  "a key that others can read": {
    arrange: async (scene) => {
      await Deno.copyFile(scene.server.identity, `${scene.path}/open_key`);
      await Deno.chmod(`${scene.path}/open_key`, 0o644);
      await scene.configure({ identity: `${scene.path}/open_key` });
    },
    error: /ssh refuses the private key, because others can read it: ".*open_key"/,
    hint: /chmod 600 ".*open_key"/,
    attempts: 0,
  },
  "a closed port": {
    arrange: (scene) => scene.configure({ port: freePort() }),
    error: /the connection was refused: .*Connection refused/,
    hint: /port \d+ inbound through the firewall of the mail host 127\.0\.0\.1 and outbound/,
  },
  "a port that never answers": {
    arrange: (scene) => scene.configure({ port: scene.silentPort(), timeout: "1s" }),
    error: /the connection timed out: no end within 1 s/,
    hint: /port \d+ inbound through the firewall of the mail host 127\.0\.0\.1 and outbound/,
  },
  "a name without an address": {
    arrange: (scene) => scene.configure({ to: "certsync@mail.invalid:/incoming/" }),
    error: /the host name has no address: .*Could not resolve hostname/,
    hint: /is mail\.invalid spelled right.*DNS/,
  },
  "no rsync on the other side": {
    arrange: (scene) => scene.server.force("PATH=/nonexistent; rsync --server . /"),
    error: /rsync is missing on the other side/,
    hint: /install the package rsync on 127\.0\.0\.1/,
  },
  "a forced command with another path to rsync": {
    arrange: (scene) => scene.server.force("/nonexistent/rsync --server . /"),
    error: /rsync is missing on the other side/,
    hint: /install the package rsync on 127\.0\.0\.1.*forced command/,
  },
  "a forced command that ends at once": {
    arrange: (scene) => scene.server.force("true"),
    error: /the forced command on the other side does not fit/,
    hint: /command="…".*authorized_keys on 127\.0\.0\.1.*rsync -azL --debug=CMD/,
    attempts: 2,
  },
  "a forced command that never answers": {
    arrange: async (scene) => {
      await scene.server.force("cat");
      await scene.configure({ timeout: "4s" });
    },
    error:
      /the forced command on the other side does not fit, or did not answer: no end within 4 s/,
    hint: /command="…".*authorized_keys on 127\.0\.0\.1.*rsync -azL --debug=CMD/,
    attempts: 2,
  },
  "a forced command of other rsync options": {
    arrange: (scene) => scene.server.force("rsync --server --nonsense -logDtpre.iLsfxCIvu . /"),
    error: /the forced command on the other side does not fit/,
    hint: /command="…".*authorized_keys/,
    attempts: 2,
  },
  "a forced command that is not rsync": {
    arrange: (scene) => scene.server.force("echo hello there"),
    error: /the other side runs something else than rsync/,
    hint: /command="…".*authorized_keys.*shell/,
  },
  "a directory that is not there": {
    arrange: (scene) => scene.server.force(forcedCommand("-azL", `${scene.path}/no/such/dir/`)),
    error: /the other side cannot write there: .*No such file or directory/,
    hint: /must exist and belong to the user of the push/,
    programs: { ssh: LETS_FINISH },
  },
  "a directory that is not the user's": {
    arrange: async (scene) => {
      await Deno.chmod(scene.path, 0o755);
      await Deno.mkdir(`${scene.path}/closed`, { mode: 0o555 });
      const command = forcedCommand("-azL", `${scene.path}/closed/`);
      const drop = "setpriv --reuid=65534 --regid=65534 --clear-groups";
      await scene.server.force(Deno.uid() === 0 ? `${drop} ${command}` : command);
    },
    error: /the other side cannot write there: .*Permission denied/,
    hint: /must exist and belong to the user of the push/,
  },
};

const namespaceTroubles: Record<string, Trouble> = {
  "a full disk on the other side": {
    arrange: (scene) =>
      scene.server.force(
        `${unshare} --mount sh -c 'mount -t tmpfs -o size=4k none ${scene.incoming} && ` +
          `head -c 4096 /dev/zero >${scene.incoming}full && ` +
          `${forcedCommand("-azL", scene.incoming)}'`,
      ),
    error: /no space left on the mail host: .*No space left on device/,
    hint: /free some space in .*incoming\/ on 127\.0\.0\.1/,
    programs: { ssh: LETS_FINISH },
  },
  "a network without a route": {
    arrange: (scene) => scene.configure({ to: "certsync@192.0.2.1:/incoming/" }),
    programs: { ssh: `exec ${unshare} --net ${need("ssh")} "$@"` },
    error: /there is no route to the host: .*Network is unreachable/,
    hint: /is 192\.0\.2\.1 up/,
  },
};

test("push tells the cause and what to do about", async (t) => {
  const cases = { ...troubles, ...(unshare === undefined ? {} : namespaceTroubles) };
  await concurrently(
    t,
    Object.entries(cases).map(([what, trouble]) => [what, async () => {
      await using scene = await pushScene();
      await scene.remember("garbage\n");
      await trouble.arrange(scene);
      await using programs = await recorder(trouble.programs);
      const result = await scene.push(["--json"], { path: programs.bin });
      const report = result.json();
      deepEqual([result.code, report.outcome], [1, "failed"]);
      const [target] = report.targets;
      deepEqual(Object.keys(target), ["to", "outcome", "error", "hint"]);
      match(target.error, trouble.error);
      match(target.hint, trouble.hint);
      equal(report.error, `${target.to}: ${target.error}`);
      equal(report.hint, target.hint);
      equal(result.stderr, `ERROR: ${report.error}\nhint: ${report.hint}\n`);
      ok(!/Authenticated to|Transferred:/.test(result.stderr), result.stderr);
      const attempts = programs.calls().filter(({ argv }) => argv[0] === "rsync").length;
      equal(attempts, trouble.attempts ?? 1);
      equal(await Deno.readTextFile(`${scene.state}/last_fp`), "garbage\n");
      deepEqual(await memoriesIn(scene.state), ["last_fp", "lock"]);
      deepEqual(namesIn(scene.incoming), []);
    }]),
  );
});

test("words that were cut off are worth another connection, in which they are told", async () => {
  await using scene = await pushScene();
  await using dir = await tempDir();
  await scene.server.force(forcedCommand("-azL", `${scene.path}/no/such/dir/`));
  const [cut, words] = [`${dir.path}/cut`, `${dir.path}/words`];
  await using programs = await recorder({
    ssh: `[ ! -e ${cut} ] || { ${LETS_FINISH}; }
      trap '' USR1; ${need("ssh")} "$@" 2>${words}; code=$?
      ! grep '^Authenticated to' ${words} >&2 || >${cut}; exit $code`,
  });
  const result = await scene.push(["--json"], { path: programs.bin });
  equal(result.code, 1);
  match(result.json().error, /the other side cannot write there: .*No such file or directory/);
  match(await Deno.readTextFile(words), /No such file or directory/);
  equal(programs.calls().filter(({ argv }) => argv[0] === "rsync").length, 2);
  equal(scene.server.connections(), 2);
});

test("push names the Debian package of a program that is missing here", async () => {
  await using scene = await pushScene();
  await using dir = await tempDir();
  await Deno.symlink(need("openssl"), `${dir.path}/openssl`);
  const result = await scene.push(["--json"], { env: { PATH: dir.path } });
  equal(result.code, 1);
  match(
    result.stderr,
    /ERROR: .*rsync is not installed on this host\nhint: install the package rsync\n/,
  );
  deepEqual(await memoriesIn(scene.state), ["lock"]);
});

// Several at once

test("one failing target stops no other, and is alone in being tried again", async () => {
  await using scene = await pushScene();
  const { server, path } = scene;
  const [good, bad] = [`${path}/good/`, `${path}/bad/`];
  await Deno.mkdir(good);
  // Of this rsync always says why; words that were cut off are worth another connection.
  await Deno.mkdir(`${bad}fullchain.pem/full`, { recursive: true });
  const to = [bad, scene.incoming, good].map((dir) => server.target(dir));
  await scene.configure({ to });

  const result = await scene.push(["--json"]);
  equal(result.code, 1);
  const report = result.json();
  equal(report.outcome, "failed");
  deepEqual(
    report.targets.map(({ outcome }: { outcome: string }) => outcome),
    ["failed", "pushed", "pushed"],
  );
  ok(report.error.startsWith(`${to[0]}: `));
  await scene.assertArrived(first);
  equal(await Deno.readTextFile(`${good}/privkey.pem`), first.keyPem);
  deepEqual(
    (await Deno.readTextFile(`${scene.state}/last_fp`)).trim().split("\n").sort(),
    [`${first.fingerprint} ${to[1]}`, `${first.fingerprint} ${to[2]}`].sort(),
  );
  equal(server.connections(), 3);

  await Deno.remove(`${bad}fullchain.pem`, { recursive: true });
  const again = await scene.push(["--json"]);
  equal(again.code, 0);
  deepEqual(again.json().targets, [
    { to: to[0], outcome: "pushed" },
    { to: to[1], outcome: "unchanged" },
    { to: to[2], outcome: "unchanged" },
  ]);
  equal(server.connections(), 4);
  match((await scene.push()).stdout, /^nothing to do/);
});

test("a slow target delays no other", async () => {
  await using scene = await pushScene();
  await using fifo = await tempDir();
  await run("/usr/bin/mkfifo", [`${fifo.path}/gate`]);
  // Each rsync over there waits for the other one: one after the other they would wait for ever.
  await scene.server.force(
    `if [ "\${SSH_ORIGINAL_COMMAND##*/incoming/}" = "" ]; then echo >${fifo.path}/gate; ` +
      `else read -r _ <${fifo.path}/gate; fi; eval "$SSH_ORIGINAL_COMMAND"`,
  );
  await Deno.mkdir(`${scene.path}/other`);
  const other = scene.server.target(`${scene.path}/other/`);
  await scene.configure({ to: [scene.to, other], timeout: "20s" });
  equal((await scene.push()).code, 0);
});

test("a second push waits for the first, and then has nothing to do", async () => {
  await using scene = await pushScene();
  const { server } = scene;
  await server.force(`sleep 4; ${forcedCommand("-azL", scene.incoming)}`);
  const one = scene.push();
  await until(() => server.connections() === 1);
  const two = await scene.push();
  equal(two.code, 0);
  deepEqual([two.stderr, two.waits], ["", [
    "another certsync is at work: waiting for it to end, for at most 60s\n",
  ]]);
  match(two.stdout, /^nothing to do/);
  equal((await one).code, 0);
  equal(server.connections(), 1);
});

test("SIGTERM ends a push that waits for another one, and touches nothing of that one's", async () => {
  await using scene = await pushScene();
  await scene.remember("garbage\n");
  await Deno.writeTextFile(`${scene.state}/.certsync-last_fp`, "half"); // as if it were at work
  using other = await Deno.open(`${scene.state}/lock`, { create: true, write: true });
  await other.lock(true);
  const started = startCertsync(scene.args([]), { timeoutMs: 15_000 });
  await until(() => started.said().includes("another certsync is at work"));
  started.kill("SIGTERM");
  const { code, signal, stdout, stderr } = await started.result;
  deepEqual([code, signal, stdout], [1, null, ""]);
  match(
    stderr,
    /^ERROR: stopped by SIGTERM: not pushed to \S+\nhint: .*: certsync push --config .*\n$/,
  );
  deepEqual(namesIn(scene.state), [".certsync-last_fp", "last_fp", "lock"]);
  equal(scene.server.connections(), 0);
});

test("push --dry-run says what would happen, and creates nothing", async () => {
  await using scene = await pushScene();
  await using programs = await recorder();
  const before = await snapshot(scene.path);
  const result = await scene.push(["--dry-run"], { path: programs.bin });
  deepEqual([result.code, result.stderr], [0, ""]);
  match(
    result.stdout,
    new RegExp(
      `^would push ${NAME} .*\nfingerprint .*\nto .*incoming/\nTLSA 3 1 1 ([0-9a-f]{64}) is its ` +
        `key: where _25\\._tcp\\.${NAME} has TLSA records, add it to them, .*pushed\n$`,
    ),
  );
  assertSame(before, await snapshot(scene.path));
  const calls = programs.calls().map(({ argv }) => argv);
  deepEqual([...new Set(calls.map(([program]) => program))], ["openssl"]);
  const judged = calls.find((argv) => argv[1] === "verify")!.at(-1)!;
  throws(() => Deno.statSync(judged), Deno.errors.NotFound);
  equal(scene.server.connections(), 0);

  // The key of what is there already is published, or needs not be.
  await scene.remember(`${first.fingerprint} ${scene.to}\n`);
  const again = await scene.push(["--dry-run", "--force"]);
  match(again.stdout, /^would push .*\nfingerprint .*\nto .*incoming\/\n$/);

  // Nor is it a new one where certbot was told to keep it.
  const kept = await ca.issue({ names: [NAME], keyPem: first.keyPem });
  await scene.npm.renew(5, kept);
  const same = await scene.push(["--dry-run"]);
  match(same.stdout, /^would push .*\nfingerprint .*\nto .*incoming\/\n$/);
  await scene.npm.renew(5, second);
  match((await scene.push(["--dry-run"])).stdout, /\nTLSA 3 1 1 [0-9a-f]{64} is its key: /);
  // What was sent is not known any more.
  await scene.remember(`${"AB:".repeat(31)}AB ${scene.to}\n`);
  await scene.npm.renew(5, kept);
  match((await scene.push(["--dry-run"])).stdout, /\nTLSA 3 1 1 [0-9a-f]{64} is its key: /);

  const expired = await ca.issue({
    names: [NAME],
    notBefore: ago(9 * DAY_MS),
    notAfter: ago(DAY_MS),
  });
  await scene.npm.renew(5, expired);
  const refused = await scene.push(["--dry-run", "--json"]);
  deepEqual([refused.code, refused.json().outcome], [1, "refused"]);
});

test("push --dry-run does not wait for a push that is at work", async () => {
  await using scene = await pushScene();
  await scene.server.force(`sleep 1; ${forcedCommand("-azL", scene.incoming)}`);
  const running = scene.push();
  await until(() => scene.server.connections() === 1);
  equal((await scene.push(["--dry-run", "--json"])).json().outcome, "would-push");
  equal((await running).code, 0);
});

test("push reaches a target by its IPv6 address", async () => {
  await using scene = await pushScene({ address: "::1" });
  match(scene.to, /@\[::1\]:\//);
  equal((await scene.push()).code, 0);
  await scene.assertArrived(first);
});

test("push takes paths with spaces and quotes", async () => {
  await using scene = await pushScene();
  const dir = `${scene.path}/it's 100% "odd"`;
  await Deno.mkdir(dir);
  await Deno.copyFile(scene.server.identity, `${dir}/id`);
  await Deno.chmod(`${dir}/id`, 0o600);
  await Deno.mkdir(`${scene.path}/a b`);
  await Deno.copyFile(scene.server.knownHosts, `${scene.path}/a b/known`);
  await scene.configure({
    identity: `${dir}/id`,
    known_hosts: `${scene.path}/a b/known`,
    state: `${dir}/state`,
  });
  equal((await scene.push()).code, 0);
  deepEqual(await memoriesIn(`${dir}/state`), ["last_fp", "lock"]);
});

// Interruptions

test("SIGTERM in the middle of a transfer leaves nothing behind", async () => {
  await using scene = await pushScene();
  const { server } = scene;
  await scene.remember(`${second.fingerprint} ${scene.to}\n`);
  await server.force("cat >/dev/null");
  const started = startCertsync(scene.args(["--json"]));
  await until(() => server.log().includes("Starting session"));
  deepEqual(namesIn(scene.state), ["last_fp", "lock", "scratch"]);
  started.kill("SIGTERM");
  const result = await started.result;
  deepEqual([result.code, result.json().outcome], [1, "failed"]);
  const { source, fingerprint, targets, hint } = result.json();
  deepEqual([source, fingerprint], [scene.source, first.fingerprint]);
  deepEqual(targets, [{ to: scene.to, outcome: "failed", error: "stopped by SIGTERM" }]);
  equal(
    result.stderr,
    `ERROR: stopped by SIGTERM: not pushed to ${scene.to}\nhint: ${hint}\n`,
  );
  deepEqual(await memoriesIn(scene.state), ["last_fp", "lock"]);
  equal(await Deno.readTextFile(`${scene.state}/last_fp`), `${second.fingerprint} ${scene.to}\n`);
  deepEqual(namesIn(scene.incoming), []);
  await until(() => /Disconnected|Connection closed/.test(server.log())); // its ssh is gone too

  await server.force();
  const [, command = ""] = /: certsync (push .*)$/.exec(hint) ?? [];
  const again = await certsync(command.replaceAll('"', "").split(" "));
  equal(again.code, 0, again.stderr);
  await scene.assertArrived(first);
});

test("SIGINT cleans up after programs that end at different times", async () => {
  await using scene = await pushScene();
  await using dir = await tempDir();
  await using programs = await recorder({
    openssl:
      `[ "$1" = verify ] || { sleep 30 & wait; }; trap '' TERM; >${dir.path}/is_deaf; sleep 30`,
  });
  const started = startCertsync(scene.args([]), { path: programs.bin });
  await until(() => programs.calls().length === 3 && namesIn(dir.path).includes("is_deaf"));
  deepEqual(namesIn(scene.state), ["lock", "scratch"]);
  const start = performance.now();
  started.kill("SIGINT");
  const result = await started.result;
  equal(result.code, 1);
  match(result.stderr, /^ERROR: stopped by SIGINT: not pushed to \S+\nhint: .*\n$/);
  const took = performance.now() - start;
  ok(took < 15_000, `one that is deaf to SIGTERM was waited for: ${took} ms`); // it sleeps for 30 s
  deepEqual(await memoriesIn(scene.state), ["lock"]);
  equal(scene.server.connections(), 0);
});

test("push removes what a killed run left, also when there is nothing to do", async () => {
  await using scene = await pushScene();
  await scene.remember(`${first.fingerprint} ${scene.to}\n`);
  await scene.server.force("cat >/dev/null");
  const started = startCertsync(scene.args(["--force"]));
  await until(() => scene.server.log().includes("Starting session"));
  started.kill("SIGKILL");
  equal((await started.result).signal, "SIGKILL");
  await Deno.writeTextFile(`${scene.state}/.certsync-last_fp`, "half");
  deepEqual(namesIn(`${scene.state}/scratch`), ["fullchain.pem", "privkey.pem"]);

  match((await scene.push()).stdout, /^nothing to do/);
  deepEqual(await memoriesIn(scene.state), ["last_fp", "lock"]);
});

test("push waits for a renewal in the middle, and sends a matching pair", async (t) => {
  const older = await ca.issue({ names: [NAME], notBefore: ago(DAY_MS) });
  const cases = ["auto", "npm-5", "auto, with an older lineage beside it"].flatMap((source) =>
    (["privkey linked", "fullchain unlinked"] as const).map((moment) => ({ source, moment }))
  );
  await concurrently(
    t,
    cases.map(({ source, moment }) => [`source ${source}, ${moment}`, async () => {
      await using scene = await pushScene();
      await scene.configure({ source: source.split(",")[0] });
      if (source.includes("older")) await scene.npm.add(3, older);
      await scene.remember(`${first.fingerprint} ${scene.to}\n`);
      let pushing: Promise<CertsyncResult> | undefined;
      await scene.npm.renew(5, second, async ({ kind, done }) => {
        if (`${kind} ${done}` !== moment) return;
        pushing = scene.push(["--json"]);
        await new Promise((resolve) => setTimeout(resolve, 800));
        equal(scene.server.connections(), 0);
      });
      const result = await pushing!;
      deepEqual([result.code, result.json().fingerprint], [0, second.fingerprint], result.stderr);
      await scene.assertArrived(second);
    }]),
  );
});

test("push sends from a private copy of what it judged", async () => {
  await using scene = await pushScene();
  await using dir = await tempDir();
  await using programs = await recorder({
    rsync: `umask 077; stat -c '%a %n' . * >${dir.path}/modes; date +%s >${dir.path}/now; ` +
      `stat -c %Y * >${dir.path}/times; pwd >${dir.path}/cwd; exec ${need("rsync")} "$@"`,
  });
  for (const kind of ["fullchain", "privkey"]) {
    await Deno.utime(`${scene.npm.archive}/npm-5/${kind}1.pem`, 1_000_000_000, 1_000_000_000);
  }
  equal((await scene.push([], { path: programs.bin })).code, 0);
  equal(
    await Deno.readTextFile(`${dir.path}/modes`),
    "700 .\n644 fullchain.pem\n600 privkey.pem\n",
  );
  ok((await Deno.readTextFile(`${dir.path}/cwd`)).startsWith(`${scene.state}/`));
  const now = Number(await Deno.readTextFile(`${dir.path}/now`));
  for (const time of (await Deno.readTextFile(`${dir.path}/times`)).trim().split("\n")) {
    ok(Math.abs(Number(time) - now) <= 2, `${time} is not fresh at ${now}`);
  }
});

// What others see

test("push starts its programs with the options and the environment of the contract", async () => {
  await using scene = await pushScene();
  await using programs = await recorder();
  const result = await scene.push([], {
    path: programs.bin,
    env: { RSYNC_RSH: "/bin/false", CANARY: "x", SSH_AUTH_SOCK: "/nonexistent/agent" },
  });
  equal(result.code, 0, result.stderr);
  const calls = programs.calls();
  for (const { argv, env } of calls) {
    equal(env.LC_ALL, "C", argv[0]);
    deepEqual([env.CANARY, env.RSYNC_RSH], [undefined, undefined]);
    equal(env.SSH_AUTH_SOCK, argv[0] === "openssl" ? undefined : "/nonexistent/agent");
    equal("HOME" in env, argv[0] !== "openssl");
  }
  const rsync = calls.find(({ argv }) => argv[0] === "rsync")!.argv;
  equal(rsync[1], "-azL");
  deepEqual(rsync.slice(-3), ["fullchain.pem", "privkey.pem", scene.to]);
  const ssh = calls.find(({ argv }) => argv[0] === "ssh")!.argv;
  const options = ssh.flatMap((word, index) => word === "-o" ? [ssh[index + 1]!] : []);
  for (
    const option of [
      "BatchMode=yes",
      "StrictHostKeyChecking=yes",
      "ConnectTimeout=10",
      "ControlMaster=no",
      "ControlPath=none",
      "UpdateHostKeys=no",
      "IdentitiesOnly=yes",
      `UserKnownHostsFile=${scene.server.knownHosts}`,
    ]
  ) {
    ok(options.includes(option), option);
  }
});

test("push without an identity leaves the choice of keys to ssh", async () => {
  await using scene = await pushScene();
  await using programs = await recorder();
  await scene.configure({ identity: undefined });
  equal((await scene.push([], { path: programs.bin })).code, 1);
  const ssh = programs.calls().find(({ argv }) => argv[0] === "ssh")!.argv;
  equal(ssh.some((word) => word.startsWith("Identit")), false);
});

test("the private key shows nowhere but in the key files", async () => {
  await using programs = await recorder();
  async function outputs(arrange: (scene: Scene) => Promise<unknown>, codes: number[]) {
    await using scene = await pushScene({ plainFiles: true });
    await arrange(scene);
    const results = await Promise.all([
      scene.push([], { path: programs.bin }),
      scene.push(["--force", "--json"], { path: programs.bin }),
    ]);
    deepEqual(results.map(({ code }) => code), codes);
    const files = namesIn(scene.state).map((name) =>
      Deno.readTextFileSync(`${scene.state}/${name}`)
    );
    return [...files, ...results.flatMap(({ stdout, stderr }) => [stdout, stderr])];
  }
  const seen = await Promise.all([
    outputs((scene) => scene.server.force(forcedCommand("-aL", scene.incoming)), [0, 0]),
    outputs(
      ({ source }) =>
        Deno.writeTextFile(`${source}/fullchain.pem`, first.fullchainPem + first.keyPem),
      [1, 1],
    ),
    outputs(({ source }) => Deno.writeTextFile(`${source}/fullchain.pem`, second.fullchainPem), [
      1,
      1,
    ]),
  ]);
  const text = JSON.stringify([seen, programs.calls()]);
  for (const line of first.keyPem.split("\n").filter((line) => line !== "")) {
    equal(text.includes(line), false, line);
  }
});

test("what the other side says can move no cursor and forge no line", async () => {
  await using scene = await pushScene();
  const words = "\x1b[2J\x1b]0;x\x07over\rthere\x9b2J\u202e\nERROR: forged\n";
  await Deno.writeTextFile(`${scene.path}/words`, words);
  await scene.server.force(`cat ${scene.path}/words >&2; exit 9`);
  for (const more of [[], ["--json"]]) {
    const { code, stdout, stderr } = await scene.push(more);
    equal(code, 1);
    match(stderr, /^ERROR: .*\\u001b\[2J.*over.*there.*\nhint: .*\n$/);
    doesNotMatch((stdout + stderr).replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  }
});

test("push --json tells all that there is to know", async () => {
  await using scene = await pushScene();
  const result = await scene.push(["--json"]);
  const report = result.json();
  const { domain, result: worst, certificates, schema, command, warnings, ...own } = report;
  deepEqual([domain, worst], [NAME, "pushed"]);
  deepEqual(certificates, [{ name: NAME, ...own }]);
  deepEqual({ schema, command, domain, warnings, ...own }, {
    schema: 1,
    command: "push",
    outcome: "pushed",
    domain: NAME,
    source: scene.npm.dir(5),
    fingerprint: first.fingerprint,
    replaces: null,
    notAfter: first.notAfter.toISOString().replace(".000Z", "Z"),
    tlsa: await tlsa(first),
    targets: [{ to: scene.to, outcome: "pushed" }],
    warnings: [],
  });
  match(report.fingerprint, FINGERPRINT);
  match(report.notAfter, TIME);
  equal(result.stderr, "");

  const unchanged = (await scene.push(["--json"])).json();
  const targets = [{ to: scene.to, outcome: "unchanged" }];
  deepEqual(unchanged, {
    ...report,
    ...{ outcome: "unchanged", result: "unchanged", targets },
    certificates: [{ name: NAME, ...own, outcome: "unchanged", targets }],
  });
});

test("push --json gives its object also where the usage or the config is wrong", async (t) => {
  await using dir = await tempDir();
  const file = async (text: string) => {
    const path = await Deno.makeTempFile({ dir: dir.path });
    await Deno.writeTextFile(path, text);
    return ["--config", path];
  };
  const target = "push: {to: u@h:/d/}";
  const cases: [string, string[], RegExp][] = [
    ["an unknown option", ["--frobnicate"], /unknown option "--frobnicate"/],
    ["an argument too many", ["surplus"], /unexpected argument "surplus"/],
    ["an option without its value", ["--to"], /--to needs a value/],
    ["no target", await file(`domain: ${NAME}`), /no target/],
    ["no domain", await file(target), /no domain/],
    ["a domain that is none", ["--to", "u@h:/d/", "--domain", "*.example.org"], /not a host name/],
    ["a config file that is missing", ["--config", `${dir.path}/none`], /does not exist/],
    ["an unknown key", await file("push: {tow: x}"), /unknown key "push\.tow"/],
    ["broken YAML", await file("push: [\n"), /is not YAML/],
    ["a source that is none", ["--to", "u@h:/d/", "--source", "npm"], /--source is not a source/],
    ["a daemon's module", ["--to", "host::module"], /daemon/],
    ["a daemon's URL", ["--to", "rsync://host/module"], /daemon/],
    ["a target that is an option", ["--to=-oProxyCommand=x:/"], /begins with a hyphen/],
    ["a path that is none from the root on", ["--to", "incoming/"], /not a target over SSH/],
    ["a target given twice", ["--to", "u@h:/d/", "--to", "u@h:/d/"], /--to names a target twice/],
  ];
  await concurrently(
    t,
    cases.map(([what, args, error]) => [what, async () => {
      const result = await certsync(["push", "--json", ...args]);
      const report = result.json();
      equal(result.code, 2, result.stderr);
      deepEqual([report.schema, report.command, report.outcome], [1, "push", "failed"]);
      match(report.error, error);
      deepEqual([report.targets, report.warnings], [[], []]);
      match(result.stderr, /^ERROR: .*\n(hint: .*\n)?$/);
    }]),
  );
});

test("where stderr is the journal, each line carries its priority", async () => {
  await using scene = await pushScene();
  await scene.server.force(forcedCommand("-aL", scene.incoming));
  const warned = await scene.push([], { stderr: "journal" });
  match(warned.stderr, /^<4>WARNING: .*\n$/);
  ok(!warned.stdout.startsWith("<"));

  await scene.configure({ port: freePort() });
  const failed = await scene.push(["--force"], { stderr: "journal" });
  match(failed.stderr, /^<3>ERROR: .*\n<3>hint: .*\n$/);
});

test("a state directory that cannot be used is an error before anything is contacted", async () => {
  await using scene = await pushScene();
  const [file, link] = [`${scene.path}/file`, `${scene.path}/link`];
  await Deno.writeTextFile(file, "");
  await Deno.symlink("/nonexistent/x", link);
  for (const [inTheWay, state] of [[file, `${file}/state`], [link, link]] as const) {
    await scene.configure({ state });
    const result = await scene.push();
    equal(result.code, 1);
    match(
      result.stderr,
      /^ERROR: cannot use the state directory ".*": .*\nhint: see what .* namei -l .* move it away.*\n$/,
    );
    equal(scene.server.connections(), 0);
    await Deno.remove(inTheWay); // which ends it
    equal((await scene.push(["--dry-run"])).code, 0);
  }
  equal((await scene.push()).code, 0);
});

Deno.test({
  name: "push's hints for a full disk and a missing route are tried for real",
  ignore: unshare === undefined, // they were above
  fn: () => ok(unshare),
});

// What the tests above do

/** With the leaf of this file, unless told otherwise. */
function pushScene(options: Partial<SceneOptions> = {}): Promise<Scene> {
  return makeScene({ ca, leaf: first, ...options });
}

async function otherRoot(): Promise<string> {
  await using other = await authority("Other");
  return other.rootPem;
}

function ago(ms: number): Date {
  return new Date(Date.now() - ms);
}
