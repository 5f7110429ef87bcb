// mailcow on this host: what its configuration says, and the SSL directory that its services read.

import * as fs from "node:fs";
import { join, resolve } from "node:path";
import { parseOnce } from "../certificate/known_pairs.ts";
import {
  CERTIFICATE_MODE,
  installedPaths,
  isPlain,
  KEY_MODE,
  type Pair,
  type PairFiles,
  type PairPaths,
} from "../certificate/pair.ts";
import { asRoot, explain, Failure, quote } from "../failure.ts";
import { FileProblem, MAX_PEM_BYTES, readFile, textOrNothing } from "../files/read_file.ts";
import type { Protocol } from "../values/endpoint_url.ts";
import { hostnameOf, type MailcowConf, parseMailcowConf } from "./mailcow_conf.ts";
import { wordsOf } from "./sni.ts";

/** The services that load the certificate, and the protocols on which each serves it. */
export const services = {
  "postfix-mailcow": ["smtp", "submission", "smtps"],
  "dovecot-mailcow": ["imap", "imaps", "pop3", "pop3s", "sieve"],
  "nginx-mailcow": ["https"],
} as const satisfies Record<string, readonly Protocol[]>;

export type Service = keyof typeof services;

/** What the main process of each service is called in its container. */
export const processNames: Readonly<Record<Service, string>> = {
  "postfix-mailcow": "master",
  "dovecot-mailcow": "dovecot",
  "nginx-mailcow": "nginx",
};

export const serviceNames = Object.keys(services) as readonly Service[];

export function isService(text: string): text is Service {
  return Object.hasOwn(services, text);
}

export function serviceOf(protocol: Protocol): Service {
  const name = serviceNames.find((name) =>
    (services[name] as readonly Protocol[]).includes(protocol)
  );
  if (name === undefined) throw new TypeError(`no service for ${protocol}`);
  return name;
}

export interface Mailcow {
  readonly directory: string;
  readonly conf: MailcowConf;
  readonly sslDirectory: string;
  readonly deployed: Installed;
  readonly sniDirectories: readonly SniDirectory[];
  /** Those that could not be looked into: nobody can tell what they make services serve. */
  readonly closedDirectories: readonly string[];
  readonly halfDirectories: readonly HalfDirectory[];
  /** What of the SSL directory needs a person, whatever is deployed. */
  readonly problems: readonly string[];
}

/**
 * With a file "domains", and without a pair. What served it before cannot be reloaded any more, and after a
 * restart it is not served.
 */
export interface HalfDirectory extends Pick<SniDirectory, "name" | "directory" | "domains"> {
  /** The paths. */
  readonly missing: readonly string[];
}

/** cert.pem and key.pem of one directory, as they are. */
export interface Installed {
  readonly directory: string;
  /** Null where they cannot be parsed as a certificate and a key. */
  readonly pair: Pair | null;
  /** Why there is no pair. */
  readonly problem: string | null;
  /** False where something stands there that could not be read: nobody knows what it is. */
  readonly isReadable: boolean;
  /** Both are real files of ours, with the right modes, and everybody reads them alike. */
  readonly isTidy: boolean;
  /** The first half of that, which the bytes alone do not tell. */
  readonly areOurs: boolean;
  /** The very bytes; null where a file could not be read. */
  readonly files: PairFiles | null;
}

/** Served by Postfix and Dovecot, ahead of the top-level pair, to clients that name its domains. */
export interface SniDirectory extends Installed {
  readonly name: string;
  /** Every word of its file "domains"; which of them count is each reader's own affair. */
  readonly domains: readonly string[];
  readonly domainsText: string;
  /** That it cannot be judged for that alone. */
  readonly isTooLarge?: boolean;
  /** The names of all that lies there. */
  readonly entries: readonly string[];
}

/** Throws a Failure where the directory is not mailcow's. */
export function readMailcow(directory: string): Mailcow {
  const sslDirectory = join(directory, "data/assets/ssl");
  const conf = readMailcowConf(directory);
  try {
    const { served, closed } = readSniDirectories(sslDirectory);
    return {
      directory,
      conf,
      sslDirectory,
      deployed: readInstalled(sslDirectory),
      sniDirectories: served,
      closedDirectories: closed,
      halfDirectories: halfDirectories(sslDirectory, served),
      problems: unreadableNames(sslDirectory),
    };
  } catch (error) {
    const failure = explain(error, `read ${quote(sslDirectory)}`);
    if (!(failure instanceof Failure)) throw failure;
    throw new Failure(failure.message, {
      hint: failure.hint ?? "is this mailcow's directory, and was it ever started there?",
      cause: error,
    });
  }
}

function readMailcowConf(directory: string): MailcowConf {
  const path = join(directory, "mailcow.conf");
  try {
    const { bytes } = readFile(path, { follow: true });
    return parseMailcowConf(new TextDecoder().decode(bytes), path);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    throw new Failure(`${quote(path)} ${error.detail}`, {
      hint: confHint(error),
      cause: error,
    });
  }
}

/** For whoever reports that nothing else could be read. */
export function hostnameIn(directory: string): string | null {
  return hostnameOf(textOrNothing(join(directory, "mailcow.conf")));
}

function confHint({ kind }: FileProblem): string {
  if (kind === "missing") return "name mailcow's directory with --mailcow DIR or deploy.mailcow";
  if (kind === "unreadable") return asRoot("look at the disk, and at lsattr: dmesg tells more");
  return "put mailcow's own file there, a text of some KiB, or name another directory with --mailcow";
}

/**
 * Read at once, and parsed when somebody asks: of a hundred directories most are as they were. Throws a
 * system error where the directory cannot be looked into.
 */
export function readInstalled(directory: string): Installed {
  const { chain, key } = installedPaths(directory);
  try {
    const files = {
      chainPem: readFile(chain, { follow: true }).bytes,
      keyPem: readFile(key, { follow: true }).bytes,
    };
    const areOurs = isOurs(chain, CERTIFICATE_MODE) && isOurs(key, KEY_MODE);
    let parsed: Parsed | null = null;
    const parse = () => parsed ??= parseInstalled(files, { chain, key });
    return {
      ...{ directory, isReadable: true, areOurs, files },
      get isTidy() {
        return areOurs && isPlain(files);
      },
      get pair() {
        return parse().pair;
      },
      get problem() {
        return parse().problem;
      },
    };
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const isReadable = error.kind !== "unreadable";
    const nothing = { pair: null, files: null, areOurs: false, isTidy: false };
    return { ...nothing, directory, problem: error.message, isReadable };
  }
}

type Parsed = Pick<Installed, "pair" | "problem">;

function parseInstalled(files: PairFiles, paths: PairPaths): Parsed {
  try {
    return { pair: parseOnce(files, paths, "lenient"), problem: null };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { pair: null, problem: error.message };
  }
}

function isOurs(path: string, mode: number): boolean {
  const stat = fs.lstatSync(path);
  return stat.isFile() && (stat.mode & 0o7777) === mode && stat.uid === Deno.uid();
}

/**
 * As mailcow's services find them, hidden ones included, which nginx takes. A link counts where it
 * leads to a directory that can be seen from inside the containers, and that is not listed itself.
 */
function readSniDirectories(
  sslDirectory: string,
): { readonly served: SniDirectory[]; readonly closed: readonly string[] } {
  const entries = fs.readdirSync(sslDirectory, { withFileTypes: true });
  const places = [
    ...entries.filter((entry) => entry.isDirectory())
      .map(({ name }) => ({ name, directory: join(sslDirectory, name) })),
    ...entries.filter((entry) => entry.isSymbolicLink())
      .map(({ name }) => ({ name, directory: readLink(name, sslDirectory) })),
  ];
  const seen = new Set<string>();
  const closed: string[] = [];
  const served = places
    .flatMap(({ name, directory }) => {
      const entries = entriesOf(directory);
      if (entries === null) {
        closed.push(directory);
        return [];
      }
      const isServed = SERVED_FILES.every((file) => isThere(file, directory, entries));
      return isServed ? [{ name, directory, entries }] : [];
    })
    .filter(({ directory }) => {
      const { dev, ino } = fs.statSync(directory);
      return seen.size < seen.add(`${dev} ${ino}`).size;
    })
    .map(({ name, directory, entries }) => readSniDirectory(name, directory, entries))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  return { served, closed };
}

const SERVED_FILES = [...Object.values(installedPaths("")), "domains"];

type Entries = ReadonlyMap<string, fs.Dirent>;

/** None where it is no directory for anybody; null where it cannot be looked into. */
function entriesOf(directory: string): Entries | null {
  try {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    return new Map(entries.map((entry) => [entry.name, entry]));
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return ["ENOENT", "ENOTDIR", "ELOOP"].includes(`${error.code}`) ? new Map() : null;
  }
}

/** A link counts where it leads somewhere. */
function isThere(file: string, directory: string, entries: Entries): boolean {
  const entry = entries.get(file);
  return entry !== undefined && (!entry.isSymbolicLink() || fs.existsSync(join(directory, file)));
}

/** Where the containers mount the SSL directory, of all this host's directories. */
export const MOUNTED = "/etc/ssl/mail";

/** Where a link leads for the containers; what they cannot see is a path that is not there. */
function readLink(name: string, sslDirectory: string): string {
  const target = resolve(MOUNTED, fs.readlinkSync(join(sslDirectory, name)));
  return target.startsWith(`${MOUNTED}/`)
    ? join(sslDirectory, target.slice(MOUNTED.length))
    : join(sslDirectory, name, "outside");
}

/**
 * Deno passes over names that are not UTF-8, and the services do not. Most file systems count the
 * directories in one by its links; others say 1.
 */
function unreadableNames(sslDirectory: string): string[] {
  const visible = fs.readdirSync(sslDirectory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory()).length;
  if (fs.statSync(sslDirectory).nlink <= 2 + visible) return [];
  return [
    `a directory in ${quote(sslDirectory)} has a name that is not UTF-8, so that nobody here ` +
    "can tell what it makes mail services serve; find it with ls -b, and rename it",
  ];
}

function halfDirectories(sslDirectory: string, served: readonly SniDirectory[]): HalfDirectory[] {
  const whole = new Set(served.map(({ name }) => name));
  return fs.readdirSync(sslDirectory, { withFileTypes: true }).flatMap(({ name }) => {
    if (whole.has(name)) return [];
    const directory = join(sslDirectory, name);
    const missing = Object.values(installedPaths(directory)).filter((file) => !fs.existsSync(file));
    if (missing.length === 0 || !fs.existsSync(join(directory, "domains"))) return [];
    return [{ name, directory, missing, domains: domainsIn(directory) }];
  });
}

/** None where nobody can tell. */
function domainsIn(directory: string): string[] {
  try {
    const { bytes } = readFile(join(directory, "domains"), {
      follow: true,
      maxBytes: MAX_PEM_BYTES,
    });
    return wordsOf(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof FileProblem) return [];
    throw error;
  }
}

function readSniDirectory(name: string, directory: string, entries: Entries): SniDirectory {
  const installed = readInstalled(directory);
  try {
    const { bytes } = readFile(join(directory, "domains"), {
      follow: true,
      maxBytes: MAX_PEM_BYTES,
    });
    const domainsText = new TextDecoder().decode(bytes);
    // Its getters go along: to copy it would parse the pair.
    const domains = wordsOf(domainsText);
    return Object.assign(installed, { name, domainsText, domains, entries: [...entries.keys()] });
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    const nobody = {
      ...{ ...installed, name, domainsText: "", domains: [], entries: [...entries.keys()] },
    };
    if (error.kind === "missing" || error.kind === "not-regular") return nobody;
    const problem = `cannot be judged: its file "domains" ${error.detail}`;
    return { ...nobody, isReadable: false, isTooLarge: error.kind === "too-large", problem };
  }
}
