// Debian's certbot against Debian's pebble on loopback, with Nginx Proxy Manager's flags and tree.

import { authority } from "../kit/authority.ts";
import { freePort } from "../kit/free_port.ts";
import { endTree } from "../kit/process_tree.ts";
import { run, tryRun } from "../kit/run.ts";
import { tempDir } from "../kit/temp_dir.ts";
import { until } from "../kit/until.ts";

/** An ACME server. */
export interface Pebble extends AsyncDisposable {
  directory: string;
  /** What its own TLS certificate is verified with. */
  caFile: string;
  /** The root of what it issues. */
  rootFile: string;
}

export async function pebble(): Promise<Pebble> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await tempDir());
  const ca = stack.use(await authority("Pebble's own"));
  const own = await ca.issue({ names: ["127.0.0.1"], algorithm: "ecdsa-p256" });
  const caFile = `${path}/ca.pem`;
  await Deno.writeTextFile(caFile, ca.rootPem);
  await Deno.writeTextFile(`${path}/cert.pem`, own.fullchainPem);
  await Deno.writeTextFile(`${path}/key.pem`, own.keyPem);
  const [port, managementPort] = [freePort(), freePort()];
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: `${path}/cert.pem`,
      privateKey: `${path}/key.pem`,
      httpPort: freePort(),
      tlsPort: freePort(),
      ocspResponderURL: "",
      externalAccountBindingRequired: false,
    },
  };
  await Deno.writeTextFile(`${path}/config.json`, JSON.stringify(config));
  const child = new Deno.Command("/usr/bin/pebble", {
    args: ["-config", `${path}/config.json`],
    env: {
      PEBBLE_VA_ALWAYS_VALID: "1",
      PEBBLE_VA_NOSLEEP: "1",
      PEBBLE_WFE_NONCEREJECT: "0",
      PEBBLE_CHAIN_LENGTH: "2",
    },
    stdout: "null",
    stderr: "null",
  }).spawn();
  stack.defer(() => endTree(child));

  using client = Deno.createHttpClient({ caCerts: [ca.rootPem] });
  const rootFile = `${path}/root.pem`;
  await until(async () => {
    try {
      const response = await fetch(`https://127.0.0.1:${managementPort}/roots/0`, { client });
      await Deno.writeTextFile(rootFile, await response.text());
      return response.ok;
    } catch (error) {
      if (error instanceof TypeError) return false; // it does not listen yet
      throw error;
    }
  });
  const owned = stack.move();
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    caFile,
    rootFile,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** At which change below /etc/letsencrypt certbot is struck. */
export interface Strike {
  signal: "SIGKILL" | "SIGTERM";
  /** Counted from 1; one for each file that is opened for writing, link, removal and rename. */
  at: number;
  /** Only changes of that kind count: `os.symlink`. */
  event?: string;
  /** Before the change, or when it has just been made. */
  when: "before" | "after";
}

export interface Npm extends AsyncDisposable {
  /** The host's side of the container's /etc/letsencrypt. */
  letsencrypt: string;
  live: string;
  dir(n: number): string;
  /** A first issue; a further one makes it anew. `more` are certbot's words. */
  issue(n: number, names: string[], more?: string[]): Promise<void>;
  renew(n: number, more?: string[]): Promise<void>;
  /** Renews, and is struck meanwhile; how many changes there were until then. */
  renewStruck(n: number, strike: Strike): Promise<{ isStruck: boolean; changes: number }>;
  /** As NPM deletes one: revoked first. */
  remove(n: number): Promise<void>;
  /** What the container itself sees. */
  read(n: number, kind: "fullchain" | "privkey"): Promise<string>;
  /** Puts everything back as it was when this was called the first time. */
  restore(): Promise<void>;
}

// certbot waits a second between its questions to the CA; the audit events are Python's own.
const SITECUSTOMIZE = `import os, signal, sys, time
_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.05))
_log = os.environ.get("STRIKE_LOG")
if _log:
    _at, _event = int(os.environ["STRIKE_AT"]), os.environ["STRIKE_EVENT"]
    _signal, _when = getattr(signal, os.environ["STRIKE_SIGNAL"]), os.environ["STRIKE_WHEN"]
    _fd, _count = os.open(_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 0
    def _strike():
        sys.setprofile(None)
        os.write(_fd, b"struck\\n")
        os.kill(os.getpid(), _signal)
    def _after(frame, event, arg):
        if event in ("c_return", "c_exception"):
            _strike()
    def _hook(event, args):
        global _count
        if event == "open":
            path, mode, flags = args
            if not (flags or 0) & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in ("os.symlink", "os.link", "os.rename"):
            path = args[1]
        elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"):
            path = args[0]
        else:
            return
        if not isinstance(path, str) or not path.startswith("/etc/letsencrypt/"):
            return
        if path.endswith(".certbot.lock") or (_event and event != _event):
            return
        _count += 1
        os.write(_fd, (event + " " + path + "\\n").encode())
        if _count == _at:
            if _when == "before":
                _strike()
            else:
                sys.setprofile(_after)
    sys.addaudithook(_hook)
`;

/** The part of NPM that certbot is: in a mount namespace where the tree is /etc/letsencrypt. */
export async function npm(acme: Pebble): Promise<Npm> {
  const dir = await tempDir();
  const { path } = dir;
  const letsencrypt = `${path}/letsencrypt`;
  for (const name of ["letsencrypt", "python", "webroot", "work", "logs"]) {
    await Deno.mkdir(`${path}/${name}`);
  }
  await Deno.writeTextFile(`${path}/python/sitecustomize.py`, SITECUSTOMIZE);
  await Deno.writeTextFile(
    `${path}/letsencrypt.ini`,
    `text = True
non-interactive = True
webroot-path = ${path}/webroot
key-type = ecdsa
elliptic-curve = secp384r1
preferred-chain = ISRG Root X1
server = ${acme.directory}
`,
  );
  const inside = (args: string[], env: Record<string, string> = {}) =>
    tryRun("/usr/bin/unshare", [
      ...["--mount", "/bin/sh", "-c", 'mount --bind "$0" /etc/letsencrypt && exec "$@"'],
      ...[letsencrypt, ...args],
    ], { env });
  const certbot = (args: string[], env: Record<string, string> = {}) =>
    inside([
      ...["/usr/bin/certbot", ...args, "--config", `${path}/letsencrypt.ini`],
      ...["--work-dir", `${path}/work`, "--logs-dir", `${path}/logs`],
    ], { PYTHONPATH: `${path}/python`, REQUESTS_CA_BUNDLE: acme.caFile, ...env });
  const succeeding = async (args: string[]) => {
    const { code, stdout, stderr } = await certbot(args);
    if (code !== 0) throw new Error(`certbot ${args.join(" ")}: exit ${code}: ${stdout}${stderr}`);
  };
  const renewal = (n: number) => [
    ...["renew", "--force-renewal", "--cert-name", `npm-${n}`],
    ...["--no-random-sleep-on-renew", "--disable-hook-validation"],
  ];
  return {
    letsencrypt,
    live: `${letsencrypt}/live`,
    dir: (n) => `${letsencrypt}/live/npm-${n}`,
    issue: (n, names, more = []) =>
      succeeding([
        ...["certonly", "--cert-name", `npm-${n}`, "--agree-tos", "-m", "npm@example.org"],
        ...["--authenticator", "webroot", "--preferred-challenges", "http"],
        ...["--domains", names.join(","), ...more],
      ]),
    renew: (n, more = []) => succeeding([...renewal(n), ...more]),
    renewStruck: async (n, { signal, at, event = "", when }) => {
      const log = `${path}/strike.log`;
      await Deno.writeTextFile(log, "");
      await certbot(renewal(n), {
        STRIKE_LOG: log,
        STRIKE_AT: String(at),
        STRIKE_EVENT: event,
        STRIKE_SIGNAL: signal,
        STRIKE_WHEN: when,
      });
      const lines = (await Deno.readTextFile(log)).trim().split("\n");
      return {
        isStruck: lines.includes("struck"),
        changes: lines.filter((line) => line !== "struck").length,
      };
    },
    remove: (n) =>
      succeeding([
        ...["revoke", "--cert-path", `/etc/letsencrypt/live/npm-${n}/fullchain.pem`],
        "--delete-after-revoke",
      ]),
    read: async (n, kind) => {
      const file = `/etc/letsencrypt/live/npm-${n}/${kind}.pem`;
      const { code, stdout, stderr } = await inside(["/bin/cat", file]);
      if (code !== 0) throw new Error(stderr);
      return stdout;
    },
    restore: async () => {
      const kept = `${path}/kept`;
      const isKept = await Deno.stat(kept).then(() => true, () => false);
      if (!isKept) return void await run("/bin/cp", ["-a", letsencrypt, kept]);
      await Deno.remove(letsencrypt, { recursive: true });
      await run("/bin/cp", ["-a", kept, letsencrypt]);
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
