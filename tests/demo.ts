// The whole chain on this machine, as it goes: both hosts, a real sshd between them, a renewal.

import { authority, type Leaf } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { fakeDocker } from "./kit/fake_docker.ts";
import { mailServices } from "./kit/mail_services.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;

await using dir = await tempDir();
await using ca = await authority("Demo");
const daysFromNow = (days: number) => new Date(Date.now() + days * DAY_MS);

say("Two hosts on this machine: one with Nginx Proxy Manager, one with mailcow");

const npm = await npmTree(`${dir.path}/npm`);
const issue = (names: string[], from: number, to: number): Promise<Leaf> =>
  ca.issue({ names, notBefore: daysFromNow(from), notAfter: daysFromNow(to) });
await npm.add(1, await issue(["www.example.org"], -40, 50));
await npm.add(3, await issue([NAME], -100, -10));
await npm.add(5, await issue([NAME, "autoconfig.example.org"], -60, 30));
await npm.add(6, await issue(["*.example.org"], -5, 85));
note(`${npm.live}: npm-1 is for another name, npm-3 expired, npm-5 right, npm-6 a wildcard`);

const mailcow = await mailcowTree(`${dir.path}/mailcow`, {
  leaf: await ca.issue({ names: [NAME], signedBy: "self" }),
});
await using services = await mailServices(mailcow);
await mailcow.configure(services.conf);
await using docker = await fakeDocker(services);
note(`${mailcow.root}: Postfix, Dovecot and nginx are stand-ins behind real TLS, on nine ports`);

const incoming = `${dir.path}/incoming`;
await Deno.mkdir(incoming, { mode: 0o700 });
await using ssh = await sshServer({ command: forcedCommand("-azL", `${incoming}/`) });
note(
  `sshd on ${ssh.address}:${ssh.port}; its key may run the push into ${incoming} and nothing else`,
);

const config = `${dir.path}/config.yaml`;
await Deno.writeTextFile(
  config,
  `domain: ${NAME}
push:
  live: [${npm.live}]
  to: ${ssh.target(`${incoming}/`)}
  port: ${ssh.port}
  identity: ${ssh.identity}
  known_hosts: ${ssh.knownHosts}
  state: ${dir.path}/push-state
  trust: ${ca.rootFile}
deploy:
  mailcow: ${mailcow.root}
  staging: ${incoming}
  state: ${dir.path}/deploy-state
  dane: off # nobody in the world is asked
  trust: ${ca.rootFile}
verify:
  trust: ${ca.rootFile}
`,
);

say("The first certificate");
await run(0, "find-npm-dir", NAME);
await run(0, "push");
await run(0, "deploy");
await run(0, "verify");

say("Nginx Proxy Manager renews it: a new key, a new leaf, the links replaced one by one");
const renewed = await issue([NAME, "autoconfig.example.org"], 0, 90);
await npm.renew(5, renewed);
await run(0, "push");
await run(0, "deploy");
const verdict = await run(0, "verify");

say("Once more: nothing has changed");
const quiet = [await run(0, "push"), await run(0, "deploy")];

if (!/all \d+ match/.test(verdict)) fail("the copies do not match");
if (!quiet.every((output) => output.includes("nothing to do"))) fail("there was something to do");
if (services.serves("imaps", NAME) !== renewed.fingerprint) fail("Dovecot serves another one");
say("Done: all copies match, and the renewed certificate is served");

/** Prints the command as it would be typed, and what it prints. */
async function run(expected: number, command: string, ...args: string[]): Promise<string> {
  console.log(`\n$ certsync ${[command, ...args].join(" ")}`);
  const { code, stdout, stderr } = await certsync([command, ...args, "--config", config], {
    path: docker.bin,
  });
  await Deno.stdout.write(new TextEncoder().encode(stdout + stderr));
  if (code !== expected) fail(`it ended with exit code ${code}`);
  return stdout;
}

function say(text: string): void {
  console.log(`\n== ${text}`);
}

function note(text: string): void {
  console.log(`   ${text}`);
}

function fail(why: string): never {
  throw new Error(`the demo failed: ${why}`);
}
