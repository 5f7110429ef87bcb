// mailcow.conf: the settings of mailcow that concern its certificate. Pure.

import { isIP } from "node:net";
import { quote, UsageFailure } from "../failure.ts";
import type { Compose } from "../programs/compose.ts";
import { type Endpoint, parsePort, type Protocol } from "../values/endpoint_url.ts";
import { parseHostName } from "../values/host_name.ts";

export interface MailcowConf {
  /** MAILCOW_HOSTNAME in lower case. */
  readonly hostname: string | null;
  /** Why it is none, for those who have no other name. */
  readonly hostnameProblem: UsageFailure | null;
  /** SKIP_LETS_ENCRYPT: that mailcow's own ACME client leaves the certificate alone. */
  readonly skipsLetsEncrypt: boolean;
  /** What the file says of that; null where it says nothing. */
  readonly skipsLetsEncryptText: string | null;
  /** Null where the file does not say which one it is. */
  readonly composeVersion: Compose["version"] | null;
  /** The port of nginx, in its container as on this host. */
  readonly httpsPort: number;
  /** nginx talks to nobody but a proxy. */
  readonly usesProxyProtocol: boolean;
  /** Where the services are published on this host, as far as the file alone can tell. */
  readonly endpoints: readonly Endpoint[];
}

/** What mailcow's own tools take for yes. */
export function isYes(text: string | null | undefined): boolean {
  return /^y(es)?$/i.test(text ?? "");
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

/** `path` is for messages. Throws a UsageFailure where a port or an address cannot be right. */
export function parseMailcowConf(text: string, path: string): MailcowConf {
  const [before] = text.split(/\r(?!\n|$)/, 1);
  if (before !== undefined && before.length < text.length) {
    const line = before.split("\n").length;
    throw new UsageFailure(`line ${line} of ${path} has a carriage return that does not end it`, {
      hint: "a shell and docker compose read it differently: write that line anew",
    });
  }
  const values = readAssignments(text);
  const usesProxyProtocol = isYes(values.get("NGINX_USE_PROXY_PROTOCOL"));
  const version = values.get("DOCKER_COMPOSE_VERSION");
  const endpoints = portSettings.flatMap(([setting, protocol, standard]) => {
    const port = expand(values.get(`${setting}_PORT`) || standard, values);
    const bind = expand(values.get(`${setting}_BIND`) ?? "", values);
    if (IS_DOCKERS_CHOICE.test(port)) return [];
    return [{ protocol, ...parsePublished(port, bind, setting, path) }];
  });
  return {
    ...parseMailHostname(values.get("MAILCOW_HOSTNAME") || null, path),
    skipsLetsEncrypt: isYes(values.get("SKIP_LETS_ENCRYPT")),
    skipsLetsEncryptText: values.get("SKIP_LETS_ENCRYPT") ?? null,
    composeVersion: version === "standalone" || version === "native" ? version : null,
    httpsPort: endpoints.find(({ protocol }) => protocol === "https")?.port ?? 443,
    usesProxyProtocol,
    endpoints: endpoints.filter(({ protocol }) => protocol !== "https" || !usesProxyProtocol),
  };
}

/** Docker takes a range, or no port at all, and chooses one itself: only docker can tell which. */
const IS_DOCKERS_CHOICE = /^$|:$|^(.*:)?\d+-\d+$/;

/** MAILCOW_HOSTNAME, whatever else is wrong there. */
export function hostnameOf(text: string): string | null {
  return parseMailHostname(readAssignments(text).get("MAILCOW_HOSTNAME") || null, "").hostname;
}

function parseMailHostname(text: string | null, path: string) {
  try {
    const hostname = text && parseHostName(text, `MAILCOW_HOSTNAME in ${path}`);
    return { hostname, hostnameProblem: null };
  } catch (error) {
    if (!(error instanceof UsageFailure)) throw error;
    return { hostname: null, hostnameProblem: error };
  }
}

/** As docker compose does it: `$NAME`, `${NAME}` and `${NAME:-otherwise}`, of the same file. */
function expand(text: string, values: ReadonlyMap<string, string>): string {
  return text.replace(
    /\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))/g,
    (_, braced?: string, otherwise?: string, bare?: string) =>
      values.get(braced ?? bare ?? "") || (otherwise ?? ""),
  );
}

/** The file is read by a shell and by docker compose: what comes last holds. */
function readAssignments(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split(/\r?\n|\r$/)) {
    const [, key, value] = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, unquote(value));
  }
  return values;
}

function unquote(value: string): string {
  const [, double, single] = /^[ \t]*(?:"([^"]*)"|'([^']*)')/.exec(value) ?? [];
  // Neither a shell nor docker compose takes any other space for one.
  return double ?? single ?? value.replace(/(^|[ \t])#.*$/s, "").replace(/^[ \t]+|[ \t]+$/g, "");
}

/** Published on all interfaces means: on loopback too. */
const loopback: Readonly<Record<string, string>> = {
  "": "127.0.0.1",
  "0.0.0.0": "127.0.0.1",
  "::": "::1",
};

/** `PORT` or `IP:PORT`, split at the last colon. */
function parsePublished(value: string, bind: string, setting: string, path: string) {
  const colon = value.lastIndexOf(":");
  const port = parsePort(value.slice(colon + 1), `${setting}_PORT in ${path}`);
  const [address, origin] = colon === -1 ? [bind, "BIND"] : [value.slice(0, colon), "PORT"];
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  const host = loopback[bare] ?? bare;
  if (isIP(host) !== 0) return { host, port };
  throw new UsageFailure(`${setting}_${origin} in ${path} has no IP address: ${quote(address)}`, {
    hint: "a port is published as PORT or IP:PORT",
  });
}
