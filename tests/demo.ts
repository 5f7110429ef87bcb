// The whole chain on this machine, as it goes: both hosts, a real sshd between them, a renewal, and one
// that a service cannot load.

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
await using ca = await authority("Demo", "ecdsa-p384");
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
  settle: 2s # as long as it takes here: a demo does not wait for half a minute
  restart_timeout: 5s
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
await run(0, "verify");

say("Once more: nothing has changed");
const quiet = [await run(0, "push"), await run(0, "deploy")];

say("Another renewal, with which Dovecot does not start: deploy goes back to the one before");
const unloadable = await issue([NAME, "autoconfig.example.org"], 0, 89);
services.temper("dovecot", { cannotLoad: [unloadable.fingerprint] });
await npm.renew(5, unloadable);
await run(0, "push");
const rolledBack = await run(1, "deploy");
if (!/rolled back/.test(rolledBack)) fail("it was not rolled back");
for (const endpoint of ["imaps", "smtp", "https"] as const) {
  if (services.serves(endpoint, NAME) !== renewed.fingerprint) {
    fail(`${endpoint} serves another one`);
  }
}
note("mail has gone on being served: all nine ports give the former certificate again");
await run(1, "deploy");

say("Nginx Proxy Manager renews once more, and all is well again");
const next = await issue([NAME, "autoconfig.example.org"], 0, 90);
await npm.renew(5, next);
await run(0, "push");
await run(0, "deploy");
const verdict = await run(0, "verify");

if (!/all \d+ match/.test(verdict)) fail("the copies do not match");
if (!quiet.every((output) => output.includes("nothing to do"))) fail("there was something to do");
if (services.serves("imaps", NAME) !== next.fingerprint) fail("Dovecot serves another one");
say("Done: all copies match, and the newest certificate is served");

/** Prints the command as it would be typed, and what it prints. */
async function run(expected: number, command: string, ...args: string[]): Promise<string> {
  console.log(`\n$ certsync ${[command, ...args].join(" ")}`);
  const { code, stdout, stderr } = await certsync([command, ...args, "--config", config], {
    path: docker.bin,
  });
  // As a terminal has it: what is told meanwhile, the result, then what there is to say of it.
  const end = stderr.search(/^(WARNING|ERROR): /m);
  const [meanwhile, after] = end < 0 ? [stderr, ""] : [stderr.slice(0, end), stderr.slice(end)];
  await Deno.stdout.write(new TextEncoder().encode(meanwhile + stdout + after));
  if (code !== expected) fail(`it ended with exit code ${code}`);
  return stdout + stderr;
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
