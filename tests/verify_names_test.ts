// Several names, each with a certificate of its own: whose chain is stuck, and one next step for all of
// them, followed to the letter with real push and deploy.

import { deepEqual, equal, match, rejects } from "node:assert/strict";
import type { VerifyReport } from "../lib/verify/report.ts";
import { verifyCommand } from "../lib/verify/verify.ts";
import { type Authority, authority, type Leaf, type LeafOptions } from "./kit/authority.ts";
import { counted } from "./kit/counted.ts";
import { certsyncHere, verifyHere, verifyLines } from "./kit/in_process.ts";
import { type MailHost, mailHost } from "./kit/mail_host.ts";
import { SERVICES } from "./kit/mail_services.ts";
import { type NpmTree, npmTree } from "./kit/npm_tree.ts";
import { assertSame, snapshot } from "./kit/snapshot.ts";
import { sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

const MAIL = "mail.example.org", SHOP = "shop.example.net", WWW = "www.example.com";
const NAMES = [MAIL, SHOP, WWW];
const OTHER = "old.example.com";
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);

type View = "one machine" | "NPM host" | "mail host" | "laptop";
type Step = VerifyReport["next"][number];

interface Chains extends AsyncDisposable {
  ca: Authority;
  npm: NpmTree;
  host: MailHost;
  /** By name, what is in every place at first, and what Nginx Proxy Manager renews to. */
  current: Record<string, Leaf>;
  next: Record<string, Leaf>;
  pushState: string;
  issue(name: string, options?: Partial<LeafOptions>): Promise<Leaf>;
  settle(): Promise<void>;
  renew(name: string, leaf?: Leaf): Promise<void>;
  stage(name: string, leaf: Leaf): Promise<void>;
  /** Where it is deployed: tells nobody. */
  put(name: string, leaf: Leaf, domains?: string[]): Promise<void>;
  /** Of what deploy remembers: adds a line. */
  remember(file: string, line: string): Promise<void>;
  /** Which further names the config files hold. */
  configure(also: string[], there?: string[]): Promise<void>;
  verify(view: View, ...more: string[]): Promise<VerifyReport>;
  /** With the programs of this directory before all others. */
  verifyWith(bin: string, view: View): Promise<VerifyReport>;
  follow(step: Step, way?: Way): Promise<void>;
}

/** Of a step that leaves a choice. */
type Way = "first" | "second";

function leafFor(leaves: Record<string, Leaf>, name: string): Leaf {
  const leaf = leaves[name];
  if (leaf === undefined) throw new TypeError(`no leaf for ${name}`);
  return leaf;
}

const lineageOf = (name: string) => 5 + NAMES.indexOf(name);

async function chains(): Promise<Chains> {
  await using stack = new AsyncDisposableStack();
  const { path: dir } = stack.use(await tempDir());
  const ca: Authority = stack.use(await authority());
  const ssh = stack.use(await sshServer());
  const issue = (name: string, options: Partial<LeafOptions> = {}) =>
    ca.issue({ names: [name], ...options });
  const allOf = async (days: number) =>
    Object.fromEntries(
      await Promise.all(
        NAMES.map(async (name) => [name, await issue(name, { notBefore: daysAgo(days) })] as const),
      ),
    );
  const [current, next] = [await allOf(40), await allOf(2)];
  const host = stack.use(
    await mailHost({
      ...{ trust: ca.rootFile, deployed: leafFor(current, MAIL), endpoints: ["imaps", "smtps"] },
    }),
  );
  const pushState = `${dir}/push`;
  const target = ssh.target(`${host.staging}/`);
  const { deploy } = JSON.parse(await Deno.readTextFile(host.config));
  const trust = { trust: ca.rootFile };
  const endpoints = host.services.url("imaps");
  let npm: NpmTree = await npmTree(`${dir}/npm`);
  const push = {
    ...{ live: npm.live, to: target, port: ssh.port, identity: ssh.identity },
    source: "npm-5", // for the domain: the others go by what is found
    ...{ known_hosts: ssh.knownHosts, state: pushState, trust: ca.rootFile },
  };
  const config = (view: View) => `${dir}/${view.replace(" ", "-")}.yaml`;
  let there: readonly string[] = [];
  const configure = async (also: readonly string[], onNpmHost = also) => {
    there = onNpmHost;
    const configs: Record<View, unknown> = {
      "one machine": { domain: MAIL, also, push, deploy, verify: trust },
      "NPM host": { domain: MAIL, also: there, push, verify: { ...trust, endpoints } },
      "mail host": { also, deploy, verify: trust },
      laptop: { domain: MAIL, also, verify: { ...trust, source: npm.dir(5), endpoints } },
    };
    for (const [view, text] of Object.entries(configs)) {
      await Deno.writeTextFile(config(view as View), JSON.stringify(text));
    }
  };

  const stagedAt = (name: string) => name === MAIL ? host.staging : `${host.staging}/${name}`;
  const stage = async (name: string, leaf: Leaf) => {
    await Deno.remove(stagedAt(name), { recursive: name !== MAIL }).catch(() => {});
    await Deno.mkdir(stagedAt(name), { recursive: true, mode: 0o700 });
    const files = { "fullchain.pem": leaf.fullchainPem, "privkey.pem": leaf.keyPem };
    for (const [file, text] of Object.entries(files)) { // rsync keeps the time of what was sent
      await Deno.writeTextFile(`${stagedAt(name)}/${file}`, text, { mode: 0o600 });
      await Deno.utime(`${stagedAt(name)}/${file}`, leaf.notBefore, leaf.notBefore);
    }
  };
  const put = async (name: string, leaf: Leaf, domains = [name]) => {
    if (name === MAIL) await host.mailcow.put(leaf);
    else await host.mailcow.putSni(name, leaf, domains);
  };
  const renewed = new Set<string>();
  const renew = async (name: string, leaf = leafFor(next, name)) => {
    renewed.add(name);
    await npm.renew(lineageOf(name), leaf);
  };
  const settle = async () => {
    renewed.clear();
    await Deno.remove(npm.root, { recursive: true });
    npm = await npmTree(npm.root);
    for (const path of [host.staging, pushState, host.state]) {
      await Deno.remove(path, { recursive: true }).catch(() => {});
      await Deno.mkdir(path, { mode: 0o700 });
    }
    for await (const entry of Deno.readDir(host.mailcow.ssl)) {
      if (!entry.isDirectory) continue;
      await Deno.remove(`${host.mailcow.ssl}/${entry.name}`, { recursive: true });
    }
    const pushed: string[] = [], loaded: string[] = [];
    for (const name of NAMES) {
      const leaf = leafFor(current, name);
      await npm.add(lineageOf(name), leaf);
      await stage(name, leaf);
      await put(name, leaf);
      const tail = name === MAIL ? "" : `\t${name}`;
      pushed.push(`${leaf.fingerprint} ${target}${tail}\n`);
      loaded.push(...SERVICES.map((each) => `${each}-mailcow ${leaf.fingerprint}${tail}\n`));
    }
    await host.restartAll();
    await Deno.writeTextFile(`${pushState}/last_fp`, pushed.join(""));
    // push waits for a second that is not that of the last one.
    await Deno.utime(`${pushState}/last_fp`, daysAgo(1), daysAgo(1));
    await Deno.writeTextFile(`${host.state}/loaded`, loaded.join(""));
    await Deno.writeTextFile(`${host.state}/names`, `${SHOP}\n${WWW}\n`);
    await configure([SHOP, WWW]);
  };
  const run = (view: View, [name = "", ...args]: string[]) =>
    certsyncHere([name, "--config", config(view), ...args], host.docker.bin);

  const owned = stack.move();
  return {
    ...{ ca, host, current, next, pushState, issue, settle, renew, stage, put, configure },
    get npm() {
      return npm;
    },
    remember: async (file, line) => {
      await Deno.writeTextFile(`${host.state}/${file}`, `${line}\n`, { append: true });
    },
    verify: (view, ...more) => verifyHere(["--config", config(view), ...more], host.docker.bin),
    verifyWith: (bin, view) => verifyHere(["--config", config(view)], `${bin}:${host.docker.bin}`),
    follow: async ({ host: where, command }, way = "first") => {
      const [, words = "", file = "", restart = ""] =
        /, or on the mail host: take (.*) out of "(\S+)", then: (.*)$/.exec(command) ?? [];
      if (way === "second" && file !== "") {
        const left = (await Deno.readTextFile(file)).split(/\s+/)
          .filter((word) => !words.split(" ").includes(word));
        await Deno.writeTextFile(file, `${left.join(" ").trim()}\n`);
        return await host.shell(restart);
      }
      if (where === "Nginx Proxy Manager") {
        const [, names = ""] = /certificate for ([^,]+)/.exec(command) ?? [];
        const [name = "", ...more] = names.split(" ");
        if (command.includes(", unless that is done") && renewed.has(name)) return;
        return await renew(name, await issue(name, { names: [name, ...more] }));
      }
      if (where === "file system of the mail host") {
        const [, path = ""] =
          /^create the directory "(\S+)" with mode 0700 for the user of the push, unless/
            .exec(command) ?? [];
        return await Deno.mkdir(path, { mode: 0o700 });
      }
      if (where === "config file of the mail host") {
        const [, names = ""] = /^name (.*) in also, unless that is done$/.exec(command) ?? [];
        const also = JSON.parse(await Deno.readTextFile(config("mail host"))).also;
        return await configure([...new Set([...also, ...names.split(" ")])], [...there]);
      }
      if (where === "config file of the NPM host") {
        const [, names = ""] = /^name (.*) in also, unless that is done$/.exec(command) ?? [];
        const also = JSON.parse(await Deno.readTextFile(config("mail host"))).also;
        return await configure(also, [...new Set([...there, ...names.split(" ")])]);
      }
      if (where === "SSL directory of the mail host") {
        const [, directory = ""] =
          /^mend the pair in "(\S+)", or move that out of there$/.exec(command) ??
            [];
        return await Deno.rename(directory, await Deno.makeTempDir({ dir }));
      }
      if (command.startsWith("certsync ")) {
        return await run(where === "NPM host" ? where : "mail host", command.split(" ").slice(1));
      }
      await host.shell(command);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** `certsync push --force` in short: "push --force"; a name by its first label. */
function inShort({ host, command }: Step): string {
  if (host === "Nginx Proxy Manager") {
    const [, names = ""] = /certificate for ([^,]+)/.exec(command) ?? [];
    return `${command.split(" ")[0]} ${
      names.split(" ").map((name) => name.split(".")[0]).join(" ")
    }`;
  }
  if (host === "config file of the NPM host") return "also";
  if (host === "config file of the mail host") return "also there";
  if (host === "SSL directory of the mail host") return "mend";
  if (host === "file system of the mail host") return "mkdir";
  if (command.includes("docker compose restart")) return "restart";
  if (command.startsWith("rm ")) return "rm";
  return command.replace("certsync ", "").replaceAll(/--only (\w+)\S*/g, "--only $1");
}

interface State {
  readonly name: string;
  readonly view: View;
  arrange(all: Chains): Promise<unknown>;
  /** Which names are not well, with the leg where it lags. */
  readonly stale: Record<string, string | null>;
  /** None where no command helps, or none is needed. */
  readonly steps: string;
  readonly status?: VerifyReport["status"];
  /** What the last line says of the names. */
  readonly words?: RegExp;
  readonly way?: Way;
  /** Where no command begins the way out: what a person does, before the commands that the hint goes on with. */
  byHand?(all: Chains, words: string): Promise<unknown>;
}

const sslOf = ({ host }: Chains, name: string) => `${host.mailcow.ssl}/${name}`;
const stagedOf = ({ host }: Chains, name: string) => `${host.staging}/${name}`;
/** As before its first deploy. */
async function undeploy(all: Chains): Promise<void> {
  await Deno.remove(sslOf(all, SHOP), { recursive: true });
  await all.host.restartAll();
}
/** One that is not empty. */
async function putDirectory(path: string): Promise<void> {
  await Deno.remove(path);
  await Deno.mkdir(`${path}/in`, { recursive: true });
}
const moveOut = async ({ host }: Chains, name: string) =>
  await Deno.rename(
    `${host.mailcow.ssl}/${name}`,
    await Deno.makeTempDir({ dir: host.root }) + "/it",
  );
const rejected = (leaf: Leaf | undefined) => `${leaf?.fingerprint} 2026-01-01T00:00:00Z`;

const states: State[] = [
  {
    name: "one of three was renewed, and not pushed yet",
    view: "one machine",
    arrange: ({ renew }) => renew(SHOP),
    stale: { [SHOP]: "pushed" },
    steps: "push, deploy",
    words:
      /^15 of 20 match; shop\.example\.net stale at pushed: run on the NPM host: certsync push; /,
  },
  {
    name: "all three were renewed, and the laptop sees that one by its source",
    view: "one machine",
    arrange: async ({ renew }) => {
      for (const name of NAMES) await renew(name);
    },
    stale: { [MAIL]: "pushed", [SHOP]: "pushed", [WWW]: "pushed" },
    steps: "push, deploy",
  },
  {
    name: "two were pushed, and not deployed yet",
    view: "mail host",
    arrange: async ({ stage, next }) => {
      await stage(MAIL, leafFor(next, MAIL));
      await stage(WWW, leafFor(next, WWW));
    },
    stale: { [MAIL]: "deployed", [WWW]: "deployed" },
    steps: "deploy",
  },
  {
    name: "the staging lost one name's directory",
    view: "one machine",
    arrange: (all) => Deno.remove(stagedOf(all, SHOP), { recursive: true }),
    stale: { [SHOP]: "staged" },
    steps: "push --force",
  },
  {
    name: "the NPM host does not know one name",
    view: "mail host",
    arrange: async (all) => {
      await Deno.remove(stagedOf(all, SHOP), { recursive: true });
      await undeploy(all);
      await all.configure([SHOP, WWW], [WWW]);
    },
    stale: { [SHOP]: "staged" },
    steps: "also, push --force, deploy",
  },
  // Whoever has the key of the push may put anything there: what Nginx Proxy Manager has is good.
  {
    name: "the staged pairs of two names are each other's",
    view: "mail host",
    arrange: async (all) => {
      await all.stage(SHOP, leafFor(all.current, WWW));
      await all.stage(WWW, leafFor(all.current, SHOP));
    },
    ...{ stale: { [SHOP]: "deployed", [WWW]: "deployed" }, status: "critical" },
    steps: "push --force, deploy",
    words: /^8 of 14 match; shop\.example\.net stale at deployed, www\.example\.com stale at /,
  },
  {
    name: "what is staged for a name has expired",
    view: "mail host",
    arrange: async (all) => all.stage(SHOP, await all.issue(SHOP, { notBefore: daysAgo(99) })),
    stale: { [SHOP]: "deployed" },
    steps: "push --force, deploy",
  },
  {
    name: "what is staged for a name is of no CA",
    view: "mail host",
    arrange: async (all) => all.stage(SHOP, await all.issue(SHOP, { signedBy: "self" })),
    stale: { [SHOP]: "deployed" },
    steps: "push --force, deploy",
  },
  {
    name: "a private key is in the staged chain of a name",
    view: "mail host",
    arrange: async (all) => {
      const { fullchainPem, ...leaf } = leafFor(all.current, SHOP);
      await all.stage(SHOP, { ...leaf, fullchainPem: fullchainPem + leaf.keyPem });
    },
    stale: { [SHOP]: null },
    steps: "push --force, deploy",
    words: /^13 of 14 match; /,
  },
  {
    name: "a directory stands where a name's staged key belongs",
    view: "mail host",
    arrange: (all) => putDirectory(`${stagedOf(all, SHOP)}/privkey.pem`),
    stale: { [SHOP]: null },
    steps: "rm, push --force, deploy",
  },
  {
    name: "the staging directory is gone",
    view: "mail host",
    arrange: ({ host }) => Deno.remove(host.staging, { recursive: true }),
    stale: { [MAIL]: "staged", [SHOP]: "staged", [WWW]: "staged" },
    steps: "mkdir, push --force, deploy",
  },
  {
    name: "the mail host does not know one name",
    view: "NPM host",
    arrange: async (all) => {
      await undeploy(all);
      await all.configure([WWW], [SHOP, WWW]);
    },
    stale: { [SHOP]: "served" },
    steps: "also there, deploy",
  },
  {
    name: "a directory stands where a name's key belongs",
    view: "mail host",
    arrange: (all) => putDirectory(`${sslOf(all, SHOP)}/key.pem`),
    stale: { [SHOP]: null },
    steps: "rm, deploy",
  },
  {
    name: "a link stands where a name's directory belongs",
    view: "mail host",
    arrange: async (all) => {
      await Deno.remove(stagedOf(all, SHOP), { recursive: true });
      await Deno.symlink("/etc", stagedOf(all, SHOP));
    },
    stale: { [SHOP]: null },
    steps: "push --force, deploy",
  },
  {
    name: "a name was never deployed",
    view: "mail host",
    arrange: undeploy,
    stale: { [SHOP]: "deployed" },
    steps: "deploy",
  },
  {
    name: "the key in one directory belongs to another certificate",
    view: "mail host",
    arrange: (all) =>
      Deno.writeTextFile(`${sslOf(all, SHOP)}/key.pem`, leafFor(all.next, SHOP).keyPem),
    stale: { [SHOP]: null },
    steps: "deploy",
  },
  {
    name: "a service forgot one name",
    view: "mail host",
    arrange: async (all) => {
      await all.put(SHOP, leafFor(all.next, SHOP));
      await all.host.services.restart("dovecot");
      await all.put(SHOP, leafFor(all.current, SHOP));
    },
    stale: { [SHOP]: "served" },
    steps: "deploy --force --only shop",
  },
  {
    name: "one name's leaf was rolled back before",
    view: "mail host",
    arrange: async (all) => {
      await all.stage(SHOP, leafFor(all.next, SHOP));
      await all.stage(WWW, leafFor(all.next, WWW));
      await all.remember("rejected", rejected(all.next[SHOP]));
    },
    stale: { [SHOP]: "deployed", [WWW]: "deployed" },
    steps: "deploy --force --only shop",
  },
  {
    name: "the domain's and another's leaf were rolled back before",
    view: "mail host",
    arrange: async (all) => {
      for (const name of [MAIL, SHOP]) {
        await all.stage(name, leafFor(all.next, name));
        await all.remember("rejected", rejected(all.next[name]));
      }
    },
    stale: { [MAIL]: "deployed", [SHOP]: "deployed" },
    steps: "deploy --force --only mail --only shop",
  },
  {
    name: "nothing renews one name",
    view: "one machine",
    arrange: async (all) => {
      const ending = await all.issue(WWW, { notBefore: daysAgo(85) });
      all.current[WWW] = ending;
      await all.settle();
    },
    stale: { [WWW]: null },
    steps: "renew www, push, deploy",
    words:
      /^20 of 20 match; www\.example\.com: expires in 4 days: in Nginx Proxy Manager: renew the /,
  },
  {
    name: "one name is stale, and another ends soon",
    view: "one machine",
    arrange: async (all) => {
      all.current[WWW] = await all.issue(WWW, { notBefore: daysAgo(85) });
      await all.settle();
      await all.renew(SHOP);
    },
    stale: { [SHOP]: "pushed", [WWW]: null },
    steps: "renew www, push, deploy",
  },
  {
    name: "a directory is for more names than the certificate",
    view: "mail host",
    arrange: async (all) => {
      const names = [SHOP, "blog.example.net"];
      await all.put(SHOP, await all.issue(SHOP, { names }), names);
      await all.host.restartAll();
    },
    stale: { [SHOP]: null },
    steps: "request shop blog, push, deploy",
  },
  {
    name: "the same, and who runs it takes the other way",
    view: "mail host",
    arrange: async (all) => {
      const names = [SHOP, "blog.example.net"];
      await all.put(SHOP, await all.issue(SHOP, { names }), names);
      await all.host.restartAll();
    },
    stale: { [SHOP]: null },
    ...{ steps: "request shop blog, push, deploy", way: "second" },
  },
  {
    name: "a directory that has what is staged is for more names than that",
    view: "mail host",
    arrange: async (all) => {
      await all.put(SHOP, leafFor(all.current, SHOP), [SHOP, "*.example.net"]);
      await all.host.restartAll();
    },
    ...{ stale: { [SHOP]: null }, status: "warning" },
    steps: "request shop *, push, deploy",
    words: /^14 of 14 match; shop\.example\.net: lacks names: in Nginx Proxy Manager: /,
  },
  {
    name: "the same, and who runs it takes them out",
    view: "mail host",
    arrange: async (all) => {
      await all.put(SHOP, leafFor(all.current, SHOP), [SHOP, "*.example.net"]);
      await all.host.restartAll();
    },
    stale: { [SHOP]: null },
    ...{ steps: "request shop *, push, deploy", way: "second" },
  },
  {
    name: "a directory of other names has a directory for its certificate",
    view: "mail host",
    arrange: async (all) => {
      await all.put(OTHER, await all.issue(OTHER));
      await Deno.remove(`${sslOf(all, OTHER)}/cert.pem`);
      await Deno.mkdir(`${sslOf(all, OTHER)}/cert.pem`);
      await all.stage(SHOP, leafFor(all.next, SHOP));
    },
    stale: { [MAIL]: null, [SHOP]: "deployed" },
    steps: "mend, deploy",
  },
  {
    name: "a directory for a wildcard answers for a name too",
    view: "mail host",
    arrange: async (all) => {
      await all.put("*.example.net", await all.issue("*.example.net"));
      await all.host.restartAll();
    },
    ...{ stale: {}, steps: "", status: "ok", words: /^all \d+ match$/ },
  },
  {
    name: "a directory of a name that was taken out of also has expired",
    view: "mail host",
    arrange: async (all) => {
      const expired = await all.issue(OTHER, { notBefore: daysAgo(99) });
      await all.put(OTHER, expired);
      await all.remember("names", OTHER);
      await all.host.restartAll();
    },
    stale: { [MAIL]: null },
    steps: "rm, restart",
  },
  {
    name: "the top-level certificate covers a name that the NPM host does not know",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(MAIL, { names: [MAIL, SHOP], notBefore: daysAgo(60) });
      await all.stage(MAIL, both);
      await all.put(MAIL, both);
      for (const path of [stagedOf(all, SHOP), sslOf(all, SHOP)]) {
        await Deno.remove(path, { recursive: true });
      }
      await all.host.restartAll();
      await all.configure([SHOP, WWW], [WWW]);
    },
    ...{ stale: { [SHOP]: "staged" }, status: "warning" },
    steps: "also, push --force, deploy",
  },
  // Where deploy would refuse it, its own way out is the step.
  {
    name: "a file stands where a name's directory belongs",
    view: "mail host",
    arrange: async (all) => {
      await undeploy(all);
      await Deno.writeTextFile(sslOf(all, SHOP), "");
    },
    ...{ stale: { [SHOP]: "deployed" }, steps: "", status: "critical" },
    words:
      /; shop\.example\.net stale at deployed: certsync did not make it; see what it is, and move /,
    byHand: (all) => moveOut(all, SHOP),
  },
  {
    name: "a directory called like a name is for a wildcard alone",
    view: "mail host",
    arrange: async (all) => {
      const wide = await all.issue(SHOP, { names: ["*.example.net"] });
      await all.put(SHOP, wide, ["*.example.net"]);
      await all.host.restartAll();
    },
    ...{ stale: { [SHOP]: "deployed" }, steps: "", status: "critical" },
    words:
      /; shop\.example\.net stale at deployed: certsync did not make it; see what it is, and move /,
    byHand: (all) => moveOut(all, SHOP),
  },
  {
    name: "the running acme-mailcow would move a new directory away",
    view: "mail host",
    arrange: async (all) => {
      await undeploy(all);
      all.host.docker.acme = "n";
    },
    ...{ stale: { [SHOP]: "deployed" }, steps: "", status: "critical" },
    words:
      /; shop\.example\.net stale at deployed: make it anew with: cd "\S+" && docker compose up -d acme-mailcow; /,
    byHand: async (all, words) => {
      const [, command = ""] = /make it anew with: (.*?); then: /.exec(words) ?? [];
      await all.follow({ host: "mail host", command });
    },
  },
  {
    name: "a directory went away again, after it had been made anew",
    view: "mail host",
    arrange: async (all) => {
      await undeploy(all);
      await all.remember("names", `${SHOP}\tanew`);
    },
    ...{ stale: { [SHOP]: "deployed" }, steps: "", status: "critical" },
    words: /; shop\.example\.net stale at deployed: see who removes it .* --force --only shop\.ex/,
    byHand: () => Promise.resolve(),
  },
  {
    name: "a name's staging directory is another user's",
    view: "mail host",
    arrange: async (all) => {
      await undeploy(all);
      await Deno.chown(stagedOf(all, SHOP), 1234, 1234);
    },
    stale: { [SHOP]: "deployed" },
    steps: "rm, push --force, deploy",
  },
  {
    name: "a directory of other names holds no pair, and a name was never deployed",
    view: "mail host",
    arrange: async (all) => {
      await undeploy(all);
      const { fullchainPem } = await all.issue(OTHER);
      await all.host.mailcow.putSni(OTHER, { ...leafFor(all.next, WWW), fullchainPem }, [OTHER]);
    },
    stale: { [MAIL]: null, [SHOP]: "deployed" },
    steps: "mend, deploy",
  },
  // What needs a person, or nobody.
  {
    name: "a name is covered by the top-level certificate, and has no directory",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(MAIL, { names: [MAIL, SHOP], notBefore: daysAgo(40) });
      for (const name of [MAIL, SHOP]) await all.stage(name, both);
      await Deno.remove(sslOf(all, SHOP), { recursive: true });
      await all.put(MAIL, both);
      await all.host.restartAll();
    },
    ...{ stale: {}, steps: "", status: "ok", words: /^all 14 match$/ },
  },
  {
    name: "two names are in one directory, with a certificate for both",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(SHOP, { names: [SHOP, WWW], notBefore: daysAgo(40) });
      for (const name of [SHOP, WWW]) await all.stage(name, both);
      await Deno.remove(sslOf(all, WWW), { recursive: true });
      await all.put(SHOP, both, [SHOP, WWW]);
      await all.host.restartAll();
    },
    ...{ stale: {}, steps: "", status: "ok", words: /^all 14 match$/ },
  },
  {
    name: "the same, and one of them has another certificate of its own",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(SHOP, { names: [SHOP, WWW], notBefore: daysAgo(40) });
      await all.stage(SHOP, both);
      await Deno.remove(sslOf(all, WWW), { recursive: true });
      await all.put(SHOP, both, [SHOP, WWW]);
      await all.host.restartAll();
    },
    ...{ stale: {}, steps: "", status: "ok", words: /^all 11 match$/ },
  },
  {
    name: "a further name's directory holds the mail hostname too, with a certificate for both",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(SHOP, { names: [SHOP, MAIL], notBefore: daysAgo(40) });
      await all.stage(SHOP, both);
      await all.put(SHOP, both, [SHOP, MAIL]);
      await all.host.restartAll();
    },
    ...{ stale: {}, steps: "", status: "ok", words: /^all 12 match$/ },
  },
  {
    name: "a directory has the top-level certificate, which ends later than the name's own",
    view: "mail host",
    arrange: async (all) => {
      const both = await all.issue(MAIL, { names: [MAIL, SHOP], notBefore: daysAgo(2) });
      await all.stage(MAIL, both);
      for (const name of [MAIL, SHOP]) await all.put(name, both);
      await all.host.restartAll();
    },
    ...{ stale: { [SHOP]: null }, steps: "", status: "warning" },
    words:
      /^11 of 14 match; shop\.example\.net: that of mail\.example\.org: it ends later than that /,
  },
  {
    name: "one name is in two directories",
    view: "mail host",
    arrange: async (all) => {
      const leaf = leafFor(all.current, SHOP);
      await all.host.mailcow.putSni("other", leaf, [SHOP]);
      await all.host.restartAll();
    },
    ...{ stale: { [SHOP]: null }, steps: "", status: "critical" },
    words:
      /; shop\.example\.net: not served alike: take it out of all of them but one, and move a /,
    byHand: (all) => Deno.rename(sslOf(all, "other"), `${all.host.root}/away`),
  },
  {
    name: "the services do not read a directory's domains alike",
    view: "mail host",
    arrange: async (all) => {
      await Deno.writeTextFile(`${sslOf(all, SHOP)}/domains`, `${SHOP}.\n`);
    },
    ...{ stale: { [SHOP]: null }, steps: "", status: "critical" },
    words: /: it must be one line: printf '%s\\n' "shop\.example\.net" >"\S+"; then: /,
    byHand: (all) => Deno.writeTextFile(`${sslOf(all, SHOP)}/domains`, `${SHOP}\n`),
  },
  {
    name: "Nginx Proxy Manager has no certificate for one name",
    view: "NPM host",
    arrange: async (all) => {
      await Deno.remove(all.npm.dir(lineageOf(SHOP)), { recursive: true });
    },
    ...{ stale: { [SHOP]: null }, steps: "", status: "critical" },
    words:
      /: cannot be read: request a certificate for shop\.example\.net in Nginx Proxy Manager, or /,
  },
  {
    name: "a directory of a name that was taken out of also ends soon",
    view: "mail host",
    arrange: async (all) => {
      await all.put(OTHER, await all.issue(OTHER, { notBefore: daysAgo(80) }));
      await all.remember("names", OTHER);
      await all.host.restartAll();
    },
    ...{ stale: { [MAIL]: null }, steps: "", status: "warning" },
    words:
      /expires in 9 days: certsync made it for old\.example\.com: name that in also again, or remove it$/,
  },
  {
    name: "a laptop sees the name of all three by what is served",
    view: "laptop",
    arrange: () => Promise.resolve(),
    ...{ stale: {}, steps: "", status: "ok", words: /^all 5 match$/ },
  },
];

Deno.test("who follows the one next step of three names finds that all match", async (t) => {
  await using all = await chains();
  const former = { ...all.current };
  for (const { name, view, arrange, stale, steps, status, words, way, byHand } of states) {
    await t.step(`${view}: ${name}`, async () => {
      Object.assign(all.current, former);
      await all.settle();
      await arrange(all);
      const before = await all.verify(view);
      const unwell = before.certificates.filter(({ status }) => status !== "ok");
      const seen = Object.fromEntries(unwell.map(({ name, staleAt }) => [name ?? "", staleAt]));
      deepEqual(seen, stale, verifyLines(before).join("\n"));
      equal(before.staleAt, stale[MAIL] ?? null);
      deepEqual(before.next.map(inShort).join(", "), steps, verifyLines(before).join("\n"));
      if (status !== undefined) equal(before.status, status, verifyLines(before).join("\n"));
      if (words !== undefined) match(verifyLines(before).at(-1) ?? "", words);
      if (steps === "") {
        // Then deploy has nothing to do here either.
        const lies = await snapshot(all.host.mailcow.ssl);
        await all.follow({ host: "mail host", command: "certsync deploy" });
        assertSame(lies, await snapshot(all.host.mailcow.ssl));
        if (byHand === undefined) return;
        const line = verifyLines(before).at(-1) ?? "";
        await byHand(all, line);
        const [, ...commands] = line.split(/[;,] then: /);
        for (const command of commands) await all.follow({ host: "mail host", command });
      }
      for (const step of before.next) await all.follow(step, way);
      const after = await all.verify(view);
      equal(after.status, "ok", verifyLines(after).join("\n"));
    });
  }
  Object.assign(all.current, former);
  await all.settle();

  await t.step(
    "an endpoint is asked once with each name, and each distinct chain verified once",
    async () => {
      await using programs = await counted(["openssl"], Deno.env.get("PATH") ?? "");
      const before = all.host.services.connections();
      const report = await all.verifyWith(programs.bin, "mail host");
      equal(report.status, "ok");
      // Two endpoints, for three names, and for nobody.
      equal(all.host.services.connections() - before, 2 * (3 + 1));
      equal(programs.taken().length, 2 * (3 + 1) + 3);
      const asked = report.legs.filter(({ leg }) => leg === "served");
      deepEqual(
        asked.map(({ name, sni }) => [name, sni]).sort(),
        [[MAIL, undefined], [MAIL, MAIL], [SHOP, SHOP], [WWW, WWW]].flatMap((each) => [each, each]),
      );
    },
  );
  await t.step("a further name may be looked at alone, where its pair lies", async () => {
    await all.stage(WWW, leafFor(all.next, WWW));
    const { domain, certificates, legs, status } = await all.verify("mail host", SHOP);
    deepEqual([domain, status], [SHOP, "ok"]);
    deepEqual(certificates.map(({ name }) => name), [SHOP]);
    deepEqual(legs.map(({ leg, where }) => [leg, where]).slice(0, 2), [
      ["staged", `${stagedOf(all, SHOP)}/fullchain.pem`],
      ["deployed", `${sslOf(all, SHOP)}/cert.pem`],
    ]);
    equal(legs.every(({ name }) => name === SHOP), true);
    equal((await all.verify("mail host", "--domain", WWW)).staleAt, "deployed");
  });
  await t.step("a name that the command line adds is in the commands too", async () => {
    await all.configure([WWW]);
    const { next } = await all.verify("mail host", "--also", "blog.example.org");
    deepEqual(next.at(-1), {
      host: "mail host",
      command: "certsync deploy --also blog.example.org",
    });
  });
  await t.step("mailcow's own name is none of the further ones", async () => {
    await all.configure([SHOP, MAIL]);
    await rejects(all.verify("mail host"), {
      name: "UsageFailure",
      message: `also names the domain itself: "${MAIL}"`,
    });
  });
});

/** As the NPM host and the mail host on one machine see that many names, the last of which is stale. */
function reportOf(names: readonly string[], isWell: boolean): VerifyReport {
  const wrong = isWell ? undefined : names.at(-1);
  const legs = names.flatMap((name, index) => {
    const places = [
      ["source", `/etc/letsencrypt/live/npm-${index}/fullchain.pem`],
      ["deployed", `/opt/mailcow-dockerized/data/assets/ssl/${name}/cert.pem`],
      ["served", "imaps://127.0.0.1:993"],
      ["served", "smtps://127.0.0.1:465"],
    ] as const;
    return places.map(([leg, where]): VerifyReport["legs"][number] => {
      const isStale = name === wrong && leg !== "source";
      return {
        ...{ leg, name, where, fingerprint: (isStale ? "BB:" : "AA:").repeat(32).slice(0, -1) },
        ...{ notBefore: "2026-01-01T00:00:00Z", notAfter: "2026-04-01T00:00:00Z", names: [name] },
        ...{ subject: `CN=${name}`, issuer: "CN=E1", match: !isStale, noted: false },
        ...{ stale: isStale, status: isStale ? "critical" : "ok" },
        ...{ verdict: isStale ? "another one" : "ok", ...(leg === "served" && { sni: name }) },
        ...(leg === "served" && { ip: "127.0.0.1" }),
      };
    });
  });
  return {
    status: isWell ? "ok" : "critical",
    domain: names[0] ?? null,
    staleAt: null,
    certificates: names.map((name) => ({
      ...{ name, status: name === wrong ? "critical" : "ok" },
      staleAt: name === wrong ? "deployed" : null,
    })),
    legs,
    next: isWell ? [] : [{ host: "mail host", command: "certsync deploy" }],
    timers: [],
    warnings: [],
  };
}

const many = Array.from({ length: 30 }, (_, index) => `mail.customer-${index + 1}.example.org`);
const look = { all: false, now: new Date("2026-02-01T00:00:00Z"), paint: (text: string) => text };

Deno.test("of thirty names the healthy ones are a line each, and those of another one are together", () => {
  const page = { ...look, format: undefined, width: 80, isTerminal: false };
  const well = verifyCommand.words(reportOf(many, true), null, page);
  equal(well.length, 1 + 30 + 1);
  match(
    well[1] ?? "",
    /^4 legs {2}mail\.customer-1\.example\.org +AA:AA:AA:AA {2}2026-04-01 {2}ok$/,
  );
  equal(well.at(-1), "all 120 match");

  const lines = verifyCommand.words(reportOf(many, false), null, page);
  equal(lines.length, 1 + 29 + 1 + 3 + 2);
  const [heading, source = "", deployed = "", served = ""] = lines.slice(30);
  equal(heading, "mail.customer-30.example.org:");
  match(source, /^ {3}source {4}\S+\/npm-29\/fullchain\.pem +AA:AA:AA:AA {2}2026-04-01 {2}ok$/);
  match(
    deployed,
    /^> {2}deployed {2}\S+\.example\.org\/cert\.pem +BB:BB:BB:BB {2}2026-04-01 {2}another one$/,
  );
  match(
    served,
    /^\| {2}served {4}2 endpoints \(2 ways\) +BB:BB:BB:BB {2}2026-04-01 {2}another one$/,
  );
  equal(lines.slice(0, -2).every((line) => line.length <= 80), true, lines.join("\n"));
  const last =
    "117 of 120 match; mail.customer-30.example.org stale at deployed: run on the mail host: " +
    "certsync deploy";
  equal(lines.at(-1), last);
  equal(
    verifyCommand.words(reportOf(many, false), null, { ...page, all: true }).length,
    1 + 150 + 2,
  );

  const [nagios, ...none] = verifyCommand.words(reportOf(many, false), null, {
    ...page,
    format: "nagios",
  });
  deepEqual(none, []);
  equal(nagios, `CERTSYNC CRITICAL - ${last} | legs=120;;;0 unread=0;;;0 mismatched=3;;;0`);
});

Deno.test("on a narrow terminal a name is cut in its middle, and no line of the table is wider", () => {
  const page = { ...look, format: undefined, width: 40, isTerminal: true };
  const lines = verifyCommand.words(reportOf(many, false), null, page);
  const table = lines.slice(0, -2);
  equal(table.every((line) => line.length <= 40), true, table.join("\n"));
  match(table[1] ?? "", /^ {3}4 legs {4}mail\.c\S*\.\.\.\S*e\.org {2}ok$/);
  equal(table.filter((line) => line.endsWith("  another one")).length, 2, table.join("\n"));
});

Deno.test("of many names that are not well the last line has ten, and says how many more there are", () => {
  const report = reportOf(many, true);
  const certificates = many.map((name) =>
    ({ name, status: "critical", staleAt: "served" }) as const
  );
  const legs = report.legs.map((leg) =>
    leg.leg === "served" ? { ...leg, match: false, stale: true, status: "critical" as const } : leg
  );
  const all = { ...report, status: "critical", certificates, legs } as const;
  const page = { ...look, format: "nagios" as const, width: 80, isTerminal: false };
  const [line = ""] = verifyCommand.words(all, null, page);
  match(
    line,
    /^CERTSYNC CRITICAL - 60 of 120 match; mail\.customer-1\.example\.org stale at served, /,
  );
  match(line, /mail\.customer-10\.example\.org stale at served, and 20 more: /);
});
