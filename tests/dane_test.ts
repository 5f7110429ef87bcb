// Which TLSA records count and whether a chain fits them, as OpenSSL has it over real SMTP.

import { deepEqual, equal } from "node:assert/strict";
import { type Certificate, parseChain } from "../lib/certificate/certificate.ts";
import {
  countedRecords,
  daneChange,
  formatTlsaRecord,
  judgeDane,
  parseTlsaRecord,
  tlsaLine,
  type TlsaRecord,
} from "../lib/certificate/dane.ts";
import { authority, tlsa } from "./kit/authority.ts";
import {
  type DaneState,
  daneStates,
  record,
  type ServedChain,
  type Verdict,
} from "./kit/dane_states.ts";
import { freePort } from "./kit/free_port.ts";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";
import { smtpServer } from "./kit/smtp_server.ts";

function chainOf(pem: string): Certificate[] {
  return parseChain(new TextEncoder().encode(pem), "the chain");
}

function parsed(texts: readonly string[]): TlsaRecord[] {
  return texts.map((text) => {
    const record = parseTlsaRecord(text);
    if (record === null) throw new Error(`no record: ${text}`);
    return record;
  });
}

Deno.test("in every state DANE is what openssl makes of it", async (t) => {
  await using ca = await authority();
  const { states, chains } = await daneStates(ca);
  const names = Object.keys(chains) as ServedChain[];
  const ports = Object.fromEntries(names.map((name) => [name, freePort()]));
  await using _server = await smtpServer(
    names.map((name) => ({ address: "127.0.0.1", port: ports[name] ?? 0, pair: chains[name] })),
  );
  for (const state of states) {
    await t.step(`${state.what}, ${state.served}: ${state.verdict}`, async () => {
      const chain = chainOf(chains[state.served].fullchainPem);
      const judged = judgeDane(parsed(state.records), chain, state.host, new Date());
      equal(judged.kind, state.verdict);
      if (state.judges === "senders" || state.records.length === 0) return;
      equal(await opensslJudges(state, ports[state.served] ?? 0), state.verdict);
    });
  }
});

async function opensslJudges(
  { host, records }: Pick<DaneState, "host" | "records">,
  port: number,
  now = new Date(),
): Promise<Verdict> {
  const { code, stderr } = await tryRun(need("openssl"), [
    ...["s_client", "-connect", `127.0.0.1:${port}`, "-starttls", "smtp", "-servername", host],
    ...["-dane_tlsa_domain", host, "-dane_ee_no_namechecks", "-verify_return_error", "-brief"],
    ...["-attime", String(Math.floor(now.getTime() / 1000))],
    ...records.flatMap((record) => ["-dane_tlsa_rrdata", record]),
  ]);
  if (stderr.includes("Failed to import any TLSA records")) return "no-dane";
  if (code === 0 && /^DANE TLSA .* (matched|signed)/m.test(stderr)) return "fits";
  if (code !== 0 && /^verify error/m.test(stderr)) return "misfit";
  throw new Error(`openssl said neither: ${stderr}`);
}

Deno.test("what lies below a trust anchor must not have expired", async () => {
  await using ca = await authority();
  const host = "mail.example.org";
  const leaf = await ca.issue({ names: [host], notAfter: new Date("2150-01-01T00:00:00Z") });
  const port = freePort();
  await using _server = await smtpServer([{ address: "127.0.0.1", port, pair: leaf }]);
  const key = await tlsa(leaf);
  const [issuer, root] = [record(2, "1 1", leaf.chainPem), record(2, "0 0", ca.rootPem)];
  const chain = chainOf(leaf.fullchainPem);
  const cases: [published: string, year: number, verdict: Verdict][] = [
    [issuer, 2098, "fits"],
    [issuer, 2100, "fits"], // it has expired itself
    [root, 2098, "fits"],
    [root, 2100, "misfit"],
    [issuer, 2160, "misfit"],
    [key, 2160, "fits"],
  ];
  for (const [published, year, verdict] of cases) {
    const now = new Date(Date.UTC(year, 6));
    equal(judgeDane(parsed([published]), chain, host, now).kind, verdict, `${published} ${year}`);
    equal(await opensslJudges({ host, records: [published] }, port, now), verdict);
  }
});

Deno.test("a new key breaks DANE only where the old one fitted and the new one does not", async () => {
  await using ca = await authority();
  const name = "mail.example.org";
  const [old, renewed] = await Promise.all([
    ca.issue({ names: [name] }),
    ca.issue({ names: [name] }),
  ]);
  const [oldKey, newKey] = await Promise.all([tlsa(old), tlsa(renewed)]);
  const strange = `3 1 1 ${"00".repeat(32)}`;
  const cases: [records: string[], change: string, first: string][] = [
    [[], "no-dane", "no-dane"],
    [[oldKey], "breaks", "neither"],
    [[newKey], "fits", "fits"],
    [[oldKey, newKey], "fits", "fits"],
    [[strange], "neither", "neither"],
    [["1 1 1 00"], "no-dane", "no-dane"],
  ];
  const now = new Date();
  const next = chainOf(renewed.fullchainPem);
  const installed = chainOf(old.fullchainPem);
  for (const [records, change, first] of cases) {
    const becomes = (pair: Parameters<typeof daneChange>[1]) =>
      daneChange(parsed(records), pair, name, now);
    equal(becomes({ installed, next }), change, records.join());
    equal(becomes({ installed: null, next }), first, records.join());
    // What is not replaced breaks nothing.
    equal(becomes({ installed: next, next }) === "breaks", false);
  }
});

Deno.test("records for a filter gateway fit what the gateway serves, and neither pair here", async () => {
  await using ca = await authority();
  const name = "mail.example.org";
  const [here, next, gateway] = await Promise.all([
    ca.issue({ names: [name] }),
    ca.issue({ names: [name] }),
    ca.issue({ names: ["gateway.example.com"] }),
  ]);
  const records = parsed([await tlsa(gateway)]);
  const [installed, renewed] = [chainOf(here.fullchainPem), chainOf(next.fullchainPem)];
  const now = new Date();
  equal(daneChange(records, { installed, next: renewed }, name, now), "neither");
  equal(judgeDane(records, chainOf(gateway.fullchainPem), name, now).kind, "fits");
});

Deno.test("a record is read as dig prints it, and anything else is none", () => {
  const hex = "0123456789abcdef".repeat(4);
  const cases: [text: string, read: string | null][] = [
    [`3 1 1 ${hex}`, `3 1 1 ${hex}`],
    [`3 1 1 ${hex.slice(0, 56).toUpperCase()} ${hex.slice(56)}`, `3 1 1 ${hex}`],
    [`  255\t0 2  ab `, "255 0 2 ab"],
    ["3 1 1", null],
    ["3 1 1 ", null],
    ["3 1 1 abc", null],
    ["3 1 1 xy", null],
    ["3 1 ab", null],
    ["-3 1 1 ab", null],
    ["\\# 4 030101ab", null],
    ["", null],
  ];
  for (const [text, expected] of cases) {
    const record = parseTlsaRecord(text);
    equal(record && formatTlsaRecord(record), expected, text);
  }
});

Deno.test("of several digests for one usage and selector the strongest alone counts", () => {
  const one = "11".repeat(32), two = "22".repeat(64);
  const counted = countedRecords(
    parsed([`3 1 1 ${one}`, `3 1 2 ${two}`, `3 0 1 ${one}`, `2 1 1 ${one}`, `1 1 2 ${two}`]),
  );
  deepEqual(counted.map(formatTlsaRecord), [`3 1 2 ${two}`, `3 0 1 ${one}`, `2 1 1 ${one}`]);
});

Deno.test("the line to publish is one that a name server takes", async () => {
  await using ca = await authority();
  const [old, leaf] = await Promise.all([
    ca.issue({ names: ["mail.example.org"] }),
    ca.issue({ names: ["mail.example.org"] }),
  ]);
  const chain = chainOf(leaf.fullchainPem);
  const [first] = chain;
  if (first === undefined) throw new Error("no leaf");
  const owner = "_25._tcp.mail.example.org";
  equal(tlsaLine(owner, first), `${owner}. IN TLSA ${await tlsa(leaf)}`);
  // Whatever stands beside it, it fits.
  const before = (usage: number, form: string) => record(usage, form, old.certPem);
  const cases: [published: string[], form: string][] = [
    [[before(3, "1 1")], "3 1 1"],
    [[before(3, "1 2")], "3 1 2"],
    [[before(3, "1 1"), before(3, "1 2")], "3 1 2"],
    [[before(3, "1 0")], "3 1 1"],
    [["3 1 2 abcd", before(2, "1 2"), before(3, "0 2"), before(1, "1 2")], "3 1 1"],
  ];
  for (const [published, form] of cases) {
    const line = tlsaLine(owner, first, parsed(published));
    const added = line.slice(`${owner}. IN TLSA `.length);
    equal(added, record(3, form.slice(2), leaf.certPem));
    const judged = judgeDane(parsed([...published, added]), chain, "mail.example.org", new Date());
    equal(judged.kind, "fits", line);
  }
});
