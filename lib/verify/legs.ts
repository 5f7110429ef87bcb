// The legs of the chain that can be seen from this host, each with what it holds.

import { isIP } from "node:net";
import { join } from "node:path";
import { type Certificate, parseFirst } from "../certificate/certificate.ts";
import { deliveredPaths, installedPaths } from "../certificate/pair.ts";
import { parseLastPushed } from "../chain/last_fp.ts";
import { type Mailcow, readMailcow } from "../chain/mailcow.ts";
import {
  chooseLineage,
  liveDirectories,
  namedLineage,
  readLineages,
  standardLiveDirectories,
} from "../chain/npm_dir.ts";
import { readServed } from "../chain/served.ts";
import { readStaged } from "../chain/staging.ts";
import type { VerifyConfig } from "../config/config.ts";
import { Failure, quote } from "../failure.ts";
import { FileProblem, isMissing, readFile, readFileIfAny } from "../files/read_file.ts";
import { addressesOf } from "../programs/getent.ts";
import { lastWords, TimedOut } from "../programs/run.ts";
import { explainSsh, runRemotely } from "../programs/ssh.ts";
import type { RunContext } from "../run_context.ts";
import { type Endpoint, formatEndpoint } from "../values/endpoint_url.ts";
import { formatLocation, type Location } from "../values/location.ts";

/** In the order of the chain. */
export type LegName = "source" | "pushed" | "staged" | "deployed" | "sni" | "served";

/** One copy of the certificate, or why it could not be read. */
export interface Leg {
  readonly leg: LegName;
  readonly where: string;
  readonly sni?: string | null;
  readonly ip?: string;
  /** Of an SNI directory: all the names that it is served for, and mailcow's own name. */
  readonly domains?: readonly string[];
  readonly hostname?: string;
  /** What is known without the certificate itself: `last_fp` holds no more. */
  readonly fingerprint: string | null;
  readonly certificate: Certificate | null;
  /** How many certificates were served; null where nothing was. */
  readonly chainLength: number | null;
  /** Why it could not be read, and what to do about it. */
  readonly error: string | null;
  readonly hint: string | null;
  /** That nothing has come this far yet: it lags, as what cannot be read need not. */
  readonly isEmpty: boolean;
  /** Whether somebody asked for this leg, or it is only looked at because it may be there. */
  readonly isConfigured: boolean;
}

type LegFacts = Partial<Leg> & Pick<Leg, "leg" | "where">;

function makeLeg(facts: LegFacts): Leg {
  return {
    fingerprint: facts.certificate?.fingerprint ?? null,
    certificate: null,
    chainLength: null,
    error: null,
    hint: null,
    isEmpty: false,
    isConfigured: true,
    ...facts,
  };
}

export interface Sight {
  readonly domain: string | null;
  readonly legs: readonly Leg[];
}

/** Reads all legs at once; none waits for another. */
export async function readLegs(config: VerifyConfig, context: RunContext): Promise<Sight> {
  const mailcow = readMailcowIfAny(config);
  const domain = config.domain ??
    (mailcow instanceof Failure ? null : mailcow?.conf.hostname ?? null);
  const legs = await Promise.all([
    sourceLegs(config, domain, context),
    pushedLegs(config),
    stagedLegs(config, context),
    deployedLegs(config, mailcow, context),
    sniLegs(mailcow, domain, context),
    servedLegs(config, mailcow, domain, context),
  ]);
  return { domain, legs: legs.flat() };
}

function readMailcowIfAny({ deploy }: VerifyConfig): Mailcow | Failure | null {
  if (!deploy.isConfigured && isMissing(join(deploy.mailcow, "mailcow.conf"))) return null;
  return orFailure(() => readMailcow(deploy.mailcow));
}

function orFailure<T>(read: () => T): T | Failure {
  try {
    return read();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** Makes a leg of what `read` finds, or of the reason why it finds nothing. */
async function attempt(
  facts: LegFacts,
  context: RunContext,
  read: () => Promise<Partial<Leg>> | Partial<Leg>,
): Promise<Leg> {
  try {
    return makeLeg({ ...facts, ...await read() });
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof FileProblem) {
      const hint = error.kind === "unreadable" ? "run this as root" : null;
      return makeLeg({ ...facts, error: error.detail, hint });
    }
    if (error instanceof Failure) {
      return makeLeg({ ...facts, error: error.message, hint: error.hint ?? null });
    }
    throw error;
  }
}

async function sourceLegs(
  config: VerifyConfig,
  domain: string | null,
  context: RunContext,
): Promise<Leg[]> {
  if (config.source !== null) return [await locationLeg("source", config.source, config, context)];
  const { push } = config;
  if (!push.isConfigured && standardLiveDirectories.every(isMissing)) return [];
  const directory = orFailure(() => findSource(push, domain, context));
  if (directory === null && !push.isConfigured) return [];
  const where = typeof directory === "string"
    ? deliveredPaths(directory).chain
    : (push.live ?? standardLiveDirectories).join(" ");
  return [
    await attempt({ leg: "source", where }, context, () => {
      if (directory instanceof Failure) throw directory;
      if (directory === null) throw noSource(push, domain);
      return { certificate: readLocal(where) };
    }),
  ];
}

/** The directory that push would send; null where there is none for the name. */
function findSource(
  { source, live }: VerifyConfig["push"],
  domain: string | null,
  context: RunContext,
): string | null {
  if (source.kind === "directory") return source.name;
  if (source.kind === "auto" && domain === null) return null;
  const lineages = readLineages(liveDirectories(live), context.now);
  const found = source.kind === "lineage"
    ? namedLineage(lineages, source.name, domain)
    : chooseLineage(lineages, domain ?? "").best;
  return found?.directory ?? null;
}

function noSource({ source }: VerifyConfig["push"], domain: string | null): Failure {
  if (source.kind === "auto" && domain === null) {
    return new Failure("which certificate is meant is not known", {
      hint: "set domain in the config file, or give --domain mail.example.org",
    });
  }
  const sought = source.kind === "lineage" ? source.name : `certificate for ${quote(domain ?? "")}`;
  return new Failure(`no ${sought} there`, {
    hint: "see what is there with: certsync find-npm-dir",
  });
}

function readLocal(path: string): Certificate {
  return parseFirst(readFile(path, { follow: true }).bytes, quote(path));
}

function locationLeg(
  leg: "source" | "deployed",
  location: Location,
  config: VerifyConfig,
  context: RunContext,
): Promise<Leg> {
  return attempt({ leg, where: formatLocation(location) }, context, async () => ({
    certificate: location.kind === "local"
      ? readLocal(location.path)
      : await readRemote(location, config, context),
  }));
}

async function readRemote(
  { host: peer, path }: Extract<Location, { kind: "remote" }>,
  { knownHosts, timeoutMs }: VerifyConfig,
  context: RunContext,
): Promise<Certificate> {
  const { code, stdout, stderr } = await runRemotely(
    peer,
    ["openssl", "x509", "-in", path],
    { port: null, identity: null, knownHosts },
    timeoutMs,
    context,
  );
  if (code === 0) return parseFirst(new TextEncoder().encode(stdout), quote(`${peer}:${path}`));
  if (code === SSH_FAILED) {
    const words = [explainSsh(stderr, peer, 22)?.cause, lastWords(stderr)];
    throw new Failure(words.filter(Boolean).join(": "), {
      hint: `this must work first, and ask nothing: ssh ${peer} true`,
    });
  }
  const known = remoteReasons.find(([pattern]) => pattern.test(stderr));
  throw new Failure(known?.[1] ?? (lastWords(stderr) || `openssl ended there with code ${code}`), {
    hint: known?.[2],
  });
}

/** Any other exit code is that of the command on the other side. ssh(1) */
const SSH_FAILED = 255;

const remoteReasons: readonly [RegExp, string, string?][] = [
  [/No such file or directory/, "does not exist"],
  [/Permission denied/, "may not be read by that user", "name one who may: root@host:/path"],
  [/openssl: (command )?not found/, "there is no openssl on that host"],
  [/unable to load certificate|Could not (read|find) certificate/, "is not a certificate"],
];

function pushedLegs({ push }: VerifyConfig): Leg[] {
  const where = join(push.state, "last_fp");
  let text: string;
  try {
    const file = readFileIfAny(where, { follow: true });
    if (file === null && !push.isConfigured) return [];
    text = new TextDecoder().decode(file?.bytes);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    return [makeLeg({ leg: "pushed", where, error: error.detail, hint: "run this as root" })];
  }
  const pushed = parseLastPushed(text, push.to ?? [UNNAMED_TARGET]);
  const targets = push.to?.map((target) => target.text) ?? [...pushed.keys()];
  return targets.map((target) => {
    const facts = { leg: "pushed", where: target || where } as const;
    const fingerprint = pushed.get(target);
    return makeLeg(
      fingerprint === undefined
        ? { ...facts, error: "nothing has been pushed there yet", isEmpty: true }
        : { ...facts, fingerprint },
    );
  });
}

/** For what the shell script before us noted, where no config file says which target it had. */
const UNNAMED_TARGET = { text: "" };

async function stagedLegs({ deploy }: VerifyConfig, context: RunContext): Promise<Leg[]> {
  if (!deploy.isConfigured && isMissing(deploy.staging)) return [];
  const where = deliveredPaths(deploy.staging).chain;
  return [
    await attempt({ leg: "staged", where, isEmpty: isMissing(where) }, context, () => ({
      certificate: readStaged(deploy.staging).leaf,
    })),
  ];
}

async function deployedLegs(
  config: VerifyConfig,
  mailcow: Mailcow | Failure | null,
  context: RunContext,
): Promise<Leg[]> {
  if (config.deployed !== null) {
    return [await locationLeg("deployed", config.deployed, config, context)];
  }
  if (mailcow === null) return [];
  const where = mailcow instanceof Failure
    ? config.deploy.mailcow
    : installedPaths(mailcow.sslDirectory).chain;
  return [
    await attempt({ leg: "deployed", where }, context, () => {
      if (mailcow instanceof Failure) throw mailcow;
      return { certificate: readLocal(where) };
    }),
  ];
}

function sniLegs(
  mailcow: Mailcow | Failure | null,
  domain: string | null,
  context: RunContext,
): Promise<Leg[]> {
  if (mailcow === null || mailcow instanceof Failure || domain === null) return Promise.resolve([]);
  const directories = mailcow.sniDirectories.filter(({ domains }) => domains.includes(domain));
  return Promise.all(directories.map(({ directory, domains }) => {
    const where = installedPaths(directory).chain;
    const hostname = mailcow.conf.hostname ?? domain;
    return attempt({ leg: "sni", where, sni: domain, domains, hostname }, context, () => ({
      certificate: readLocal(where),
    }));
  }));
}

async function servedLegs(
  config: VerifyConfig,
  mailcow: Mailcow | Failure | null,
  domain: string | null,
  context: RunContext,
): Promise<Leg[]> {
  const configured = config.endpoints ?? config.deploy.endpoints;
  const standard = mailcow !== null && !(mailcow instanceof Failure)
    ? mailcow.conf.endpoints
    : domain === null
    ? []
    : [{ protocol: "imaps", host: domain, port: 993 } as const];
  const legs = await Promise.all(
    (configured ?? standard).map((endpoint) =>
      endpointLegs(endpoint, domain, configured !== null, config, context)
    ),
  );
  return legs.flat();
}

async function endpointLegs(
  endpoint: Endpoint,
  domain: string | null,
  isConfigured: boolean,
  { timeoutMs }: VerifyConfig,
  context: RunContext,
): Promise<Leg[]> {
  const facts = { leg: "served", where: formatEndpoint(endpoint), isConfigured } as const;
  const addresses = await readAddresses(endpoint.host, timeoutMs, context);
  if (typeof addresses === "string") return [makeLeg({ ...facts, error: addresses })];
  const name = domain ?? (isIP(endpoint.host) === 0 ? endpoint.host : null);
  const names = name === null ? [null] : [name, null];
  return await Promise.all(
    addresses.flatMap((ip) =>
      names.map((sni) =>
        attempt({ ...facts, sni, ip }, context, async () => {
          const served = await readServed(
            { endpoint: { ...endpoint, host: ip }, sni },
            timeoutMs,
            context,
          );
          return served.kind === "none"
            ? { error: served.reason }
            : { certificate: served.leaf, chainLength: served.chain.length };
        })
      )
    ),
  );
}

/** The addresses, or why there are none. */
async function readAddresses(
  name: string,
  timeoutMs: number,
  context: RunContext,
): Promise<string[] | string> {
  try {
    const addresses = await addressesOf(name, timeoutMs, context);
    return addresses.length === 0 ? `${name} has no address` : addresses;
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof TimedOut) return `no address of ${name} within ${timeoutMs / 1_000} s`;
    if (error instanceof Failure) return error.message;
    throw error;
  }
}
