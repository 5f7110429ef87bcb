// A host that 0.1 set up and ran on: with this version nothing happens to it, and what it remembers holds.
// tests/upgrade/ has what 0.1's setup wrote, as it was.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { authority, type Leaf } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { allLoaded, type MailHost, mailHost } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { makeScene } from "./kit/push_scene.ts";
import { run } from "./kit/run.ts";
import { setup } from "./kit/setup_script.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const old = (name: string) =>
  Deno.readTextFileSync(fileURLToPath(new URL(`upgrade/${name}`, import.meta.url)));

const ca = await authority("Upgrade");
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const daysFromNow = (days: number) => new Date(Date.now() + days * DAY_MS);
const issue = (from: number) =>
  ca.issue({ names: [NAME], notBefore: daysFromNow(from), notAfter: daysFromNow(from + 90) });
const before = await issue(-70);
const deployed = await issue(-10);
const refused = await issue(-5);

/** Let's Encrypt's own form, which 0.1 installed as it came: a blank line before each issuer. */
const asItCame = ({ fullchainPem, keyPem, fingerprint }: Leaf) => ({
  fullchainPem: fullchainPem.replaceAll("-----\n-----", "-----\n\n-----"),
  keyPem,
  fingerprint,
});

/** With the config, the state and the pairs that 0.1 left. */
async function oldMailHost(files: Record<string, string> = {}): Promise<MailHost> {
  const mail = await mailHost({
    trust: ca.rootFile,
    deployed: asItCame(deployed),
    staged: asItCame(deployed),
    prepare: (mailcow) => mailcow.putSni(NAME, asItCame(deployed), [NAME]),
  });
  const settings: Record<string, string> = {
    mailcow: mail.mailcow.root,
    staging: mail.staging,
    state: mail.state,
    trust: ca.rootFile,
    settle: "0.5s",
    restart_timeout: "2s",
  };
  const config = Object.entries(settings).reduce(
    (text, [key, value]) => text.replace(new RegExp(`^  # ${key}: .*$`, "m"), `  ${key}: ${value}`),
    old("deploy_config.txt"),
  );
  await Deno.writeTextFile(mail.config, config);
  for (const directory of ["", "/previous", `/previous/${NAME}`]) {
    await Deno.mkdir(`${mail.state}${directory}`, { mode: 0o700 });
  }
  const { fullchainPem, keyPem } = asItCame(before);
  const state: Record<string, string> = {
    lock: "",
    loaded: ["postfix", "dovecot", "nginx"]
      .map((name) => `${name}-mailcow ${deployed.fingerprint}\n`).join(""),
    "previous/cert.pem": fullchainPem,
    "previous/key.pem": keyPem,
    [`previous/${NAME}/cert.pem`]: fullchainPem,
    [`previous/${NAME}/key.pem`]: keyPem,
    ...files,
  };
  for (const [name, text] of Object.entries(state)) {
    const mode = name.endsWith("cert.pem") ? 0o644 : 0o600;
    await Deno.writeTextFile(`${mail.state}/${name}`, text, { mode });
  }
  return mail;
}

Deno.test("deploy finds nothing to do on a host of 0.1, and neither writes nor asks", async () => {
  await using mail = await oldMailHost();
  for (const args of [[], ["--started"]]) {
    const { code, stdout, stderr } = await mail.assertUntouched(() => mail.deploy(args));
    deepEqual([code, stderr], [0, ""]);
    match(stdout, /^nothing to do: mailcow serves mail\.example\.org /);
  }
  deepEqual(await mail.loaded(), allLoaded(deployed));
});

Deno.test("the previous pair that 0.1 kept is gone back to, and the next renewal is deployed", async () => {
  await using mail = await oldMailHost();
  const back = await mail.deploy(["--rollback", "--json"]);
  deepEqual([back.code, back.json().outcome], [0, "deployed"], back.stderr);
  await mail.assertInstalled(before);
  equal(mail.services.serves("imaps", NAME), before.fingerprint);

  const renewed = await issue(0);
  await mail.stage(renewed);
  const { code, stderr } = await mail.deploy();
  equal(code, 0, stderr);
  for (const directory of [mail.mailcow.ssl, `${mail.mailcow.ssl}/${NAME}`]) {
    await mail.assertInstalled(renewed, directory);
  }
  equal(mail.services.serves("imaps", NAME), renewed.fingerprint);
});

Deno.test("what 0.1 rolled back is tried once more, and no further time", async () => {
  await using mail = await oldMailHost({ rejected: `${refused.fingerprint}\n` });
  mail.services.temper("dovecot", { cannotLoad: [refused.fingerprint] });
  await mail.stage(refused);
  const again = await mail.deploy(["--json"]);
  deepEqual([again.code, again.json().outcome], [1, "rolled-back"], again.stderr);
  equal(mail.services.serves("imaps", NAME), deployed.fingerprint);
  await mail.assertUntouched(async () => {
    const third = await mail.deploy(["--json"]);
    deepEqual([third.code, third.json().outcome], [1, "refused"], third.stderr);
  });
});

Deno.test("push finds nothing to do on a host of 0.1, and contacts nobody", async () => {
  await using scene = await makeScene({ ca, leaf: deployed });
  const { identity, knownHosts } = scene.server;
  const config = old("push_config.txt")
    .replace(/^ {2}to: .*$/m, `  to: ${scene.to}`)
    .replace(/^ {2}identity: .*$/m, `  identity: ${identity}`)
    .replace(/^ {2}known_hosts: .*$/m, `  known_hosts: ${knownHosts}`)
    .replace(/^ {2}# state: .*$/m, `  state: ${scene.state}`)
    .replace(/^ {2}# trust: .*$/m, `  trust: ${ca.rootFile}`)
    .replace(/^ {2}# live: .*$/m, `  live: [${scene.npm.live}]`)
    .replace(/^ {2}# port: .*$/m, `  port: ${scene.silentPort()}`);
  await Deno.writeTextFile(scene.configFile, config);
  await scene.remember(`${deployed.fingerprint} ${scene.to}\n`);
  await Deno.writeTextFile(`${scene.state}/lock`, "", { mode: 0o600 });
  const { code, stdout, stderr } = await scene.push();
  deepEqual([code, stderr], [0, ""]);
  match(stdout, /^nothing to do: every target has mail\.example\.org /);
  deepEqual(Array.from(Deno.readDirSync(scene.state), ({ name }) => name).sort(), [
    "last_fp",
    "lock",
  ]);
});

Deno.test("setup takes 0.1's units and config by the same words, and keeps the key that is let in", async () => {
  await using dir = await tempDir();
  const units = `${dir.path}/etc`;
  await Deno.mkdir(units);
  const names = ["service", "timer"].map((kind) => `mailcow-cert-push.${kind}`);
  for (const name of names) await Deno.writeTextFile(`${units}/${name}`, old(name));
  const file = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(file, old("push_config.txt"));
  // Nothing is to be given again, and nothing is missing in it.
  const push = await setup(["push", "--config", file]);
  doesNotMatch(push.text, /^ *tell_missing /m);
  const functions = push.text.slice(0, push.text.indexOf("\nmain() {\n"))
    .replaceAll(/\/(etc|usr\/lib)\/systemd\/system/g, `${dir.path}/$1`);
  const lines = [...names, "mailcow-cert-push.path"].map((name) =>
    `unit ${name} <<'END'\n${push.fed(`unit ${name}`)}END`
  );
  const said = await run(need("dash"), ["-s"], { stdin: `${functions}\n${lines.join("\n")}\n` });
  match(said, /^setup: replaced: \S+mailcow-cert-push\.service$/m);
  match(said, /^setup: created: \S+mailcow-cert-push\.path$/m);
  equal(/WARNING/.test(said), false, said);

  const deployFile = `${dir.path}/deploy.yaml`;
  await Deno.writeTextFile(deployFile, old("deploy_config.txt"));
  const { code, stderr } = await certsync(["setup", "deploy", "--config", deployFile]);
  deepEqual([code, stderr], [0, ""]);
});
