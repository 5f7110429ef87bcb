// mailcow on this host: what its configuration says, and the SSL directory that its services read.

import * as fs from "node:fs";
import { join } from "node:path";
import { walkSync } from "@std/fs/walk";
import type { Compose } from "./compose.ts";
import type { Endpoint, Protocol } from "./endpoint_url.ts";
import { explain, Failure, quote } from "./failure.ts";
import { FileProblem, readFile } from "./file.ts";
import { CERTIFICATE_MODE, KEY_MODE, type Pair, parsePair } from "./pair.ts";

/** The services that load the certificate, and the protocols on which each serves it. */
export const services = {
  "postfix-mailcow": ["smtp", "submission", "smtps"],
  "dovecot-mailcow": ["imap", "imaps", "pop3", "pop3s", "sieve"],
  "nginx-mailcow": ["https"],
} as const satisfies Record<string, readonly Protocol[]>;

export type Service = keyof typeof services;

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

export interface MailcowConf {
  /** MAILCOW_HOSTNAME in lower case. */
  readonly hostname: string | null;
  /** SKIP_LETS_ENCRYPT: that mailcow's own ACME client leaves the certificate alone. */
  readonly skipsLetsEncrypt: boolean;
  readonly composeVersion: Compose["version"];
  /** Where the services are published on this host. */
  readonly endpoints: readonly Endpoint[];
}

export interface Mailcow {
  readonly directory: string;
  readonly conf: MailcowConf;
  readonly sslDirectory: string;
  readonly deployed: Installed;
  readonly sniDirectories: readonly SniDirectory[];
}

/** cert.pem and key.pem of one directory, as they are. */
export interface Installed {
  readonly directory: string;
  /** Null where they cannot be parsed as a certificate and a key. */
  readonly pair: Pair | null;
  /** Why there is no pair. */
  readonly problem: string | null;
  /** Both are real files of ours, with the modes that they should have. */
  readonly isTidy: boolean;
}

/** Served by Postfix and Dovecot, ahead of the top-level pair, to clients that name its domains. */
export interface SniDirectory extends Installed {
  readonly name: string;
  readonly domains: readonly string[];
}

/** Throws a Failure where the directory is not mailcow's. */
export function readMailcow(directory: string): Mailcow {
  const sslDirectory = join(directory, "data/assets/ssl");
  const conf = readMailcowConf(directory);
  try {
    return {
      directory,
      conf,
      sslDirectory,
      deployed: readInstalled(sslDirectory),
      sniDirectories: readSniDirectories(sslDirectory),
    };
  } catch (error) {
    throw explain(error, `read ${quote(sslDirectory)}`);
  }
}

export function readMailcowConf(directory: string): MailcowConf {
  const path = join(directory, "mailcow.conf");
  try {
    const { bytes } = readFile(path, { follow: true });
    return parseMailcowConf(new TextDecoder().decode(bytes), path);
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    throw new Failure(`${quote(path)} ${error.detail}`, {
      hint: error.kind === "missing"
        ? "name mailcow's directory with --mailcow DIR or deploy.mailcow"
        : "run this as root",
    });
  }
}

const portSettings: readonly [setting: string, Protocol, standard: string][] = [
  ["SMTP", "smtp", "25"],
  ["SUBMISSION", "submission", "587"],
  ["SMTPS", "smtps", "465"],
  ["IMAP", "imap", "143"],
  ["IMAPS", "imaps", "993"],
  ["POP", "pop3", "110"],
  ["POPS", "pop3s", "995"],
  ["SIEVE", "sieve", "4190"],
  ["HTTPS", "https", "443"],
];

/** Pure. `path` is for messages. The file is read by a shell and by docker compose. */
export function parseMailcowConf(text: string, path: string): MailcowConf {
  const values = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, key, value] = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, unquote(value));
  }
  const isYes = (key: string) => /^y(es)?$/i.test(values.get(key) ?? "");
  return {
    hostname: values.get("MAILCOW_HOSTNAME")?.toLowerCase().replace(/\.$/, "") || null,
    skipsLetsEncrypt: isYes("SKIP_LETS_ENCRYPT"),
    composeVersion: values.get("DOCKER_COMPOSE_VERSION") === "standalone" ? "standalone" : "native",
    endpoints: portSettings
      .filter(([, protocol]) => protocol !== "https" || !isYes("NGINX_USE_PROXY_PROTOCOL"))
      .map(([setting, protocol, standard]) => {
        const value = values.get(`${setting}_PORT`) || standard;
        const bind = values.get(`${setting}_BIND`) ?? "";
        return { protocol, ...parsePublished(value, bind, `${setting}_PORT in ${path}`) };
      }),
  };
}

function unquote(value: string): string {
  const [, quoted] = /^\s*(?:"([^"]*)"|'([^']*)')/.exec(value)?.filter((part) =>
    part !== undefined
  ) ?? [];
  return quoted ?? value.replace(/\s#.*$/, "").trim();
}

/** `PORT` or `IP:PORT`, split at the last colon; an address for all interfaces means loopback. */
function parsePublished(value: string, bind: string, what: string) {
  const colon = value.lastIndexOf(":");
  const port = Number(value.slice(colon + 1));
  const address = (colon === -1 ? bind : value.slice(0, colon)).replace(/[[\]]/g, "");
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Failure(`${what} is not a port: ${quote(value)}`);
  }
  const loopback: Record<string, string> = { "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1" };
  return { host: loopback[address] ?? address, port };
}

/** Throws a system error where the directory cannot be looked into. */
export function readInstalled(directory: string): Installed {
  const [chain, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
  try {
    const files = {
      chainPem: readFile(chain, { follow: true }).bytes,
      keyPem: readFile(key, { follow: true }).bytes,
    };
    const isTidy = isOurs(chain, CERTIFICATE_MODE) && isOurs(key, KEY_MODE);
    return { directory, pair: parsePair(files, { chain, key }), problem: null, isTidy };
  } catch (error) {
    if (!(error instanceof FileProblem || error instanceof Failure)) throw error;
    return { directory, pair: null, problem: error.message, isTidy: false };
  }
}

function isOurs(path: string, mode: number): boolean {
  const stat = fs.lstatSync(path);
  return stat.isFile() && (stat.mode & 0o7777) === mode && stat.uid === Deno.uid();
}

function readSniDirectories(sslDirectory: string): SniDirectory[] {
  const directories: SniDirectory[] = [];
  for (const entry of walkSync(sslDirectory, { maxDepth: 1, includeFiles: false })) {
    if (entry.path === sslDirectory || entry.name.startsWith(".")) continue;
    const paths = ["cert.pem", "key.pem", "domains"].map((name) => join(entry.path, name));
    if (!paths.every((path) => fs.existsSync(path))) continue;
    directories.push({
      name: entry.name,
      domains: readDomains(join(entry.path, "domains")),
      ...readInstalled(entry.path),
    });
  }
  return directories.sort((a, b) => a.name < b.name ? -1 : 1);
}

function readDomains(path: string): string[] {
  try {
    const { bytes } = readFile(path, { follow: true });
    return new TextDecoder().decode(bytes).toLowerCase().split(/\s+/).filter((name) => name !== "");
  } catch (error) {
    if (error instanceof FileProblem) return [];
    throw error;
  }
}
