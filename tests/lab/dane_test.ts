// What Postfix as a sender makes of each state of zone and certificate, and certsync with it.

import { doesNotMatch, equal, match } from "node:assert/strict";
import { parseChain } from "../../lib/certificate/certificate.ts";
import { judgeDane, parseTlsaRecord } from "../../lib/certificate/dane.ts";
import { readTlsa } from "../../lib/programs/dig.ts";
import type { RunContext } from "../../lib/run_context.ts";
import { authority } from "../kit/authority.ts";
import { type DaneState, daneStates, type ServedChain, type Verdict } from "../kit/dane_states.ts";
import { dnsZone } from "../kit/dns_zone.ts";
import { run } from "../kit/run.ts";
import { smtpServer } from "../kit/smtp_server.ts";
import { tempDir } from "../kit/temp_dir.ts";

const RESOLVER = { address: "127.0.0.1", port: 53 };

Deno.test("Postfix as a sender takes mail where certsync says that the records fit", async (t) => {
  await using ca = await authority();
  const { states, chains } = await daneStates(ca);
  const names = Object.keys(chains) as ServedChain[];
  const addressOf = (name: ServedChain) => `127.0.25.${names.indexOf(name) + 1}`;
  await using _server = await smtpServer(
    names.map((name) => ({ address: addressOf(name), port: 25, pair: chains[name] })),
  );
  const published = (zone: string, { host, records, served }: DaneState) => {
    const name = host.replace(/example\.org$/, zone);
    const lines = records.map((record) => `_25._tcp.${name}. TLSA ${record}`);
    return [`${name}. A ${addressOf(served)}`, ...lines];
  };
  // An old key where senders do not, and cannot, validate what is published.
  const old = states.find(({ what }) => what === "the old key alone");
  if (old === undefined) throw new Error("no state of the old key alone");
  const elsewhere = ["example.com", "example.net"];
  await using _zone = await dnsZone({
    validating: RESOLVER,
    records: [
      ...states.flatMap((state) => published("example.org", state)),
      ...elsewhere.flatMap((zone) => published(zone, old)),
    ],
  });

  const others = elsewhere.map((zone) => old.host.replace(/example\.org$/, zone));
  const hosts = [...states.map(({ host }) => host), ...others];
  const said = await postfixSays(hosts);
  const lookup = await readTlsa(hosts, {
    resolver: { host: RESOLVER.address, port: RESOLVER.port },
    mailcow: null,
  }, context());
  if (lookup.kind === "unasked") throw new Error(lookup.tried[0].words);

  for (const { what, host, served, verdict } of states) {
    await t.step(`${what}, ${served}: ${verdict}`, () => {
      equal(postfixJudges(said.get(host) ?? ""), verdict);
      const answer = lookup.answers.get(host);
      const records = answer?.kind === "secure" ? answer.records : [];
      const chain = parseChain(new TextEncoder().encode(chains[served].fullchainPem), "the chain");
      const parsed = records.flatMap((text) => parseTlsaRecord(text) ?? []);
      equal(judgeDane(parsed, chain, host, new Date()).kind, verdict);
    });
  }
  await t.step("an insecure zone has no DANE, and to a bogus one nothing is sent", () => {
    const [insecure = "", bogus = ""] = others;
    equal(lookup.answers.get(insecure)?.kind, "insecure");
    match(said.get(insecure) ?? "", /TLS connection established/);
    doesNotMatch(said.get(insecure) ?? "", /TLSA/);
    equal(lookup.answers.get(bogus)?.kind, "bogus");
    match(said.get(bogus) ?? "", /lookup failed/);
    doesNotMatch(said.get(bogus) ?? "", /TLS connection established/);
  });
});

function postfixJudges(said: string): Verdict {
  if (!said.includes("TLS connection established")) throw new Error(`no TLS: ${said}`);
  if (said.includes("Verified TLS connection established")) return "fits";
  return /: (server|CA) certificate verification failed/.test(said) ? "misfit" : "no-dane";
}

/** All at once, since each waits for an EHLO that the server has no answer to. */
const SCRIPT = `for host; do
  posttls-finger -c -T 5 -l dane -L summary -o smtp_dns_support_level=dnssec \\
    -o dnssec_probe= "[$host]:25" >"/tmp/said-$host" 2>&1 &
done
wait
for host; do echo "== $host"; cat "/tmp/said-$host"; done`;

async function postfixSays(hosts: string[]): Promise<Map<string, string>> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/resolv.conf`, `nameserver ${RESOLVER.address}\n`);
  await Deno.mkdir(`${dir.path}/postfix`);
  await Deno.writeTextFile(`${dir.path}/postfix/main.cf`, "");
  const output = await run("docker", [
    ...["run", "--rm", "--network", "host"],
    ...["-v", `${dir.path}/resolv.conf:/etc/resolv.conf:ro`],
    ...["-v", `${dir.path}/postfix:/etc/postfix:ro`],
    ...["certsync-lab", "sh", "-c", SCRIPT, "sh", ...hosts],
  ]);
  const [, ...parts] = output.split(/^== /m);
  return new Map(parts.map((part): [string, string] => {
    const [host = "", ...lines] = part.split("\n");
    return [host, lines.join("\n")];
  }));
}

function context(): RunContext {
  return {
    now: new Date(),
    environment: { PATH: Deno.env.get("PATH"), HOME: undefined, SSH_AUTH_SOCK: undefined },
    stop: new AbortController().signal,
    tell: () => {},
    trace: () => {},
    wait: () => ({ [Symbol.dispose]() {} }),
  };
}
