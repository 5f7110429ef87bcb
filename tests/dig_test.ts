// What is published for port 25 and what it is worth, asked of real name servers and resolvers.

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createSocket } from "node:dgram";
import {
  explainUnasked,
  parseDelv,
  parseDig,
  readTlsa,
  type Resolvers,
  type TlsaAnswer,
  type TlsaLookup,
} from "../lib/programs/dig.ts";
import { Failure } from "../lib/failure.ts";
import type { RunContext } from "../lib/run_context.ts";
import { type DnsZone, dnsZone, type Resolver } from "./kit/dns_zone.ts";
import { freePort } from "./kit/free_port.ts";
import { need } from "./kit/programs.ts";
import { type TempDir, tempDir } from "./kit/temp_dir.ts";

interface Ear {
  context: RunContext;
  /** The programs that were started, with what they were told. */
  started: string[];
}

function ear(path: string, stop = new AbortController().signal): Ear {
  const started: string[] = [];
  const context: RunContext = {
    now: new Date(),
    environment: { PATH: path, HOME: undefined, SSH_AUTH_SOCK: undefined },
    stop,
    tell: () => {},
    trace: (line) => started.push(line),
    wait: () => ({ [Symbol.dispose]() {} }),
  };
  return { context, started };
}

const ONE = `3 1 1 ${"11".repeat(32)}`;
const TWO = `2 1 1 ${"22".repeat(32)}`;

const RECORDS = [
  `_25._tcp.one.example.org. 1800 TLSA ${ONE}`,
  `_25._tcp.two.example.org. TLSA ${ONE}`,
  `_25._tcp.two.example.org. TLSA ${TWO}`,
  `*.wild.example.org. TLSA ${ONE}`,
  `*._tcp.tcp.example.org. TLSA ${ONE}`,
  `*.away.example.org. CNAME _25._tcp.one.example.org.`,
  "_25._tcp.other-type.example.org. TXT x",
  "_25._tcp.cname.example.org. CNAME _25._tcp.one.example.org.",
  "_25._tcp.cname-nowhere.example.org. CNAME _25._tcp.gone.example.org.",
  "_25._tcp.cname-insecure.example.org. CNAME _25._tcp.one.example.com.",
  "_25._tcp.cname-bogus.example.org. CNAME _25._tcp.one.example.net.",
  `_25._tcp.one.example.com. TLSA ${ONE}`,
  "_25._tcp.cname-secure.example.com. CNAME _25._tcp.one.example.org.",
  `_25._tcp.one.example.net. TLSA ${ONE}`,
];

/** What senders with a validating resolver get, whoever is asked. */
const ANSWERS: Record<string, [kind: TlsaAnswer["kind"], records?: string[]]> = {
  "one.example.org": ["secure", [ONE]],
  "two.example.org": ["secure", [TWO, ONE]],
  "wild.example.org": ["secure", [ONE]],
  "tcp.example.org": ["secure", [ONE]],
  "away.example.org": ["secure", [ONE]],
  "gone.example.org": ["none"],
  "other-type.example.org": ["none"],
  "cname.example.org": ["secure", [ONE]],
  "cname-nowhere.example.org": ["none"],
  "cname-insecure.example.org": ["insecure", [ONE]],
  "cname-bogus.example.org": ["bogus"],
  "one.example.com": ["insecure", [ONE]],
  "gone.example.com": ["none"],
  "cname-secure.example.com": ["insecure", [ONE]],
  "one.example.net": ["bogus"],
  "gone.example.net": ["bogus"],
  "one.example.edu": ["no-answer"],
};
const NAMES = Object.keys(ANSWERS);

function assertAnswers(lookup: TlsaLookup, whom: RegExp): void {
  if (lookup.kind !== "asked") throw new Error(lookup.tried[0].words);
  match(lookup.whom, whom);
  const line = (name: string, kind = "no entry", records: readonly string[] = []) =>
    [name, kind, ...records.toSorted()].join(" ");
  deepEqual(
    NAMES.map((name) => {
      const answer = lookup.answers.get(name);
      return line(
        name,
        answer?.kind,
        answer !== undefined && "records" in answer ? answer.records : [],
      );
    }),
    NAMES.map((name) => {
      const [kind, records] = ANSWERS[name] ?? [];
      return line(name, kind, records);
    }),
  );
  const one = lookup.answers.get("one.example.org");
  equal(one?.kind === "secure" && one.ttlSeconds, 1800);
  // Where another record has to stand to be seen beside it.
  const owners: [name: string, owner: string][] = [
    ["one.example.org", "_25._tcp.one.example.org"],
    ["cname.example.org", "_25._tcp.one.example.org"],
    ["wild.example.org", "*.wild.example.org"],
    ["tcp.example.org", "*._tcp.tcp.example.org"],
    ["away.example.org", "_25._tcp.one.example.org"],
  ];
  for (const [name, owner] of owners) {
    const answer = lookup.answers.get(name);
    equal(answer?.kind === "secure" && answer.owner, owner, name);
  }
}

function configured({ address, port }: Resolver): Resolvers {
  return { resolver: { host: address, port }, mailcow: null };
}

/** A directory with nothing but these programs in it. */
async function programs(scripts: Record<string, string>): Promise<TempDir> {
  const dir = await tempDir();
  for (const [name, script] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${dir.path}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  return dir;
}

const digAt = ({ address, port }: Resolver) =>
  `[ "$1" = -r ] && shift && exec ${need("dig")} -r @${address} -p ${port} "$@"`;

const dockerWith = ({ port }: Resolver) =>
  `[ "$1 $2 $3 $4 $5 $6" = "compose exec -T unbound-mailcow dig -r" ] || exit 64
shift 6
exec ${need("dig")} -r -p ${port} "$@"`;

Deno.test("TLSA records and what they are worth", async (t) => {
  await using zone = await dnsZone({ records: RECORDS });
  const mailcow = { directory: "/", version: "native" } as const;
  const path = Deno.env.get("PATH") ?? "";
  const silenceEnds = assertSilenceEnds(zone); // beside the others: it takes its time

  await t.step("the configured resolver is asked with dig, in few processes", async () => {
    const { context, started } = ear(path);
    const lookup = await readTlsa(NAMES, configured(zone.validating), context);
    assertAnswers(lookup, /^the resolver 127\.0\.0\.1:\d+$/);
    // The root, three batches, and once more what was refused.
    equal(started.length, 5, started.join("\n"));
    equal(started.every((line) => line.startsWith("dig ")), true);
  });

  await t.step("delv validates what a resolver that does not has fetched", async () => {
    await using bin = await programs({
      delv: `exec ${need("delv")} -a ${zone.anchorFile} "$@"`,
      dig: digAt(zone.trusting),
    });
    const lookup = await readTlsa(NAMES, configured(zone.trusting), ear(bin.path).context);
    assertAnswers(lookup, /, with delv$/);
  });

  await t.step("mailcow's own resolver comes before this host's", async () => {
    await using bin = await programs({
      docker: dockerWith(zone.validating),
      dig: digAt(zone.trusting),
    });
    const { context, started } = ear(bin.path);
    const lookup = await readTlsa(NAMES, { resolver: null, mailcow }, context);
    assertAnswers(lookup, /^mailcow's resolver$/);
    equal(started.every((line) => line.startsWith("docker compose exec -T ")), true);
  });

  await t.step("this host's comes next where mailcow's cannot be asked", async (t) => {
    const silent = 'echo "$0: must not be called" >&2; exit 70';
    const cases: [what: string, docker: string | null][] = [
      ["not running", `echo 'service "unbound-mailcow" is not running' >&2; exit 1`],
      ["without dig", `echo 'exec: "dig": executable file not found in $PATH' ; exit 127`],
      ["not validating", dockerWith(zone.trusting)],
      ["not answering", dockerWith({ address: "127.0.0.1", port: freePort() })],
      ["no docker", null],
    ];
    for (const [what, docker] of cases) {
      await t.step(what, async () => {
        const host = { dig: digAt(zone.validating), delv: silent };
        await using bin = await programs(docker === null ? host : { ...host, docker });
        const lookup = await readTlsa(NAMES, { resolver: null, mailcow }, ear(bin.path).context);
        assertAnswers(lookup, /^this host's resolver$/);
      });
    }
  });

  await t.step("where nobody can be asked, each says why", async (t) => {
    const closed = { address: "127.0.0.1", port: freePort() };
    const all: Resolvers = { resolver: null, mailcow };
    const cases: [string, Record<string, string>, Resolvers, string[], RegExp, RegExp][] = [
      [
        "no program",
        {},
        all,
        ["no-program", "no-program", "no-program"],
        /docker.*dig/,
        /^install/,
      ],
      [
        "no program here, and mailcow's own does not run",
        { docker: `echo 'service "unbound-mailcow" is not running' >&2; exit 1` },
        all,
        ["no-answer", "no-program", "no-program"],
        /^mailcow's resolver: .* is not running; this host's resolver: dig is not installed/,
        /^set resolver .*, or have mailcow's own run: cd "\/" && docker compose up -d unbound-mailcow$/,
      ],
      [
        "a resolver that does not validate",
        { dig: digAt(zone.trusting), delv: `exec ${need("delv")} "$@"` },
        configured(zone.trusting),
        ["not-validating", "not-validating"],
        /does not validate DNSSEC/,
        /^set resolver/,
      ],
      [
        "only dig, and a resolver that does not validate",
        { dig: digAt(zone.trusting) },
        configured(zone.trusting),
        ["not-validating", "no-program"],
        /does not validate DNSSEC.*delv is not installed/,
        /^set resolver/,
      ],
      [
        "a closed port",
        { dig: digAt(closed), delv: "exit 70" },
        configured(closed),
        ["no-answer"],
        /connection refused/,
        /^set resolver/,
      ],
      [
        "closed ports here and in mailcow",
        { docker: dockerWith(closed), dig: digAt(closed), delv: "exit 70" },
        all,
        ["no-answer", "no-answer"],
        /^mailcow's resolver: .*connection refused; this host's resolver: .*connection refused$/,
        /^set resolver/,
      ],
    ];
    for (const [what, scripts, resolvers, kinds, words, hint] of cases) {
      await t.step(what, async () => {
        await using bin = await programs(scripts);
        const lookup = await readTlsa(NAMES, resolvers, ear(bin.path).context);
        if (lookup.kind === "asked") throw new Error(`${lookup.whom} was asked`);
        deepEqual(lookup.tried.map(({ kind }) => kind), kinds);
        const explained = explainUnasked(lookup.tried, resolvers);
        match(explained.words, words);
        match(explained.hint, hint);
      });
    }
  });

  await t.step("a resolver that says nothing is left within ten seconds", () => silenceEnds);
});

async function assertSilenceEnds(zone: DnsZone): Promise<void> {
  const socket = createSocket("udp4");
  const bound = Promise.withResolvers<void>();
  socket.bind(0, "127.0.0.1", () => bound.resolve());
  await bound.promise;
  try {
    const silent = { address: "127.0.0.1", port: socket.address().port };
    const began = performance.now();
    const { context } = ear(Deno.env.get("PATH") ?? "");
    const [lookup] = await Promise.all([
      readTlsa(NAMES, configured(silent), context),
      assertStops(silent),
    ]);
    if (lookup.kind === "asked") throw new Error("silence was taken for an answer");
    deepEqual(lookup.tried.map(({ kind }) => kind), ["no-answer"]);
    match(lookup.tried[0].words, /timed out/);
    ok(performance.now() - began < 10_000);
    // And the one beside it still answers.
    const other = await readTlsa(["one.example.org"], configured(zone.validating), context);
    equal(other.kind, "asked");
  } finally {
    socket.close();
  }
}

/** What stops certsync stops the question, and is no answer to it. */
async function assertStops(silent: Resolver): Promise<void> {
  const stop = new AbortController();
  const { context } = ear(Deno.env.get("PATH") ?? "", stop.signal);
  const lookup = readTlsa(NAMES, configured(silent), context);
  stop.abort(new Failure("stopped by SIGTERM"));
  await rejects(lookup, /stopped by SIGTERM/);
}

Deno.test("words that are no reply are none", () => {
  const head = ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1\n";
  const flags = ";; flags: qr rd ra ad; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1\n\n";
  const asked =
    ";; QUESTION SECTION:\n;_25._tcp.Mail.Example.ORG.\tIN\tTLSA\n\n;; ANSWER SECTION:\n";
  const record = `_25._tcp.mail.example.org. 60 IN TLSA ${ONE}\n`;
  const whole = parseDig(head + flags + asked + record);
  deepEqual(whole.get("_25._tcp.mail.example.org"), {
    status: "NOERROR",
    isAuthentic: true,
    records: [ONE],
    owner: "_25._tcp.mail.example.org",
    ttlSeconds: 60,
  });
  for (const part of ["", head, head + flags, head + asked + record, flags + asked + record]) {
    equal(parseDig(part).size, 0, part);
  }
  // ad is a flag of its own, wherever it stands.
  const others = head + flags.replace("ra ad", "ra cd") + asked.replace("Mail", "ad") + record;
  equal(parseDig(others).get("_25._tcp.ad.example.org")?.isAuthentic, false);
});

Deno.test("what delv could not find out is not what it found bogus", () => {
  const cases: [stdout: string, stderr: string, kind: TlsaAnswer["kind"]][] = [
    ["", ";; resolution failed: broken trust chain\n", "bogus"],
    ["", ";; resolution failed: no valid RRSIG\n", "bogus"],
    ["", ";; resolution failed: insecurity proof failed\n", "bogus"],
    ["", ";; resolution failed: failure\n", "no-answer"],
    ["", ";; resolution failed: timed out\n", "no-answer"],
    ["", "", "no-answer"],
    ["; negative response, unsigned answer\n", ";; resolution failed: ncache nxrrset\n", "none"],
    ["; fully validated\n", ";; resolution failed: broken trust chain\n", "bogus"],
    ["; fully validated\n", ";; resolution failed: timed out\n", "no-answer"],
  ];
  for (const [stdout, stderr, kind] of cases) {
    equal(parseDelv({ code: 0, stdout, stderr }).kind, kind, stderr);
  }
});
