// The config file: read whole, or refused whole with one message that says what is wrong with it.

import { deepEqual, doesNotMatch, equal, match, throws } from "node:assert/strict";
import { type CommandLine, parseCommandLine } from "../lib/cli/command_line.ts";
import { deployConfig } from "../lib/config/deploy_config.ts";
import { findConfig, pushConfig } from "../lib/config/push_config.ts";
import { verifyConfig } from "../lib/config/verify_config.ts";
import { readConfigDocument } from "../lib/config/config_file.ts";
import { UsageFailure } from "../lib/failure.ts";
import { certsync } from "./kit/certsync.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { overSsh } from "./kit/ssh_target.ts";

const FILE = "/etc/certsync/config.yaml";
const read = (document: unknown) => readConfigDocument(document, FILE);

/** The flags of a command line as the operator types it, one word an argument. */
function flags(words: string) {
  const line: CommandLine = parseCommandLine(words.split(" "));
  if (line.kind !== "run") throw new Error(`not a run: ${words}`);
  return line.flags;
}

const TARGET = "certsync@mail.example.org:/home/certsync/incoming/";

Deno.test("an empty config has the defaults of the contract", () => {
  const push = pushConfig(read({}), flags(`push --domain m.example.org --to ${TARGET}`));
  deepEqual(
    [push.live, push.source, push.state, push.trust, push.timeoutMs],
    [null, { kind: "auto" }, "/var/lib/mailcow-cert-push", { kind: "system" }, 60_000],
  );
  // ssh's own port for that host, which an alias may name, and ssh's own keys.
  deepEqual(overSsh(push.to).map(({ ssh }) => [ssh.port, ssh.identity]), [[null, null]]);
  const deploy = deployConfig(read(null), flags("deploy"));
  deepEqual(deploy, {
    domain: null,
    also: [],
    mailcow: "/opt/mailcow-dockerized",
    staging: "/home/certsync/incoming",
    state: "/var/lib/mailcow-cert-deploy",
    trust: { kind: "system" },
    apply: "reload",
    settleMs: 30_000,
    restartTimeoutMs: 300_000,
    endpoints: null,
    dane: "warn",
    resolver: null,
    force: false,
    rollback: false,
    only: [],
    dryRun: false,
    started: false,
  });
  const verify = verifyConfig(read({ push: null, deploy: {} }), flags("verify"));
  deepEqual(
    [verify.source, verify.deployed, verify.endpoints, verify.warn, verify.critical],
    [null, null, null, { lifePart: 0.25 }, { lifePart: 0.1 }],
  );
  deepEqual([verify.timeoutMs, verify.resolver], [10_000, null]);
  deepEqual([verify.trust, verify.legs], [{ kind: "system" }, null]);
});

Deno.test("verify takes the name as an operand, and legs in the order in which they are named", () => {
  const file = read({ domain: "file.example.org", verify: { trust: "/etc/ca.pem" } });
  const verify = verifyConfig(file, flags("verify Mail.Example.ORG. --leg served --leg source"));
  equal(verify.domain, "mail.example.org");
  deepEqual(verify.legs, ["served", "source"]);
  deepEqual(verify.trust, { kind: "file", path: "/etc/ca.pem" });
  equal(verifyConfig(file, flags("verify a.example --domain a.example")).domain, "a.example");
});

Deno.test("every key of the contract is read", () => {
  const file = read({
    domain: "Mail.Example.ORG.",
    resolver: "127.0.0.1:5353",
    push: {
      live: ["/etc/nginx/letsencrypt/live", "/etc/letsencrypt/live"],
      source: "npm-5",
      to: TARGET,
      port: "2222",
      identity: "/root/.ssh/mailcow_certsync",
      known_hosts: "/etc/certsync/known_hosts",
      state: "/var/lib/p",
      trust: "/etc/ca.pem",
      timeout: "90s",
    },
    deploy: {
      mailcow: "/srv/mailcow",
      staging: "/srv/incoming",
      state: "/var/lib/d",
      trust: "none",
      apply: "restart",
      settle: "1m",
      restart_timeout: "10m",
      endpoints: ["imaps://127.0.0.1:993"],
      dane: "off",
    },
    verify: {
      source: "npm-host:/etc/letsencrypt/live/npm-5/fullchain.pem",
      deployed: "/srv/cert.pem",
      endpoints: "imaps://mail.example.org",
      warn: "21d",
      critical: "10%",
      timeout: "5s",
    },
  });
  const push = pushConfig(file, flags("push"));
  equal(push.domain, "mail.example.org");
  deepEqual(push.to.map(({ text }) => text), [TARGET]);
  deepEqual(push.source, { kind: "lineage", name: "npm-5" });
  deepEqual(push.trust, { kind: "file", path: "/etc/ca.pem" });
  deepEqual(overSsh(push.to).map(({ ssh }) => ssh), [{
    port: 2222,
    identity: "/root/.ssh/mailcow_certsync",
    knownHosts: ["/etc/certsync/known_hosts"],
  }]);
  equal(push.timeoutMs, 90_000);
  const deploy = deployConfig(file, flags("deploy"));
  deepEqual([deploy.apply, deploy.settleMs, deploy.restartTimeoutMs], ["restart", 60_000, 600_000]);
  deepEqual(deploy.endpoints, [{ protocol: "imaps", host: "127.0.0.1", port: 993 }]);
  const resolver = { host: "127.0.0.1", port: 5353 };
  deepEqual([deploy.dane, deploy.resolver], ["off", resolver]);
  const verify = verifyConfig(file, flags("verify"));
  deepEqual(verify.resolver, resolver);
  deepEqual(verify.deployed, { kind: "local", path: "/srv/cert.pem" });
  equal(verify.source?.kind, "remote");
  deepEqual(verify.endpoints, [{ protocol: "imaps", host: "mail.example.org", port: 993 }]);
  deepEqual([verify.warn, verify.critical], [{ ms: 21 * 86_400_000 }, { lifePart: 0.1 }]);
  equal(verify.timeoutMs, 5_000);
  deepEqual(findConfig(file, flags("find-npm-dir")).live, [
    "/etc/nginx/letsencrypt/live",
    "/etc/letsencrypt/live",
  ]);
});

Deno.test("targets may differ in port, identity and known_hosts, also where --to names them", () => {
  const [one, two] = ["u@one:/in/", "u@two:/in/"];
  const own = { port: "2222", identity: "/two", known_hosts: "/known" };
  const file = read({
    push: { to: [one, { to: two, ...own }], identity: "/one", known_hosts: "/k" },
  });
  const ofOne = { port: null, identity: "/one", knownHosts: ["/k"] };
  const ofTwo = { port: 2222, identity: "/two", knownHosts: ["/known"] };
  const ways = (words: string) =>
    overSsh(pushConfig(file, flags(words)).to).map(({ text, ssh }) => [text, ssh]);
  deepEqual(ways("push --domain m.example.org"), [[one, ofOne], [two, ofTwo]]);
  deepEqual(ways(`push --domain m.example.org --to ${two} --to u@three:/in/`), [
    [two, ofTwo],
    ["u@three:/in/", ofOne],
  ]);
});

Deno.test("verify of a further name is about that one alone, and of a name that the file does not hold about no other", () => {
  const [mail, shop, other] = ["m.example.org", "shop.example.net", "other.example.com"];
  const of = (file: object, words: string) => {
    const config = verifyConfig(read(file), flags(words));
    return [config.domain, [...config.also], [...config.added], config.only];
  };
  const file = { domain: mail, also: [shop] };
  deepEqual(of(file, "verify"), [mail, [shop], [], null]);
  deepEqual(of(file, `verify ${mail}`), [mail, [shop], [], null]);
  deepEqual(of(file, `verify ${shop}`), [mail, [shop], [], shop]);
  deepEqual(of(file, `verify --domain ${shop}`), [mail, [shop], [], shop]);
  deepEqual(of(file, `verify ${other}`), [other, [], [], null]);
  deepEqual(of(file, `verify ${other} --also ${shop}`), [other, [shop], [], null]);
  deepEqual(of(file, `verify --also ${other}`), [mail, [shop, other], [other], null]);
  // Whose further names they are, mailcow says.
  deepEqual(of({ also: [shop] }, `verify ${mail}`), [mail, [shop], [], null]);
  deepEqual(of({ also: [shop] }, `verify ${shop}`), [null, [shop], [], shop]);
});

Deno.test("further names are those of the file and of --also, each once, and never the domain or a file of mailcow's", () => {
  const file = read({ domain: "m.example.org", also: ["Shop.Example.NET.", "m.example.com"] });
  const all = ["shop.example.net", "m.example.com", "m.example.de"];
  const also = "--also m.example.de";
  deepEqual(pushConfig(file, flags(`push ${also} --to ${TARGET}`)).also, all);
  deepEqual(deployConfig(file, flags(`deploy ${also}`)).also, all);
  deepEqual(verifyConfig(file, flags(`verify ${also}`)).also, all);
  for (const name of ["shop.example.net", "M.example.org"]) {
    throws(() => deployConfig(file, flags(`deploy --also ${name}`)), /^UsageFailure: also names /);
  }
  // Whoever gives another domain is asked anew.
  throws(() => deployConfig(file, flags("deploy --domain m.example.com")), UsageFailure);
  const noNames = ["../x", "a/b", "*.example.org", ".", "", "key.pem", "backups", "x\ny"];
  for (const name of [...noNames, "192.0.2.1", "1.5", "0x7f.1", "TRUE", "null", ["m.example.de"]]) {
    throws(() => read({ also: [name] }), { message: /^also in / }, JSON.stringify(name));
  }
  // Nobody's certificate is for an address; a single label may be in one of an own CA's.
  throws(() => deployConfig(file, flags("deploy --also 192.0.2.1")), UsageFailure);
  const single = read({ domain: "mail", also: "shop" });
  deepEqual([single.domain, single.also], ["mail", ["shop"]]);
  const none = read({ domain: "m.example.org", also: [] });
  deepEqual(pushConfig(none, flags(`push --to ${TARGET}`)).also, []);
  deepEqual(deployConfig(none, flags(`deploy ${also}`)).also, ["m.example.de"]);
});

Deno.test("--only stands beside --force or --rollback, with names or all", () => {
  const only = (words: string) => deployConfig(read({}), flags(`deploy ${words}`)).only;
  deepEqual(only("--force --only A.example.org --only b.example.org"), [
    "a.example.org",
    "b.example.org",
  ]);
  equal(only("--rollback --only all"), "all");
  throws(() => only("--only all"), UsageFailure);
  throws(() => only("--force --only a/b"), UsageFailure);
  throws(() => only("--force --rollback"), UsageFailure);
});

Deno.test("a list may be one item alone", () => {
  const one = read({ push: { to: TARGET, live: "/a" }, deploy: { endpoints: "imap://h" } });
  const many = read({ push: { to: [TARGET], live: ["/a"] }, deploy: { endpoints: ["imap://h"] } });
  deepEqual(one, many);
});

Deno.test("a flag beats the config file", () => {
  const file = read({
    domain: "file.example.org",
    push: { to: TARGET, source: "npm-1", live: "/file/live" },
    deploy: { mailcow: "/file/mailcow", staging: "/file/staging" },
    verify: {
      source: "/file/a",
      deployed: "/file/b",
      endpoints: "imap://file",
      warn: "20%",
      critical: "5%",
    },
  });
  const push = pushConfig(file, flags("push --domain f.example.org --source npm-2 --to u@h:/d/"));
  deepEqual([push.domain, push.source], ["f.example.org", { kind: "lineage", name: "npm-2" }]);
  deepEqual(push.to.map(({ text }) => text), ["u@h:/d/"]);
  const deploy = deployConfig(
    file,
    flags("deploy --mailcow /f/m --staging /f/s --domain d.example.org"),
  );
  deepEqual([deploy.mailcow, deploy.staging, deploy.domain], ["/f/m", "/f/s", "d.example.org"]);
  const verify = verifyConfig(
    file,
    flags("verify --source /f/a --deployed h:/f/b --endpoint smtp://f --warn 9d --critical 3d"),
  );
  deepEqual(verify.source, { kind: "local", path: "/f/a" });
  deepEqual(verify.deployed, { kind: "remote", host: "h", path: "/f/b" });
  deepEqual(verify.endpoints, [{ protocol: "smtp", host: "f", port: 25 }]);
  deepEqual([verify.warn, verify.critical], [{ ms: 9 * 86_400_000 }, { ms: 3 * 86_400_000 }]);
  equal(verify.domain, "file.example.org");
  deepEqual(findConfig(file, flags("find-npm-dir --live /f/x --live /f/y")).live, ["/f/x", "/f/y"]);
});

Deno.test("a path on the command line may be relative to where the operator stands", () => {
  const here = Deno.cwd();
  const deploy = deployConfig(read({}), flags("deploy --mailcow ./m --staging s"));
  deepEqual([deploy.mailcow, deploy.staging], [`${here}/m`, `${here}/s`]);
  const push = pushConfig(read({}), flags(`push --domain a.b --to ${TARGET} --source ./npm-5`));
  deepEqual(push.source, { kind: "directory", name: `${here}/npm-5` });
  const verify = verifyConfig(read({}), flags("verify --source ./c.pem --deployed c.pem"));
  deepEqual([verify.source, verify.deployed], [
    { kind: "local", path: `${here}/c.pem` },
    { kind: "local", path: `${here}/c.pem` },
  ]);
  deepEqual(findConfig(read({}), flags("find-npm-dir --live live")).live, [`${here}/live`]);
});

Deno.test("a document that cannot be right is refused with its key and its file", () => {
  const cases: [document: unknown, message: RegExp, hint?: RegExp][] = [
    [[], /^\/etc\/certsync\/config.yaml must be a mapping, not a list$/],
    ["--BEGIN PRIVATE KEY-----\nMIGHAgEA", /must be a mapping, not a text$/],
    [{ "root:*:20228:0:99999:7::": null }, /^a key that cannot be one in .*config.yaml$/],
    [{ domain: "-----BEGIN PRIVATE KEY-----\nMIGHAgEA" }, /: "\(a private key\)"$/],
    ["text", /must be a mapping, not a text$/],
    [{ push: [] }, /^push in .*config.yaml must be a mapping, not a list$/],
    [{ push: "x" }, /^push in .* must be a mapping, not a text$/],
    [{ domian: "x" }, /^unknown key "domian" in .*config.yaml$/, /^did you mean "domain"\?$/],
    [{ push: { prot: 1 } }, /^unknown key "push.prot"/, /^did you mean "push.port"\?$/],
    [{ deploy: { restart_timout: "1m" } }, /"deploy.restart_timout"/, /"deploy.restart_timeout"/],
    [
      { push: { whatever: 1 } },
      /^unknown key "push.whatever"/,
      /^the keys here are live source to /,
    ],
    [{ port: 22 }, /^unknown key "port"/],
    [{ constructor: 1 }, /^unknown key "constructor"/],
    [JSON.parse('{"__proto__": 1}'), /^unknown key "__proto__"/],
    [{ push: { toString: 1 } }, /^unknown key "push.toString"/],
    [{ domain: "5" }, /^domain in .* is not a host name: "5"$/],
    [{ domain: null }, /^domain in .* must be a text, not nothing$/],
    [{ resolver: null }, /^resolver in .* must be a text, not nothing$/],
    [{ domain: "" }, /^domain in .* must be a text, not an empty text$/, /take the key out$/],
    [{ push: { to: [] } }, /^push\.to in .* is an empty list$/, /take the key out$/],
    [{ domain: ["a.b"] }, /^domain in .* must be a text, not a list$/],
    [{ domain: "*.example.org" }, /^domain in .* is not a host name: "\*.example.org"$/],
    [{ domain: "a b" }, /is not a host name/],
    [{ domain: "müller.de" }, /is not a host name/, /xn--/],
    [{ push: { to: [] } }, /^push.to in .* is an empty list$/],
    [{ push: { to: [TARGET, "5"] } }, /^push.to in .* is not a target over SSH: "5"$/],
    [{ push: { to: { a: 1 } } }, /^unknown key "push.to.a" in /],
    [{ push: { to: { port: "2222" } } }, /^push.to in .* has an entry without its target$/],
    [{ push: { to: [{ to: TARGET, port: "x" }] } }, /^push.to.port in .* is not a port: "x"$/],
    [{ push: { to: [{ to: TARGET, identity: "id" }] } }, /^push.to.identity in .* absolute path/],
    [{ push: { to: "ssh://u@h:2222/in/" } }, /^push.to in .* is a URL: /],
    [{ push: { to: "host::module" } }, /^push.to in .* names an rsync daemon/],
    [{ push: { to: "-e id h:/" } }, /^push.to in .* begins with a hyphen/],
    [{ push: { to: "u@h:/a\nb/" } }, /^push.to in .* holds a control character/],
    [{ push: { to: "./local/dir/" } }, /^push.to in .* is not a target over SSH/],
    [{ push: { port: "0" } }, /^push.port in .* is not a port: "0"$/, /1 to 65535/],
    [{ push: { port: "65536" } }, /^push.port in /],
    [{ push: { port: "22.5" } }, /^push.port in /],
    [{ push: { port: "0x16" } }, /^push.port in .* is not a port: "0x16"$/],
    [{ push: { port: null } }, /^push.port in .* must be a text, not nothing$/],
    [{ push: { live: "relative" } }, /^push.live in .* is not an absolute path: "relative"$/],
    [
      { push: { live: ["/a", "~/b"] } },
      /^push.live in .* is not an absolute path: "~\/b"$/,
      /beginning with \/ /,
    ],
    [{ push: { identity: "/a\0b" } }, /^push.identity in .* holds a control character/],
    [{ push: { state: "./state" } }, /^push.state in .* is not an absolute path/],
    [{ push: { source: "npm5" } }, /^push.source in .* is not a source: "npm5"$/, /npm-5/],
    [{ push: { source: "./npm-5" } }, /^push.source in .* is not a source/],
    [{ push: { trust: "systemd" } }, /^push.trust in .* is not system, none or a CA file's path/],
    [{ push: { timeout: "60" } }, /^push.timeout in .* is not a duration: "60"$/, /s m h d.*30s/],
    [{ push: { timeout: "0s" } }, /^push.timeout in .* is not a duration/],
    [{ push: { timeout: "1w" } }, /^push.timeout in .* is not a duration/],
    [{ push: { timeout: ["1s"] } }, /^push.timeout in .* must be a text/],
    [{ deploy: { apply: "stop" } }, /^deploy.apply in .* is not reload or restart: "stop"$/],
    [{ deploy: { settle: "99d" } }, /^deploy.settle in .* is not a duration/, /at most 24d/],
    [{ deploy: { endpoints: ["imaps//h"] } }, /^deploy.endpoints in .* is not an endpoint/],
    [{ deploy: { endpoints: ["ftp://h"] } }, /^deploy.endpoints in .* unknown protocol/, /sieve/],
    [{ deploy: { endpoints: ["imap://h:0"] } }, /^deploy.endpoints in .* is not a port/],
    [{ deploy: { dane: "on" } }, /^deploy.dane in .* is not warn or off: "on"$/],
    [{ resolver: "127.0.0.1/53" }, /^resolver in .* is not a resolver: /, /127\.0\.0\.1:53/],
    [{ resolver: "127.0.0.1:0" }, /^resolver in .* is not a port: "0"$/],
    [{ verify: { warn: "25" } }, /^verify.warn in .* is not an age: "25"$/, /25%/],
    [{ verify: { warn: "125%" } }, /^verify.warn in .* is not an age/],
    [{ verify: { critical: "soon" } }, /^verify.critical in .* is not an age/],
    [{ verify: { source: "c.pem" } }, /^verify.source in .* is not an absolute path: "c.pem"$/],
    [{ verify: { deployed: "h:c.pem" } }, /^verify.deployed in .* is not a location/],
    [{ verify: { deployed: "h:/$(id)" } }, /^verify.deployed in .* is not a location/],
  ];
  for (const [document, message, hint] of cases) {
    throws(() => read(document), (error) => {
      if (!(error instanceof UsageFailure)) throw error;
      match(error.message, message);
      if (hint !== undefined) match(error.hint ?? "", hint);
      return true;
    });
  }
});

Deno.test("what contradicts itself or lacks what a command needs is refused", () => {
  const cases: [make: () => unknown, message: RegExp, hint: RegExp | null][] = [
    [() => pushConfig(read({ domain: "a.b" }), flags("push")), /^no target: /, /push\.to.*--to/],
    [() => pushConfig(read({ push: { to: TARGET } }), flags("push")), /^no domain: /, /--domain/],
    [
      () => pushConfig(read({ domain: "a.b" }), flags(`push --to ${TARGET} --to ${TARGET}`)),
      /^--to names a target twice: /,
      /^take one of the two out$/,
    ],
    [
      () => verifyConfig(read({}), flags("verify --warn 5d --critical 9d")),
      /^the critical age is larger than the one for a warning$/,
      null,
    ],
    [
      () => verifyConfig(read({ verify: { critical: "50%" } }), flags("verify")),
      /^the critical age is larger/,
      null,
    ],
    [() => verifyConfig(read({}), flags("verify --domain *.b")), /^--domain is not a host/, /name/],
    [
      () => verifyConfig(read({}), flags("verify a.example --domain b.example")),
      /^HOSTNAME and --domain are two names: "a.example"$/,
      /one of them/,
    ],
    [
      () => verifyConfig(read({}), flags("verify --leg leaf")),
      /^--leg is not a leg: "leaf"$/,
      /^the legs are source, pushed, staged, deployed, sni, served, tlsa$/,
    ],
    [() => verifyConfig(read({}), flags("verify --warn x")), /^--warn is not an age: "x"$/, /25%/],
    [
      () => verifyConfig(read({}), flags("verify --endpoint x")),
      /^--endpoint is not an end/,
      /URL/,
    ],
    [
      () => findConfig(read({}), flags("find-npm-dir a..b")),
      /^HOSTNAME is not a host name/,
      /name/,
    ],
  ];
  for (const [make, message, hint] of cases) {
    throws(make, (error) => {
      if (!(error instanceof UsageFailure)) throw error;
      match(error.message, message);
      if (hint !== null) match(error.hint ?? "", hint);
      return true;
    });
  }
});

Deno.test("an age in days is not measured against one in percent", () => {
  const { warn, critical } = verifyConfig(read({}), flags("verify --warn 21d"));
  deepEqual([warn, critical], [{ ms: 21 * 86_400_000 }, { lifePart: 0.1 }]);
});

// Through the binary: the file itself

interface BadFile {
  readonly name: string;
  make(path: string): Promise<unknown>;
  readonly message: RegExp;
}

const write = (text: string | Uint8Array) => (path: string) =>
  typeof text === "string" ? Deno.writeTextFile(path, text) : Deno.writeFile(path, text);

const badFiles: BadFile[] = [
  {
    name: "a syntax error",
    make: write("domain: mail.example.org\npush:\n  port: [22\ndeploy: {}\n"),
    message: /is not YAML: ".*": .* line 4/,
  },
  {
    name: "a tab as indent", // @std/yaml takes it for none at all
    make: write("push:\n\tport: 22\n"),
    message: /not YAML.* line 2|unknown key "port" in /,
  },
  {
    name: "a key given twice",
    make: write("domain: a.b\ndomain: a.c\n"),
    message: /not YAML.* line 2/,
  },
  { name: "two documents", make: write("domain: a.b\n---\ndomain: a.c\n"), message: /not YAML/ },
  { name: "an unknown key", make: write("domian: a.b\n"), message: /unknown key "domian" in / },
  { name: "a list", make: write("- a\n- b\n"), message: /must be a mapping, not a list/ },
  {
    name: "a bad duration",
    make: write("push: {timeout: 5 min}\n"),
    message: /push\.timeout in .* is not a duration/,
  },
  {
    name: "a number for a name",
    make: write("domain: 20260101\n"),
    message: /domain in .* is not a host name: "20260101"/,
  },
  {
    name: "a missing file",
    make: () => Promise.resolve(),
    message: /config file does not exist: "/,
  },
  {
    name: "a directory",
    make: (path) => Deno.mkdir(path),
    message: /config file is a directory: "/,
  },
  { name: "a FIFO", make: (path) => mkfifo(path), message: /config file is not a regular file: "/ },
  {
    name: "a device",
    make: (path) => Deno.symlink("/dev/zero", path),
    message: /not a regular file/,
  },
  { name: "a loop of links", make: (path) => Deno.symlink(path, path), message: /symbolic link/ },
  {
    name: "binary",
    make: write(Uint8Array.from({ length: 4_000 }, (_, i) => (i * 7) % 256)),
    message: /config file is not (UTF-8 text|YAML): "/,
  },
  { name: "NUL bytes", make: write("domain: a.b\0\0\n"), message: /config file is not YAML: "/ },
  {
    name: "latin-1",
    make: write(Uint8Array.of(0x61, 0x3a, 0x20, 0xe4)),
    message: /not UTF-8 text/,
  },
  {
    name: "1 GB",
    make: (path) => sparse(path, 1e9),
    message: /config file is larger than 1 MiB: "/,
  },
];

async function mkfifo(path: string): Promise<void> {
  const { success } = await new Deno.Command("mkfifo", { args: [path] }).output();
  equal(success, true);
}

async function sparse(path: string, size: number): Promise<void> {
  using file = await Deno.create(path);
  await file.truncate(size);
}

Deno.test("a config file that cannot be right is one error, nothing on stdout, and no stack", async (t) => {
  await using dir = await tempDir();
  for (const [index, { name, make, message }] of badFiles.entries()) {
    await t.step(name, async () => {
      const path = `${dir.path}/${index}.yaml`;
      await make(path);
      const { code, stdout, stderr } = await certsync(["push", "--config", path], {
        timeoutMs: 10_000,
      });
      equal(code, 2, stderr);
      equal(stdout, "");
      match(stderr, message);
      match(stderr, /^ERROR: [^\n]+\n(hint: [^\n]+\n)?$/);
      equal(stderr.includes(path), true, stderr);
    });
  }
});

Deno.test("a config file that cannot be right is reported as JSON too, by every command", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(path, "push:\n  prot: 22\n");
  for (const command of ["push", "deploy", "verify", "find-npm-dir"]) {
    const result = await certsync([command, "--config", path, "--json"]);
    equal(result.code, command === "verify" ? 3 : 2, command);
    const { schema, command: said, error, hint, warnings } = result.json();
    deepEqual([schema, said, warnings], [1, command, []]);
    match(error, /^unknown key "push.prot" in /);
    equal(hint, 'did you mean "push.port"?');
  }
});

Deno.test("a config file may be empty, all comments, or begin with a byte order mark", async () => {
  await using dir = await tempDir();
  const texts = [
    "",
    "# nothing\n",
    "\n\n",
    "---\n",
    "push:\n  # all\nverify:\n",
    "\ufeffdomain: a.b\r\n",
  ];
  await Promise.all(texts.map(async (text, index) => {
    const path = `${dir.path}/${index}.yaml`;
    await Deno.writeTextFile(path, text);
    const { code, stderr } = await certsync(["push", "--config", path, "--dry-run"]);
    equal(code, 2);
    match(stderr, /^ERROR: no target: /, JSON.stringify(text));
  }));
});

Deno.test("the file is read as YAML, relative to where certsync was started, and flags beat it", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(
    `${dir.path}/c.yaml`,
    "domain: file.example.org # a comment\nverify:\n  endpoints: imaps://127.0.0.1:9\n  warn: 25%\n",
  );
  const run = async (...flags: string[]) => {
    const args = ["verify", "--config", "c.yaml", "--json", ...flags];
    return (await certsync(args, { cwd: dir.path })).json();
  };
  const [file, flag] = await Promise.all([
    run(),
    run("--domain", "flag.example.org", "--endpoint", "imaps://127.0.0.1:8"),
  ]);
  const places = (
    { legs }: { legs: { where: string }[] },
  ) => [...new Set(legs.map(({ where }) => where))];
  deepEqual([file.domain, places(file)], ["file.example.org", ["imaps://127.0.0.1:9"]]);
  deepEqual([flag.domain, places(flag)], ["flag.example.org", ["imaps://127.0.0.1:8"]]);
});

Deno.test("verify looks at the endpoints of --endpoint, else its own, else deploy's, and at those alone", async () => {
  await using dir = await tempDir();
  const deploy = `deploy: {mailcow: ${dir.path}/none, endpoints: imaps://127.0.0.1:7}\n`;
  const places = async (text: string, ...flags: string[]) => {
    const config = await Deno.makeTempFile({ dir: dir.path });
    await Deno.writeTextFile(config, text);
    const { json } = await certsync(["verify", "--config", config, "--json", ...flags]);
    const { legs }: { legs: { leg: string; where: string }[] } = json();
    return [...new Set(legs.filter(({ leg }) => leg === "served").map(({ where }) => where))];
  };
  const verify = "verify: {endpoints: imaps://127.0.0.1:9}\n";
  deepEqual(
    await Promise.all([
      places(deploy + verify, "--endpoint", "imaps://127.0.0.1:8"),
      places(deploy, "--endpoint", "imaps://127.0.0.1:8"),
      places(deploy + verify),
      places(deploy),
    ]),
    [8, 8, 9, 7].map((port) => [`imaps://127.0.0.1:${port}`]),
  );
});

Deno.test("aliases that unfold without end are refused at once", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/bomb.yaml`;
  const levels = Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`);
  await Deno.writeTextFile(path, ["a0: &a0 x", ...levels].join("\n"));
  const { code, stderr } = await certsync(["push", "--config", path], { timeoutMs: 10_000 });
  equal(code, 2);
  match(stderr, /^ERROR: unknown key "a0" in /);
  doesNotMatch(stderr, /^ {4}at /m);
});

Deno.test("the command that brings a stopped push to its end is told all that the run was told", () => {
  const words =
    "push --domain m.example.org --also a.b --also c.d --to u@h:/in/ --source npm-7 --force";
  equal(
    pushConfig(read({}), flags(words)).commands.again,
    'certsync push --domain "m.example.org" --also "a.b" --also "c.d" --to "u@h:/in/" ' +
      '--source "npm-7" --force',
  );
});
