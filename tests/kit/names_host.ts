// A mail host that has all of its own domain, and is to serve further names; and what deploy says of each.

import { equal } from "node:assert/strict";
import { type Authority, authority, type Leaf } from "./authority.ts";
import { type MailHost, mailHost, type MailHostOptions } from "./mail_host.ts";

export const NAME = "mail.example.org";
export const [SHOP, CLUB] = ["shop.example.com", "club.example.net"] as const;

/** One of each service: where it is about what deploy makes of their answers. */
export const THREE = ["smtps", "imaps", "https"] as const;

const DAY_MS = 86_400_000;

export interface NamesAuthority {
  ca: Authority;
  /** The domain's own. */
  fresh: Leaf;
  /** The days are from now. */
  issue(names: string[], from?: number, to?: number): Promise<Leaf>;
  /** With these staged, by name. deploy asks one endpoint: what is served at the others, `assertGives` sees. */
  namesHost(staged: Record<string, Leaf>, options?: Partial<MailHostOptions>): Promise<MailHost>;
}

export async function namesAuthority(): Promise<NamesAuthority> {
  const ca = await authority();
  const issue = (names: string[], from = -1, to = 90) =>
    ca.issue({
      names,
      notBefore: new Date(Date.now() + from * DAY_MS),
      notAfter: new Date(Date.now() + to * DAY_MS),
    });
  const fresh = await issue([NAME]);
  const namesHost = async (
    staged: Record<string, Leaf>,
    options: Partial<MailHostOptions> = {},
  ) => {
    const host = await mailHost({
      ...{ trust: ca.rootFile, deployed: fresh, staged: fresh, also: Object.keys(staged) },
      endpoints: ["https"],
      ...options,
    });
    for (const [name, leaf] of Object.entries(staged)) await host.stage(leaf, name);
    return host;
  };
  return { ca, fresh, issue, namesHost };
}

/** What each service gives for the name, or without one. */
export function assertGives(host: MailHost, name: string | undefined, leaf: Leaf): void {
  for (const endpoint of THREE) {
    equal(host.services.serves(endpoint, name), leaf.fingerprint, `${endpoint} ${name}`);
  }
}

export interface Certificate {
  name: string;
  outcome: string;
  fingerprint: string | null;
  error?: string;
  hint?: string;
}

interface Report {
  certificates: Certificate[];
}

/** What the report says of each name: its outcome. */
export function outcomes({ certificates }: Report): Record<string, string> {
  return Object.fromEntries(certificates.map(({ name, outcome }) => [name, outcome]));
}

export function refusalOf({ certificates }: Report, name: string): string {
  const one = certificates.find((certificate) => certificate.name === name);
  return `${one?.error}; hint: ${one?.hint}`;
}

export function restarts(host: MailHost): string[] {
  return host.calls().filter((call) => call.startsWith("restart "));
}
