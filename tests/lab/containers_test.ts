// Containers that are stopped, paused or slow, and ports that cannot be asked: a clear outcome each.

import { deepEqual, equal, match } from "node:assert/strict";
import { actions, ALL_RELOADED, startLab } from "./lab.ts";
import {
  ask,
  assertServed,
  DOVECOT,
  HOSTNAME,
  NAMES,
  NGINX,
  untilAnswered,
  WITHOUT_LOGIN,
} from "./wire.ts";

Deno.test("a stopped container is none of deploy's business, and right when it starts", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  await lab.compose("stop", "dovecot-mailcow");
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  deepEqual(actions(json), { ...ALL_RELOADED, "dovecot-mailcow": "none" });
  match(json.warnings.join("\n"), /dovecot-mailcow/);
  await assertServed(leaf, ["smtp", ...NGINX]);

  await lab.compose("start", "dovecot-mailcow");
  await untilAnswered(DOVECOT);
  await assertServed(leaf, WITHOUT_LOGIN);
  const after = await lab.deploy();
  equal(after.code, 0, after.json.error);
  equal(after.json.outcome, "repaired");
  equal((await lab.deploy()).json.outcome, "unchanged");
});

Deno.test("a paused container is said to be paused, and the next run after it goes on heals it", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "5s",
    isDeployed: true,
    first: {},
  });
  await lab.compose("pause", "dovecot-mailcow");
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  await assertServed(leaf, ["smtp", ...NGINX]);
  deepEqual([code, json.outcome], [0, "deployed"], json.error);
  match(json.warnings.join("\n"), /dovecot-mailcow is paused/);

  await lab.compose("unpause", "dovecot-mailcow");
  const after = await lab.deploy();
  equal(after.code, 0, after.json.error);
  equal(after.json.outcome, "repaired");
  await assertServed(leaf, WITHOUT_LOGIN);
});

Deno.test("a service that takes longer than it may is stale at the deadline, and healed by the next run", async () => {
  await using lab = await startLab({
    settle: "3s",
    restartTimeout: "5s",
    isDeployed: true,
    first: {},
  });
  await lab.wrap("dovecot-mailcow", "dovecot", "exit 0"); // deaf, so that it is restarted
  await lab.tell("dovecot-mailcow", "slow", "15");
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(json.outcome, "stale");
  equal(code, 1);
  deepEqual(actions(json), { ...ALL_RELOADED, "dovecot-mailcow": "restarted" });
  equal(await Deno.readTextFile(lab.tree.certFile), leaf.fullchainPem);
  await assertServed(leaf, ["smtp", ...NGINX]);

  await lab.wrap("dovecot-mailcow", "dovecot", null);
  await untilAnswered(DOVECOT);
  const after = await lab.deploy();
  equal(after.code, 0, after.json.error);
  equal(after.json.outcome, "repaired");
  await assertServed(leaf, WITHOUT_LOGIN);
  equal((await lab.deploy()).json.outcome, "unchanged");
});

Deno.test("a slow restart is waited for as long as restart_timeout says", async () => {
  await using lab = await startLab({ settle: "1s", isDeployed: true, first: {} });
  await lab.wrap("postfix-mailcow", "postfix", "exit 0");
  await lab.tell("postfix-mailcow", "slow", "6");
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  await assertServed(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  deepEqual(actions(json), { ...ALL_RELOADED, "postfix-mailcow": "restarted" });
});

Deno.test("a port that is not published is a warning, and right when it is", async () => {
  await using lab = await startLab({ isDeployed: true, first: {} });
  const override = `${lab.tree.root}/docker-compose.override.yml`;
  await Deno.writeTextFile(
    override,
    'services:\n  dovecot-mailcow:\n    environment:\n      POP_PORT: "0"\n',
  );
  await lab.compose("--progress", "quiet", "up", "--detach");
  await untilAnswered(NAMES.filter((name) => name !== "pop3"));
  match(await ask("pop3", null), /^none/);

  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  match(json.warnings.join("\n"), /pop3:\/\/127\.0\.0\.1:110/);
  deepEqual(actions(json), ALL_RELOADED);
  await assertServed(leaf, NAMES.filter((name) => name !== "pop3"));

  await Deno.remove(override);
  await lab.compose("--progress", "quiet", "up", "--detach");
  await untilAnswered();
  await assertServed(leaf);
  equal((await lab.deploy()).code, 0);
});

Deno.test("https behind the PROXY protocol is reloaded but not asked, and serves the new one", async () => {
  await using lab = await startLab({ conf: { NGINX_USE_PROXY_PROTOCOL: "y" } });
  const leaf = await lab.issue();
  const { code, json } = await lab.deliver(leaf);
  equal(code, 0, json.error);
  equal(json.outcome, "deployed");
  deepEqual(actions(json), ALL_RELOADED);
  equal(json.served.length, 16);
  equal(JSON.stringify(json.served).includes("https"), false);

  const behindProxy = proxy(443);
  for (const sni of [HOSTNAME, null]) {
    equal(await ask("https", sni, { port: behindProxy.port }), leaf.fingerprint);
  }
  behindProxy.close();
  equal((await lab.deploy()).json.outcome, "unchanged");

  await lab.tree.configure({ NGINX_USE_PROXY_PROTOCOL: "n" });
  await lab.compose("--progress", "quiet", "up", "--detach");
  await untilAnswered();
  await assertServed(leaf);
  const next = await lab.issue();
  equal((await lab.deliver(next)).code, 0);
  await assertServed(next);
});

/** A proxy that says with the PROXY protocol who the client is. */
function proxy(to: number): { port: number; close(): void } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const client of listener) {
      const server = await Deno.connect({ hostname: "127.0.0.1", port: to });
      await server.write(new TextEncoder().encode("PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n"));
      Promise.allSettled([
        client.readable.pipeTo(server.writable),
        server.readable.pipeTo(client.writable),
      ]);
    }
  })();
  return { port: listener.addr.port, close: () => listener.close() };
}
