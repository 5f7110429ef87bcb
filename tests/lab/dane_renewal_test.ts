// DANE over real renewals by certbot, and behind a filter gateway that takes the name's mail.

import { deepEqual, doesNotMatch, equal, match, notEqual } from "node:assert/strict";
import { authority, tlsa } from "../kit/authority.ts";
import { certsync } from "../kit/certsync.ts";
import { dnsZone } from "../kit/dns_zone.ts";
import { mailHost } from "../kit/mail_host.ts";
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

/** The command of the README, for this lineage. */
async function keepTheKey(lineage: string): Promise<void> {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const command = /^ +(sed -i .*reuse_key = True.*)$/m.exec(readme)?.[1] ?? "exit 1";
  const here = command.replace("/etc/letsencrypt/renewal/npm-5.conf", lineage);
  notEqual(here, command);
  await run("/bin/sh", ["-c", here]);
}

Deno.test("with the README's reuse_key three renewals pass without a word of DANE, and without it none", async () => {
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
  const renew = async () => {
    await proxy.renew(5);
    const pushed = await certsync(["push", "--config", config]);
    equal(pushed.code, 0, pushed.stderr);
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
    new RegExp(`^ERROR: no TLSA record fits the new key: publish ${OWNER} IN TLSA `, "m"),
  );
});

Deno.test("behind a gateway that has the name's records a new key is only noted, and verify is content", async () => {
  await using ca = await authority();
  const gateway = "127.0.25.99";
  const [installed, next, last, filter] = await Promise.all(
    [[NAME], [NAME], [NAME], ["gateway.example.com"]].map((names) => ca.issue({ names })),
  );
  if (!installed || !next || !last || !filter) throw new Error("four leaves");
  await using zone = await dnsZone({ records: [`${OWNER} TLSA ${await tlsa(filter)}`] });
  await using bin = await withDig();
  await using host = await mailHost({
    trust: ca.rootFile,
    deployed: installed,
    staged: next,
    endpoints: ["smtp"],
    resolver: `${zone.validating.address}:${zone.validating.port}`,
  });
  await Deno.writeTextFile(`${host.root}/hosts`, `${gateway} ${NAME}\n`);
  const script = `mount --bind ${host.root}/hosts /etc/hosts && exec "$0" "$@"`;
  const options = {
    path: `${bin.path}:${host.docker.bin}`,
    under: [need("unshare"), "--mount", "/bin/sh", "-c", script],
  };
  const verify = ["verify", "--config", host.config, "--leg", "tlsa"];
  {
    await using _server = await smtpServer([{ address: gateway, port: 25, pair: filter }]);
    const { code, stdout, stderr } = await host.deploy([], options);
    equal(code, 0, stderr);
    doesNotMatch(stderr, /TLSA/);
    match(
      stdout,
      new RegExp(`^the TLSA records of ${NAME} .* they fit what ${gateway}:25 gives$`, "m"),
    );
    const verified = await certsync(verify, options);
    deepEqual([verified.code, verified.stderr], [0, ""], verified.stdout);
    match(verified.stdout, /^tlsa .* ok$/m);
  }
  await host.stage(last);
  const alone = await host.deploy([], options);
  equal(alone.code, 0);
  match(
    alone.stderr,
    /WARNING: no TLSA record of mail\.example\.org fits, before or with the new key/,
  );
  equal((await certsync(verify, options)).code, 2);
});
