// Servers that go on giving another certificate, or that another one takes with it: nothing is done
// twice that did not help, and nobody is punished for somebody else.

import { deepEqual, equal, match } from "node:assert/strict";
import { tryRun } from "../kit/run.ts";
import { actions, ALL_RELOADED, type Lab, startLab } from "./lab.ts";
import {
  ask,
  assertServed,
  DOVECOT,
  HOSTNAME,
  NGINX,
  POSTFIX,
  until,
  untilAnswered,
} from "./wire.ts";

/** How often it was restarted, and what deploy said each time. */
async function deployThrice(lab: Lab) {
  const runs = [];
  for (let run = 0; run < 3; run++) {
    const restarted = await lab.restartedBy(async () => {
      const { code, json } = await lab.deploy();
      runs.push({ code, json });
    });
    runs.push(restarted);
  }
  return runs as [First, string[], First, string[], First, string[]];
}
// deno-lint-ignore no-explicit-any -- as in lab.ts
type First = { code: number; json: any };

Deno.test("an override that mounts a foreign pair costs one restart, is named, and the advice heals it", async () => {
  await using lab = await startLab({
    settle: "2s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
  });
  const foreign = await lab.issue({ subject: "/CN=somebody.example/O=Else" });
  // A whole directory: what is mounted over one file goes with the first rename over that.
  const directory = `${lab.path}/foreign`;
  await Deno.mkdir(directory);
  await Deno.writeTextFile(`${directory}/cert.pem`, foreign.fullchainPem);
  await Deno.writeTextFile(`${directory}/key.pem`, foreign.keyPem, { mode: 0o600 });
  await Deno.copyFile(`${lab.tree.ssl}/dhparams.pem`, `${directory}/dhparams.pem`);
  const override = `${lab.tree.root}/docker-compose.override.yml`;
  const volumes = `      - ${directory}:/etc/ssl/mail/:ro\n`;
  await Deno.writeTextFile(override, `services:\n  dovecot-mailcow:\n    volumes:\n${volumes}`);
  await lab.compose("--progress", "quiet", "up", "--detach");
  await untilAnswered();
  equal(await ask("imaps", HOSTNAME), foreign.fingerprint);

  const leaf = await lab.issue();
  await lab.stage(leaf);
  const [first, one, second, two, third, three] = await deployThrice(lab);
  deepEqual([one.length <= 1, two, three], [true, [], []]);
  for (const { code, json } of [first, second, third]) {
    deepEqual([code, json.outcome], [1, "stale"]);
    match(json.error, /of "(O=Else,)?CN=somebody\.example.*" by ".*", [0-9A-F:]{11}, valid until/);
    match(json.hint, /docker-compose\.override\.yml.*docker compose up -d dovecot-mailcow/);
  }
  await untilAnswered(POSTFIX);
  await assertServed(leaf, [...POSTFIX, ...NGINX]);

  await Deno.remove(override); // what the hint says
  await lab.compose("--progress", "quiet", "up", "-d", "dovecot-mailcow");
  await untilAnswered();
  const healed = await lab.deploy();
  deepEqual([healed.code, healed.json.outcome], [0, "repaired"], healed.json.error);
  await assertServed(leaf);
  equal((await lab.deploy()).json.outcome, "unchanged");
});

Deno.test("RSA beside ECDSA is right in either case, and restarts nobody", async () => {
  await using lab = await startLab({ settle: "3s", isDeployed: true, first: { algorithm: "rsa" } });
  const beside = await lab.issue();
  await lab.tell("postfix-mailcow", "beside/cert.pem", beside.fullchainPem);
  await lab.tell("postfix-mailcow", "beside/key.pem", beside.keyPem);
  await lab.compose("restart", "postfix-mailcow");
  await untilAnswered();
  equal(await ask("smtps", HOSTNAME), beside.fingerprint, "most clients prefer it");
  const leaf = await lab.issue({ algorithm: "rsa" });
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  deepEqual(actions(json), ALL_RELOADED);
  const given = json.served.map(({ fingerprint }: { fingerprint: string }) => fingerprint);
  deepEqual([...new Set(given)], [leaf.fingerprint]);
  equal((await lab.deploy()).json.outcome, "unchanged");
});

Deno.test("a foreign directory that holds no pair keeps a deaf nginx from being restarted, and up", async () => {
  await using lab = await startLab({
    settle: "2s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
    sni: async (issue) => [
      { name: "shop", leaf: await issue({ names: ["shop.example"] }), domains: ["shop.example"] },
    ],
  });
  const other = await lab.issue({ names: ["shop.example"] });
  await Deno.writeTextFile(`${lab.tree.ssl}/shop/key.pem`, other.keyPem);
  const leaf = await lab.issue();
  await lab.stage(leaf);
  const [first, one, second, two] = await deployThrice(lab);
  deepEqual([one, two], [[], []]);
  for (const { code, json } of [first, second]) {
    deepEqual([code, json.outcome], [1, "stale"]);
    match(
      json.error,
      /nginx-mailcow was not restarted.*shop" holds no pair: its key does not match/,
    );
    match(json.hint, /mend that pair, or move its directory out of data\/assets\/ssl/);
  }
  await assertServed(lab.first, NGINX);
  await assertServed(leaf, [...POSTFIX, ...DOVECOT]);

  await Deno.rename(`${lab.tree.ssl}/shop`, `${lab.path}/shop`);
  const healed = await lab.deploy();
  deepEqual([healed.code, healed.json.outcome], [0, "repaired"], healed.json.error);
  await assertServed(leaf);
});

Deno.test("the running acme-mailcow that does not know yet that it shall skip is told of, and the advice heals it", async () => {
  await using lab = await startLab({ conf: { SKIP_LETS_ENCRYPT: "n" }, first: {} });
  const leaf = await lab.issue();
  const refused = await lab.deliver(leaf);
  deepEqual([refused.code, refused.json.outcome], [1, "refused"]);
  match(refused.json.error, /^SKIP_LETS_ENCRYPT is not yes, mailcow\.conf says "n"/);

  await lab.tree.configure({ SKIP_LETS_ENCRYPT: "y" });
  const warned = await lab.deploy();
  deepEqual([warned.code, warned.json.outcome], [0, "deployed"], warned.json.error);
  match(
    warned.json.warnings.join(),
    /acme-mailcow does not know.*docker compose up -d acme-mailcow/,
  );
  await lab.compose("--progress", "quiet", "up", "-d", "acme-mailcow");
  const next = await lab.deliver(await lab.issue());
  deepEqual(next.json.warnings, []);
});

/** As many clients as Postfix takes of one address, all of this one. */
async function crowd(port: number): Promise<Disposable> {
  const clients = await Promise.all(
    Array.from({ length: 50 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
  );
  await Promise.all(clients.map((client) => client.read(new Uint8Array(512)))); // greeted
  return { [Symbol.dispose]: () => clients.splice(0).forEach((client) => client.close()) };
}

Deno.test("docker says which endpoints are mailcow's: other ports, and nginx behind another server", async () => {
  await using other = elsewhere();
  await using lab = await startLab({
    isPublished: true,
    first: {},
    conf: { HTTPS_BIND: "127.0.0.1", HTTPS_PORT: "8443" },
    untilUp: [...POSTFIX, ...DOVECOT],
  });
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  const urls: string[] = json.served.map(({ endpoint }: { endpoint: string }) => endpoint);
  equal(new Set(urls).size, 9);
  equal(urls.includes("https://127.0.0.1:8443"), true);
  equal(json.served.every(({ ok }: { ok: boolean }) => ok), true);
  await assertServed(leaf, [...POSTFIX, ...DOVECOT]);

  // The engine is one client, whoever connects: Postfix has too many of it, for a while.
  const crowded = await lab.issue();
  const untroubled = await lab.restartedBy(async () => {
    using clients = await crowd(587);
    const deploying = lab.deliver(crowded);
    await until(async () => {
      const log = await lab.compose("logs", "postfix-mailcow");
      return log.includes("Connection concurrency limit exceeded: 51") ? [] : ["51 clients"];
    });
    clients[Symbol.dispose]();
    const { code, json } = await deploying;
    deepEqual([code, json.outcome, json.warnings], [0, "deployed", []], json.error);
    equal(json.served.every(({ ok }: { ok: boolean }) => ok), true);
  });
  deepEqual(untroubled, []);

  // The file says 25 and 8443 still; the override has it otherwise, and another server has 443.
  await Deno.writeTextFile(
    `${lab.tree.root}/docker-compose.override.yml`,
    'services:\n  postfix-mailcow:\n    ports: !override ["127.0.0.1:2525:25"]\n' +
      "  nginx-mailcow:\n    ports: !reset []\n",
  );
  await lab.compose("--progress", "quiet", "up", "--detach");
  await untilAnswered(DOVECOT);
  await until(async () =>
    (await ask("smtp", HOSTNAME, { port: 2525 })).startsWith("none") ? ["smtp"] : []
  );
  const next = await lab.issue();
  const restarted = await lab.restartedBy(async () => {
    const { code, json } = await lab.deliver(next);
    equal(code, 0, json.error);
    const asked = new Set(json.served.map(({ endpoint }: { endpoint: string }) => endpoint));
    equal(asked.has("smtp://127.0.0.1:2525"), true);
    equal([...asked].some((url) => String(url).startsWith("https")), false);
    deepEqual(json.warnings, []);
    match(json.notes.join(), /nginx-mailcow is published nowhere on this host/);
  });
  deepEqual(restarted, []);
  equal((await lab.deploy()).json.outcome, "unchanged");
  equal(other.connections(), 0);
});

/** Another server on 443. */
function elsewhere(): AsyncDisposable & { connections(): number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 443 });
  let count = 0;
  const accepting = (async () => {
    for await (const connection of listener) {
      count++;
      connection.close();
    }
  })();
  return {
    connections: () => count,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await accepting;
    },
  };
}

Deno.test("another engine is found by a context, as the hint says", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const leaf = await lab.issue();
  await Deno.rename("/run/docker.sock", "/run/elsewhere.sock");
  try {
    const { code, json } = await lab.deliver(leaf);
    deepEqual([code, json.outcome], [1, "failed"]);
    match(json.hint, /named by a context \(docker context use\), not by DOCKER_HOST/);
    await tryRun("docker", [
      "context",
      "create",
      "lab",
      "--docker",
      "host=unix:///run/elsewhere.sock",
    ]);
    await tryRun("docker", ["context", "use", "lab"]);
    const next = await lab.deploy();
    deepEqual([next.code, next.json.outcome], [0, "repaired"], next.json.error);
    await assertServed(leaf);
  } finally {
    await tryRun("docker", ["context", "use", "default"]);
    await tryRun("docker", ["context", "rm", "lab"]);
    await Deno.rename("/run/elsewhere.sock", "/run/docker.sock");
  }
});
