// The legs of the chain that can be seen from this host, each with what it holds.

import * as fs from "node:fs";
import { basename, join } from "node:path";
import { type Certificate, parseFirst } from "./certificate.ts";
import type { VerifyConfig } from "./config.ts";
import { type Endpoint, formatEndpoint } from "./endpoint_url.ts";
import { Failure, quote } from "./failure.ts";
import { FileProblem, readFile, readFileIfAny } from "./file.ts";
import { addressesOf } from "./getent.ts";
import type { Host } from "./host.ts";
import { parseLastPushed } from "./last_fp.ts";
import { formatLocation, type Location } from "./location.ts";
import { type Mailcow, readMailcow } from "./mailcow.ts";
import { chooseLineage, liveDirectories, readLineages, standardLiveDirectories } from "./npm_dir.ts";
import { lastWords } from "./run.ts";
import { readServed } from "./served.ts";
import { explainSsh, runRemotely } from "./ssh.ts";
import { readStaged } from "./staging.ts";
import { readState } from "./state.ts";

/** In the order of the chain. */
export const legNames = ["source", "pushed", "staged", "deployed", "sni", "served"] as const;

export type LegName = typeof legNames[number];

/** One copy of the certificate, or why it could not be read. */
export interface Leg {
  readonly leg: LegName;
  readonly where: string;
  readonly sni?: string | null;
  readonly ip?: string;
  /** What is known without the certificate itself: `last_fp` holds no more. */
  readonly fingerprint: string | null;
  readonly certificate: Certificate | null;
  /** How many certificates were served; null where nothing was. */
  readonly chainLength: number | null;
  readonly error: string | null;
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
    isConfigured: true,
    ...facts,
  };
}

export interface Sight {
  readonly domain: string | null;
  readonly legs: readonly Leg[];
}

/** Reads all legs at once; none waits for another. */
export async function readLegs(config: VerifyConfig, host: Host): Promise<Sight> {
  const mailcow = readMailcowIfAny(config);
  const domain = config.domain ??
    (mailcow instanceof Failure ? null : mailcow?.conf.hostname ?? null);
  const legs = await Promise.all([
    sourceLeg(config, domain, host),
    pushedLegs(config),
    stagedLeg(config),
    deployedLeg(config, mailcow, host),
    sniLegs(mailcow, domain),
    servedLegs(config, mailcow, domain, host),
  ]);
  return { domain, legs: legs.flat() };
}

function readMailcowIfAny({ deploy }: VerifyConfig): Mailcow | Failure | null {
  try {
    const conf = readFileIfAny(join(deploy.mailcow, "mailcow.conf"), { follow: true });
    if (conf === null && !deploy.isConfigured) return null;
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error; // readMailcow says what is wrong
  }
  try {
    return readMailcow(deploy.mailcow);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** Runs `read`, and turns a Failure of it into a leg that says so. */
async function attempt(facts: LegFacts, read: () => Promise<Partial<Leg>>): Promise<Leg> {
  try {
    return makeLeg({ ...facts, ...await read() });
  } catch (error) {
    if (error instanceof FileProblem) return makeLeg({ ...facts, error: error.detail });
    if (error instanceof Failure) return makeLeg({ ...facts, error: error.message });
    throw error;
  }
}

async function sourceLeg(
  config: VerifyConfig,
  domain: string | null,
  host: Host,
): Promise<Leg[]> {
  if (config.source !== null) return [await locationLeg("source", config.source, config, host)];
  const { push } = config;
  const hasStandard = standardLiveDirectories.some((directory) => fs.existsSync(directory));
  if (!push.isConfigured && !hasStandard) return [];
  if (domain === null && push.source.kind === "auto") return [];
  const facts = { leg: "source", where: (push.live ?? standardLiveDirectories).join(" ") } as const;
  const leg = await attempt(facts, () => {
    const directory = sourceDirectory(config, domain, host);
    const where = join(directory, "fullchain.pem");
    return Promise.resolve({ where, certificate: readLocal(where) });
  });
  const isAbsent = leg.error !== null && !push.isConfigured;
  return isAbsent ? [] : [leg];
}

function sourceDirectory({ push }: VerifyConfig, domain: string | null, host: Host): string {
  if (push.source.kind === "directory") return push.source.name;
  const lineages = readLineages(liveDirectories(push.live), host.now);
  const { source } = push;
  const found = source.kind === "lineage"
    ? lineages.find(({ directory }) => basename(directory) === source.name)
    : domain === null
    ? undefined
    : chooseLineage(lineages, domain).best;
  if (found) return found.directory;
  throw new Failure(`no certificate for ${quote(domain ?? "")} there`);
}

function readLocal(path: string): Certificate {
  return parseFirst(readFile(path, { follow: true }).bytes, quote(path));
}

function locationLeg(
  leg: "source" | "deployed",
  location: Location,
  config: VerifyConfig,
  host: Host,
): Promise<Leg> {
  return attempt({ leg, where: formatLocation(location) }, async () => ({
    certificate: location.kind === "local"
      ? readLocal(location.path)
      : await readRemote(location, config, host),
  }));
}

async function readRemote(
  { host: peer, path }: Extract<Location, { kind: "remote" }>,
  { knownHosts, timeoutMs }: VerifyConfig,
  host: Host,
): Promise<Certificate> {
  const { code, stdout, stderr } = await runRemotely(
    peer,
    ["openssl", "x509", "-in", path],
    { port: null, identity: null, knownHosts },
    timeoutMs,
    host,
  );
  if (code === 0) return parseFirst(new TextEncoder().encode(stdout), quote(`${peer}:${path}`));
  const trouble = code === 255 ? explainSsh(stderr, peer, 22) : null;
  throw new Failure(trouble?.cause ?? (lastWords(stderr) || `ssh ended with code ${code}`));
}

function pushedLegs({ push }: VerifyConfig): Promise<Leg[]> {
  const text = readState(push.state, "last_fp");
  const where = join(push.state, "last_fp");
  if (text === "") return Promise.resolve([]);
  const pushed = parseLastPushed(text, push.to ?? [{ text: "", host: "", directory: "" }]);
  const targets = push.to?.map((target) => target.text) ?? [...pushed.keys()];
  return Promise.resolve(targets.map((target) => {
    const fingerprint = pushed.get(target) ?? null;
    const error = fingerprint === null ? "holds no fingerprint for this target" : null;
    return makeLeg({ leg: "pushed", where: target || where, fingerprint, error });
  }));
}

async function stagedLeg({ deploy }: VerifyConfig): Promise<Leg[]> {
  if (!fs.existsSync(deploy.staging) && !deploy.isConfigured) return [];
  const where = join(deploy.staging, "fullchain.pem");
  return [
    await attempt({ leg: "staged", where }, () =>
      Promise.resolve({ certificate: readStaged(deploy.staging).leaf })),
  ];
}

async function deployedLeg(
  config: VerifyConfig,
  mailcow: Mailcow | Failure | null,
  host: Host,
): Promise<Leg[]> {
  if (config.deployed !== null) return [await locationLeg("deployed", config.deployed, config, host)];
  if (mailcow === null) return [];
  const where = mailcow instanceof Failure
    ? config.deploy.mailcow
    : join(mailcow.sslDirectory, "cert.pem");
  return [
    await attempt({ leg: "deployed", where }, () => {
      if (mailcow instanceof Failure) throw mailcow;
      return Promise.resolve({ certificate: readLocal(where) });
    }),
  ];
}

function sniLegs(mailcow: Mailcow | Failure | null, domain: string | null): Promise<Leg[]> {
  if (mailcow === null || mailcow instanceof Failure || domain === null) return Promise.resolve([]);
  return Promise.all(
    mailcow.sniDirectories.filter(({ domains }) => domains.includes(domain)).map(
      ({ directory }) => {
        const where = join(directory, "cert.pem");
        return attempt({ leg: "sni", where, sni: domain }, () =>
          Promise.resolve({ certificate: readLocal(where) }));
      },
    ),
  );
}

async function servedLegs(
  config: VerifyConfig,
  mailcow: Mailcow | Failure | null,
  domain: string | null,
  host: Host,
): Promise<Leg[]> {
  const configured = config.endpoints ?? config.deploy.endpoints;
  const standard = mailcow !== null && !(mailcow instanceof Failure)
    ? mailcow.conf.endpoints
    : domain === null
    ? []
    : [{ protocol: "imaps", host: domain, port: 993 } as const];
  const legs = await Promise.all(
    (configured ?? standard).map((endpoint) =>
      endpointLegs(endpoint, domain, configured !== null, config, host)
    ),
  );
  return legs.flat();
}

async function endpointLegs(
  endpoint: Endpoint,
  domain: string | null,
  isConfigured: boolean,
  { timeoutMs }: VerifyConfig,
  host: Host,
): Promise<Leg[]> {
  const where = formatEndpoint(endpoint);
  const facts = { leg: "served", where, isConfigured } as const;
  let addresses: string[];
  try {
    addresses = await addressesOf(endpoint.host, timeoutMs, host);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [makeLeg({ ...facts, error: error.message })];
  }
  if (addresses.length === 0) {
    return [makeLeg({ ...facts, error: `no address for ${endpoint.host}` })];
  }
  const names = domain === null ? [null] : [domain, null];
  return await Promise.all(addresses.flatMap((ip) =>
    names.map(async (sni) => {
      const served = await readServed({ ...endpoint, host: ip }, sni, timeoutMs, host);
      return served.kind === "none"
        ? makeLeg({ ...facts, sni, ip, error: served.reason })
        : makeLeg({ ...facts, sni, ip, certificate: served.leaf, chainLength: served.chainLength });
    })
  ));
}
