// The next step is followed to the letter, with real push and deploy: then all match.

import { deepEqual, equal, match } from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import type { VerifyReport } from "../lib/verify/report.ts";
import { type Authority, authority, type Leaf, type LeafOptions } from "./kit/authority.ts";
import { certsync, type CertsyncOptions, type CertsyncResult } from "./kit/certsync.ts";
import { certsyncHere, verifyHere } from "./kit/in_process.ts";
import { type MailHost, mailHost } from "./kit/mail_host.ts";
import { SERVICES } from "./kit/mail_services.ts";
import type { Served } from "./kit/mailcow_tree.ts";
import { type NpmTree, npmTree } from "./kit/npm_tree.ts";
import { type SshServer, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

type View = "one machine" | "NPM host" | "mail host" | "laptop";

interface Step {
  readonly host: string;
  readonly command: string;
}

interface Chain extends AsyncDisposable {
  ca: Authority;
  npm: NpmTree;
  host: MailHost;
  /** In every place at first; the next is what NPM renews to. */
  current: Leaf;
  next: Leaf;
  pushState: string;
  issue(options?: Partial<LeafOptions>): Promise<Leaf>;
  /** What lies in each place, and what deploy remembers of it, is this. */
  settle(leaf: Leaf): Promise<void>;
  /** As a push on the day of its issue left it. */
  stage(leaf: Leaf): Promise<void>;
  /** Puts a pair where it lies, and tells nobody. */
  put(leaf: Served): Promise<void>;
  /** Puts it there, and has it served. */
  serve(leaf: Served): Promise<void>;
  /** In Nginx Proxy Manager. */
  renew(leaf: Leaf): Promise<void>;
  config(view: View): string;
  verify(view: View): Promise<VerifyReport>;
  /** By the binary. */
  run(view: View, options: CertsyncOptions, ...more: string[]): Promise<CertsyncResult>;
  follow(step: Step): Promise<void>;
}

async function chain(): Promise<Chain> {
  await using stack = new AsyncDisposableStack();
  const { path: dir } = stack.use(await tempDir());
  const ca: Authority = stack.use(await authority());
  const ssh: SshServer = stack.use(await sshServer({ env: { SHLVL: "1" } }));
  const issue = (options: Partial<LeafOptions> = {}) => ca.issue({ names: [NAME], ...options });
  const [current, next] = await Promise.all([
    issue({ notBefore: daysAgo(40) }),
    issue({ notBefore: daysAgo(2) }),
  ]);
  const host: MailHost = stack.use(
    await mailHost({ trust: ca.rootFile, deployed: current, endpoints: ["imaps"] }),
  );
  await host.mailcow.putSni(NAME, current);
  const pushState = `${dir}/push`;
  const target = ssh.target(`${host.staging}/`);
  const { deploy } = JSON.parse(await Deno.readTextFile(host.config));
  const chain = { trust: ca.rootFile };
  const endpoints = host.services.url("imaps");
  let npm: NpmTree = await npmTree(`${dir}/npm`);
  const push = {
    ...{ live: npm.live, to: target, port: ssh.port, identity: ssh.identity, source: "npm-5" },
    ...{ known_hosts: ssh.knownHosts, state: pushState, trust: ca.rootFile },
  };
  const configs: Record<View, unknown> = {
    "one machine": { domain: NAME, push, deploy, verify: chain },
    "NPM host": { domain: NAME, push, verify: { ...chain, endpoints } },
    "mail host": { deploy, verify: chain },
    laptop: { domain: NAME, verify: { ...chain, source: npm.dir(5), endpoints } },
  };
  const config = (view: View) => `${dir}/${view.replace(" ", "-")}.yaml`;
  for (const [view, text] of Object.entries(configs)) {
    await Deno.writeTextFile(config(view as View), JSON.stringify(text));
  }

  let isRenewed = false;
  /** What Nginx Proxy Manager has. */
  let there = current;
  const renew = (leaf: Leaf) => {
    isRenewed = true;
    there = leaf;
    return npm.renew(5, leaf);
  };
  const stage = async (leaf: Leaf) => {
    await host.stage(leaf);
    for (const name of ["fullchain.pem", "privkey.pem"]) { // rsync keeps the time of what was sent
      await Deno.utime(`${host.staging}/${name}`, leaf.notBefore, leaf.notBefore);
    }
  };
  const put = async (leaf: Served) => {
    for (const entry of await Array.fromAsync(Deno.readDir(host.mailcow.ssl))) {
      if (entry.isDirectory) {
        await Deno.remove(`${host.mailcow.ssl}/${entry.name}`, { recursive: true });
      }
    }
    await host.mailcow.put(leaf);
    await host.mailcow.putSni(NAME, leaf);
  };
  const serve = async (leaf: Served) => {
    await put(leaf);
    await host.restartAll();
  };
  const settle = async (leaf: Leaf) => {
    await Deno.remove(npm.root, { recursive: true });
    npm = await npmTree(npm.root);
    await npm.add(5, leaf);
    isRenewed = false;
    there = leaf;
    for (const path of [host.staging, pushState, host.state]) {
      await Deno.remove(path, { recursive: true }).catch(() => {});
      await Deno.mkdir(path, { mode: 0o700 });
    }
    await stage(leaf);
    await serve(leaf);
    await Deno.writeTextFile(`${pushState}/last_fp`, `${leaf.fingerprint} ${target}\n`);
    // push waits for a second that is not that of the last one.
    await Deno.utime(`${pushState}/last_fp`, daysAgo(1), daysAgo(1));
    const loaded = SERVICES.map((service) => `${service}-mailcow ${leaf.fingerprint}\n`);
    await Deno.writeTextFile(`${host.state}/loaded`, loaded.join(""));
  };
  for (const path of [dir, host.root, host.mailcow.root, host.mailcow.ssl]) {
    await Deno.chmod(path, 0o755); // for another user to look at it
  }
  await Deno.chmod(host.mailcow.confFile, 0o600); // as mailcow leaves it
  const owned = stack.move();
  return {
    ...{ ca, host, current, next, pushState, issue, settle, stage, put, serve, renew, config },
    get npm() {
      return npm;
    },
    verify: (view) => verifyHere(["--config", config(view)], host.docker.bin),
    run: (view, options, ...more) =>
      certsync(["verify", "--config", config(view), "--json", ...more], {
        ...{ path: host.docker.bin, ...options },
      }),
    follow: async ({ host: where, command }) => {
      if (where === "Nginx Proxy Manager") {
        const [, names = ""] = /certificate for ([^,]+)/.exec(command) ?? [];
        if (command.includes(", unless that is done") && isRenewed) return;
        if (command.endsWith("no older than what is deployed")) {
          const deployed = new X509Certificate(await Deno.readTextFile(host.mailcow.certFile));
          if (there.notBefore >= new Date(deployed.validFrom)) return;
        }
        return await renew(await issue({ names: names.split(" ") }));
      }
      const view = where === "NPM host" ? "NPM host" : "mail host";
      if (command.startsWith("certsync ")) {
        const [, name = "", ...args] = command.split(" ");
        return await certsyncHere([name, "--config", config(view), ...args], host.docker.bin);
      }
      await host.shell(command);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface State {
  readonly name: string;
  readonly view: View;
  arrange(all: Chain): Promise<unknown>;
  /** Without the hosts: the commands in short. */
  readonly steps: string;
}

const staged = ({ host }: Chain) => `${host.staging}/fullchain.pem`;
const lastPushed = ({ pushState }: Chain) => `${pushState}/last_fp`;
const bare = (leaf: Leaf): Leaf => ({ ...leaf, fullchainPem: leaf.certPem });

/** The staging, to what was there before. */
async function setBack({ settle, stage, next, current }: Chain): Promise<void> {
  await settle(next);
  await stage(current);
}

/** On the way from Nginx Proxy Manager. */
async function loseIntermediate({ stage, serve, current }: Chain): Promise<void> {
  await stage(bare(current));
  await serve(bare(current));
}

const states: State[] = [
  {
    name: "renewed, and not pushed yet",
    view: "one machine",
    arrange: ({ renew, next }) => renew(next),
    steps: "push, deploy",
  },
  {
    name: "pushed, and not deployed yet",
    view: "NPM host",
    arrange: async (all) => {
      await all.renew(all.next);
      await all.follow({ host: "NPM host", command: "certsync push" });
    },
    steps: "deploy",
  },
  {
    name: "renewed, as a laptop sees it",
    view: "laptop",
    arrange: ({ renew, next }) => renew(next),
    steps: "push, deploy",
  },
  {
    name: "the staging lost what was pushed",
    view: "one machine",
    arrange: (all) => Deno.remove(staged(all)),
    steps: "push --force",
  },
  {
    name: "the staging was lost, as the mail host sees it",
    view: "mail host",
    arrange: (all) => Deno.remove(staged(all)),
    steps: "push --force, deploy",
  },
  {
    name: "the staging was set back, as the mail host sees it",
    view: "mail host",
    arrange: setBack,
    steps: "renew, push --force, deploy",
  },
  {
    name: "the same, and Nginx Proxy Manager was set back too",
    view: "mail host",
    arrange: async (all) => {
      await setBack(all);
      await all.renew(all.current);
    },
    steps: "renew, push --force, deploy",
  },
  {
    name: "a link is staged",
    view: "mail host",
    arrange: async (all) => {
      await Deno.remove(staged(all));
      await Deno.symlink("/nonexistent", staged(all));
    },
    steps: "push --force, deploy",
  },
  {
    name: "a directory stands where the staged file belongs",
    view: "mail host",
    arrange: async (all) => {
      await Deno.remove(staged(all));
      await Deno.mkdir(`${staged(all)}/in`, { recursive: true });
    },
    steps: "rm, push --force, deploy",
  },
  {
    name: "what is staged was not deployed",
    view: "mail host",
    arrange: (all) => all.stage(all.next),
    steps: "deploy",
  },
  {
    name: "a fresh mailcow with a newer pair of its own",
    view: "mail host",
    arrange: async (all) => {
      await all.serve(await all.issue({ signedBy: "self" }));
      await Deno.remove(`${all.host.state}/loaded`);
    },
    steps: "deploy",
  },
  {
    name: "the same, and nothing was ever pushed",
    view: "mail host",
    arrange: async (all) => {
      await all.serve(await all.issue({ signedBy: "self" }));
      for (const file of [staged(all), lastPushed(all)]) await Deno.remove(file);
      await Deno.remove(`${all.host.state}/loaded`);
    },
    steps: "push --force, deploy",
  },
  {
    name: "the staged key belongs to another certificate",
    view: "mail host",
    arrange: (all) => all.stage({ ...all.current, keyPem: all.next.keyPem }),
    steps: "push --force, deploy",
  },
  {
    name: "the staged key is no key",
    view: "mail host",
    arrange: (all) => Deno.writeTextFile(`${all.host.staging}/privkey.pem`, "junk\n"),
    steps: "push --force, deploy",
  },
  {
    name: "the deployed key belongs to another certificate",
    view: "mail host",
    arrange: ({ host, next }) => Deno.writeTextFile(host.mailcow.keyFile, next.keyPem),
    steps: "deploy",
  },
  {
    name: "the deployed key is gone, and a directory has junk for one",
    view: "mail host",
    arrange: async ({ host }) => {
      await Deno.remove(host.mailcow.keyFile);
      await Deno.writeTextFile(`${host.mailcow.ssl}/${NAME}/key.pem`, "junk\n");
    },
    steps: "deploy",
  },
  {
    name: "mailcow's own client may put its own certificate there",
    view: "mail host",
    arrange: async (all) => {
      const conf = all.host.mailcow.confFile;
      const text = await Deno.readTextFile(conf);
      await Deno.writeTextFile(conf, text.replace(/(SKIP_LETS_ENCRYPT)=y/, "$1=n"));
      await all.stage(all.next);
    },
    steps: "sed, up, deploy",
  },
  {
    name: "the deployed file is gone",
    view: "mail host",
    arrange: ({ host }) => Deno.remove(host.mailcow.certFile),
    steps: "deploy",
  },
  {
    name: "a directory stands where the deployed file belongs",
    view: "mail host",
    arrange: async ({ host }) => {
      await Deno.remove(host.mailcow.certFile);
      await Deno.mkdir(host.mailcow.certFile);
    },
    steps: "rm, deploy",
  },
  {
    name: "the SNI directory was missed",
    view: "one machine",
    arrange: async (all) => {
      await all.settle(all.next);
      await all.host.mailcow.putSni(NAME, all.current);
      await all.host.restartAll();
    },
    steps: "deploy",
  },
  {
    name: "the services were not told",
    view: "one machine",
    arrange: async (all) => {
      await all.settle(all.current);
      await all.renew(all.next);
      await all.follow({ host: "NPM host", command: "certsync push" });
      await all.put(all.next);
    },
    steps: "deploy",
  },
  {
    name: "a service forgot what it was seen to serve",
    view: "mail host",
    arrange: async (all) => {
      await all.settle(all.next);
      await all.put(all.current);
      await all.host.services.restart("dovecot");
      await all.put(all.next);
    },
    steps: "deploy --force",
  },
  {
    name: "the source is older than what is deployed, which is good",
    view: "one machine",
    arrange: async (all) => {
      await all.settle(all.next);
      await Deno.remove(all.npm.dir(5), { recursive: true });
      await all.npm.add(5, all.current);
    },
    steps: "renew, push, deploy",
  },
  {
    name: "somebody put a newer pair there by hand",
    view: "mail host",
    arrange: (all) => all.serve(all.next),
    steps: "deploy",
  },
  {
    name: "nobody can tell what was pushed",
    view: "one machine",
    arrange: (all) => Deno.writeTextFile(lastPushed(all), "<html>\n"),
    steps: "push",
  },
  {
    name: "what is staged was rolled back before",
    view: "mail host",
    arrange: async (all) => {
      await all.stage(all.next);
      await Deno.writeTextFile(
        `${all.host.state}/rejected`,
        `${all.next.fingerprint} 2026-01-01T00:00:00Z\n`,
      );
    },
    steps: "deploy --force",
  },
  {
    name: "nothing renews it",
    view: "one machine",
    arrange: async (all) => all.settle(await all.issue({ notBefore: daysAgo(75) })),
    steps: "renew, push, deploy",
  },
  {
    name: "it was renewed in time, but not pushed, as the mail host sees it",
    view: "mail host",
    arrange: async (all) => {
      await all.settle(await all.issue({ notBefore: daysAgo(75) }));
      await all.renew(all.next);
    },
    steps: "renew, push, deploy",
  },
  {
    name: "the source is for another name",
    view: "NPM host",
    arrange: async (all) => all.settle(await all.issue({ names: ["other.example.org"] })),
    steps: "request, push, deploy",
  },
  {
    name: "the source has no intermediate",
    view: "one machine",
    arrange: (all) => all.settle(bare(all.next)),
    steps: "renew, push, deploy",
  },
  {
    name: "the intermediate was lost on the way",
    view: "one machine",
    arrange: loseIntermediate,
    steps: "push --force, deploy",
  },
  {
    name: "the services alone have no intermediate",
    view: "mail host",
    arrange: async (all) => {
      await all.serve(bare(all.current));
      await all.put(all.current);
    },
    steps: "deploy --force",
  },
  {
    name: "an intermediate is not served, as a laptop sees it",
    view: "laptop",
    arrange: loseIntermediate,
    steps: "push --force, deploy",
  },
  {
    name: "an SNI directory has more names",
    view: "mail host",
    arrange: async (all) => {
      const own = await all.issue({ names: [NAME, "mail.example.net"] });
      await all.host.mailcow.putSni(NAME, own, [NAME, "mail.example.net"]);
      await all.host.restartAll();
    },
    steps: "request, push, deploy",
  },
  {
    name: "a service has stopped",
    view: "mail host",
    arrange: ({ host }) => host.services.stop("dovecot"),
    steps: "restart",
  },
  {
    name: "nobody renewed a directory of another name",
    view: "mail host",
    arrange: async (all) => {
      const old = await all.issue({ names: ["shop.example.net"], notBefore: daysAgo(99) });
      await all.host.mailcow.putSni("shop.example.net", old, ["shop.example.net"]);
      await all.host.restartAll();
    },
    steps: "rm, restart",
  },
];

/** `certsync push --force` in short: "push --force". */
function inShort({ host, command }: Step): string {
  if (host === "Nginx Proxy Manager") return command.split(" ")[0] ?? "";
  if (command.includes("docker compose restart")) return "restart";
  if (command.endsWith("docker compose up -d")) return "up";
  if (command.includes(" && sed ")) return "sed";
  return command.startsWith("rm ") ? "rm" : command.replace("certsync ", "");
}

Deno.test("who follows the next step to the letter finds that all match", async (t) => {
  await using all = await chain();
  for (const { name, view, arrange, steps } of states) {
    await t.step(`${view}: ${name}`, async () => {
      await all.settle(all.current);
      await arrange(all);
      const before = await all.verify(view);
      equal(["warning", "critical"].includes(before.status), true, Deno.inspect(before));
      deepEqual(before.next.map(inShort).join(", "), steps, Deno.inspect(before));
      for (const step of before.next) await all.follow(step);
      const after = await all.verify(view);
      equal(after.status, "ok", Deno.inspect(after));
    });
  }
});

Deno.test("who may read nothing is told why, and root sees that all match", {
  ignore: Deno.uid() !== 0, // nobody else can become somebody else
}, async () => {
  await using all = await chain();
  await all.settle(all.current);
  const under = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const nobody = (...more: string[]) => all.run("mail host", { under, cwd: "/" }, ...more);
  const asRoot = [{
    host: "this host, as root",
    command: `certsync verify --config "${all.config("mail host")}"`,
  }];

  const some = (await nobody()).json();
  deepEqual([some.status, some.staleAt, some.next], ["critical", null, asRoot]);
  const nothing = await nobody("--leg", "staged", "--leg", "deployed");
  deepEqual([nothing.code, nothing.json().status, nothing.json().next], [3, "unknown", asRoot]);
  match(nothing.json().error, /^nothing could be compared: .* may not be read by this user, and 1/);
  const text = ["verify", "--config", all.config("mail host"), "--leg=staged", "--leg=deployed"];
  match(
    (await certsync(text, { under, cwd: "/" })).stdout,
    /\nrun on this host, as root: certsync verify --config "[^"]+"\n$/,
  );
  equal((await nobody("--leg", "served")).code, 0);
  equal((await all.run("mail host", {})).code, 0);
});
