// What push advises is done to the letter, against real ssh and sshd: afterwards it succeeds.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type Account, account } from "./kit/account.ts";
import { authority } from "./kit/authority.ts";
import { certsync, type CertsyncOptions } from "./kit/certsync.ts";
import { freePort } from "./kit/free_port.ts";
import { need } from "./kit/programs.ts";
import { concurrently } from "./kit/concurrently.ts";
import { makeScene, NAME, namesIn, type Scene, withSshConfig } from "./kit/push_scene.ts";
import { recorder } from "./kit/recorder.ts";
import { run, tryRun } from "./kit/run.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: [NAME] });

interface Hint {
  account?: Partial<Parameters<typeof account>[0]>;
  pam?: boolean;
  settings?: string[];
  /** How the scene differs from one that would be pushed; what to run push with. */
  arrange(scene: Scene, account: Account): Promise<CertsyncOptions | void>;
  error: RegExp;
  hint: RegExp;
  /** What the hint must never say. */
  never?: RegExp;
  /** Does what the hint says; `found` holds what its pattern captured. */
  follow(found: string[], scene: Scene, account: Account): Promise<unknown>;
  /** Whether it is said without a connection. */
  isBeforehand?: boolean;
}

/** Runs a command of a hint as the operator would. */
const shell = (command: string | undefined) =>
  run("/bin/sh", ["-c", command ?? "false"], { env: { HOME: "/nonexistent" } });

const append = (file: string | undefined, line: string) =>
  Deno.writeTextFile(file ?? "", `${line}\n`, { append: true });

const publicHalf = async (scene: Scene) =>
  (await Deno.readTextFile(`${scene.server.hostKey}.pub`)).split(" ").slice(0, 2).join(" ");

/** `put the line of NAME into "FILE": this name, a space, and what ssh_host_…_key.pub holds` */
const putLine = async ([name, file]: string[], scene: Scene) =>
  await append(file, `${name} ${await publicHalf(scene)}`);

const replaceLine = async ([name, file, number]: string[], scene: Scene) => {
  const lines = (await Deno.readTextFile(file ?? "")).split("\n");
  lines[Number(number) - 1] = `${name} ${await publicHalf(scene)}`;
  await Deno.writeTextFile(file ?? "", lines.join("\n"));
};

const authorize = async (scene: Scene, file: string) =>
  await scene.server.authorize(await Deno.readTextFile(file));

const LINE =
  /put the line of (\S+) into "([^"]+)": this name, a space, and what \/etc\/ssh\/ssh_host_ed25519_key\.pub holds on the console of/;
const REPLACE =
  /replace the line of (\S+) in "([^"]+)" \(line (\d+)\) with this name, a space, and what \/etc\/ssh\/ssh_host_ed25519_key\.pub holds/;

/** A copy of the identity, changed; push is told to use it. */
async function identity(scene: Scene, change: (path: string) => Promise<unknown>): Promise<void> {
  const path = `${scene.path}/own_key`;
  await Deno.copyFile(scene.server.identity, path);
  await Deno.chmod(path, 0o600);
  await change(path);
  await scene.configure({ identity: path });
}

/** ssh's own known_hosts, hidden by an alias as operators write it. */
const alias = (scene: Scene, more = "") =>
  `Host mailhost
  HostName ${scene.server.address}
  Port ${scene.server.port}
${more}`;

const toAlias = (scene: Scene) => ({
  to: `${scene.server.user}@mailhost:${scene.incoming}`,
  port: undefined,
});

const jump = (scene: Scene, knownHosts: string) =>
  `Host jump
  HostName ${scene.server.address}
  Port ${scene.server.port}
  IdentityFile ${scene.server.identity}
  UserKnownHostsFile ${knownHosts}
  LogLevel VERBOSE
Host mailhost
  HostName localhost
  HostKeyAlias mail-behind-jump
  Port ${scene.server.port}
  ProxyJump jump
`;

const hints: Record<string, Hint> = {
  "an unknown host key": {
    arrange: (scene) => scene.configure({ known_hosts: scene.server.emptyKnownHosts }),
    error: /: the host key is unknown: No ED25519 host key is known for /,
    hint: LINE,
    follow: putLine,
  },
  "a host key unknown among hashed ones": {
    arrange: async (scene) => {
      await append(scene.server.emptyKnownHosts, `other.example ${await publicHalf(scene)}`);
      await run(need("ssh-keygen"), ["-H", "-f", scene.server.emptyKnownHosts]);
      await scene.configure({ known_hosts: scene.server.emptyKnownHosts });
    },
    error: /: the host key is unknown: No ED25519 host key is known for /,
    hint: LINE,
    follow: putLine,
  },
  "a host key unknown by the name that an alias gives": {
    arrange: async (scene) => {
      await scene.configure({ ...toAlias(scene), known_hosts: undefined });
      const more = `  HostKeyAlias mail-key\n  UserKnownHostsFile ${scene.path}/own_hosts\n`;
      return withSshConfig(scene, alias(scene, more));
    },
    error: /: the host key is unknown: No ED25519 host key is known for mail-key /,
    hint: /put the line of (mail-key) into "([^"]+own_hosts)": this name, a space/,
    follow: putLine,
  },
  "a changed host key, with a hashed name": {
    arrange: async (scene) => {
      await run(need("ssh-keygen"), ["-H", "-f", scene.server.wrongKnownHosts]);
      await scene.configure({ known_hosts: scene.server.wrongKnownHosts });
    },
    error: /: the host key has changed: .*Host key for \S+ has changed/,
    hint: REPLACE,
    follow: replaceLine,
  },
  "a changed host key that stands in the second of two files": {
    arrange: async (scene) => {
      await scene.configure({ known_hosts: undefined });
      const files = `${scene.path}/none ${scene.server.wrongKnownHosts}`;
      return withSshConfig(scene, `Host *\n  UserKnownHostsFile ${files}\n`);
    },
    error: /: the host key has changed/,
    hint: REPLACE,
    follow: replaceLine,
  },
  "a jump host's unknown key": {
    arrange: async (scene) => {
      await scene.configure(toAlias(scene));
      await append(scene.server.knownHosts, `mail-behind-jump ${await publicHalf(scene)}`);
      return withSshConfig(scene, jump(scene, scene.server.emptyKnownHosts));
    },
    error: /: the host key is unknown: .*Host key verification failed/,
    hint: /put the line of (\[127\.0\.0\.1\]:\d+) into "([^"]+empty_known_hosts)"/,
    follow: putLine,
  },
  "a jump host's changed key": {
    arrange: async (scene) => {
      await scene.configure(toAlias(scene));
      await append(scene.server.knownHosts, `mail-behind-jump ${await publicHalf(scene)}`);
      return withSshConfig(scene, jump(scene, scene.server.wrongKnownHosts));
    },
    error: /: the host key has changed/,
    hint: REPLACE,
    follow: replaceLine,
  },
  "an unknown key behind a jump host that let us in": {
    arrange: async (scene) => {
      await scene.configure(toAlias(scene));
      return withSshConfig(scene, jump(scene, scene.server.knownHosts));
    },
    error: /: the host key is unknown: No ED25519 host key is known for mail-behind-jump /,
    hint: LINE,
    follow: putLine,
  },
  "a revoked host key": {
    arrange: async (scene) =>
      await append(scene.server.knownHosts, `@revoked * ${await publicHalf(scene)}`),
    error: /: the host key is revoked: .*was revoked/,
    hint:
      /^do not trust it; on the console there remove \/etc\/ssh\/ssh_host_\*_key\*, run ssh-keygen -A, then: systemctl restart ssh; then put the line of (\S+) into "([^"]+)"/,
    never: /ssh-keygen -R|remove the mark/,
    follow: async (found, scene) => {
      await newHostKey(scene);
      await putLine(found, scene);
    },
  },
  "a host key in the list of revoked ones": {
    arrange: async (scene) => {
      await Deno.copyFile(`${scene.server.hostKey}.pub`, `${scene.path}/revoked`);
      return withSshConfig(scene, `Host *\n  RevokedHostKeys ${scene.path}/revoked\n`);
    },
    error: /: the host key is revoked: .*revoked by file/,
    hint: /^do not trust it; .* then put the line of (\S+) into "([^"]+)"/,
    follow: async (found, scene) => {
      await newHostKey(scene);
      await putLine(found, scene);
    },
  },
  "a list of revoked host keys that is not there": {
    arrange: (scene) => withSshConfig(scene, `Host *\n  RevokedHostKeys ${scene.path}/revoked\n`),
    error: /: the list of revoked host keys cannot be read on this host: .*No such file/,
    hint: /^put "([^"]+)" back, .*; an empty one revokes nothing$/,
    follow: ([file = ""]) => Deno.writeTextFile(file, ""),
  },
  "a host certificate that has expired, of an RSA key": {
    arrange: async (scene) => {
      const { hostKey } = scene.server;
      for (const path of [hostKey, `${hostKey}.pub`]) await Deno.remove(path);
      await run(need("ssh-keygen"), ["-q", "-t", "rsa", "-N", "", "-f", hostKey]);
      await run(need("ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-f", `${scene.path}/ca`]);
      const validity = ["-V", "20200101:20200201", `${hostKey}.pub`];
      await run(need("ssh-keygen"), hostSigning(scene, "127.0.0.1", ...validity));
      await scene.server.restart([`HostCertificate ${hostKey}-cert.pub`]);
      const key = await Deno.readTextFile(`${scene.path}/ca.pub`);
      await append(scene.server.emptyKnownHosts, `@cert-authority * ${key.trim()}`);
      await scene.configure({ known_hosts: scene.server.emptyKnownHosts });
    },
    error: /: the certificate of the host key is not valid: expired: Certificate invalid: expired/,
    hint:
      /signed anew by its CA: ssh-keygen -s CA -I (\S+) -h -n \1 -V (\S+) \/etc\/ssh\/ssh_host_rsa_key\.pub, then: systemctl restart ssh$/,
    never: /put the line/,
    follow: async ([name = "", validity = ""], scene) => {
      const { hostKey } = scene.server;
      await run(need("ssh-keygen"), hostSigning(scene, name, "-V", validity, `${hostKey}.pub`));
      await scene.server.restart([`HostCertificate ${hostKey}-cert.pub`]);
    },
  },
  "a key that the other side does not take": {
    arrange: (scene) => scene.configure({ identity: scene.server.strangerIdentity }),
    error: /: permission denied: the key is not accepted: .*Permission denied \(publickey\)/,
    hint:
      /push\.identity, "([^"]+)", the right key\? put its \.pub line into the authorized_keys of /,
    follow: ([path], scene) => authorize(scene, `${path}.pub`),
  },
  "none of ssh's own keys taken": {
    arrange: async (scene) => {
      await scene.configure({ identity: undefined });
      const files = [`${scene.path}/none`, scene.server.strangerIdentity];
      return withSshConfig(
        scene,
        `Host *\n${files.map((file) => `  IdentityFile ${file}\n`).join("")}`,
      );
    },
    error: /: permission denied: the key is not accepted/,
    hint: /push\.identity \(ssh's own here: "([^"]+stranger)"\), and put its \.pub line/,
    follow: ([path], scene) => authorize(scene, `${path}.pub`),
  },
  "an identity that is not there": {
    arrange: (scene) => scene.configure({ identity: `${scene.path}/new_key` }),
    error: /: the key file "[^"]+new_key" does not exist$/,
    hint: /^make one with: (ssh-keygen -t ed25519 -N '' -f "[^"]+"); and put "([^"]+)" into/,
    follow: async ([command, file = ""], scene) => {
      await shell(command);
      await authorize(scene, file);
    },
    isBeforehand: true,
  },
  "an encrypted identity": {
    arrange: (scene) =>
      identity(
        scene,
        (path) => run(need("ssh-keygen"), ["-q", "-p", "-P", "", "-N", "secret", "-f", path]),
      ),
    error: /: the private key is encrypted, .*: "[^"]+own_key"$/,
    hint: /^take the passphrase off: (ssh-keygen -p -N '' -f "[^"]+")$/,
    follow: ([command]) => shell(`${command} -P secret`), // what it would ask for
    isBeforehand: true,
  },
  "an identity that others can read": {
    arrange: (scene) => identity(scene, (path) => Deno.chmod(path, 0o644)),
    error: /: ssh refuses the private key, because others can read it: "[^"]+own_key"$/,
    hint: /^(chmod 600 "[^"]+")$/,
    follow: ([command]) => shell(command),
    isBeforehand: true,
  },
  "an identity whose name holds what a shell would change": {
    arrange: async (scene) => {
      const path = `${scene.path}/it's $my "key"`;
      await Deno.copyFile(scene.server.identity, path);
      await Deno.chmod(path, 0o644);
      await scene.configure({ identity: path });
    },
    error: /: ssh refuses the private key, because others can read it: /,
    hint: /^(chmod 600 '.+')$/,
    follow: ([command]) => shell(command),
    isBeforehand: true,
  },
  "a directory for an identity": {
    arrange: (scene) => scene.configure({ identity: scene.path }),
    error: /: the key file "[^"]+" is a directory$/,
    hint: /^name the file of the private key with (push\.identity)$/,
    never: /ssh-keygen/,
    follow: (_, scene) => scene.configure({ identity: scene.server.identity }),
    isBeforehand: true,
  },
  "a config that keeps known hosts nowhere": {
    arrange: async (scene) => {
      await scene.configure({ known_hosts: undefined });
      return withSshConfig(scene, "Host *\n  UserKnownHostsFile /dev/null\n");
    },
    error: /: the host key is unknown: No ED25519 host key is known for /,
    hint:
      /^put the line of (\S+) into "\/etc\/certsync\/known_hosts", and set push\.known_hosts to that \("\/dev\/null" is none that ssh can read keys from\): this name, a space, and what \/etc\/ssh\/ssh_host_ed25519_key\.pub holds/,
    // Another file stands for the one in this machine's /etc.
    follow: async ([name = ""], scene) => {
      await putLine([name, scene.server.emptyKnownHosts], scene);
      await scene.configure({ known_hosts: scene.server.emptyKnownHosts });
    },
  },
  "a config by which ssh may not use the key": {
    arrange: (scene) => withSshConfig(scene, "Host *\n  PubkeyAcceptedAlgorithms rsa-sha2-256\n"),
    error: /: permission denied: ssh here may not use a key of this kind: /,
    hint: /^PubkeyAcceptedAlgorithms .* in ssh's config, "([^"]+)" .* leaves out ssh-ed25519: take/,
    never: /authorized_keys/,
    follow: ([file = ""]) => Deno.writeTextFile(file, ""),
  },
  "a ProxyCommand that does not exist": {
    arrange: (scene) => withSshConfig(scene, "Host *\n  ProxyCommand /nonexistent/way %h %p\n"),
    error: /: the ProxyCommand of ssh's config here ended, or leads nowhere: .*not found/,
    hint: /^look at ProxyCommand for \S+ in ssh's config, "([^"]+)" /,
    never: /fail2ban|firewall/,
    follow: ([file = ""]) => Deno.writeTextFile(file, ""),
  },
  "an identity without its last line end": {
    arrange: (scene) =>
      identity(
        scene,
        async (path) => await Deno.writeTextFile(path, (await Deno.readTextFile(path)).trimEnd()),
      ),
    error: /: ssh cannot read the private key: "[^"]+own_key": /,
    hint: /^it lacks its last line end: (echo >>"[^"]+")$/,
    follow: ([command]) => shell(command),
    isBeforehand: true,
  },
  "an identity with carriage returns": {
    arrange: (scene) =>
      identity(
        scene,
        async (path) =>
          await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replaceAll("\n", "\r\n")),
      ),
    error: /: ssh cannot read the private key: "[^"]+own_key": /,
    hint: /^take the carriage returns out of it: (sed -i .*)$/,
    follow: ([command]) => shell(command),
    isBeforehand: true,
  },
  "a damaged identity": {
    arrange: (scene) => identity(scene, (path) => Deno.truncate(path, 200)),
    error: /: ssh cannot read the private key: "[^"]+own_key": /,
    hint: /^it is damaged: remove it and make a new one with: (ssh-keygen .*"); and put "([^"]+)"/,
    follow: async ([command, file = ""], scene) => {
      await Deno.remove(file.replace(/\.pub$/, ""));
      await shell(command);
      await authorize(scene, file);
    },
    isBeforehand: true,
  },
  "the public half for the identity": {
    arrange: (scene) => scene.configure({ identity: `${scene.server.identity}.pub` }),
    error: /: the key file is the public half: "[^"]+\.pub"$/,
    hint: /^name the private one with push\.identity: "([^"]+)"$/,
    follow: ([path], scene) => scene.configure({ identity: path }),
    isBeforehand: true,
  },
  "a port that only the alias knows, and that is closed": {
    arrange: async (scene) => {
      await scene.configure(toAlias(scene));
      await append(scene.server.knownHosts, `mail-key ${await publicHalf(scene)}`);
      const text = alias(scene, "  HostKeyAlias mail-key\n");
      return withSshConfig(scene, text.replace(/Port \d+/, `Port ${freePort()}`));
    },
    error: /: the connection was refused: ssh: connect to host 127\.0\.0\.1 port \d+: /,
    hint: /^let port (\d+) inbound through the firewall of the mail host 127\.0\.0\.1 and outbound/,
    // The closed port stands in for the firewall.
    follow: ([port], { server }) => server.restart([`ListenAddress 127.0.0.1:${port}`]),
  },
  "no key exchange in common": {
    settings: ["KexAlgorithms curve25519-sha256"],
    arrange: (scene) =>
      // The user, who stands before any Host, must still count for every one.
      withSshConfig(
        scene,
        `User ${scene.server.user}\nHost *\n  KexAlgorithms diffie-hellman-group14-sha256\n`,
      ),
    error: /: ssh here and sshd there have no key exchange method in common: Unable to negotiate/,
    hint:
      /^put these three lines at the top of "([^"]+)": (Host \S+), and: (KexAlgorithms \S+), and: (Host \*)$/,
    follow: putOnTop,
  },
  "no kind of host key in common": {
    arrange: (scene) => withSshConfig(scene, "Host *\n  HostKeyAlgorithms ecdsa-sha2-nistp256\n"),
    error: /: ssh here and sshd there have no host key type in common: Unable to negotiate/,
    hint:
      /^put these three lines at the top of "([^"]+)": (Host \S+), and: (HostKeyAlgorithms \S+), and: (Host \*)$/,
    follow: putOnTop,
  },
  "an address that this host has not": {
    arrange: (scene) => withSshConfig(scene, "Host *\n  BindAddress 192.0.2.7\n"),
    error: /: this host has not the address that ssh's config tells it to use: bind /,
    hint: /^take BindAddress or BindInterface for \S+ out of ssh's config, "([^"]+)"/,
    follow: ([file = ""]) => Deno.writeTextFile(file, ""),
  },
  "a line in ssh's config that is none": {
    arrange: (scene) => withSshConfig(scene, "Host *\n  ServerAliveInterval 5\n  Fooo bar\n"),
    error: /: ssh does not understand its config on this host: .*config: line 3: Bad/,
    hint: /^mend or remove line (\d+) of "([^"]+)"$/,
    follow: async ([line, file = ""]) => {
      const lines = (await Deno.readTextFile(file)).split("\n");
      await Deno.writeTextFile(file, lines.toSpliced(Number(line) - 1, 1).join("\n"));
    },
  },
  "a forced command for another directory": {
    arrange: (scene) =>
      scene.server.force(forcedCommand("-azL", `${scene.path}/elsewhere/incoming/`)),
    error: /: the other side cannot write there: .*mkdir ".*elsewhere\/incoming" failed: No such/,
    hint: /elsewhere\/incoming on 127\.0\.0\.1 must exist and belong to .*: (install -d .*)$/,
    follow: async ([command], scene) => {
      await shell(command);
      await Deno.remove(scene.incoming);
      await Deno.symlink(`${scene.path}/elsewhere/incoming`, `${scene.path}/incoming`);
    },
  },
  "a file where the directory should be": {
    arrange: async (scene) => {
      await Deno.remove(scene.incoming);
      await Deno.writeTextFile(`${scene.path}/incoming`, "");
    },
    error: /: the other side cannot write there: .*(Not a directory|File exists)/,
    hint: /^("[^"]+") on \S+ must be a directory, and is something else: remove it, then: (.*)$/,
    follow: ([path, command]) => shell(`rm ${path?.replace(/\/"$/, '"')} && ${command}`),
  },
  "a directory where the key should be": {
    arrange: async (scene) => {
      await Deno.mkdir(`${scene.incoming}/privkey.pem`);
      await Deno.writeTextFile(`${scene.incoming}/privkey.pem/file`, "");
    },
    error: /: a directory lies where a file belongs: .*privkey\.pem/,
    hint: /^on \S+: (rm -r "[^"]+"), if nothing in it is needed$/,
    follow: ([command]) => shell(command),
  },
  "rrsync, which counts the path from its directory": {
    arrange: (scene) => scene.server.force(`${need("rrsync")} -wo ${scene.incoming}`),
    error: /: rrsync on the other side counts the path from its own directory: .*mkdir/,
    hint: /^write the target as (\S+)$/,
    follow: ([to], scene) => scene.configure({ to }),
  },
  "rrsync for the directory above": {
    arrange: (scene) => scene.server.force(`${need("rrsync")} -wo ${scene.path}`),
    error: /: rrsync on the other side counts the path from its own directory: .*mkdir/,
    hint: /^write the target as (\S+)$/,
    follow: ([to], scene) => scene.configure({ to }),
  },
  "rrsync that lets read only, for a directory that is missing": {
    arrange: async (scene) => {
      await scene.configure({ to: scene.server.target("/") });
      await scene.server.force(`${need("rrsync")} -ro ${scene.incoming}`);
    },
    error: /: rrsync on the other side lets that directory be read only: \S*rrsync error: sending/,
    hint: /authorized_keys of \S+ on \S+, write (rrsync -wo) for rrsync -ro$/,
    never: /install -d/,
    follow: (_, scene) => scene.server.force(`${need("rrsync")} -wo ${scene.incoming}`),
  },
  "rrsync for a directory that is not there": {
    arrange: async (scene) => {
      await Deno.remove(scene.incoming);
      await scene.configure({ to: scene.server.target("/") });
      await scene.server.force(`${need("rrsync")} -wo ${scene.path}/incoming`);
    },
    error: /: rrsync on the other side cannot use the directory that it is for: .*No such file/,
    hint: /\/incoming on 127\.0\.0\.1 must exist and belong to .*: (install -d -o .* "\/.+")$/,
    never: /"\/"/,
    follow: ([command]) => shell(command),
  },
  "a forced command that deletes": {
    arrange: (scene) =>
      scene.server.force(
        forcedCommand("-azL", scene.incoming).replace("--server", "--server --delete"),
      ),
    error: /: the forced command on the other side does not fit/,
    hint: /asks for: (rsync -azL --debug=CMD -e \/bin\/false \/etc\/hostname '[^']+')$/,
    follow: forceAsked,
  },
  "a forced command that ends as a lost connection would": {
    arrange: (scene) => scene.server.force("exit 255"),
    error: /: the forced command on the other side does not fit/,
    hint: /asks for: (rsync -azL --debug=CMD -e \/bin\/false \/etc\/hostname '[^']+')$/,
    follow: forceAsked,
  },
  "a forced command that fits nothing": {
    arrange: (scene) => scene.server.force("rsync --server -x . /nonexistent/"),
    error: /: the forced command on the other side does not fit/,
    hint: /asks for: (rsync -azL --debug=CMD -e \/bin\/false \/etc\/hostname '[^']+')$/,
    follow: forceAsked,
  },
};

/** Those that need an account of their own. */
const accountHints: Record<string, Hint> = {
  "an account whose password has expired": {
    pam: true,
    arrange: (_, account) => account.change("chage", "-d", "0"),
    error: /: the password of the account over there has expired: .*Password change required/,
    hint: /^on \S+, as root: (chage .*)$/,
    follow: onThisHost,
  },
  "an account that has expired": {
    pam: true,
    arrange: (_, account) => account.change("chage", "-E", "1"),
    error: /: the account over there has expired: .*Your account has expired/,
    hint: /^on \S+, as root: (chage .*)$/,
    follow: onThisHost,
  },
  "nologin for a login shell": {
    account: { shell: "/usr/sbin/nologin" },
    arrange: () => Promise.resolve(),
    error: /: the login shell of the account over there runs nothing: .*currently not available/,
    hint: /forced command; on \S+: (usermod -s \/bin\/sh \S+)$/,
    follow: onThisHost,
  },
  "false for a login shell": {
    account: { shell: "/bin/false" },
    arrange: () => Promise.resolve(),
    error: /: the other side ran nothing, and said nothing: its login shell may be /,
    hint: /^on \S+: (usermod -s \/bin\/sh \S+); where that was its shell already/,
    follow: onThisHost,
  },
  "true for a login shell": {
    account: { shell: "/bin/true" },
    arrange: () => Promise.resolve(),
    error: /: the forced command .* does not fit, or its login shell runs nothing \(\/bin\/true\)/,
    hint: /^on \S+: (usermod -s \/bin\/sh \S+); where that was its shell already/,
    follow: onThisHost,
  },
  "a directory of somebody else": {
    arrange: (scene) => Deno.chown(scene.incoming, 0, 0),
    error: /: the other side cannot write there: .*mkstemp .*Permission denied/,
    hint: /must exist and belong to the user of the push, .*: (install -d .*)$/,
    follow: ([command]) => shell(command),
  },
};

async function forceAsked([command = ""]: string[], scene: Scene) {
  const { stdout } = await tryRun("/bin/sh", ["-c", command]);
  await scene.server.force(/rsync --server .*?(?= *(\(\d+ args\))?$)/m.exec(stdout)?.[0]);
}

async function onThisHost([command = ""]: string[], _: Scene, { name, change }: Account) {
  ok(command.endsWith(` ${name}`), command);
  const [program, ...args] = (await run("/bin/sh", ["-c", `printf '%s\\n' ${command}`]))
    .trim().split("\n");
  if (program !== "chage" && program !== "usermod") throw new Error(command);
  await change(program, ...args.slice(0, -1)); // one at a time
}

async function putOnTop([file = "", ...lines]: string[]) {
  await Deno.writeTextFile(file, [...lines, await Deno.readTextFile(file)].join("\n"));
}

function hostSigning(scene: Scene, name: string, ...more: string[]): string[] {
  return ["-q", "-s", `${scene.path}/ca`, "-I", name, "-h", "-n", name, ...more];
}

async function newHostKey({ server }: Scene): Promise<void> {
  for (const path of [server.hostKey, `${server.hostKey}.pub`]) await Deno.remove(path);
  await run(need("ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-f", server.hostKey]);
  await server.restart();
}

async function isTrue(what: Hint): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const own =
    what.account !== undefined || what.pam === true || what.error.source.includes("mkstemp")
      ? stack.use(await account(what.account))
      : null;
  const user = own === null ? {} : { user: own.name };
  const { pam, settings } = what;
  const scene = stack.use(
    await makeScene({ ca, leaf, ...user, ...(pam && { pam }), ...(settings && { settings }) }),
  );
  const options = await what.arrange(scene, own as Account) ?? {};
  const failed = await scene.push(["--json"], options);
  const { error, hint = "", outcome } = failed.json();
  deepEqual([failed.code, outcome], [1, "failed"], failed.stderr);
  match(error, what.error);
  match(hint, what.hint);
  if (what.never !== undefined) ok(!what.never.test(hint), hint);
  if (what.isBeforehand) equal(scene.server.connections(), 0);

  const [, ...found] = what.hint.exec(hint) ?? [];
  await what.follow(found, scene, own as Account);
  const pushed = await scene.push(["--json"], options);
  deepEqual([pushed.code, pushed.json().outcome], [0, "pushed"], pushed.stderr);
  deepEqual(namesIn(scene.incoming), ["fullchain.pem", "privkey.pem"]);
}

const each = (hints: Record<string, Hint>): [string, () => Promise<void>][] =>
  Object.entries(hints).map(([what, hint]) => [what, () => isTrue(hint)]);

Deno.test("what push advises helps, done to the letter, for", async (t) =>
  await concurrently(t, each(hints), 4));

Deno.test({
  name: "what push advises helps, done to the letter, for an account with",
  ignore: Deno.uid() !== 0, // who may make accounts
  fn: async (t) => await concurrently(t, each(accountHints), 4),
});

Deno.test("a target with a port in it is refused, and taken as the hint writes it", async () => {
  await using scene = await makeScene({ ca, leaf });
  const { server } = scene;
  const login = `${server.user}@${server.address}`;
  for (
    const to of [
      `ssh://${login}:${server.port}${scene.incoming}`,
      `sftp://${login}:${server.port}${scene.incoming}`,
      `${login}:${server.port}:${scene.incoming}`,
    ]
  ) {
    await scene.configure({ to, port: undefined });
    const refused = await certsync(scene.args(["--force", "--json"]));
    equal(refused.code, 2, refused.stderr);
    const [, target, port] = /^write (\S+), and the port .* \(push\.port: (\d+)\)$/
      .exec(refused.json().hint) ?? [];
    await scene.configure({ to: target, port: Number(port) });
    equal((await scene.push(["--force"])).code, 0);
  }
  equal(server.connections(), 3);
});

Deno.test("an agent that has the key does for a file that is of no use", async (t) => {
  await using scene = await makeScene({ ca, leaf });
  const path = `${scene.path}/own_key`;
  await Deno.copyFile(scene.server.identity, path);
  await Deno.chmod(path, 0o600);
  const agent = await startAgent(`${scene.path}/agent`);
  try {
    const options = { env: { SSH_AUTH_SOCK: `${scene.path}/agent` } };
    await run(need("ssh-keygen"), ["-q", "-p", "-P", "", "-N", "secret", "-f", path]);
    await Deno.writeTextFile(`${scene.path}/gone.pub`, `${scene.server.publicKey}\n`);
    const identities = [path, `${scene.path}/gone`];

    await t.step("said before connecting where the agent lacks it", async () => {
      for (const identity of identities) {
        await scene.configure({ identity });
        const { code, stderr } = await scene.push([], options);
        equal(code, 1);
        match(stderr, /the private key is encrypted|the key file ".*gone" does not exist/);
      }
      equal(scene.server.connections(), 0);
    });
    await t.step("pushed where it has it", async () => {
      await run(need("ssh-add"), ["-q", scene.server.identity], options);
      for (const identity of identities) {
        await scene.configure({ identity });
        const { code, stderr } = await scene.push(["--force"], options);
        equal(code, 0, stderr);
      }
    });
  } finally {
    agent.kill();
    await agent.status;
  }
});

async function startAgent(socket: string): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(need("ssh-agent"), {
    args: ["-D", "-a", socket],
    stdout: "null",
    stderr: "null",
  }).spawn();
  while (!namesIn(socket.replace(/\/[^/]*$/, "")).includes("agent")) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return child;
}

Deno.test("push passes over a bad identity where ssh's config has a good one", async () => {
  await using scene = await makeScene({ ca, leaf });
  await scene.configure({ identity: `${scene.path}/none` });
  const text = `Host *\n  IdentityFile ${scene.server.identity}\n`;
  const { code, stderr } = await scene.push([], await withSshConfig(scene, text));
  equal(code, 0, stderr);
});

Deno.test("nothing in the operator's ssh config keeps push from its work", async () => {
  await using scene = await makeScene({ ca, leaf });
  const options = await withSshConfig(
    scene,
    `IgnoreUnknown UseKeychain,*Apple*
Host *
  UseKeychain yes
  LocalCommand touch ${scene.path}/local
  PermitLocalCommand yes
  RemoteCommand touch ${scene.path}/remote
  RequestTTY force
  ExitOnForwardFailure yes
  RemoteForward 127.0.0.1:1 127.0.0.1:2
  LocalForward 127.0.0.1:${scene.server.port} 127.0.0.1:2
  ForwardAgent yes
  ForwardX11 yes
  Tunnel yes
  StdinNull yes
  SessionType none
  ForkAfterAuthentication yes
  PubkeyAuthentication no
  PreferredAuthentications password
  ControlMaster auto
  ControlPath ${scene.path}/control
  AddKeysToAgent yes
  BatchMode no
  StrictHostKeyChecking no
  ConnectTimeout 120
  UpdateHostKeys yes
  IdentitiesOnly no
  LogLevel QUIET
`,
  );
  await using programs = await recorder({ ssh: `exec ${options.path}/ssh "$@"` });
  const { code, stderr } = await scene.push([], { ...options, path: programs.bin });
  deepEqual([code, stderr], [0, ""]);
  equal(scene.server.connections(), 1);
  await scene.assertArrived(leaf);
  for (const name of ["local", "remote", "control"]) ok(!namesIn(scene.path).includes(name), name);
  const ssh = programs.calls().find(({ argv }) => argv[0] === "ssh")!.argv;
  const first = ssh[ssh.indexOf("-o") + 1]!;
  for (const name of ["ForkAfterAuthentication", "SessionType", "StdinNull", "UseKeychain"]) {
    ok(first.startsWith("IgnoreUnknown=") && first.includes(name), first);
  }
  // What ssh itself makes of that config and of what it was given, for all that this run cannot show.
  const { stdout } = await tryRun(`${options.path}/ssh`, ["-G", ...ssh.slice(1)]);
  const holds = new Map(stdout.split("\n").map((line) => [line.split(" ")[0], line]));
  const settings: Record<string, string | undefined> = {
    ...{ batchmode: "yes", stricthostkeychecking: "true", updatehostkeys: "false" },
    ...{ connecttimeout: "10", identitiesonly: "yes", loglevel: "VERBOSE" },
    ...{ controlmaster: "false", controlpath: undefined, addkeystoagent: "false" },
    ...{ forwardagent: "no", forwardx11: "no", tunnel: "false", clearallforwardings: "yes" },
    ...{ exitonforwardfailure: "no", permitlocalcommand: "no", remotecommand: undefined },
    ...{ requesttty: "false", pubkeyauthentication: "true" },
    ...{ preferredauthentications: "gssapi-with-mic,hostbased,publickey" },
  };
  for (const [name, value] of Object.entries(settings)) {
    equal(holds.get(name), value && `${name} ${value}`);
  }
});

Deno.test("targets may differ in port, identity and known_hosts", async () => {
  await using scene = await makeScene({ ca, leaf });
  await using other = await sshServer();
  const second = `${scene.path}/second/`;
  await Deno.mkdir(second);
  await scene.configure({
    to: [scene.to, {
      to: other.target(second),
      port: other.port,
      identity: other.identity,
      known_hosts: other.knownHosts,
    }],
  });
  const { code, stderr } = await scene.push();
  equal(code, 0, stderr);
  deepEqual([scene.server.connections(), other.connections()], [1, 1]);
  equal(await Deno.readTextFile(`${second}/privkey.pem`), leaf.keyPem);
});

Deno.test("a private key that lies where the public one should is never printed", async () => {
  await using scene = await makeScene({ ca, leaf });
  const path = `${scene.path}/key`;
  for (const name of [path, `${path}.pub`]) await Deno.copyFile(scene.server.identity, name);
  for (const name of [path, `${path}.pub`]) await Deno.chmod(name, 0o600);
  await scene.configure({ identity: path });
  await scene.server.force(forcedCommand("-aL", scene.incoming));
  const { code, stdout, stderr } = await scene.push(["--json"]);
  equal(code, 0, stderr);
  match(stderr, /restrict ssh-ed25519 AAAA…\n$/);
  for (const line of (await Deno.readTextFile(path)).split("\n").filter(Boolean)) {
    ok(!`${stdout}${stderr}`.includes(line), line);
  }
});
