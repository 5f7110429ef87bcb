// What is served is judged with its chain, as a client would: openssl s_client is asked beside it.

import { deepEqual, equal } from "node:assert/strict";
import { CA, type Issuer, type Request, sign } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { keylessServer } from "./kit/keyless_server.ts";
import { mailServices } from "./kit/mail_services.ts";
import { mailcowTree, type Served } from "./kit/mailcow_tree.ts";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";

const DAY_MS = 86_400_000;
const inDays = (days: number) => new Date(Math.floor(Date.now() / 1_000) * 1_000 + days * DAY_MS);

interface Kind {
  readonly served: Served;
  readonly status: "ok" | "warning" | "critical";
  readonly verdict: string;
}

/** A served chain of each kind that was reported from somewhere, by the name that it is served for. */
async function kinds(dir: string): Promise<{ rootPem: string; kinds: Map<string, Kind> }> {
  const openssl = need("openssl");
  const certify = (subject: string, issuer?: Issuer, changes: Partial<Request> = {}) =>
    sign(openssl, dir, {
      ...CA,
      subject: `/O=Kit/CN=${subject}`,
      ...(issuer && { issuer }),
      ...changes,
    });
  const root = await certify("Root");
  const [other, e1, namesake, past, unknown] = await Promise.all([
    certify("Other"),
    certify("E1", root),
    certify("E1", root),
    certify("Old Root", undefined, { notAfter: inDays(-30) }),
    certify("Unknown Root"),
  ]);
  const sameKey = (subject: string, key: Issuer, changes: Partial<Request>, issuer = root) =>
    certify(subject, issuer, { keyPem: key.keyPem, ...changes });
  const [expired, future, noAuthority, narrow, e2, u1, cross] = await Promise.all([
    sameKey("E1", e1, { notAfter: inDays(-1) }),
    sameKey("E1", e1, { notBefore: inDays(1) }),
    sameKey("E1", e1, { basicConstraints: "CA:FALSE" }),
    sameKey("E1", e1, { basicConstraints: "CA:TRUE,pathlen:0" }),
    certify("E2", e1),
    certify("U1", unknown),
    sameKey("Root", root, {}, past),
  ]);

  const found = new Map<string, Kind>();
  const chains: [
    string,
    Issuer | undefined,
    Issuer[],
    Kind["status"],
    string,
    Partial<Request>?,
  ][] = [
    ["whole", e1, [e1], "ok", "ok"],
    ["two-levels", e2, [e2, e1], "ok", "ok"],
    ["wrong-order", e2, [e1, e2], "ok", "ok"],
    ["with-root", e1, [e1, root], "ok", "ok"],
    ["with-one-more", e1, [e1, other], "ok", "ok"],
    // As when AddTrust and DST Root X3 ended: whoever knows the root does not need the old way.
    ["expired-cross", e1, [e1, cross, past], "ok", "ok"],
    ["leaf-alone", e1, [], "warning", "no intermediate"],
    ["stranger-instead", e1, [other], "warning", "no intermediate"],
    ["middle-missing", e2, [e1], "warning", "no intermediate"],
    ["top-missing", e2, [e2], "warning", "issuer unknown here"],
    ["unknown-root", u1, [u1], "warning", "issuer unknown here"],
    ["unknown-root-too", u1, [u1, unknown], "critical", "root unknown here"],
    ["other-key", e1, [namesake], "critical", "wrong intermediate"],
    ["expired-intermediate", e1, [expired], "critical", "intermediate expired"],
    ["future-intermediate", e1, [future], "critical", "intermediate not yet valid"],
    ["no-authority", e1, [noAuthority], "critical", "broken chain"],
    ["path-too-long", e2, [e2, narrow], "critical", "broken chain"],
    ["for-clients", e1, [e1], "critical", "broken chain", { extendedKeyUsage: "clientAuth" }],
    ["self-signed", undefined, [], "critical", "self-signed"],
    ["expired", e1, [e1], "critical", "expired", { notBefore: inDays(-90), notAfter: inDays(-1) }],
  ];
  await Promise.all(chains.map(async ([label, issuer, others, status, verdict, changes]) => {
    const name = `${label}.example`;
    const { certPem, keyPem } = await certify(name, issuer, {
      ...{ san: [name], keyUsage: "digitalSignature", extendedKeyUsage: "serverAuth" },
      ...{ basicConstraints: "CA:FALSE", notBefore: inDays(-1), notAfter: inDays(89) },
      ...changes,
    });
    const fullchainPem = certPem + others.map((other) => other.certPem).join("");
    found.set(name, { served: { fullchainPem, keyPem }, status, verdict });
  }));
  return { rootPem: root.certPem, kinds: found };
}

Deno.test("a served chain is ok where s_client takes it, and otherwise has its own verdict", async (t) => {
  await using dir = await tempDir();
  const { rootPem, kinds: all } = await kinds(dir.path);
  equal([...all.values()].filter(({ status }) => status !== "ok").length >= 12, true);
  const rootFile = `${dir.path}/root.pem`;
  await Deno.writeTextFile(rootFile, rootPem);
  const config = `${dir.path}/config.yaml`;
  await Deno.writeTextFile(config, JSON.stringify({ verify: { trust: rootFile } }));

  const [first] = all.values();
  if (first === undefined) throw new Error("no chain");
  const mailcow = await mailcowTree(`${dir.path}/mailcow`, { leaf: first.served });
  for (const [name, { served }] of all) await mailcow.putSni(name, served);
  await using services = await mailServices(mailcow, { up: ["dovecot"] });

  for (const [name, { status, verdict }] of all) {
    await t.step(`${status}: ${name}`, async () => {
      const [asked, result] = await Promise.all([
        tryRun(need("openssl"), [
          ...["s_client", "-connect", `127.0.0.1:${services.ports.imaps}`, "-servername", name],
          ...["-CAfile", rootFile, "-no-CApath", "-no-CAstore", "-verify_return_error", "-brief"],
        ], { stdin: "" }),
        certsync([
          ...["verify", name, "--json", "--leg", "served", "--config", config],
          ...["--endpoint", services.url("imaps")],
        ]),
      ]);
      const { legs } = result.json();
      const leg = legs.find(({ sni }: { sni?: string }) => sni === name);
      deepEqual([leg.status, leg.verdict], [status, verdict], result.stdout);
      equal(asked.code === 0, status === "ok", asked.stderr);
    });
  }
});

Deno.test("a server that shows a certificate without its key is said to do so", async () => {
  await using dir = await tempDir();
  const { kinds: all } = await kinds(dir.path);
  await using server = keylessServer(all.get("whole.example")?.served.fullchainPem ?? "");
  const endpoint = `imaps://127.0.0.1:${server.port}`;
  const { code, json } = await certsync([
    ...["verify", "whole.example", "--json", "--leg", "served", "--endpoint", endpoint],
  ]);
  equal(code, 2);
  for (const { error, fingerprint } of json().legs) {
    deepEqual([error, fingerprint], ["showed a certificate whose key it does not have", null]);
  }
});
