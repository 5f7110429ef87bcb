// Where ssh is not let in, that is at fault, each time: never what would run once it is.

import { equal, match } from "node:assert/strict";
import type { RunContext } from "../../lib/run_context.ts";
import { explainTransfer } from "../../lib/programs/rsync_words.ts";
import { readPeer } from "../../lib/programs/ssh_peer.ts";
import { sshTarget } from "../kit/ssh_target.ts";
import { transfer } from "../../lib/programs/rsync.ts";
import { freePort } from "../kit/free_port.ts";
import { need } from "../kit/programs.ts";
import { forcedCommand, type SshServer, sshServer } from "../kit/ssh_server.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { Faults, inPlaces, sized, tell } from "./size.ts";

interface Refusal {
  /** Lines of the operator's ssh config. */
  config?: string;
  /** Lines of sshd's. */
  settings?: string[];
  options?(server: SshServer): { port?: number; identity?: string; knownHosts?: string[] };
  error: RegExp;
}

const refusals: Record<string, Refusal> = {
  "no key exchange in common": {
    config: "KexAlgorithms diffie-hellman-group14-sha1",
    error: /^ssh here and sshd there have no key exchange method in common: /,
  },
  "no kind of host key in common": {
    config: "HostKeyAlgorithms ecdsa-sha2-nistp256",
    error: /^ssh here and sshd there have no host key type in common: /,
  },
  "no cipher in common": {
    config: "Ciphers 3des-cbc",
    error: /^ssh here and sshd there have no cipher in common: /,
  },
  "no MAC in common": {
    config: "Ciphers aes128-ctr\n  MACs hmac-md5",
    error: /^ssh here and sshd there have no MAC in common: /,
  },
  "an address that this host has not": {
    config: "BindAddress 192.0.2.7",
    error: /^this host has not the address /,
  },
  "a bad line in ssh's config": {
    config: "Fooo bar",
    error: /^ssh does not understand its config on this host: /,
  },
  "an unknown host key": {
    options: ({ emptyKnownHosts }) => ({ knownHosts: [emptyKnownHosts] }),
    error: /^the host key is unknown: /,
  },
  "a changed host key": {
    options: ({ wrongKnownHosts }) => ({ knownHosts: [wrongKnownHosts] }),
    error: /^the host key has changed: /,
  },
  "a key that is not taken": {
    options: ({ strangerIdentity }) => ({ identity: strangerIdentity }),
    error: /^permission denied: the key is not accepted: /,
  },
  "a closed port": {
    options: () => ({ port: freePort() }),
    error: /^the connection was refused: /,
  },
  "a user whom sshd does not take": {
    settings: ["DenyUsers *"],
    error: /^permission denied: the key is not accepted: /,
  },
  "a server that hangs up": {
    options: () => ({ port: hangingUp() }),
    error: /^the other side closed the connection: /,
  },
};

const listeners = new DisposableStack();

/** A port behind which somebody does not want to know us. */
function hangingUp(): number {
  const listener = listeners.use(Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  (async () => {
    for await (const connection of listener) connection.close();
  })();
  return listener.addr.port;
}

Deno.test("a failure before the login is never the forced command's", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "x");
  const rounds = sized({ quick: 3, ci: 20, full: 200 });
  const faults = new Faults();
  let number = 0;
  for (const [what, { config = "", settings = [], options, error }] of Object.entries(refusals)) {
    await using server = await sshServer({
      command: forcedCommand("-aL", `${dir.path}/`),
      settings,
    });
    const bin = `${dir.path}/bin${number++}`;
    await Deno.mkdir(bin);
    await Deno.writeTextFile(`${bin}/config`, `Host *\n  ${config}\n`);
    await Deno.writeTextFile(
      `${bin}/ssh`,
      `#!/bin/sh\nexec ${need("ssh")} -F ${bin}/config "$@"\n`,
      { mode: 0o755 },
    );
    const context: RunContext = {
      now: new Date(),
      environment: {
        PATH: `${bin}:${Deno.env.get("PATH")}`,
        HOME: dir.path,
        SSH_AUTH_SOCK: undefined,
      },
      stop: new AbortController().signal,
      tell: () => {},
      trace: () => {},
      wait: () => ({ [Symbol.dispose]() {} }),
    };
    const target = sshTarget(server.target(`${dir.path}/`));
    const { port, identity, knownHosts } = server;
    const ssh = { port, identity, knownHosts: [knownHosts], ...options?.(server) };
    const attempts = Array.from({ length: rounds }, (_, index) => index);
    await inPlaces([1, 2, 3, 4], attempts, async (attempt) => {
      await faults.try(`${what}, ${attempt}`, async () => {
        const files = ["file"];
        const timeoutMs = 60_000;
        const ending = await transfer(
          "-azL",
          { files, from: dir.path, target, ssh, timeoutMs },
          context,
        );
        const peer = await readPeer(target, ssh, ending.stderr, context);
        const failure = explainTransfer(ending, { target, peer, timeoutMs, greeting: null });
        match(failure.error, error);
        equal(failure.mayBeForcedCommand, false);
      });
    });
  }
  tell(`login: ${Object.keys(refusals).length} failures before the login, ${rounds} times each`);
  listeners.dispose();
  faults.assertNone();
});
