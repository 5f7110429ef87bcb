// Whatever else is printed on the way changes nothing of what push does: banners, shells, sudo.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { account } from "./kit/account.ts";
import { authority } from "./kit/authority.ts";
import type { CertsyncOptions } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { concurrently } from "./kit/concurrently.ts";
import { makeScene, NAME, type Scene, withSshConfig } from "./kit/push_scene.ts";
import { forcedCommand, sshServer } from "./kit/ssh_server.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const leaf = await ca.issue({ names: [NAME] });

interface Noise {
  account?: Parameters<typeof account>[0];
  /** A start-up file of that account's shell. */
  startup?: [name: string, text: string];
  /** What the forced command becomes. */
  command?(command: string): string;
  arrange?(scene: Scene): Promise<CertsyncOptions>;
  /** What is printed; seen in what push warns of where it is tried twice. */
  words: RegExp;
}

const bash = { shell: need("bash") };

const twoIdentities = (first: (scene: Scene) => Promise<string>) => async (scene: Scene) => {
  await scene.configure({ identity: undefined });
  const files = [await first(scene), scene.server.identity];
  return withSshConfig(
    scene,
    `Host *\n${files.map((file) => `  IdentityFile ${file}\n`).join("")}`,
  );
};

const noises: Record<string, Noise> = {
  "a home that does not exist": {
    account: { home: "/nonexistent" },
    words: /Could not chdir to home directory \/nonexistent: No such file or directory/,
  },
  "a .bashrc that makes a directory where it may not": {
    account: bash,
    startup: [
      ".bashrc",
      'export XDG_RUNTIME_DIR=/run/user/$(id -u)\nmkdir -p "$XDG_RUNTIME_DIR"\n',
    ],
    words: /mkdir: cannot create directory .*: Permission denied/,
  },
  "a .bashrc that asks an agent that is dead": {
    account: bash,
    startup: [".bashrc", "SSH_AUTH_SOCK=$HOME/none ssh-add -l\n"],
    words: /Error connecting to agent: No such file or directory/,
  },
  "a .bashrc that takes for granted a terminal, and a program": {
    account: bash,
    startup: [".bashrc", "stty -echo\ntput cols\nmotd-of-the-day\ncat <>/nonexistent/x\n"],
    words: /Inappropriate ioctl.*command not found|command not found/s,
  },
  "a .bashrc that tells of a full disk and a connection refused": {
    account: bash,
    startup: [
      ".bashrc",
      "echo 'bash: cannot create temp file: No space left on device' >&2\n" +
      "echo 'curl: (7) connect to host x port 80: Connection refused' >&2\n" +
      "echo 'Permission denied (publickey).' >&2\necho 'Host key verification failed.' >&2\n",
    ],
    words: /No space left on device/,
  },
  "a .zshenv with a program that is not there": {
    account: { shell: need("zsh") },
    startup: [".zshenv", "motd-of-the-day\n"],
    words: /command not found/,
  },
  "sudo that cannot resolve its own host name": {
    command: (command) =>
      `unshare --uts sh -c 'hostname nowhere-at-all && exec ${need("sudo")} -n ${command}'`,
    words: /unable to resolve host nowhere-at-all/,
  },
  "a banner that talks of failures": {
    arrange: async (scene) => {
      const banner = `${scene.path}/banner`;
      await Deno.writeTextFile(
        banner,
        "Permission denied (publickey).\nHost key verification failed.\n" +
          "ssh: connect to host here port 22: Connection refused\nrsync: command not found\n" +
          "Connection closed by 127.0.0.1 port 22\n",
      );
      await scene.server.restart([`Banner ${banner}`]);
      return {};
    },
    words: /Host key verification failed/,
  },
  "the first of two identities missing": {
    arrange: twoIdentities((scene) => Promise.resolve(`${scene.path}/none`)),
    words: /none/,
  },
  "the first of two identities open to others": {
    arrange: twoIdentities(async (scene) => {
      await Deno.copyFile(scene.server.strangerIdentity, `${scene.path}/open`);
      await Deno.chmod(`${scene.path}/open`, 0o644);
      return `${scene.path}/open`;
    }),
    words: /bad permissions/,
  },
};

const commands: [what: string, flags: "-aL" | "-azL", attempts: number][] = [
  ["a forced command that fits", "-azL", 1],
  ["one for rsync without -z", "-aL", 2],
];

async function pushedThrough(noise: Noise, flags: "-aL" | "-azL", attempts: number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const own = noise.account && stack.use(await account(noise.account));
  if (own !== undefined && noise.startup !== undefined) {
    const [name, text] = noise.startup;
    await Deno.writeTextFile(`${own.home}/${name}`, text, { mode: 0o644 });
  }
  // At this level a bash that sshd starts reads ~/.bashrc.
  const env = { SHLVL: "0" };
  const scene = stack.use(await makeScene({ ca, leaf, env, ...(own && { user: own.name }) }));
  const { command = (command: string) => command } = noise;
  await scene.server.force(command(forcedCommand(flags, scene.incoming)));
  const options = await noise.arrange?.(scene) ?? {};
  const result = await scene.push(["--json"], options);
  const report = result.json();
  deepEqual([result.code, report.outcome], [0, "pushed"], result.stderr);
  equal(report.warnings.length, attempts - 1);
  equal(scene.server.connections(), attempts);
  await scene.assertArrived(leaf);
  if (attempts === 1) return;
  match(report.warnings[0], /is for rsync without -z/);

  // That it was heard at all, and is not taken for the reason where there is another.
  await scene.server.force(command("rsync --server --nonsense . /"));
  const failed = (await scene.push(["--force", "--json"], options)).json();
  match(failed.error, /: the forced command on the other side does not fit/);
  ok(!/password|login shell|missing|no space|not accepted/.test(failed.error.split(": ")[1]));
}

const table = Object.entries(noises).flatMap(([what, noise]) =>
  commands.map(([command, flags, attempts]): [string, () => Promise<void>] => [
    `${what}; ${command}`,
    () => pushedThrough(noise, flags, attempts),
  ])
);

Deno.test("push goes through jump hosts and proxies with either forced command", async (t) => {
  await using jump = await sshServer();
  const ways: Record<string, (scene: Scene) => string> = {
    "a jump host that lets in": () => "ProxyJump jump",
    "a proxy": ({ server, path }) =>
      `ProxyCommand ${need("ssh")} -F ${path}/home/.ssh/config -W 127.0.0.1:${server.port} jump`,
  };
  const table = Object.entries(ways).flatMap(([what, way]) =>
    commands.map(([command, flags, attempts]): [string, () => Promise<void>] => [
      `${what}; ${command}`,
      async () => {
        await using scene = await makeScene({ ca, leaf });
        await scene.server.force(forcedCommand(flags, scene.incoming));
        const options = await withSshConfig(
          scene,
          `Host jump
  HostName 127.0.0.1
  Port ${jump.port}
  User ${jump.user}
  IdentityFile ${jump.identity}
  UserKnownHostsFile ${jump.knownHosts}
  LogLevel VERBOSE
Host mailhost
  HostName 127.0.0.1
  User ${scene.server.user}
  Port ${scene.server.port}
  ${way(scene)}
`,
        );
        const to = `${scene.server.user}@mailhost:${scene.incoming}`;
        await scene.configure({ to, port: undefined });
        const { code, stderr } = await scene.push([], options);
        equal(code, 0, stderr);
        equal(scene.server.connections(), attempts);
        await scene.assertArrived(leaf);

        // What the jump host says of itself is not the target's word.
        await scene.configure({ known_hosts: scene.server.wrongKnownHosts });
        const { error } = (await scene.push(["--force", "--json"], options)).json();
        match(error, /: the host key has changed/);
        equal(scene.server.connections(), attempts + 1);
      },
    ])
  );
  await concurrently(t, table, 2);
});

Deno.test("a banner does not speak for ssh where the key is not taken", async () => {
  await using scene = await makeScene({ ca, leaf });
  await noises["a banner that talks of failures"]?.arrange?.(scene);
  await scene.configure({ identity: scene.server.strangerIdentity });
  const { error, hint } = (await scene.push(["--json"])).json();
  match(error, /: permission denied: the key is not accepted: .*Permission denied \(publickey\)/);
  match(hint, /authorized_keys/);
  equal(scene.server.connections(), 1);
});

Deno.test({
  name: "push gets through, at the first or at the second try, whatever is printed besides",
  ignore: Deno.uid() !== 0, // who may make accounts
  fn: async (t) => await concurrently(t, table, 4),
});
