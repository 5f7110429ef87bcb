// Which TLSA records count and whether a chain fits them, as OpenSSL has it over real SMTP.

import { deepEqual, equal } from "node:assert/strict";
import { type Certificate, parseChain, parseFirst } from "../lib/certificate/certificate.ts";
import {
  type Chain,
  type ChainAt,
  countedRecords,
  daneChange,
  formatTlsaRecord,
  judgeDane,
  lackingRecord,
  parseTlsaRecord,
  type TlsaRecord,
} from "../lib/certificate/dane.ts";
import { authority, type Leaf, tlsa } from "./kit/authority.ts";
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

function leafOf({ certPem }: Leaf): Certificate {
  return parseFirst(new TextEncoder().encode(certPem), "the leaf");
}

const NAME = "mail.example.org";

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

Deno.test("a new certificate breaks DANE only where the old one may have fitted and it does not", async () => {
  await using ca = await authority();
  const [old, renewed, gateway] = await Promise.all([
    ca.issue({ names: [NAME] }),
    ca.issue({ names: [NAME] }),
    ca.issue({ names: ["gateway.example.com"] }),
  ]);
  const [oldKey, newKey, filter] = await Promise.all([tlsa(old), tlsa(renewed), tlsa(gateway)]);
  const strange = `3 1 1 ${"00".repeat(32)}`;
  const given = (leaf: Leaf) => ({ leaf: leafOf(leaf), chain: chainOf(leaf.fullchainPem) });
  const [before, next] = [given(old), given(renewed)];
  const reached = {
    ours: [{ ip: "192.0.2.1", ...before }],
    another: [{ ip: "192.0.2.2", ...given(gateway) }],
  };
  const both = [...reached.ours, ...reached.another];
  const alone = ["ours"], other = ["192.0.2.2"];
  const cases: [records: string[], at: ChainAt[], change: string, lacking?: string[]][] = [
    [[], [], "no-dane"],
    [["1 1 1 00"], [], "no-dane"],
    [[newKey], [], "fits"],
    [[oldKey, newKey], [], "fits"],
    [[oldKey], [], "breaks", alone],
    [[oldKey], reached.ours, "breaks", alone],
    [[strange], [], "neither", alone],
    [[strange], reached.ours, "neither", alone],
    // A filter gateway has the addresses of the name.
    [[filter], reached.another, "anothers"],
    [[strange], reached.another, "neither", other],
    [[filter], both, "neither", alone],
    [[strange], both, "neither", [...alone, ...other]],
    [[oldKey], reached.another, "breaks", [...alone, ...other]],
    [[oldKey, filter], reached.another, "breaks", alone],
  ];
  const now = new Date();
  for (const [records, at, kind, lacking = []] of cases) {
    const becomes = (before: Chain[]) =>
      daneChange(parsed(records), { before, next, reached: at }, NAME, now);
    const change = becomes([before]);
    equal(change.kind, kind, records.join());
    deepEqual(
      "lacking" in change ? change.lacking.map((chain) => "ip" in chain ? chain.ip : "ours") : [],
      lacking,
    );
    // What nobody saw may have fitted.
    if (kind === "neither") equal(becomes([]).kind, "breaks");
    equal(
      daneChange(parsed(records), { before: [next], next, reached: at }, NAME, now).kind ===
        "breaks",
      false,
    );
  }
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

Deno.test("the record to publish fits, whatever stands beside it", async () => {
  await using ca = await authority();
  await using other = await authority(); // whose issuer has another key
  const [old, leaf] = await Promise.all([
    ca.issue({ names: [NAME] }),
    other.issue({ names: [NAME] }),
  ]);
  const next = { leaf: leafOf(leaf), chain: chainOf(leaf.fullchainPem) };
  const before = (usage: number, form: string) => record(usage, form, old.certPem);
  const issuer = (form: string) => record(2, form, old.chainPem);
  const cases: [published: string[], form: string][] = [
    [[], "3 1 1"],
    [[before(3, "1 1")], "3 1 1"],
    [[before(3, "0 1")], "3 1 1"],
    [[before(3, "1 2")], "3 1 2"],
    [[before(3, "1 1"), before(3, "1 2")], "3 1 2"],
    [[before(3, "1 0")], "3 1 1"],
    [["3 1 2 abcd", before(3, "0 2"), before(1, "1 2")], "3 1 1"],
    // Whoever publishes issuers alone goes on with that.
    [[issuer("1 1")], "2 1 1"],
    [[issuer("0 1")], "2 1 1"],
    [[issuer("1 2"), before(1, "1 1")], "2 1 2"],
    [[issuer("1 1"), before(3, "1 1")], "3 1 1"],
  ];
  const added = (published: string[], chain = next, name = NAME) =>
    formatTlsaRecord(lackingRecord(parsed(published), chain, name, new Date()));
  for (const [published, form] of cases) {
    const text = added(published);
    const [usage] = form;
    equal(text, record(Number(usage), form.slice(2), usage === "2" ? leaf.chainPem : leaf.certPem));
    const judged = judgeDane(parsed([...published, text]), next.chain, NAME, new Date());
    equal(judged.kind, "fits", text);
  }
  // An issuer is not enough where the name is another, or where it is not served.
  const ofKey = await tlsa(leaf);
  equal(added([issuer("1 1")], next, "other.example.org"), ofKey);
  equal(added([issuer("1 1")], { ...next, chain: [next.leaf] }), ofKey);
});
