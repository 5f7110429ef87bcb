// The legs of the chain that can be seen from this host, each with what it holds.

import * as fs from "node:fs";
import { join } from "node:path";
import { type Certificate, parseChain, parseFirst } from "../certificate/certificate.ts";
import { deliveredPaths, installedPaths, isMixed, type Pair } from "../certificate/pair.ts";
import { holdsOther, parseLastPushed } from "../chain/last_fp.ts";
import { type Installed, type Mailcow, readMailcow } from "../chain/mailcow.ts";
import {
  chooseLineage,
  type Lineage,
  liveDirectories,
  namedLineage,
  readLineages,
  standardLiveDirectories,
} from "../chain/npm_dir.ts";
import { readScene } from "../chain/scene.ts";
import { readStaged } from "../chain/staging.ts";
import { legNames, type VerifyConfig } from "../config/verify_config.ts";
import { Failure, quote } from "../failure.ts";
import { FileProblem, isMissing, readFile, readFileIfAny } from "../files/read_file.ts";
import type { Compose } from "../programs/compose.ts";
import { lastWords } from "../programs/run.ts";
import { runRemotely } from "../programs/ssh.ts";
import { causeOfDoor } from "../programs/ssh_door.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { namesCover } from "../values/host_name.ts";
import { formatLocation, type Location } from "../values/location.ts";
import { judgeChains } from "./chains.ts";
import { absences, lacksProgram, unaskedEndpoints } from "./doubt.ts";
import { attempt, type Leg, makeLeg, unread } from "./leg.ts";
import { servedLegs } from "./served_legs.ts";
import { daneName, tlsaLegs } from "./tlsa_leg.ts";

export interface Sight {
  readonly domain: string | null;
  readonly legs: readonly Leg[];
  /** Where it is on this host and can be read. */
  readonly mailcow: Mailcow | null;
  readonly compose: Compose["version"];
  /** What this host could not do. */
  readonly warnings: readonly string[];
  /** What was to be looked at, and is not here or could not be judged here. */
  readonly doubts: readonly Failure[];
  readonly roles: { readonly push: boolean; readonly deploy: boolean };
}

/** Reads all legs that are wanted at once; none waits for another. */
export async function readLegs(config: VerifyConfig, context: RunContext): Promise<Sight> {
  const mailcow = readMailcowIfAny(config);
  const domain = config.domain ??
    (mailcow instanceof Failure ? null : mailcow?.conf.hostname ?? null);
  const readers = {
    source: () => sourceLegs(config, domain, context),
    pushed: () => pushedLegs(config),
    staged: () => stagedLegs(config, context),
    deployed: () => deployedLegs(config, mailcow, context),
    sni: () => sniLegs(mailcow, domain, context),
  };
  const wanted = config.legs ?? legNames;
  const filed = Promise.all(
    wanted.map((name) => name === "served" || name === "tlsa" ? [] : readers[name]()),
  ).then((legs) => legs.flat());
  filed.catch(() => {}); // whoever waits for it is told
  const readFiled = async (name: "deployed" | "sni") =>
    wanted.includes(name) ? (await filed).filter(({ leg }) => leg === name) : readers[name]();
  const ours = mailcow instanceof Failure ? null : mailcow;
  const isAsked = (config.endpoints ?? config.deploy.endpoints) === null;
  const scene = ours !== null && isAsked && wanted.includes("served")
    ? await readScene(ours, { endpoints: null }, context)
    : null;
  const compose = scene?.compose.version ?? ours?.conf.composeVersion ?? "native";
  const [served, tlsa] = await allEnded([
    wanted.includes("served")
      ? servedLegs({
        ...{ config, own: scene?.endpoints ?? null, domain, filed },
        published: scene?.published ?? ours?.conf.endpoints ?? [],
      }, context)
      : [],
    wanted.includes("tlsa")
      ? tlsaLegs({
        config,
        names: domain === null ? [] : [daneName(domain, ours, readFiled)],
        mailcow: ours && { directory: ours.directory, version: compose },
        ports: async () =>
          ((scene ?? (ours && await readScene(ours, { endpoints: null }, context)))?.published ??
            []).filter(({ protocol }) => protocol === "smtp"),
      }, context).then((byName) => [...byName.values()].flat())
      : [],
  ]);
  const read = await filed;
  const all = [...read, ...served, ...tlsa];
  const inOrder = wanted.flatMap((name) => all.filter(({ leg }) => leg === name));
  const { legs, failures } = await judgeChains(inOrder, config.trust, context);
  const { push, deploy } = config;
  return {
    domain,
    legs,
    mailcow: ours,
    compose,
    warnings: failures.filter((failure) => !lacksProgram(failure)).map(({ message }) => message),
    doubts: [
      ...absences(config.legs, legs, { domain, mailcow }),
      ...unaskedEndpoints(legs),
      ...failures.filter(lacksProgram),
    ],
    roles: {
      push: push.isConfigured || read.some(({ leg }) => leg === "pushed") ||
        (config.source === null && read.some(({ leg }) => leg === "source")),
      deploy: deploy.isConfigured || mailcow !== null,
    },
  };
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

async function sourceLegs(
  config: VerifyConfig,
  domain: string | null,
  context: RunContext,
): Promise<Leg[]> {
  if (config.source !== null) return [await locationLeg("source", config.source, config, context)];
  const { push } = config;
  if (!push.isConfigured && standardLiveDirectories.every(isMissing)) return [];
  const found = orFailure(() => findSource(push, domain, context));
  if (found === null && !push.isConfigured) return [];
  if (found === null || found instanceof Failure) {
    const where = (push.live ?? standardLiveDirectories).join(" ");
    return [unread({ leg: "source", where }, found ?? noSource(push, domain))];
  }
  const where = deliveredPaths(found.directory).chain;
  return [await attempt({ leg: "source", where }, context, () => holding(found.chain, where))];
}

/** What push would send; null where there is none for the name. */
function findSource(
  { source, live }: VerifyConfig["push"],
  domain: string | null,
  context: RunContext,
): Pick<Lineage, "directory" | "chain"> | null {
  if (source.kind === "directory") return { directory: source.name, chain: null };
  if (source.kind === "auto" && domain === null) return null;
  const lineages = readLineages(liveDirectories(live), context.now);
  return source.kind === "lineage"
    ? namedLineage(lineages, source.name, domain)
    : chooseLineage(lineages, domain ?? "").best;
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

/** What a chain file holds, if it was read before; else it is read now. */
function holding(read: readonly Certificate[] | null | undefined, path: string): Partial<Leg> {
  const chain = read ?? readChain(path);
  return { certificate: chain[0] ?? null, chain };
}

/** Of whatever is between the certificates, servers take no notice either. */
function readChain(path: string): readonly Certificate[] {
  const { bytes } = readFile(path, { follow: true });
  try {
    return parseChain(bytes, quote(path), "lenient");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [parseFirst(bytes, quote(path))];
  }
}

function locationLeg(
  leg: "source" | "deployed",
  location: Location,
  config: VerifyConfig,
  context: RunContext,
): Promise<Leg> {
  if (location.kind === "remote") {
    const facts = { leg, where: formatLocation(location) };
    return attempt(facts, context, async () => ({
      certificate: await readRemote(location, config, context),
    }));
  }
  const where = isDirectory(location.path) ? deliveredPaths(location.path).chain : location.path;
  return attempt({ leg, where }, context, () => ({
    // A leaf alone is as good here: what it goes with is not said.
    certificate: parseFirst(readFile(where, { follow: true }).bytes, quote(where)),
  }));
}

function isDirectory(path: string): boolean {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return false; // reading it will tell why
  }
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
    const words = [causeOfDoor(stderr, peer), lastWords(stderr)];
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
    return [unread({ leg: "pushed", where }, error)];
  }
  const pushed = parseLastPushed(text, push.to ?? [UNNAMED_TARGET]);
  const targets = push.to?.map((target) => target.text) ?? [...pushed.keys()];
  const isGarbage = holdsOther(text, push.to ?? [UNNAMED_TARGET]);
  if (targets.length === 0 && isGarbage) targets.push(UNNAMED_TARGET.text);
  const nothing = isGarbage
    ? { error: "holds a line that is no record of a push", obstacle: "spoilt" } as const
    : { error: "nothing has been pushed there yet", obstacle: "empty" } as const;
  return targets.map((target) => {
    const facts = { leg: "pushed", where: target || where } as const;
    const fingerprint = pushed.get(target);
    return makeLeg(
      fingerprint === undefined ? { ...facts, ...nothing } : { ...facts, fingerprint },
    );
  });
}

/** For what the shell script before us noted, where no config file says which target it had. */
const UNNAMED_TARGET = { text: "" };

async function stagedLegs({ deploy }: VerifyConfig, context: RunContext): Promise<Leg[]> {
  if (!deploy.isConfigured && isMissing(deploy.staging)) return [];
  const where = deliveredPaths(deploy.staging).chain;
  const facts = isMissing(where)
    ? { leg: "staged", where, obstacle: "empty" } as const
    : { leg: "staged", where } as const;
  return [
    await attempt(facts, context, () => ({
      ...ofPair(readStaged(deploy.staging)),
      obstacle: null,
    })),
  ];
}

function ofPair(pair: Pair): Partial<Leg> {
  return { certificate: pair.leaf, chain: pair.chain, keyError: keyErrorOf({ pair }) };
}

/** Nothing where the key may not be read: whoever may not has not seen that it is wrong. */
function keyErrorOf(
  { pair, problem, isReadable }: Pick<Installed, "pair"> & Partial<Installed>,
): string | null {
  if (pair !== null) return isMixed(pair) ? "the key beside it is not the certificate's" : null;
  return isReadable ? problem ?? null : null;
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
  if (mailcow instanceof Failure) {
    const leg = unread({ leg: "deployed", where: config.deploy.mailcow }, mailcow);
    // Whether anything is deployed there cannot be told without mailcow's own settings.
    return [leg.obstacle === "forbidden" ? leg : { ...leg, obstacle: "unknown" }];
  }
  const where = installedPaths(mailcow.sslDirectory).chain;
  const facts = { leg: "deployed", where, directory: mailcow.sslDirectory } as const;
  return [
    await attempt(facts, context, () => ({
      ...holding(mailcow.deployed.pair?.chain, where),
      keyError: keyErrorOf(mailcow.deployed),
    })),
  ];
}

/** Those that hold the domain, and those of other names, which have no `sni`. */
function sniLegs(
  mailcow: Mailcow | Failure | null,
  domain: string | null,
  context: RunContext,
): Promise<Leg[]> {
  if (mailcow === null || mailcow instanceof Failure || domain === null) return Promise.resolve([]);
  return Promise.all(mailcow.sniDirectories.map((installed) => {
    const { directory, domains, pair } = installed;
    const where = installedPaths(directory).chain;
    const hostname = mailcow.conf.hostname ?? domain;
    const own = namesCover(domains, domain) === null ? {} : { sni: domain };
    const facts = { leg: "sni", where, directory, domains, hostname, ...own } as const;
    return attempt(facts, context, () => ({
      ...holding(pair?.chain, where),
      keyError: keyErrorOf(installed),
    }));
  }));
}
