// DANE over real renewals by certbot, and behind a filter gateway that takes the name's mail.

import { deepEqual, doesNotMatch, equal, match, notEqual } from "node:assert/strict";
import { type Authority, authority, type Leaf, tlsa } from "../kit/authority.ts";
import { certsync, type CertsyncResult } from "../kit/certsync.ts";
import { type DnsZone, dnsZone } from "../kit/dns_zone.ts";
import { type MailHost, mailHost } from "../kit/mail_host.ts";
import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import { smtpServer } from "../kit/smtp_server.ts";
import { sshServer } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { npm, pebble } from "./certbot.ts";

const NAME = "mail.example.org";
const OWNER = `_25._tcp.${NAME}.`;
const WORD_OF_DANE = /DANE|no TLSA|TLSA 3 1 1 changed/;

/** The real dig, which the kit leaves out. */
async function withDig() {
  const dir = await tempDir();
  await Deno.symlink(need("dig"), `${dir.path}/dig`);
  return dir;
}

/** The command of docs/dane.md, for this lineage. */
async function keepTheKey(lineage: string): Promise<void> {
  const page = await Deno.readTextFile(new URL("../../docs/dane.md", import.meta.url));
  const command = /^ +(sed -i .*reuse_key = True.*)$/m.exec(page)?.[1] ?? "exit 1";
  const here = command.replace("/etc/letsencrypt/renewal/npm-5.conf", lineage);
  notEqual(here, command);
  await run("/bin/sh", ["-c", here]);
}

Deno.test("with reuse_key as docs/dane.md has it three renewals pass without a word of DANE, and without it none", async () => {
  await using acme = await pebble();
  await using proxy = await npm(acme);
  await using bin = await withDig();
  await proxy.issue(5, [NAME]);
  const current = async () => ({
    fullchainPem: await proxy.read(5, "fullchain"),
    keyPem: await proxy.read(5, "privkey"),
  });
  const first = await current();
  await using zone = await dnsZone({ records: [`${OWNER} TLSA ${await tlsa(first)}`] });
  await using host = await mailHost({
    trust: acme.rootFile,
    deployed: first,
    endpoints: ["smtp"],
    resolver: `${zone.validating.address}:${zone.validating.port}`,
  });
  await using server = await sshServer();
  const config = `${host.root}/push.yaml`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      domain: NAME,
      push: {
        ...{ live: proxy.live, trust: acme.rootFile, to: server.target(`${host.staging}/`) },
        ...{ port: server.port, identity: server.identity, known_hosts: server.knownHosts },
        state: `${host.root}/push-state`,
      },
    }),
  );
  const path = `${bin.path}:${host.docker.bin}`;
  const push = async (...args: string[]) => {
    const pushed = await certsync(["push", "--config", config, ...args]);
    equal(pushed.code, 0, pushed.stderr);
    return pushed.stdout;
  };
  const renew = async () => {
    await proxy.renew(5);
    await push();
    return await host.deploy([], { path });
  };

  const lineage = `${proxy.letsencrypt}/renewal/npm-5.conf`;
  await keepTheKey(lineage);
  const leaves = new Set([first.fullchainPem]);
  for (let renewal = 1; renewal <= 3; renewal++) {
    const { code, stdout, stderr } = await renew();
    equal(code, 0, stderr);
    doesNotMatch(stdout + stderr, WORD_OF_DANE);
    match(await Deno.readTextFile(lineage), /^reuse_key = True$/m);
    const { fullchainPem, keyPem } = await current();
    equal(keyPem, first.keyPem);
    await host.assertInstalled({ fullchainPem, keyPem });
    leaves.add(fullchainPem);
  }
  equal(leaves.size, 4);
  const verify = ["verify", "--config", host.config, "--leg", "tlsa"];
  equal((await certsync(verify, { path })).code, 0);

  const text = await Deno.readTextFile(lineage);
  await Deno.writeTextFile(lineage, text.replace(/^reuse_key = True\n/m, ""));
  const { code, stderr } = await renew();
  equal(code, 1);
  match(
    stderr,
    new RegExp(`^ERROR: no TLSA record fits the new certificate: publish ${OWNER} IN TLSA `, "m"),
  );

  // What push says beforehand is enough, beside the record of what is served by now.
  const served = await tlsa(await current());
  await proxy.renew(5);
  const [, next = ""] = /^TLSA (3 1 1 [0-9a-f]{64}) is its key: /m.exec(await push("--dry-run")) ??
    [];
  await zone.publish([served, next].map((record) => `${OWNER} TLSA ${record}`));
  await push();
  const quiet = await host.deploy([], { path });
  equal(quiet.code, 0, quiet.stderr);
  doesNotMatch(quiet.stdout.replace(/^TLSA 3 1 1 changed .*/m, "") + quiet.stderr, WORD_OF_DANE);
  equal((await certsync(verify, { path })).code, 0);
});

const GATEWAY = "127.0.25.99";
const OWN = "127.0.25.98";

interface Scene extends AsyncDisposable {
  zone: DnsZone;
  host: MailHost;
  deploy(...args: string[]): ReturnType<MailHost["deploy"]>;
  verify(...args: string[]): Promise<CertsyncResult>;
  /** Stages one, with these records published, and these ports at the name's addresses. */
  renew(next: Leaf, records: string[]): Promise<void>;
}

/** The name has these addresses, to mailcow's host too. */
async function scene(ca: Authority, installed: Leaf, addresses: string[]): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const zone = stack.use(await dnsZone({ records: [] }));
  const bin = stack.use(await withDig());
  const host = stack.use(
    await mailHost({
      ...{ trust: ca.rootFile, deployed: installed, endpoints: ["smtp"] },
      resolver: `${zone.validating.address}:${zone.validating.port}`,
    }),
  );
  const hosts = addresses.map((address) => `${address} ${NAME}\n`).join("");
  await Deno.writeTextFile(`${host.root}/hosts`, hosts);
  const script = `mount --bind ${host.root}/hosts /etc/hosts && exec "$0" "$@"`;
  const options = {
    path: `${bin.path}:${host.docker.bin}`,
    under: [need("unshare"), "--mount", "/bin/sh", "-c", script],
  };
  const owned = stack.move();
  return {
    zone,
    host,
    deploy: (...args) => host.deploy(args, options),
    verify: (...args) =>
      certsync(["verify", "--config", host.config, "--leg", "tlsa", ...args], options),
    renew: async (next, records) => {
      await Promise.all([
        host.stage(next),
        zone.publish(records.map((record) => `${OWNER} TLSA ${record}`)),
      ]);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What is said of the records to add: `_25._tcp.mail.example.org. IN TLSA …`, by address. */
function advised(text: string): Record<string, string> {
  const found = text.matchAll(
    /(?:for what (\S+):25 gives, )?publish (\S+ IN TLSA [0-9a-f ]+[0-9a-f])/g,
  );
  return Object.fromEntries(Array.from(found, ([, ip = "ours", line = ""]) => [ip, line]));
}

Deno.test("behind a gateway deploy and verify judge alike, and ask for the gateway's record", async () => {
  await using ca = await authority();
  const issue = (name: string) => ca.issue({ names: [name] });
  const [installed, next, later, last, filter] = await Promise.all(
    [NAME, NAME, NAME, NAME, "gateway.example.com"].map(issue),
  );
  if (!installed || !next || !later || !last || !filter) throw new Error("five leaves");
  await using all = await scene(ca, installed, [GATEWAY]);
  const lacking = `${OWNER} IN TLSA ${await tlsa(filter)}`;
  const strange = `3 1 1 ${"ab".repeat(32)}`;
  {
    await using _server = await smtpServer([{ address: GATEWAY, port: 25, pair: filter }]);
    await all.renew(next, [await tlsa(filter)]);
    const { code, stdout, stderr } = await all.deploy();
    equal(code, 0, stderr);
    doesNotMatch(stderr, /TLSA/);
    match(
      stdout,
      new RegExp(`^the TLSA records of ${NAME} .* they fit what ${GATEWAY}:25 gives$`, "m"),
    );
    const verified = await all.verify();
    deepEqual([verified.code, verified.stderr], [0, ""], verified.stdout);
    match(verified.stdout, /^tlsa .* ok$/m);

    await all.renew(later, [strange]);
    const broken = await all.deploy();
    equal(broken.code, 0);
    match(
      broken.stderr,
      /^WARNING: no TLSA record of \S+ fits, and another host takes its mail: /m,
    );
    deepEqual(advised(broken.stderr), { [GATEWAY]: lacking });
    const wrong = await all.verify("--json");
    equal(wrong.code, 2);
    deepEqual(advised(wrong.stdout), { ours: lacking });
    // To the letter.
    await all.zone.publish([`${OWNER} TLSA ${strange}`, lacking]);
    equal((await all.verify()).code, 0);
    await all.host.stage(last);
    const mended = await all.deploy();
    deepEqual([mended.code, /TLSA/.test(mended.stderr)], [0, false]);
    match(mended.stdout, /^the TLSA records of \S+ are another host's: /m);
  }
  await all.renew(installed, [await tlsa(filter)]);
  const alone = await all.deploy("--force");
  equal(alone.code, 0);
  match(
    alone.stderr,
    /WARNING: no TLSA record of mail\.example\.org fits, before or with the new certificate/,
  );
  equal((await all.verify()).code, 2);
});

Deno.test("two addresses with two keys are named, each with its record", async () => {
  await using ca = await authority();
  const issue = (name: string) => ca.issue({ names: [name] });
  const [installed, next, filter] = await Promise.all(
    [NAME, NAME, "gateway.example.com"].map(issue),
  );
  if (!installed || !next || !filter) throw new Error("three leaves");
  await using all = await scene(ca, installed, [OWN, GATEWAY]);
  const served = [{ address: GATEWAY, port: 25, pair: filter }];
  const lacking = async (leaf: Leaf) => `${OWNER} IN TLSA ${await tlsa(leaf)}`;
  const strange = `3 1 1 ${"ab".repeat(32)}`;
  {
    await using _server = await smtpServer([...served, {
      address: OWN,
      port: 25,
      pair: installed,
    }]);
    await all.renew(next, [strange]);
    const [json, text] = await Promise.all([all.verify("--json"), all.verify()]);
    equal(json.code, 2);
    const legs = json.json().legs.map((
      { ip, verdict, hint }: { ip: string; verdict: string; hint: string },
    ) => [ip, verdict, advised(hint)]);
    deepEqual(legs, [
      [OWN, "no record fits", { [OWN]: await lacking(installed) }],
      [GATEWAY, "no record fits", { [GATEWAY]: await lacking(filter) }],
    ]);
    match(text.stdout, new RegExp(`^tlsa +\\S+ ${OWN} .* no record fits$`, "m"));
    const steps = text.stdout.trimEnd().split("\n").at(-1) ?? "";
    deepEqual(advised(steps), {
      [OWN]: await lacking(installed),
      [GATEWAY]: await lacking(filter),
    });
    const { code, stderr } = await all.deploy("--dry-run");
    equal(code, 0);
    deepEqual(advised(stderr), { ours: await lacking(next), [GATEWAY]: await lacking(filter) });
    // One of the two alone is not enough.
    await all.zone.publish([`${OWNER} TLSA ${await tlsa(installed)}`]);
    const half = await all.verify("--json");
    deepEqual(
      [half.code, half.json().legs.map(({ verdict }: { verdict: string }) => verdict)],
      [2, ["ok", "no record fits"]],
    );
    await all.zone.publish([await lacking(installed), await lacking(filter), await lacking(next)]);
    equal((await all.verify()).code, 0);
  }
  const done = await all.deploy();
  deepEqual([done.code, /TLSA/.test(done.stderr)], [0, false]);
  await using _server = await smtpServer([...served, { address: OWN, port: 25, pair: next }]);
  equal((await all.verify()).code, 0);
});
