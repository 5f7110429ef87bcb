// What the nine endpoints serve, read off the wire by openssl's own client.

import { X509Certificate } from "node:crypto";
import { deepEqual } from "node:assert/strict";
import { tryRun } from "../kit/run.ts";

/** The port of each endpoint, and what s_client calls its STARTTLS. */
export const ENDPOINTS = {
  smtp: { port: 25, starttls: "smtp" },
  submission: { port: 587, starttls: "smtp" },
  smtps: { port: 465, starttls: null },
  imap: { port: 143, starttls: "imap" },
  imaps: { port: 993, starttls: null },
  pop3: { port: 110, starttls: "pop3" },
  pop3s: { port: 995, starttls: null },
  sieve: { port: 4190, starttls: "sieve" },
  https: { port: 443, starttls: null },
} as const;

export type EndpointName = keyof typeof ENDPOINTS;

export const NAMES = Object.keys(ENDPOINTS) as EndpointName[];
export const POSTFIX: readonly EndpointName[] = ["smtp", "submission", "smtps"];
export const DOVECOT: readonly EndpointName[] = ["imap", "imaps", "pop3", "pop3s", "sieve"];
export const NGINX: readonly EndpointName[] = ["https"];
/** All but those where Postfix may start no server for a minute, since Dovecot was away. */
export const WITHOUT_LOGIN: readonly EndpointName[] = ["smtp", ...DOVECOT, ...NGINX];

export const HOSTNAME = "mail.example.org";

export interface AskOptions {
  /** The address that the client has; default 127.0.0.1. */
  from?: string;
  port?: number;
}

/** The fingerprint of the leaf that is served, or why there is none: "none: …". */
export async function ask(
  name: EndpointName,
  sni: string | null,
  { from, port = ENDPOINTS[name].port }: AskOptions = {},
): Promise<string> {
  const { starttls } = ENDPOINTS[name];
  const { stdout, stderr } = await tryRun("timeout", [
    ...["10", "openssl", "s_client", "-connect", `127.0.0.1:${port}`],
    ...(sni === null ? ["-noservername"] : ["-servername", sni]),
    ...(starttls === null ? [] : ["-starttls", starttls]),
    ...(from === undefined ? [] : ["-bind", from]),
  ]);
  const [pem] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(stdout) ?? [];
  if (pem !== undefined) return new X509Certificate(pem).fingerprint256;
  return `none: ${stderr.trim().split("\n").at(-1) ?? ""}`;
}

/** Both questions to each endpoint, all at once: "imaps", "imaps with SNI". */
export async function askAll(
  names: readonly EndpointName[] = NAMES,
  options: AskOptions = {},
): Promise<Record<string, string>> {
  const questions = names.flatMap((name) => [
    [name, name, null] as const,
    [`${name} with SNI`, name, HOSTNAME] as const,
  ]);
  return Object.fromEntries(
    await Promise.all(
      questions.map(async ([label, name, sni]) => [label, await ask(name, sni, options)] as const),
    ),
  );
}

interface Known {
  fingerprint: string;
}

/** Every one of these endpoints serves this leaf, with SNI and without, now and not later. */
export async function assertServed(
  leaf: Known,
  names: readonly EndpointName[] = NAMES,
  options: AskOptions = {},
): Promise<void> {
  const served = await askAll(names, options);
  deepEqual(Object.entries(served).filter(([, is]) => is !== leaf.fingerprint), []);
}

/** For a minute Postfix starts no server for clients that log in, once one died without Dovecot. */
const THROTTLED_MS = 75_000;

/**
 * Waits until every one answers with a certificate, whichever. Dovecot's first: asked before these
 * are there, Postfix's servers for clients that log in would die.
 */
export async function untilAnswered(names: readonly EndpointName[] = NAMES): Promise<void> {
  const byTurns = [DOVECOT, [...POSTFIX, ...NGINX]].map((turn) =>
    names.filter((name) => turn.includes(name))
  );
  for (const turn of byTurns) {
    await until(
      async () =>
        Object.entries(await askAll(turn)).filter(([, is]) => is.startsWith("none"))
          .map(([at, is]) => `${at} ${is}`),
      THROTTLED_MS,
    );
  }
}

/** Waits until what is served without SNI is this leaf; for services that were reloaded by hand. */
export async function untilServed(leaf: Known, names: readonly EndpointName[]): Promise<void> {
  await until(async () =>
    Object.entries(await askAll(names))
      .filter(([at, is]) => !at.endsWith("SNI") && is !== leaf.fingerprint).map(([at]) => at)
  );
}

/** Waits until nothing is wanting any more. */
export async function until(wanting: () => Promise<string[]>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  for (;;) {
    const still = await wanting();
    if (still.length === 0) return;
    if (Date.now() > end) throw new Error(`after ${limitMs} ms still: ${still.join("; ")}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export interface Failure {
  name: EndpointName;
  /** s_client's last words. */
  why: string;
}

export interface Client {
  /** Ends it: how often it connected, and where it got no certificate. */
  stop(): Promise<{ connections: number; failures: Failure[] }>;
}

/** Connects to every endpoint again and again, with SNI and without in turn. */
export function busyClient(names: readonly EndpointName[] = NAMES): Client {
  const failures: Failure[] = [];
  let connections = 0;
  let isOn = true;
  const loops = names.map(async (name) => {
    for (let turn = 0; isOn; turn++) {
      const served = await ask(name, turn % 2 === 0 ? HOSTNAME : null);
      connections++;
      if (served.startsWith("none")) failures.push({ name, why: served });
    }
  });
  return {
    stop: async () => {
      isOn = false;
      await Promise.all(loops);
      return { connections, failures };
    },
  };
}
