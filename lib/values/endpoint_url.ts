// Endpoints as the operator names them, `imaps://mail.example.org`, by protocol.

import { quote, UsageFailure } from "../failure.ts";

interface ProtocolFacts {
  readonly port: number;
  /** What `openssl s_client -starttls` calls it; null where TLS comes first. */
  readonly starttls: string | null;
}

export const protocols = {
  smtp: { port: 25, starttls: "smtp" },
  submission: { port: 587, starttls: "smtp" },
  smtps: { port: 465, starttls: null },
  imap: { port: 143, starttls: "imap" },
  imaps: { port: 993, starttls: null },
  pop3: { port: 110, starttls: "pop3" },
  pop3s: { port: 995, starttls: null },
  sieve: { port: 4190, starttls: "sieve" },
  https: { port: 443, starttls: null },
} as const satisfies Record<string, ProtocolFacts>;

export type Protocol = keyof typeof protocols;

export interface Endpoint {
  readonly protocol: Protocol;
  /** A name or an address; an IPv6 address without its brackets. */
  readonly host: string;
  readonly port: number;
}

/** `imaps://host`, `smtp://host:25`, `https://[::1]:443`; `what` names the origin in a message. */
export function parseEndpoint(text: string, what: string): Endpoint {
  const [, scheme = "", name, ipv6, port] =
    /^([a-z0-9]+):\/\/(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\])(?::(\d{1,5}))?\/?$/.exec(text) ??
      [];
  const host = name ?? ipv6;
  if (host === undefined || host.startsWith("-")) {
    throw new UsageFailure(`${what} is not an endpoint: ${quote(text)}`, {
      hint: "write a URL such as imaps://mail.example.org or smtp://mail.example.org:25",
    });
  }
  if (!Object.hasOwn(protocols, scheme)) {
    throw new UsageFailure(`${what} has an unknown protocol: ${quote(text)}`, {
      hint: `the protocols are ${Object.keys(protocols).join(" ")}`,
    });
  }
  const protocol = scheme as Protocol; // hasOwn has just said so
  return {
    protocol,
    host,
    port: port === undefined ? protocols[protocol].port : parsePort(port, what),
  };
}

export function parsePort(text: string, what: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) {
    throw new UsageFailure(`${what} is not a port: ${quote(text)}`, {
      hint: "a port is 1 to 65535",
    });
  }
  return port;
}

export function formatEndpoint({ protocol, host, port }: Endpoint): string {
  return `${protocol}://${formatAddress(host, port)}`;
}

/** `host:port`, an IPv6 address in brackets. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
