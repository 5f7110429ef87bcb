// What deploy refuses: nothing of mailcow's is touched, no container called, no endpoint asked.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { deliveredPaths } from "../lib/certificate/pair.ts";
import { authority, type Leaf } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { historyIn, memoriesIn } from "./kit/history.ts";
import { type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { run } from "./kit/run.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";
const DAY_MS = 24 * 3_600_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
const stranger = await authority("Stranger");
Deno.test.afterAll(async () => {
  await Promise.all([ca[Symbol.asyncDispose](), stranger[Symbol.asyncDispose]()]);
});
const [old, fresh, other] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: ["other.example.org"] }),
]);

/** A host on which `old` is deployed and served, and `fresh` is staged. */
function renewal(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  const host = { trust: ca.rootFile, deployed: old, staged: fresh, endpoints: ["imaps"] as const };
  return mailHost({ ...host, ...options });
}

/** Sees to it that deploy refuses, and does nothing else. */
async function assertRefused(host: MailHost, error: RegExp, hint: RegExp, args: string[] = []) {
  // That something was staged is no matter of what is deployed.
  const remembered = async () =>
    (await memoriesIn(host.state)).filter((name) => name !== "lock" && name !== "staged");
  const before = await remembered();
  const result = await host.assertUntouched(() => host.deploy(["--json", ...args]));
  equal(result.code, 1, result.stderr);
  const report = result.json();
  equal(report.outcome, "refused");
  match(report.error, error);
  match(report.hint ?? "", hint);
  equal(report.domain, host.mailcow.hostname());
  deepEqual([report.installed, report.services, report.served], [[], [], []]);
  equal(result.stderr, `ERROR: ${report.error}\n${report.hint ? `hint: ${report.hint}\n` : ""}`);
  deepEqual(await remembered(), before);
  const entry = (await historyIn(host.state)).at(-1);
  deepEqual([entry?.outcome, entry?.name, entry?.error], ["refused", report.domain, report.error]);
  return report;
}

interface Refusal {
  leaf: () => Promise<Pick<Leaf, "fullchainPem" | "keyPem">>;
  error: RegExp;
  hint: RegExp;
}

/** Each as after half of a push. */
const mismatches: Record<string, Refusal> = {
  "a key of another certificate": {
    leaf: () => Promise.resolve({ ...fresh, keyPem: old.keyPem }),
    error: /^key does not match certificate: ".*\/privkey\.pem"$/,
    hint: /run this again in a minute/,
  },
  "an RSA key for an ECDSA certificate": {
    leaf: async () => ({
      ...fresh,
      keyPem: (await ca.issue({ names: [NAME], algorithm: "rsa" })).keyPem,
    }),
    error: /^key does not match certificate/,
    hint: /again in a minute/,
  },
  "an Ed25519 key of another certificate": {
    leaf: async () => {
      const issue = () => ca.issue({ names: [NAME], algorithm: "ed25519" });
      return { ...await issue(), keyPem: (await issue()).keyPem };
    },
    error: /^key does not match certificate/,
    hint: /again in a minute/,
  },
};

const certificates: Record<string, Refusal> = {
  "a certificate for another name": {
    leaf: () => Promise.resolve(other),
    error: /^certificate does not cover "mail\.example\.org": ".*\/fullchain\.pem"$/,
    hint: /"other\.example\.org"/,
  },
  "a wildcard of another level": {
    leaf: () => ca.issue({ names: ["*.mail.example.org", "example.org"] }),
    error: /^certificate does not cover/,
    hint: /"\*\.mail\.example\.org", "example\.org"/,
  },
  "a partial wildcard, which openssl would take": {
    leaf: () => ca.issue({ names: ["ma*.example.org"] }),
    error: /^certificate does not cover/,
    hint: /"ma\*\.example\.org"/,
  },
  "an expired certificate": {
    leaf: () => ca.issue({ names: [NAME], notBefore: daysAgo(90), notAfter: daysAgo(1) }),
    error: /^certificate expired at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: ".*\/fullchain\.pem"$/,
    hint: /renew it in Nginx Proxy Manager/,
  },
  "a certificate that is not yet valid": {
    leaf: () => ca.issue({ names: [NAME], notBefore: daysAgo(-1) }),
    error: /^certificate is not yet valid before \d{4}-/,
    hint: /clock/,
  },
  "a chain of an unknown authority": {
    leaf: () => stranger.issue({ names: [NAME] }),
    error:
      /^certificate chain does not verify: ".*\/fullchain\.pem": certificate 2 of 2, "CN=.*": unable to get/,
    hint:
      /^run on the NPM host: certsync push --force; where that does not end it: deploy\.trust is ".*\/root\.pem", which does not vouch for "CN=Stranger Root X1,/,
  },
  "a chain whose intermediate has expired": {
    leaf: () => ca.issue({ names: [NAME], issuerName: "Past E9", issuerNotAfter: daysAgo(1) }),
    error: /does not verify: ".*": certificate 2 of 2, "CN=Past E9,O=Kit": certificate has expired/,
    hint:
      /^run on the NPM host: certsync push --force; where that does not end it: have the certificate issued anew/,
  },
  "a self-signed certificate": {
    leaf: () => ca.issue({ names: [NAME], signedBy: "self" }),
    error: /^certificate chain does not verify: .*self-signed/,
    hint: /it is self-signed; if it shall be, set deploy\.trust/,
  },
  "a certificate without its intermediate": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: fresh.certPem }),
    error: /^certificate chain does not verify/,
    hint: /does not vouch for "CN=Kit Intermediate E1,/,
  },
  "a certificate of the staging environment": {
    leaf: () => stranger.issue({ names: [NAME], issuerName: "(STAGING) Pretend Pear X1" }),
    error: /^certificate chain does not verify/,
    hint: /staging environment issued it/,
  },
  "a certificate that is for clients only": {
    leaf: () => ca.issue({ names: [NAME], extendedKeyUsage: "clientAuth" }),
    error: /^certificate chain does not verify: .*purpose/,
    hint:
      /^run on the NPM host: certsync push --force; where that does not end it: have the certificate issued anew/,
  },
  "an RSA key of 1024 bits": {
    leaf: async () => {
      const bits = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
      return await ca.issue({ names: [NAME], keyPem: await run(need("openssl"), bits) });
    },
    error:
      /^certificate chain does not verify: ".*\/fullchain\.pem": certificate 1 of 2, "CN=.*": EE certificate key too weak$/,
    hint: /stronger key/,
  },
  "the certificate of a CA": {
    leaf: () => ca.issue({ names: [NAME], basicConstraints: "CA:TRUE" }),
    error: /^the leaf is the certificate of a CA: ".*\/fullchain\.pem"$/,
    hint: /CA:FALSE/,
  },
  "a chain file whose leaf is not first": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: fresh.chainPem + fresh.certPem }),
    error: /^the leaf is not first in the chain file: ".*\/fullchain\.pem"$/,
    hint:
      /^run on the NPM host: certsync push --force; where that does not end it: the certificate of the key comes first/,
  },
  "a key inside the chain file": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: fresh.fullchainPem + fresh.keyPem }),
    error: /^a private key is in the chain file: ".*\/fullchain\.pem"$/,
    hint: /replace it if others could read/,
  },
  "something else inside the chain file": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: `${fresh.fullchainPem}# a remark\n` }),
    error: /^anything but certificates in the chain file/,
    hint: /leave only the blocks/,
  },
  "two keys": {
    leaf: () => Promise.resolve({ ...fresh, keyPem: fresh.keyPem + old.keyPem }),
    error: /^anything but one private key in the key file: ".*\/privkey\.pem"$/,
    hint: /leave only the block/,
  },
  "an encrypted key": {
    leaf: async () => ({
      ...fresh,
      keyPem: await run(need("openssl"), [
        ...["pkey", "-aes128", "-passout", "pass:secret"],
      ], { stdin: fresh.keyPem }),
    }),
    error: /^the private key is encrypted: ".*\/privkey\.pem"$/,
    hint: /passphrase/,
  },
  "a certificate where the key should be": {
    leaf: () => Promise.resolve({ ...fresh, keyPem: fresh.certPem }),
    error: /^not a private key: ".*\/privkey\.pem"/,
    hint: /whole privkey\.pem/,
  },
  "binary garbage": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: "\x00\x01\x7f garbage \x1b[2J\n" }),
    error: /^not a certificate: ".*\/fullchain\.pem" is not PEM text$/,
    hint: /whole fullchain\.pem/,
  },
  "an empty chain file": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: "" }),
    error: /^not a certificate: ".*\/fullchain\.pem" holds no certificate$/,
    hint: /whole fullchain\.pem/,
  },
  "half of a certificate": {
    leaf: () => Promise.resolve({ ...fresh, fullchainPem: fresh.certPem.slice(0, 400) }),
    error: /^not a certificate: ".*\/fullchain\.pem" holds a block without its end$/,
    hint: /whole fullchain\.pem/,
  },
  "a broken certificate": {
    leaf: () =>
      Promise.resolve({
        ...fresh,
        fullchainPem: fresh.certPem.replace(/\n[^\n]{64}\n/, "\n"),
      }),
    error: /^not a certificate: ".*\/fullchain\.pem" cannot be parsed$/,
    hint: /whole fullchain\.pem/,
  },
};

Deno.test("deploy refuses a bad certificate and touches nothing", async (t) => {
  await using host = await renewal();
  for (const [what, { leaf, error, hint }] of Object.entries(certificates)) {
    await t.step(what, async () => {
      await host.stage(await leaf());
      await assertRefused(host, error, hint);
    });
  }
  await t.step("and takes a good one after all that", async () => {
    await host.stage(fresh);
    equal((await host.deploy()).code, 0);
  });
});

const NO_CERT = "^no staged cert: ";
const PUSH = /run on the NPM host: certsync push --force$/;

interface Trap {
  set: (paths: { chain: string; key: string; elsewhere: string }) => Promise<unknown>;
  error: RegExp;
  hint: RegExp;
}

const traps: Record<string, Trap> = {
  "a symbolic link": {
    set: async ({ chain, elsewhere }) => {
      await Deno.rename(chain, elsewhere);
      await Deno.symlink(elsewhere, chain);
    },
    error: new RegExp(`${NO_CERT}".*/fullchain.pem" is a symbolic link$`),
    hint: /push must follow links \(rsync -L\)/,
  },
  "a dangling symbolic link": {
    set: async ({ key }) => {
      await Deno.remove(key);
      await Deno.symlink("../../archive/npm-5/privkey1.pem", key);
    },
    error: new RegExp(`${NO_CERT}".*/privkey.pem" is a symbolic link$`),
    hint: /push must follow links \(rsync -L\)/,
  },
  "a symbolic link to what only the kernel may be asked": {
    set: async ({ key }) => {
      await Deno.remove(key);
      await Deno.symlink("/proc/self/environ", key);
    },
    error: new RegExp(`${NO_CERT}".*/privkey.pem" is a symbolic link$`),
    hint: /push must follow links/,
  },
  "a hard link": {
    set: ({ key, elsewhere }) => Deno.link(key, elsewhere),
    error: new RegExp(`${NO_CERT}".*/privkey.pem" is a hard link$`),
    hint: PUSH,
  },
  "a FIFO": {
    set: async ({ chain }) => {
      await Deno.remove(chain);
      await run("/usr/bin/mkfifo", [chain]);
    },
    error: new RegExp(`${NO_CERT}".*/fullchain.pem" is not a regular file$`),
    hint: PUSH,
  },
  "a directory": {
    set: async ({ key }) => {
      await Deno.remove(key);
      await Deno.mkdir(key);
    },
    error: new RegExp(`${NO_CERT}".*/privkey.pem" is a directory$`),
    hint: PUSH,
  },
  "a file that is too large": {
    set: ({ chain }) => Deno.truncate(chain, 1024 * 1024 + 1),
    error: new RegExp(`${NO_CERT}".*/fullchain.pem" is larger than 64 KiB$`),
    hint: PUSH,
  },
  "a file of somebody else": {
    set: ({ chain }) => Deno.chown(chain, 65534, 65534),
    error: new RegExp(`${NO_CERT}".*/fullchain.pem" belongs to uid 65534`),
    hint: PUSH,
  },
};

Deno.test("deploy trusts nothing that lies in staging", async (t) => {
  await using host = await renewal();
  const elsewhere = `${host.root}/elsewhere.pem`;
  const paths = {
    chain: `${host.staging}/fullchain.pem`,
    key: `${host.staging}/privkey.pem`,
    elsewhere,
  };
  for (const [what, { set, error, hint }] of Object.entries(traps)) {
    await t.step(what, async () => {
      await Deno.remove(host.staging, { recursive: true });
      await Deno.remove(elsewhere).catch(() => {});
      await Deno.mkdir(host.staging, { mode: 0o700 });
      await host.stage(fresh);
      await set(paths);
      await assertRefused(host, error, hint);
      await assertRefused(host, error, hint, ["--force"]);
    });
  }
});

/** As before the first push, and as after half of one. */
const halves: Record<string, Trap> = {
  "a missing key": {
    set: ({ key }) => Deno.remove(key),
    error: new RegExp(`${NO_CERT}".*/privkey.pem" does not exist$`),
    hint: PUSH,
  },
  "nothing": {
    set: ({ chain, key }) => Promise.all([chain, key].map((path) => Deno.remove(path))),
    error: new RegExp(`${NO_CERT}".*/fullchain.pem" does not exist$`),
    hint: PUSH,
  },
};

Deno.test("deploy waits for the rest of a push, and then refuses half of one, also with --force", async () => {
  const spoils = [
    ...Object.values(halves).map((half) => ({ ...half, leaf: () => Promise.resolve(fresh) })),
    ...Object.values(mismatches).map((mismatch) => ({ ...mismatch, set: () => Promise.resolve() })),
  ];
  await Promise.all(spoils.map(async ({ leaf, set, error, hint }, index) => {
    await using host = await renewal();
    await host.stage(await leaf());
    const elsewhere = `${host.root}/elsewhere.pem`;
    await set({ ...deliveredPaths(host.staging), elsewhere });
    const start = performance.now();
    await assertRefused(host, error, hint, index % 2 === 0 ? ["--force"] : []);
    ok(performance.now() - start > 15_000, "it did not wait");
  }));
});

Deno.test("deploy takes the rest of a push that comes while it waits", async () => {
  await using host = await renewal({ staged: { ...fresh, keyPem: old.keyPem } });
  const started = host.start(["--json"]);
  await until(() => existsSync(`${host.state}/lock`));
  await host.stage(fresh);
  const { code, json, stderr } = await started.result;
  equal(code, 0, stderr);
  equal(json().outcome, "deployed");
  await host.assertInstalled(fresh);
});

Deno.test("deploy takes files of the staging's owner, and of root", async () => {
  await using host = await renewal();
  await Deno.chown(host.staging, 65534, 65534);
  await Deno.chown(`${host.staging}/privkey.pem`, 65534, 65534);
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  await host.assertInstalled(fresh);
});

Deno.test("deploy refuses a staging directory that is none", async (t) => {
  await using host = await renewal();
  await t.step("a symbolic link to one", async () => {
    await Deno.symlink(host.staging, `${host.root}/link`);
    await host.configure({ staging: `${host.root}/link` });
    await assertRefused(host, /^no staged cert: .*is not a real directory/, /replace it/);
  });
  await t.step("a missing one", async () => {
    await host.configure({ staging: `${host.root}/nowhere` });
    await assertRefused(host, /^no staged cert: .*nowhere" does not exist/, /deploy\.staging/);
  });
});

Deno.test("deploy refuses while mailcow's own ACME client would overwrite the certificate", async () => {
  await using host = await renewal();
  for (const value of ["n", "", "no", null]) {
    await host.mailcow.configure({ SKIP_LETS_ENCRYPT: value });
    const error = /^SKIP_LETS_ENCRYPT is not yes/;
    const hint = new RegExp(`SKIP_LETS_ENCRYPT=y in ${host.mailcow.root}/mailcow.conf`);
    await assertRefused(host, error, hint);
    await assertRefused(host, error, hint, ["--force"]);
  }
  await host.mailcow.configure({ SKIP_LETS_ENCRYPT: "Yes" });
  equal((await host.deploy()).code, 0);
  await host.mailcow.configure({ SKIP_LETS_ENCRYPT: "n" });
  equal((await host.deploy(["--json"])).json().outcome, "refused", "also where all is in place");
});

Deno.test("deploy refuses what is older than a good deployed certificate, unless --force", async () => {
  await using host = await renewal({ staged: fresh });
  equal((await host.deploy()).code, 0);
  await host.stage(old);
  await assertRefused(
    host,
    /^the staged certificate is older \(\d{4}-.*Z\)/,
    /certsync deploy --config \S+ --force$/,
  );
  const forced = await host.deploy(["--force", "--json"]);
  equal(forced.code, 0, forced.stderr);
  equal(forced.json().outcome, "deployed");
  await host.assertInstalled(old);
});

Deno.test("deploy takes an older certificate where another than certsync put the deployed one there", async () => {
  await using host = await renewal({ deployed: fresh, staged: old });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
  await host.assertInstalled(old);

  // mailcow's own, made when it was set up, after the one that NPM has had for long
  const own = await ca.issue({ names: [NAME], signedBy: "self" });
  await using first = await renewal({ deployed: own, staged: old, deploy: { trust: "none" } });
  equal((await first.deploy(["--json"])).json().outcome, "deployed");
});

Deno.test("deploy takes an older certificate where the deployed one is no good itself", async (t) => {
  const deployed: Record<string, Leaf | { fullchainPem: string; keyPem: string }> = {
    "self-signed": await ca.issue({ names: [NAME], signedBy: "self" }),
    "for another name": other,
    "with another key": { ...fresh, keyPem: other.keyPem },
    "expired": await ca.issue({
      names: [NAME],
      notBefore: daysAgo(30),
      notAfter: daysAgo(1),
    }),
  };
  for (const [what, leaf] of Object.entries(deployed)) {
    await t.step(what, async () => {
      await using host = await renewal({ deployed: leaf, staged: old });
      const result = await host.deploy();
      equal(result.code, 0, result.stderr);
      await host.assertInstalled(old);
    });
  }
});

Deno.test("deploy refuses a certificate that was rolled back, unless --force", async () => {
  await using host = await renewal();
  await Deno.mkdir(host.state);
  const file = `${host.state}/rejected`;
  await Deno.writeTextFile(file, `${fresh.fingerprint} 2026-06-01T00:00:00Z\n`);
  const error = new RegExp(`rolled back before: ${fresh.fingerprint}`);
  await assertRefused(
    host,
    error,
    /push another one, or run: certsync deploy --config \S+ --force/,
  );
  equal((await host.deploy(["--force"])).code, 0);
  await host.assertInstalled(fresh);
});

Deno.test("deploy --force overrides neither key, name, trust nor dates", async (t) => {
  const wanted = [
    "a certificate for another name",
    "an expired certificate",
    "a certificate that is not yet valid",
    "a chain of an unknown authority",
  ];
  await using host = await renewal();
  for (const what of wanted) {
    await t.step(what, async () => {
      const refusal = certificates[what];
      if (refusal === undefined) throw new Error(`no such case: ${what}`);
      await host.stage(await refusal.leaf());
      await assertRefused(host, refusal.error, refusal.hint, ["--force"]);
    });
  }
});

Deno.test("deploy refuses a host name that the certificate does not cover, whoever names it", async () => {
  await using host = await renewal();
  const result = await host.assertUntouched(() =>
    host.deploy(["--json", "--domain", "mx.example.org"])
  );
  equal(result.code, 1);
  equal(result.json().domain, "mx.example.org");
  match(result.json().error, /does not cover "mx\.example\.org"/);
});

Deno.test("deploy takes the word of the system's CA bundle, of none, or says what is wrong", async () => {
  await using host = await renewal();
  await host.configure({ trust: "system" });
  await assertRefused(
    host,
    /^certificate chain does not verify/,
    /CA bundle does not know "CN=Kit Root X1,O=Kit".*ca-certificates.*deploy\.trust/,
  );
  await host.configure({ trust: `${host.root}/nowhere.pem` });
  await assertRefused(host, /does not verify: .*nowhere\.pem/, /deploy\.trust.*CA file in PEM/);
  await host.configure({ trust: "none" });
  const result = await host.deploy();
  equal(result.code, 0, result.stderr);
});

Deno.test("deploy --dry-run refuses too, and creates nothing", async () => {
  await using host = await renewal({ staged: other });
  const tmp = `${host.root}/tmp`;
  await Deno.mkdir(tmp);
  const result = await host.assertUntouched(() =>
    host.deploy(["--dry-run", "--json"], { env: { TMPDIR: tmp } })
  );
  equal(result.code, 1);
  equal(result.json().outcome, "refused");
  deepEqual(await readdir(tmp), []);
  deepEqual((await readdir(host.root)).sort(), ["config.yaml", "incoming", "mailcow", "tmp"]);
});

Deno.test("deploy replaces nothing where a directory is in the way", async () => {
  await using host = await renewal();
  await Deno.remove(host.mailcow.certFile);
  await Deno.mkdir(`${host.mailcow.certFile}/something`, { recursive: true });
  const result = await host.deploy(["--json"]);
  equal(result.code, 1);
  equal(result.json().outcome, "failed");
  match(result.json().error, /there is a directory where a file belongs: ".*\/ssl\/cert\.pem"/);
  equal(await Deno.readTextFile(host.mailcow.keyFile), old.keyPem, "not even the key");
  deepEqual(
    (await readdir(host.mailcow.ssl)).filter((name) => name.startsWith(".certsync-")),
    [],
  );
  deepEqual(host.calls(), ["ps", "inspect"], "it was looked at, and nothing was done");
});

Deno.test("a domain in the config file gets around a host name that is none in mailcow.conf", async () => {
  await using host = await renewal({ conf: { MAILCOW_HOSTNAME: "-mail" } });
  const result = await host.assertUntouched(() => host.deploy(["--json"]));
  equal(result.code, 2);
  match(result.json().error, /MAILCOW_HOSTNAME in .* is not a host name: "-mail"$/);
  equal((await host.deploy(["--domain", NAME])).code, 0);
});

Deno.test("deploy says what is wrong with mailcow's directory", async () => {
  await using host = await renewal();
  const cases: [() => Promise<unknown>, code: number, RegExp, RegExp][] = [
    [
      () => host.mailcow.configure({ IMAPS_PORT: "127.0.0.1:imaps" }),
      2,
      /IMAPS_PORT in .*mailcow\.conf is not a port/,
      /1 to 65535/,
    ],
    [
      () => host.mailcow.configure({ IMAPS_PORT: "993", MAILCOW_HOSTNAME: null }),
      2,
      /^no domain/,
      /--domain mail\.example\.org, or set MAILCOW_HOSTNAME/,
    ],
    [
      async () => {
        await host.mailcow.configure({ MAILCOW_HOSTNAME: NAME });
        await Deno.rename(host.mailcow.ssl, `${host.mailcow.root}/ssl`);
      },
      1,
      /^cannot read ".*\/data\/assets\/ssl": no such file or directory$/,
      /is this mailcow's directory, and was it ever started there/,
    ],
    [
      () => Deno.remove(host.mailcow.confFile),
      1,
      /mailcow\.conf" does not exist/,
      /--mailcow DIR or deploy\.mailcow/,
    ],
  ];
  for (const [harm, code, error, hint] of cases) {
    await harm();
    const result = await host.assertUntouched(() => host.deploy(["--json"]));
    equal(result.code, code, result.stderr);
    if (/ssl|mailcow\.conf" does/.test(error.source)) {
      await Deno.remove(host.state, { recursive: true }).catch(() => {});
      await host.deploy();
      equal(await Deno.lstat(host.state).catch(() => null), null, "nothing is made for no mailcow");
    }
    const report = result.json();
    equal(report.outcome, "failed");
    match(report.error, error);
    match(report.hint ?? "", hint);
    equal(/\bat .*\.ts:\d/.test(result.stderr), false, "a stack trace");
  }
});

Deno.test("deploy answers wrong usage with one JSON object too", async () => {
  await using host = await renewal({ deploy: { mailcow: "mailcow" } });
  const wrong: Record<string, string[]> = {
    'unknown option "--forse"': ["deploy", "--json", "--forse"],
    'unexpected argument "now"': ["deploy", "--json", "now"],
    "config file does not exist": ["deploy", "--json", "--config", "/nonexistent.yaml"],
    "deploy.mailcow in": ["deploy", "--json", "--config", host.config],
    "--domain is not a host name": ["deploy", "--json", "--domain", "*.example.org"],
  };
  for (const [words, args] of Object.entries(wrong)) {
    const result = await host.assertUntouched(() => certsync(args, { path: host.docker.bin }));
    equal(result.code, 2, result.stderr);
    const report = result.json();
    deepEqual([report.schema, report.command, report.outcome], [1, "deploy", "failed"]);
    equal(report.error.includes(words), true, report.error);
    equal(result.stderr.startsWith(`ERROR: ${report.error}\n`), true, result.stderr);
  }
});
