// Facts as deploy finds them, made of real certificates, for the tests of its policy.

import type { DeployFacts } from "../lib/deploy/facts.ts";
import {
  type Installed,
  type Service,
  serviceNames,
  type SniDirectory,
} from "../lib/chain/mailcow.ts";
import { parseMailcowConf } from "../lib/chain/mailcow_conf.ts";
import { type Pair, parsePair } from "../lib/certificate/pair.ts";
import { authority, type LeafOptions } from "./kit/authority.ts";

export const NAME = "mail.example.org";
export const NOW = new Date("2026-06-01T00:00:00Z");
export const SSL = "/opt/mailcow-dockerized/data/assets/ssl";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

export async function pair(options: Partial<LeafOptions> = {}): Promise<Pair> {
  const { fullchainPem, keyPem } = await ca.issue({
    names: [NAME],
    notBefore: new Date("2026-05-01T00:00:00Z"),
    ...options,
  });
  const encode = (text: string) => new TextEncoder().encode(text);
  const files = { chainPem: encode(fullchainPem), keyPem: encode(keyPem) };
  return parsePair(files, { chain: "fullchain.pem", key: "privkey.pem" });
}

export const [old, fresh, own, expired, wide, brief] = await Promise.all([
  pair({ notBefore: new Date("2026-03-15T00:00:00Z") }),
  pair(),
  pair({ names: [NAME, "webmail.example.net"] }),
  pair({
    notBefore: new Date("2026-01-01T00:00:00Z"),
    notAfter: new Date("2026-05-31T00:00:00Z"),
  }),
  pair({ names: [NAME, "Webmail.example.org", "*.example.com"] }),
  pair({ notAfter: new Date("2026-06-10T00:00:00Z") }),
]);

export function installed(pair: Pair | null, more: Partial<Installed> = {}): Installed {
  const known = { problem: null, isReadable: true, isTidy: true, areOurs: true, files: null };
  return { directory: SSL, pair, ...known, ...more };
}

export function sni(name: string, domains: string[], pair: Pair | null): SniDirectory {
  const domainsText = domains.join(" ");
  return {
    ...installed(pair, { directory: `${SSL}/${name}` }),
    name,
    domains,
    domainsText,
    entries: [],
  };
}

export const ALL_LOADED = new Map(
  serviceNames.map((service) => [service, fresh.leaf.fingerprint] as const),
);

export interface Circumstances {
  candidate?: Pair;
  deployed?: Installed;
  sniDirectories?: SniDirectory[];
  loaded?: Map<Service, string>;
  rejected?: string[];
  taken?: string[];
  conf?: string;
  now?: Date;
}

/** All is in place unless a circumstance says otherwise. */
export function facts(circumstances: Circumstances = {}): DeployFacts {
  const conf = circumstances.conf ?? `MAILCOW_HOSTNAME=${NAME}\nSKIP_LETS_ENCRYPT=y`;
  return {
    mailcow: {
      directory: "/opt/mailcow-dockerized",
      conf: parseMailcowConf(conf, "mailcow.conf"),
      sslDirectory: SSL,
      closedDirectories: [],
      halfDirectories: [],
      problems: [],
      deployed: circumstances.deployed ?? installed(fresh),
      sniDirectories: circumstances.sniDirectories ?? [],
    },
    candidate: circumstances.candidate ?? fresh,
    memory: {
      loaded: circumstances.loaded ?? ALL_LOADED,
      loadedFor: new Map(),
      made: new Map(),
      filled: new Set(),
      suspects: new Set(),
      rejected: new Map(circumstances.rejected?.map((leaf) => [leaf, "2026-05-02T00:00:00Z"])),
      unhelped: new Map(),
      unseen: new Set(),
      unpublished: new Set(),
      isAcmeBehind: false,
      directories: new Set(),
      owed: new Map(),
    },
    taken: new Set(circumstances.taken),
    claimed: new Set(),
    further: [],
    domain: NAME,
    now: circumstances.now ?? NOW,
  };
}
