// Servers that go on giving another certificate, or that another one takes with it: nothing is done
// twice that did not help, and nobody is punished for somebody else.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { tryRun } from "../kit/run.ts";
import { textOf } from "../kit/text_of.ts";
import { actions, ALL_RELOADED, type Lab, SERVICES, startLab } from "./lab.ts";
import {
  ask,
  assertServed,
  DOVECOT,
  HOSTNAME,
  NGINX,
  POSTFIX,
  until,
  untilAnswered,
  WITHOUT_LOGIN,
} from "./wire.ts";

/** How often each case of chance is tried. */
const RUNS = Number(Deno.env.get("LAB_RUNS") ?? 1);

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

interface Fate {
  befall(lab: Lab): Promise<unknown>;
  end(lab: Lab): Promise<unknown>;
}

/** What befalls Dovecot before deploy, or while it is at work. */
const fates: Record<string, Fate> = {
  "stopped": {
    befall: (lab) => lab.compose("stop", "--timeout", "1", "dovecot-mailcow"),
    end: (lab) => lab.compose("start", "dovecot-mailcow"),
  },
  "paused": {
    befall: (lab) => lab.compose("pause", "dovecot-mailcow"),
    end: (lab) => lab.compose("unpause", "dovecot-mailcow"),
  },
  "slow": {
    befall: async (lab) => {
      await lab.tell("dovecot-mailcow", "slow", "4");
      await lab.compose("restart", "--timeout", "1", "dovecot-mailcow");
    },
    end: (lab) => lab.tell("dovecot-mailcow", "slow", null),
  },
};

for (const [fate, { befall, end }] of Object.entries(fates)) {
  for (const apply of ["reload", "restart"]) {
    Deno.test(`the new certificate is never rejected where Dovecot is ${fate} during a ${apply}`, async () => {
      const ends: string[] = [];
      for (let run = 0; run < RUNS; run++) {
        await using lab = await startLab({
          settle: "3s",
          restartTimeout: "6s",
          isDeployed: true,
          first: {},
        });
        await lab.configure({ apply });
        const isBefore = run % 2 === 0;
        if (isBefore) await befall(lab);
        const leaf = await lab.issue();
        let outcome = "";
        const restarts = await lab.restartsDuring(async () => {
          const [{ code, json }] = await Promise.all([
            lab.deliver(leaf),
            isBefore
              ? null
              : new Promise((go) => setTimeout(go, 100 * run)).then(() => befall(lab)),
          ]);
          outcome = json.outcome;
          equal(["deployed", "stale"].includes(outcome), true, json.error);
          equal(code, outcome === "deployed" ? 0 : 1);
        });
        equal(await textOf(`${lab.state}/rejected`), "");
        equal(await Deno.readTextFile(lab.tree.certFile), leaf.fullchainPem);
        equal(await ask("smtp", HOSTNAME), leaf.fingerprint);
        const ofOthers = restarts.filter((service) => service !== "dovecot-mailcow");
        const asTold = apply === "reload" ? [] : ["nginx-mailcow", "postfix-mailcow"];
        deepEqual(ofOthers, asTold, "they are not to blame");
        const own = restarts.length - ofOthers.length;
        ok(own <= (fate === "slow" && !isBefore ? 2 : 1), `${own} restarts of Dovecot`);
        ends.push(`${outcome}, ${restarts.join(" and ") || "nothing"} restarted`);

        await end(lab);
        await untilAnswered(DOVECOT);
        await lab.configure({ apply: "reload" });
        const later = await lab.restartsDuring(async () => {
          const second = await lab.deploy();
          equal(second.code, 0, second.json.error);
          const third = await lab.deploy();
          deepEqual([third.code, third.json.outcome], [0, "unchanged"], third.json.error);
        });
        deepEqual(later, []);
        await assertServed(leaf, WITHOUT_LOGIN);
        const loaded = (await textOf(`${lab.state}/loaded`)).trim().split("\n").sort();
        deepEqual(loaded, [...SERVICES].sort().map((name) => `${name} ${leaf.fingerprint}`));
        for (const file of ["rejected", "unhelped"]) {
          equal(await textOf(`${lab.state}/${file}`), "", file);
        }
      }
      console.log(`lab: Dovecot ${fate} during a ${apply}: ${countEach(ends)}`);
    });
  }
}

function countEach(texts: readonly string[]): string {
  return Array.from(
    Map.groupBy(texts, (text) => text),
    ([text, alike]) => `${alike.length} ${text}`,
  )
    .join("; ");
}

Deno.test("where Dovecot is away Postfix ends whoever logs in, which is Dovecot's trouble", async () => {
  await using lab = await startLab({
    settle: "2s",
    restartTimeout: "8s",
    isDeployed: true,
    first: {},
  });
  await lab.configure({ endpoints: "[smtps://127.0.0.1, imaps://127.0.0.1]" });
  await lab.compose("stop", "dovecot-mailcow");
  // The first one still gets through, and takes its server with it.
  await until(async () => (await ask("smtps", null)).startsWith("none") ? [] : ["smtps answers"]);
  const leaf = await lab.issue();
  const restarted = await lab.restartedBy(async () => {
    const { code, json } = await lab.deliver(leaf);
    deepEqual([code, json.outcome], [0, "deployed"], json.error);
    match(json.warnings.join(), /dovecot-mailcow is not running/);
  });
  deepEqual(restarted, []);
  await lab.compose("start", "dovecot-mailcow");
  await untilAnswered(DOVECOT);
  const after = await lab.deploy();
  deepEqual([after.code, after.json.outcome], [0, "repaired"], after.json.error);
  await assertServed(leaf, DOVECOT);
  equal((await lab.deploy()).json.outcome, "unchanged");
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
