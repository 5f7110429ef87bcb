// What real endpoints serve, and why those that give no certificate do not.

import { equal, match, rejects } from "node:assert/strict";
import { type Endpoint, parseEndpoint } from "../lib/values/endpoint_url.ts";
import { readServed } from "../lib/chain/served.ts";
import { type Authority, authority, type Leaf } from "./kit/authority.ts";
import { freePort } from "./kit/free_port.ts";
import {
  ENDPOINT_NAMES,
  ENDPOINTS,
  type MailServices,
  mailServices,
  type Manner,
} from "./kit/mail_services.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { runContext } from "./kit/run_context.ts";

const NAME = "mail.example.org";

interface Scene extends AsyncDisposable {
  services: MailServices;
  ca: Authority;
  top: Leaf;
  sni: Leaf;
}

/** One pair for clients without SNI, another for those who name the mail host. */
async function scene({ named = NAME } = {}): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const ca = stack.use(await authority());
  const [top, sni] = await Promise.all([
    ca.issue({ names: [NAME], algorithm: "rsa" }),
    ca.issue({ names: [NAME], algorithm: "ed25519" }),
  ]);
  const mailcow = await mailcowTree(dir.path, { leaf: top });
  await mailcow.putSni(named, sni);
  const services = stack.use(await mailServices(mailcow));
  const owned = stack.move();
  return { services, ca, top, sni, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const endpointOf = ({ services }: Scene, name: typeof ENDPOINT_NAMES[number]): Endpoint =>
  parseEndpoint(services.url(name), "it");

Deno.test("every protocol gives its leaf and chain, with SNI and without", async () => {
  await using all = await scene();
  await Promise.all(ENDPOINT_NAMES.flatMap((name) =>
    [NAME, null].map(async (sni) => {
      const served = await readServed(endpointOf(all, name), sni, 10_000, runContext());
      if (served.kind === "none") throw new Error(`${name}: ${served.reason}`);
      const expected = sni !== null && ENDPOINTS[name].service !== "nginx" ? all.sni : all.top;
      equal(served.leaf.fingerprint, expected.fingerprint, `${name} ${sni}`);
      equal(served.chainLength, 2);
    })
  ));
});

Deno.test("without SNI no name is sent, not even that by which the endpoint is called", async () => {
  // openssl takes it for a name of DNS, the resolver for 127.0.0.1 (inet_aton(3)): none is asked.
  const name = "0x7f.0.0.1";
  await using all = await scene({ named: name });
  const endpoint = { ...endpointOf(all, "imaps"), host: name };
  const fingerprint = async (sni: string | null) => {
    const served = await readServed(endpoint, sni, 10_000, runContext());
    return served.kind === "none" ? served.reason : served.leaf.fingerprint;
  };
  equal(await fingerprint(name), all.sni.fingerprint);
  equal(await fingerprint(null), all.top.fingerprint);
});

/** Why each protocol gives no certificate when its endpoint behaves so. */
const silences: [manner: Manner, reason: RegExp, plain: RegExp][] = [
  // with STARTTLS, without
  ["closed", /^connection refused$/, /^connection refused$/],
  ["hangs-up", /^closed the connection/, /^closed the connection/],
  [
    "refuses-starttls",
    /^STARTTLS is not offered$|^answered STARTTLS, but not/,
    /^answered, but not with TLS$/,
  ],
  ["garbage", /^answered STARTTLS, but not with TLS$/, /^answered, but not with TLS$/],
  ["silent", /^no certificate within 1\.5 s$/, /^no certificate within 1\.5 s$/],
];

Deno.test("an endpoint that gives no certificate has a reason, within the time-out", async (t) => {
  await using all = await scene();
  for (const [manner, starttls, plain] of silences) {
    await t.step(String(manner), async () => {
      await Promise.all(ENDPOINT_NAMES.map((name) => all.services.behave(name, manner)));
      const start = performance.now();
      const reasons = await Promise.all(ENDPOINT_NAMES.map(async (name) => {
        const served = await readServed(endpointOf(all, name), NAME, 1_500, runContext());
        return [name, served.kind === "none" ? served.reason : "a certificate"] as const;
      }));
      for (const [name, reason] of reasons) {
        match(
          reason,
          ENDPOINTS[name].starttls === undefined ? plain : starttls,
          `${name}: ${reason}`,
        );
      }
      const took = performance.now() - start;
      equal(took < 4_000, true, `${took} ms for all of them at once`);
    });
  }
});

Deno.test("a slow handshake is waited for, one that is too slow is not", async () => {
  await using all = await scene();
  await all.services.behave("imaps", { dribbleMs: 0 });
  const slow = await readServed(endpointOf(all, "imaps"), null, 10_000, runContext());
  equal(slow.kind, "certificate");
  await all.services.behave("imaps", { dribbleMs: 50 });
  const tooSlow = await readServed(endpointOf(all, "imaps"), null, 500, runContext());
  equal(tooSlow.kind === "none" && tooSlow.reason, "no certificate within 0.5 s");
});

/** Accepts one connection after the other and does that to it. */
function listen(talk: (connection: Deno.TcpConn) => Promise<void>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: freePort() });
  const open = new Set<Deno.TcpConn>();
  const done = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      await talk(connection).catch(() => {}); // the client has gone
    }
  })();
  return {
    endpoint: parseEndpoint(`imaps://127.0.0.1:${listener.addr.port}`, "it"),
    [Symbol.asyncDispose]: async () => {
      listener.close();
      for (const connection of open) {
        try {
          connection.close();
        } catch { /* it is closed already */ }
      }
      await done;
    },
  };
}

Deno.test("a TLS server that refuses the handshake is said to refuse it", async () => {
  const alert = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40); // fatal, handshake_failure
  await using server = listen(async (connection) => {
    await connection.read(new Uint8Array(4_096));
    await connection.write(alert);
    connection.close();
  });
  const served = await readServed(server.endpoint, NAME, 5_000, runContext());
  equal(served.kind === "none" && served.reason, "refused the TLS handshake");
});

Deno.test("a server that never stops talking is given up", async () => {
  const flood = new TextEncoder().encode("* OK still here\r\n".repeat(1_000));
  await using server = listen(async (connection) => {
    for (;;) await connection.write(flood);
  });
  const endpoint: Endpoint = { ...server.endpoint, protocol: "imap" };
  const served = await readServed(endpoint, NAME, 1_500, runContext());
  equal(served.kind, "none");
});

Deno.test("what a server says cannot pass for its certificate", async () => {
  await using ca = await authority();
  const leaf = await ca.issue({ names: [NAME] });
  await using server = listen(async (connection) => {
    await connection.write(new TextEncoder().encode(`* OK hello\r\n${leaf.certPem}`));
    await connection.read(new Uint8Array(4_096));
    await connection.write(new TextEncoder().encode(leaf.certPem));
    connection.close();
  });
  for (const protocol of ["imaps", "imap"] as const) {
    const served = await readServed({ ...server.endpoint, protocol }, NAME, 2_000, runContext());
    equal(served.kind, "none", protocol);
  }
});

Deno.test("names that do not resolve and addresses without a route have their reasons", async () => {
  const endpoint = (address: string): Endpoint => ({ protocol: "imaps", host: address, port: 993 });
  const blackHole = await readServed(endpoint("255.255.255.255"), NAME, 3_000, runContext());
  match(
    blackHole.kind === "none" ? blackHole.reason : "",
    /unreachable|no route|[Pp]ermission|time|Invalid/,
  );
});

Deno.test("stopping ends a handshake at once, with the reason for the stop", async () => {
  await using all = await scene();
  await all.services.behave("imaps", "silent");
  const stop = new AbortController();
  const start = performance.now();
  const running = readServed(
    endpointOf(all, "imaps"),
    null,
    30_000,
    runContext({ stop: stop.signal }),
  );
  setTimeout(() => stop.abort(new Error("stopped")), 100);
  await rejects(running, /^Error: stopped$/);
  equal(performance.now() - start < 3_000, true);
});
