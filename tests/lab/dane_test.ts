// What Postfix as a sender makes of each state of zone and certificate, and certsync with it.

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { authority } from "../kit/authority.ts";
import { certsync } from "../kit/certsync.ts";
import { type DaneState, daneStates, type ServedChain, type Verdict } from "../kit/dane_states.ts";
import { dnsZone } from "../kit/dns_zone.ts";
import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import { smtpServer } from "../kit/smtp_server.ts";
import { tempDir } from "../kit/temp_dir.ts";

const RESOLVER = { address: "127.0.0.1", port: 53 };

Deno.test("Postfix as a sender takes mail where certsync verify says that the records fit", async (t) => {
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
  const elsewhere = ["example.com", "example.net", "example.edu"];
  await using _zone = await dnsZone({
    validating: RESOLVER,
    records: [
      ...states.flatMap((state) => published("example.org", state)),
      ...elsewhere.flatMap((zone) => published(zone, old)),
    ],
  });

  const others = elsewhere.map((zone) => old.host.replace(/example\.org$/, zone));
  const hosts = [...states.map(({ host }) => host), ...others];
  const [said, verified] = await Promise.all([postfixSays(hosts), certsyncSays(hosts)]);

  for (const { what, host, served, verdict } of states) {
    await t.step(`${what}, ${served}: ${verdict}`, () => {
      equal(postfixJudges(said.get(host) ?? ""), verdict);
      equal(certsyncJudges(verified.get(host)), verdict);
    });
  }
  const outside: [what: string, words: string, said: RegExp, unsaid: RegExp][] = [
    [
      "an insecure zone has no DANE",
      "not signed: senders pass it over",
      /TLS connection established/,
      /TLSA/,
    ],
    [
      "to a bogus zone nothing is sent",
      "not known: DNSSEC validation fails",
      /lookup failed/,
      /TLS connection established/,
    ],
    [
      "nor to one that nobody answers for",
      "not known: the resolver cannot find it out: SERVFAIL",
      /Host or domain name not found|lookup (error|failed)/,
      /TLS connection established/,
    ],
  ];
  for (const [index, [what, words, one, none]] of outside.entries()) {
    await t.step(what, () => {
      const host = others[index] ?? "";
      match(said.get(host) ?? "", one);
      doesNotMatch(said.get(host) ?? "", none);
      const leg = verified.get(host);
      deepEqual([leg?.verdict, leg?.match, leg?.noted], [words, null, true]);
    });
  }
});

interface Leg {
  name: string;
  verdict: string;
  match: boolean | null;
  noted: boolean;
}

/** Of all of them in one run, with the addresses and records that this zone has. */
async function certsyncSays(hosts: readonly string[]): Promise<Map<string, Leg>> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/resolv.conf`, `nameserver ${RESOLVER.address}\n`);
  const [domain, ...also] = hosts;
  const resolver = `${RESOLVER.address}:${RESOLVER.port}`;
  await Deno.writeTextFile(`${dir.path}/config.yaml`, JSON.stringify({ domain, also, resolver }));
  await Deno.symlink(need("dig"), `${dir.path}/dig`);
  const script =
    `mount --bind ${dir.path}/resolv.conf "$(realpath /etc/resolv.conf)" && exec "$0" "$@"`;
  const { stdout, stderr, json } = await certsync(
    ["verify", "--config", `${dir.path}/config.yaml`, "--leg", "tlsa", "--json"],
    { path: dir.path, under: [need("unshare"), "--mount", "/bin/sh", "-c", script] },
  );
  if (stdout === "") throw new Error(stderr);
  return new Map(json().legs.map((leg: Leg) => [leg.name, leg]));
}

function certsyncJudges(leg: Leg | undefined): Verdict {
  switch (leg?.verdict) {
    case "ok":
      return "fits";
    case "no record fits":
      return "misfit";
    case "none published":
    case "no record that senders go by":
      return "no-dane";
    default:
      throw new Error(`certsync said neither: ${leg?.verdict}`);
  }
}

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
