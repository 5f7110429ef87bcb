// mailcow.conf: the settings of mailcow that concern its certificate. Pure.

import { isIP } from "node:net";
import { quote, UsageFailure } from "../failure.ts";
import type { Compose } from "../programs/compose.ts";
import { type Endpoint, parsePort, type Protocol } from "../values/endpoint_url.ts";
import { parseHostName } from "../values/host_name.ts";

export interface MailcowConf {
  /** MAILCOW_HOSTNAME in lower case. */
  readonly hostname: string | null;
  /** SKIP_LETS_ENCRYPT: that mailcow's own ACME client leaves the certificate alone. */
  readonly skipsLetsEncrypt: boolean;
  readonly composeVersion: Compose["version"];
  /** Where the services are published on this host. */
  readonly endpoints: readonly Endpoint[];
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

/** `path` is for messages. Throws a UsageFailure where a setting cannot be right. */
export function parseMailcowConf(text: string, path: string): MailcowConf {
  const values = readAssignments(text);
  const isYes = (key: string) => /^y(es)?$/i.test(values.get(key) ?? "");
  const hostname = values.get("MAILCOW_HOSTNAME") || null;
  return {
    hostname: hostname && parseHostName(hostname, `MAILCOW_HOSTNAME in ${path}`),
    skipsLetsEncrypt: isYes("SKIP_LETS_ENCRYPT"),
    composeVersion: values.get("DOCKER_COMPOSE_VERSION") === "standalone" ? "standalone" : "native",
    endpoints: portSettings
      .filter(([, protocol]) => protocol !== "https" || !isYes("NGINX_USE_PROXY_PROTOCOL"))
      .map(([setting, protocol, standard]) => {
        const port = values.get(`${setting}_PORT`) || standard;
        const bind = values.get(`${setting}_BIND`) ?? "";
        return { protocol, ...parsePublished(port, bind, setting, path) };
      }),
  };
}

/** The file is read by a shell and by docker compose: what comes last holds. */
function readAssignments(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split(/\r\n|\r|\n/)) {
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
