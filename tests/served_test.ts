// What real endpoints serve, and why those that give no certificate do not.

import { equal, match, rejects } from "node:assert/strict";
import { type Endpoint, parseEndpoint } from "../lib/values/endpoint_url.ts";
import type { RunContext } from "../lib/run_context.ts";
import type { KeyKind } from "../lib/programs/openssl.ts";
import { readAllServed, readServed } from "../lib/chain/served.ts";
import { type Authority, authority, type Leaf } from "./kit/authority.ts";
import { freePort } from "./kit/free_port.ts";
import { keylessServer } from "./kit/keyless_server.ts";
import {
  ENDPOINT_NAMES,
  ENDPOINTS,
  type MailServices,
  mailServices,
  type Manner,
} from "./kit/mail_services.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { recorder } from "./kit/recorder.ts";
import { runContext } from "./kit/run_context.ts";
import { until } from "./kit/until.ts";

const NAME = "mail.example.org";

const ask = (endpoint: Endpoint, sni: string | null, timeoutMs: number, by: RunContext) =>
  readServed({ endpoint, sni }, timeoutMs, by);

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
      const served = await ask(endpointOf(all, name), sni, 10_000, runContext());
      if (served.kind === "none") throw new Error(`${name}: ${served.reason}`);
      const expected = sni !== null && ENDPOINTS[name].service !== "nginx" ? all.sni : all.top;
      equal(served.leaf.fingerprint, expected.fingerprint, `${name} ${sni}`);
      equal(served.chain.length, 2);
    })
  ));
});

Deno.test("without SNI no name is sent, not even that by which the endpoint is called", async () => {
  // openssl takes it for a name of DNS, the resolver for 127.0.0.1 (inet_aton(3)): none is asked.
  const name = "0x7f.0.0.1";
  await using all = await scene({ named: name });
  const endpoint = { ...endpointOf(all, "imaps"), host: name };
  const fingerprint = async (sni: string | null) => {
    const served = await ask(endpoint, sni, 10_000, runContext());
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
    /^STARTTLS is not offered$|^-ERR TLS support isn't enabled\.$/,
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
        const served = await ask(endpointOf(all, name), NAME, 1_500, runContext());
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
  const slow = await ask(endpointOf(all, "imaps"), null, 10_000, runContext());
  equal(slow.kind, "certificate");
  await all.services.behave("imaps", { dribbleMs: 50 });
  const tooSlow = await ask(endpointOf(all, "imaps"), null, 500, runContext());
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
  const served = await ask(server.endpoint, NAME, 5_000, runContext());
  equal(served.kind === "none" && served.reason, "refused the TLS handshake");
});

Deno.test("a server that never stops talking is given up", async () => {
  const flood = new TextEncoder().encode("* OK still here\r\n".repeat(1_000));
  await using server = listen(async (connection) => {
    for (;;) await connection.write(flood);
  });
  const endpoint: Endpoint = { ...server.endpoint, protocol: "imap" };
  const served = await ask(endpoint, NAME, 1_500, runContext());
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
    const served = await ask({ ...server.endpoint, protocol }, NAME, 2_000, runContext());
    equal(served.kind, "none", protocol);
  }
});

Deno.test("names that do not resolve and addresses without a route have their reasons", async () => {
  const endpoint = (address: string): Endpoint => ({ protocol: "imaps", host: address, port: 993 });
  const blackHole = await ask(endpoint("255.255.255.255"), NAME, 3_000, runContext());
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
  const running = ask(endpointOf(all, "imaps"), null, 30_000, runContext({ stop: stop.signal }));
  setTimeout(() => stop.abort(new Error("stopped")), 100);
  await rejects(running, /^Error: stopped$/);
  equal(performance.now() - start < 3_000, true);
});

Deno.test("an openssl that something kills is no silence of the endpoint", async () => {
  await using programs = await recorder({ openssl: "kill -KILL $$" });
  const endpoint = parseEndpoint(`imaps://127.0.0.1:${freePort()}`, "it");
  await rejects(
    ask(endpoint, null, 5_000, runContext({ bin: programs.bin })),
    /openssl s_client could not tell: it ended with code 137/,
  );
});

Deno.test("a server that shows a certificate without having its key serves nothing", async () => {
  await using ca = await authority();
  for (const algorithm of ["ecdsa-p256", "rsa"] as const) {
    const leaf = await ca.issue({ names: [NAME], algorithm });
    await using server = keylessServer(leaf.certPem);
    const endpoint: Endpoint = { protocol: "imaps", host: "127.0.0.1", port: server.port };
    const served = await ask(endpoint, NAME, 5_000, runContext());
    equal(
      served.kind === "none" && served.reason,
      "showed a certificate whose key it does not have",
      algorithm,
    );
  }
});

/** Speaks the first lines of a mail server to each client: what it says, and where it hangs up. */
function speak(protocol: Endpoint["protocol"], ...lines: string[]) {
  const server = listen(async (connection) => {
    for (const line of lines) {
      await connection.write(new TextEncoder().encode(`${line}\r\n`));
      if (line !== lines.at(-1)) await connection.read(new Uint8Array(4_096));
    }
    if (lines.length > 1) await connection.read(new Uint8Array(4_096)); // what openssl tries anyway
    connection.close();
  });
  return {
    endpoint: { ...server.endpoint, protocol } as Endpoint,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

Deno.test("a server that refuses STARTTLS is quoted", async (t) => {
  const ehlo = "250-mail.example.org\r\n250 STARTTLS";
  const cases: [Endpoint["protocol"], lines: string[], reason: string][] = [
    [
      "smtp",
      ["220 mail.example.org", ehlo, "454 4.7.0 TLS not available due to local problem"],
      "454 4.7.0 TLS not available due to local problem",
    ],
    [
      "submission",
      ["220 mail.example.org", ehlo, "451 4.7.1 Try again later"],
      "451 4.7.1 Try again later",
    ],
    ["smtp", ["554 5.7.1 No SMTP service here"], "STARTTLS is not offered"],
    ["pop3", ["+OK ready", "-ERR TLS support isn't enabled."], "-ERR TLS support isn't enabled."],
    ["sieve", ['"STARTTLS"\r\nOK "ready"', 'NO "no TLS now"'], 'NO "no TLS now"'],
    ["imap", ["* BYE Too many connections"], "* BYE Too many connections"],
  ];
  for (const [protocol, lines, reason] of cases) {
    await t.step(reason, async () => {
      await using server = speak(protocol, ...lines);
      const served = await ask(server.endpoint, NAME, 3_000, runContext());
      equal(served.kind === "none" && served.reason, reason);
    });
  }
});

Deno.test("a server with too many connections is asked again, until the time is over", async () => {
  let clients = 0;
  await using server = listen(async (connection) => {
    clients++;
    const words = clients < 3 ? "421 4.7.0 Error: too many connections" : "554 5.3.2 closed";
    await connection.write(new TextEncoder().encode(`${words}\r\n`));
    connection.close();
  });
  const endpoint: Endpoint = { ...server.endpoint, protocol: "smtp" };
  const served = await ask(endpoint, NAME, 5_000, runContext());
  equal(clients, 3);
  equal(served.kind === "none" && served.reason.startsWith("421"), false);
  clients = -1_000;
  const given = await ask(endpoint, NAME, 2_000, runContext());
  equal(given.kind === "none" && given.reason, "421 4.7.0 Error: too many connections");

  // Also where it says nothing any more when the time is over.
  let asked = 0;
  await using silent = listen(async (connection) => {
    if (++asked === 1) {
      await connection.write(new TextEncoder().encode("421 4.7.0 Error: too many connections\r\n"));
      connection.close();
    }
  });
  const before = await ask({ ...silent.endpoint, protocol: "smtp" }, NAME, 2_000, runContext());
  equal(asked, 2);
  equal(before.kind === "none" && before.reason, "421 4.7.0 Error: too many connections");
});

Deno.test("a server with two kinds of keys is asked for the kind that is meant", async () => {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const ca = stack.use(await authority());
  const [ec, rsa] = await Promise.all([
    ca.issue({ names: [NAME] }),
    ca.issue({ names: [NAME], algorithm: "rsa" }),
  ]);
  const file = async (name: string, text: string) => {
    await Deno.writeTextFile(`${dir.path}/${name}`, text, { mode: 0o600 });
    return `${dir.path}/${name}`;
  };
  const port = freePort();
  const child = new Deno.Command("openssl", {
    args: [
      ...["s_server", "-accept", `127.0.0.1:${port}`, "-www"],
      ...["-cert", await file("a.pem", ec.certPem), "-key", await file("a.key", ec.keyPem)],
      ...["-dcert", await file("b.pem", rsa.certPem), "-dkey", await file("b.key", rsa.keyPem)],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  stack.defer(async () => {
    child.kill("SIGKILL");
    await child.status;
  });
  const question = { endpoint: { protocol: "https", host: "127.0.0.1", port }, sni: NAME } as const;
  await until(async () => (await readServed(question, 5_000, runContext())).kind === "certificate");
  const given = async (keyKind: KeyKind | null) => {
    const served = await readServed({ ...question, keyKind }, 5_000, runContext());
    return served.kind === "none" ? served.reason : served.leaf.fingerprint;
  };
  equal(await given(null), ec.fingerprint);
  equal(await given("ec"), ec.fingerprint);
  equal(await given("rsa"), rsa.fingerprint);
  equal(await given("ed25519"), "refused the TLS handshake");
});

Deno.test("forty questions are asked ten at one address and thirty-two at once, all of them", async () => {
  let [open, most] = [0, 0];
  const servers = Array.from({ length: 4 }, () =>
    listen(async (connection) => {
      most = Math.max(most, ++open);
      setTimeout(() => {
        open--;
        connection.close();
      }, 150);
      await Promise.resolve();
    }));
  await using stack = new AsyncDisposableStack();
  servers.forEach((server) => stack.use(server));
  const questions = servers.flatMap(({ endpoint }) =>
    Array.from({ length: 12 }, () => ({ endpoint, sni: null }))
  );
  const answers = await readAllServed(questions, 10_000, runContext());
  equal(answers.length, 48);
  equal(answers.every(({ kind }) => kind === "none"), true);
  equal(most <= 32, true, `${most} at once`);
});
