// A DNS resolver as the operator names it: `127.0.0.1:53`, `[::1]`, `dns.example.org`.

import { isIP } from "node:net";
import { quote, UsageFailure } from "../failure.ts";
import { parsePort } from "./endpoint_url.ts";
import { parseHostName } from "./host_name.ts";

export interface Resolver {
  /** A name or an address; an IPv6 address without its brackets. */
  readonly host: string;
  readonly port: number;
}

const DNS_PORT = 53;

/** `what` names the origin in a message. */
export function parseResolver(text: string, what: string): Resolver {
  if (isIP(text) === 6) return { host: text, port: DNS_PORT };
  const [, ipv6, name, port] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d+))?$/.exec(text) ??
      [];
  const isAddress = ipv6 !== undefined ? isIP(ipv6) === 6 : name !== undefined && isIP(name) === 4;
  // What looks like a number and is no address would be taken for one in its own way.
  if (!isAddress && (name === undefined || /^[\d.]+$/.test(name))) {
    throw new UsageFailure(`${what} is not a resolver: ${quote(text)}`, {
      hint: "write an address such as 127.0.0.1:53 or [::1]:53",
    });
  }
  return {
    host: ipv6 ?? (isAddress ? name ?? "" : parseHostName(name ?? "", what)),
    port: port === undefined ? DNS_PORT : parsePort(port, what),
  };
}
