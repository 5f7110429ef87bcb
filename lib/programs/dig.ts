// Asks for the TLSA records of port 25, and tells a validated answer from any other. dig(1), delv(1)

import { Failure } from "../failure.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatAddress } from "../values/endpoint_url.ts";
import type { Resolver } from "../values/resolver.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Compose, composeCommand, explainCompose, runCompose } from "./compose.ts";
import { type Completion, lastWords, MissingProgram, run } from "./run.ts";
import { turns } from "./turns.ts";

/** What is said of one name's port 25. */
export type TlsaAnswer =
  | {
    /** Senders act on secure ones alone. */
    readonly kind: "secure" | "insecure";
    /** As they are published: `3 1 1 hex`. */
    readonly records: readonly string[];
    /** Where they stand: a CNAME may lead elsewhere than where was asked, or a wildcard answer. */
    readonly owner: string;
    /** How long senders may go on with what was there before. */
    readonly ttlSeconds: number;
  }
  | { readonly kind: "none" }
  /** The records, or that there are none, cannot be validated: senders defer mail. */
  | { readonly kind: "bogus"; readonly words: string }
  | { readonly kind: "no-answer"; readonly words: string };

export type Answers = ReadonlyMap<string, TlsaAnswer>;

/** Why somebody could not be asked. */
export interface Unasked {
  readonly kind: "no-program" | "no-answer" | "not-validating";
  readonly whom: string;
  readonly words: string;
}

export type TlsaLookup =
  | { readonly kind: "asked"; readonly whom: string; readonly answers: Answers }
  | { readonly kind: "unasked"; readonly tried: readonly [Unasked, ...Unasked[]] };

/** Whom to ask: the configured resolver alone, or mailcow's own before this host's. */
export interface Resolvers {
  readonly resolver: Resolver | null;
  /** Null where this host has no mailcow. */
  readonly mailcow: Compose | null;
}

/** Never throws a Failure but for the operator's stop: DANE is then merely unknown. */
export async function readTlsa(
  names: readonly string[],
  { resolver, mailcow }: Resolvers,
  context: RunContext,
): Promise<TlsaLookup> {
  const tried: Unasked[] = [];
  for (const { whom, place, ask } of askers(resolver, mailcow)) {
    const outcome = await ask(names, context).catch((error) => unaskedFor(error, context));
    if ("get" in outcome) return { kind: "asked", whom, answers: outcome };
    tried.push({ ...outcome, whom });
    // The same resolver will say no more to another program.
    if (place === "here" && outcome.kind === "no-answer") break;
  }
  const [first, ...others] = tried;
  if (first === undefined) throw new RangeError("there is always somebody to ask");
  return { kind: "unasked", tried: [first, ...others] };
}

/** One line for the operator, and what would change it. Pure. */
export function explainUnasked(
  tried: readonly Unasked[],
  { resolver, mailcow }: Resolvers,
): { words: string; hint: string } {
  const words = tried.map(({ whom, words }) => `${whom}: ${words}`).join("; ");
  const isMissing = tried.every(({ kind }) => kind === "no-program");
  const first = isMissing
    ? "install the package bind9-dnsutils, for dig"
    : "set resolver in the config file to one that validates DNSSEC, such as a local unbound";
  const other = resolver !== null
    ? tried.some(({ kind }) => kind === "no-answer") ? ", or see that this one runs" : ""
    : mailcow !== null
    ? `, or have mailcow's own run: cd ${shellWord(mailcow.directory)} && ${
      composeCommand(mailcow)
    } up -d unbound-mailcow`
    : "";
  return { words, hint: first + other };
}

type Outcome = Answers | Omit<Unasked, "whom">;

interface Asker {
  readonly whom: string;
  readonly place: "here" | "mailcow";
  ask(names: readonly string[], context: RunContext): Promise<Outcome>;
}

function askers(resolver: Resolver | null, mailcow: Compose | null): Asker[] {
  const server = resolver === null ? [] : [`@${resolver.host}`, "-p", String(resolver.port)];
  const whom = resolver === null
    ? "this host's resolver"
    : `the resolver ${formatAddress(resolver.host, resolver.port)}`;
  const own: Asker[] = mailcow === null || resolver !== null ? [] : [{
    whom: "mailcow's resolver",
    place: "mailcow",
    ask: (names, context) => askDig(digInside(mailcow, context), names),
  }];
  return [
    ...own,
    { whom, place: "here", ask: (names, context) => askDig(digHere(server, context), names) },
    {
      // It validates by itself what a resolver that does not has fetched.
      whom: `${whom}, with delv`,
      place: "here",
      ask: (names, context) => askDelv(server, names, context),
    },
  ];
}

function unaskedFor(error: unknown, context: RunContext): Omit<Unasked, "whom"> {
  context.stop.throwIfAborted();
  if (!(error instanceof Failure)) throw error;
  const kind = error instanceof MissingProgram ? "no-program" : "no-answer";
  return { kind, words: error.message };
}

/** Runs dig, wherever it is, with what follows its options. Throws where it cannot be run. */
type Dig = (questions: readonly string[], timeoutMs: number) => Promise<Completion>;

// +dnssec also brings the RRSIG, which alone has the TTL that was not counted down yet.
const DIG = ["dig", "-r"] as const;
const OPTIONS = ["+noall", "+comments", "+question", "+answer", "+dnssec", "+tries=2", "+time=3"];
const MOST_MS_A_QUESTION = 6_000;
const START_MS = 5_000;
/** One dig asks one question after the other. */
const QUESTIONS_A_PROCESS = 8;

function digHere(server: readonly string[], context: RunContext): Dig {
  const [program, ...first] = DIG;
  return (questions, timeoutMs) =>
    run(program, [...first, ...server, ...OPTIONS, ...questions], { timeoutMs }, context);
}

function digInside(mailcow: Compose, context: RunContext): Dig {
  return async (questions, timeoutMs) => {
    const command = [...DIG, "@127.0.0.1", ...OPTIONS, ...questions];
    const args = ["exec", "-T", "unbound-mailcow", ...command];
    const completion = await runCompose(mailcow, args, timeoutMs, context);
    if (isDigs(completion)) return completion;
    const explained = explainCompose(completion);
    const words = `${composeCommand(mailcow)} exec unbound-mailcow dig: ` +
      (explained.kind === "done" ? "said nothing" : explained.words);
    // It is there, and could answer if it ran.
    const isDown = explained.kind === "not-running" || explained.kind === "paused";
    throw isDown ? new Failure(words) : new MissingProgram(words);
  };
}

/** Whether it came to a question at all: 9 is no answer to one. */
function isDigs({ code, stdout }: Completion): boolean {
  return (code === 0 || code === 9) && stdout.includes(";;");
}

async function askDig(dig: Dig, names: readonly string[]): Promise<Outcome> {
  const root = await dig(["-q", ".", "-t", "SOA"], START_MS + MOST_MS_A_QUESTION);
  const reply = parseDig(root.stdout).get(".");
  if (reply === undefined) return { kind: "no-answer", words: digWords(root) };
  if (reply.status !== "NOERROR") return { kind: "no-answer", words: statusWords(reply) };
  if (!reply.isAuthentic) return NOT_VALIDATING;

  const answers = new Map<string, TlsaAnswer>();
  await eachBatch(names, async (batch) => {
    const completion = await ask(batch);
    const replies = parseDig(completion.stdout);
    for (const name of batch) answers.set(name, answerIn(replies, name, completion));
  });
  const failed = names.filter((name) => answers.get(name)?.kind === "bogus");
  await eachBatch(failed, async (batch) => {
    const replies = parseDig((await ask(batch, "+cd")).stdout);
    for (const name of batch) {
      // Without validation it fails as well: so validation is not what failed.
      const status = replies.get(question(name))?.status;
      if (status === "NOERROR" || status === "NXDOMAIN") continue;
      answers.set(name, { kind: "no-answer", words: "the resolver cannot find it out: SERVFAIL" });
    }
  });
  return answers;

  function ask(batch: readonly string[], ...options: string[]): Promise<Completion> {
    const questions = batch.flatMap((name) => ["-q", question(name), "-t", "TLSA"]);
    return dig([...options, ...questions], START_MS + batch.length * MOST_MS_A_QUESTION);
  }
}

const NOT_VALIDATING = { kind: "not-validating", words: "does not validate DNSSEC" } as const;

async function eachBatch(
  names: readonly string[],
  deed: (batch: readonly string[]) => Promise<void>,
): Promise<void> {
  const starts = Array.from(
    { length: Math.ceil(names.length / QUESTIONS_A_PROCESS) },
    (_, index) => index * QUESTIONS_A_PROCESS,
  );
  await allEnded(starts.map((start) => deed(names.slice(start, start + QUESTIONS_A_PROCESS))));
}

function question(name: string): string {
  return `_25._tcp.${name}`;
}

export interface DigReply {
  readonly status: string;
  /** The resolver says that it has validated all of it. */
  readonly isAuthentic: boolean;
  readonly records: readonly string[];
  readonly owner: string;
  readonly ttlSeconds: number;
}

/** The replies by the name that was asked about; those that never came are not among them. Pure. */
export function parseDig(stdout: string): ReadonlyMap<string, DigReply> {
  const [, ...replies] = stdout.split(/^;; ->>HEADER<<- /m);
  return new Map(replies.flatMap((text) => {
    const status = /^opcode: QUERY, status: ([A-Z0-9]+)/.exec(text)?.[1];
    const flags = /^;; flags: ([a-z ]*);/m.exec(text)?.[1]?.split(" ");
    const asked = /^;(?!;)(\S+)\s+IN\s+[A-Z]+$/m.exec(text)?.[1];
    if (status === undefined || flags === undefined || asked === undefined) return [];
    const name = asked === "." ? asked : normalName(asked);
    return [[name, { status, isAuthentic: flags.includes("ad"), ...parseRecords(text) }]];
  }));
}

/** The TLSA records in the lines of an answer, whatever a CNAME calls their owner. */
function parseRecords(text: string): Pick<DigReply, "records" | "owner" | "ttlSeconds"> {
  const records: string[] = [];
  let owner = "";
  let wildcard: string | null = null;
  const ttls: number[] = [];
  for (const line of text.split("\n")) {
    const [, place = "", ttl, type, data = ""] =
      /^([^;\s]\S*)\s+(\d+)\s+IN\s+(TLSA|RRSIG)\s+(.+)$/.exec(line) ?? [];
    if (type === "TLSA") {
      owner = normalName(place);
      const [usage, selector, matching, ...hex] = data.trim().split(/\s+/);
      records.push(`${usage} ${selector} ${matching} ${hex.join("").toLowerCase()}`);
      ttls.push(Number(ttl));
    } else if (type === "RRSIG") {
      const [, labels, original] = /^TLSA \d+ (\d+) (\d+) /.exec(data) ?? [];
      if (labels === undefined) continue;
      ttls.push(Number(original));
      // It counts no more than the wildcard has, where the answer was made from one. RFC 4034
      const signed = normalName(place).split(".");
      const hidden = signed.length - Number(labels);
      if (hidden > 0) wildcard = ["*", ...signed.slice(hidden)].join(".");
    }
  }
  return { records, owner: wildcard ?? owner, ttlSeconds: Math.max(0, ...ttls) };
}

function normalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

/** Pure. That it is bogus is certain only once the same question succeeds with `+cd`. */
function answerIn(
  replies: ReadonlyMap<string, DigReply>,
  name: string,
  completion: Completion,
): TlsaAnswer {
  const reply = replies.get(question(name));
  if (reply === undefined) return { kind: "no-answer", words: digWords(completion) };
  const { status, isAuthentic, records, owner, ttlSeconds } = reply;
  if (status === "SERVFAIL") return { kind: "bogus", words: "DNSSEC validation fails" };
  if (status !== "NOERROR" && status !== "NXDOMAIN") {
    return { kind: "no-answer", words: statusWords(reply) };
  }
  if (records.length === 0) return { kind: "none" };
  return { kind: isAuthentic ? "secure" : "insecure", records, owner, ttlSeconds };
}

function statusWords({ status }: DigReply): string {
  return `answered ${status}`;
}

/** dig's own words go where its answers go. */
function digWords({ code, stdout, stderr }: Completion): string {
  const said = /^;; (communications error.*|connection timed out.*|no servers.*)$/m.exec(stdout);
  return said?.[1] ?? (lastWords(stderr) || `dig: exit code ${code}`);
}

const DELV_TIMEOUT_MS = 15_000;
/** Each validates by itself, from the root on. */
const DELV_AT_ONCE = 8;

async function askDelv(
  server: readonly string[],
  names: readonly string[],
  context: RunContext,
): Promise<Outcome> {
  const ask = async (name: string, type: string) => {
    const args = [...server, "-q", name, "-t", type];
    return parseDelv(await run("delv", args, { timeoutMs: DELV_TIMEOUT_MS }, context));
  };
  const root = await ask(".", "SOA");
  if (root.kind === "no-answer") return root;
  if (root.kind === "bogus") return { kind: "not-validating", words: root.words };
  if (root.kind !== "secure") return NOT_VALIDATING;

  const answers = new Map<string, TlsaAnswer>();
  const takeTurn = turns({ inAll: DELV_AT_ONCE, inOnePlace: DELV_AT_ONCE });
  await allEnded(names.map(async (name) => {
    answers.set(name, await takeTurn("", () => ask(question(name), "TLSA")));
  }));
  return answers;
}

/** delv ends with 0 whatever it finds; each part of the answer has its own state before it. Pure. */
export function parseDelv({ code, stdout, stderr }: Completion): TlsaAnswer {
  // A CNAME may have been validated before what it leads to failed.
  const failed = /^;; resolution failed: (.+)$/m.exec(stderr + stdout)?.[1];
  if (failed?.startsWith("ncache ")) return { kind: "none" };
  const isInsecure = /^; unsigned answer$/m.test(stdout);
  if (failed === undefined && (isInsecure || /^; fully validated$/m.test(stdout))) {
    return { kind: isInsecure ? "insecure" : "secure", ...parseRecords(stdout) };
  }
  const words = failed ?? (lastWords(stderr) || `delv: exit code ${code}`);
  return {
    kind: /trust chain|RRSIG|insecurity|validat/.test(words) ? "bogus" : "no-answer",
    words,
  };
}
