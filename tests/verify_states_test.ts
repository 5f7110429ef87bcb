// Every state of the chain, as each host sees it: the verdict, and what to do next, in every format.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Certificate } from "../lib/certificate/certificate.ts";
import type { Service, SniDirectory } from "../lib/chain/mailcow.ts";
import { absences } from "../lib/verify/doubt.ts";
import type { Leg } from "../lib/verify/leg.ts";
import type { LegName } from "../lib/config/verify_config.ts";
import { Failure } from "../lib/failure.ts";
import { formatSteps, type Knowledge } from "../lib/verify/next_step.ts";
import { type Status, statuses } from "../lib/verify/finding.ts";
import type { VerifyReport } from "../lib/verify/report.ts";
import { type Expectations, judgeLegs } from "../lib/verify/verdict.ts";
import { reportSight, verifyCommand } from "../lib/verify/verify.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const now = new Date("2026-07-01T12:00:00Z");
const inDays = (days: number) => new Date(now.getTime() + days * DAY_MS);

const expectations: Expectations = {
  name: NAME,
  isFurther: false,
  isComparing: true,
  sniDirectories: [],
  furtherDirectories: new Set(),
  others: new Map(),
  unhelped: new Set(),
  made: new Set(),
  warn: { lifePart: 0.25 },
  critical: { lifePart: 0.1 },
  now,
};

/** Ten days old with eighty of its ninety days left, unless told otherwise. */
function certificate(facts: Partial<Certificate> & { fingerprint: string }): Certificate {
  return {
    subject: `CN=${NAME}`,
    issuer: "CN=E1,O=Kit",
    names: [NAME],
    notBefore: inDays(-10),
    notAfter: inDays(80),
    ...facts,
  } as Certificate; // a verdict looks at nothing else
}

const renewed = certificate({ fingerprint: "NEW" });
const former = certificate({ fingerprint: "OLD", notBefore: inDays(-70), notAfter: inDays(30) });
const fresh = certificate({ fingerprint: "NEW", notBefore: inDays(-0.9), notAfter: inDays(89) });
const ending = certificate({ fingerprint: "OLD", notBefore: inDays(-80), notAfter: inDays(10) });
const expired = certificate({ fingerprint: "OLD", notBefore: inDays(-91), notAfter: inDays(-1) });
const foreign = certificate({ fingerprint: "NEW", names: ["other.example.org"] });
/** What a fresh mailcow makes for itself, after the certificate was issued. */
const homemade = certificate({
  fingerprint: "HOME",
  issuer: `CN=${NAME}`,
  notBefore: inDays(-1),
  notAfter: inDays(364),
});

function leg(name: LegName, held: Certificate | null, facts: Partial<Leg> = {}): Leg {
  return {
    leg: name,
    where: `the ${name} place`,
    fingerprint: held?.fingerprint ?? null,
    certificate: held,
    chain: null,
    chainError: null,
    obstacle: held === null ? name === "served" ? "silent" : "unknown" : null,
    error: held === null ? "gone" : null,
    hint: null,
    isConfigured: true,
    ...(name === "sni" && { sni: NAME, domains: [NAME], hostname: NAME, directory: "/ssl/own" }),
    ...(name === "served" && { service: "dovecot-mailcow", sni: NAME, isMailcows: true }),
    ...facts,
  };
}

const pushed = (held: Certificate) =>
  leg("pushed", null, {
    ...{ fingerprint: held.fingerprint, obstacle: null, error: null, where: "u@h:/d/" },
  });
const empty = (name: LegName) => leg(name, null, { obstacle: "empty", error: "does not exist" });

const LACKING = "publish _25._tcp.mail.example.org. IN TLSA 3 1 1 ab";
const records = (dane: Leg["dane"] & object, seen = renewed) =>
  leg("tlsa", null, {
    ...{ dane, obstacle: null, error: null },
    fingerprint: dane.fit === "unknown" || dane.fit === "none" ? null : seen.fingerprint,
  });
const fitting = { fit: "fits", words: "ok", publish: "", records: null } as const;
const lacking = {
  fit: "misfit",
  words: "no record fits",
  publish: LACKING,
  records: null,
} as const;
const idle = { fit: "none", words: "none published", publish: "", records: null } as const;
const unknown = {
  fit: "unknown",
  words: "not known: SERVFAIL",
  publish: "",
  records: null,
} as const;

/** With what openssl says of the chain that was seen: the issuers are beside the leaf. */
function chained(
  name: LegName,
  held: Certificate,
  code: number,
  depth: number,
  issuers: readonly string[] = ["CN=E1,O=Kit"],
): Leg {
  const others = issuers.map((subject) =>
    certificate({ fingerprint: subject, subject, issuer: "CN=Root" })
  );
  const chainError = { code, depth, words: "openssl's words" };
  return leg(name, held, { chain: [held, ...others], chainError });
}

// Who sees what. Each takes what lies in its places, from the source on.

const onNpmHost = (source: Certificate, sent: Certificate, served: Certificate) => [
  leg("source", source),
  pushed(sent),
  leg("served", served),
];
const onMailHost = (staged: Certificate, deployed: Certificate, sni = deployed, served = sni) => [
  leg("staged", staged),
  leg("deployed", deployed),
  leg("sni", sni),
  leg("served", served),
];
const onLaptop = (source: Certificate, served: Certificate) => [
  leg("source", source),
  leg("served", served),
];
const onOneMachine = (
  source: Certificate,
  [sent, ...rest]: [Certificate, Certificate, Certificate, Certificate?, Certificate?],
) => [leg("source", source), pushed(sent), ...onMailHost(...rest)];

const PUSH = "run on the NPM host: certsync push";
const PUSH_FORCE = `${PUSH} --force`;
const DEPLOY = "run on the mail host: certsync deploy";
const DEPLOY_FORCE = `${DEPLOY} --force`;
const THEN_DEPLOY = "; then on the mail host: certsync deploy";
const RENEW = `in Nginx Proxy Manager: renew the certificate for ${NAME}`;
const THEN_BOTH = "; then on the NPM host: certsync push; then on the mail host: certsync deploy";
const UNLESS_THERE = ", unless another npm-N has the newer one: then name that as the source";
const UNLESS_NEWER = ", unless the one there is no older than what is deployed";
const THEN_FORCE = THEN_BOTH.replace("push;", "push --force;");
const RESTART = 'run on the mail host: cd "/opt/mailcow" && docker compose restart';
const OR_TAKE_OUT =
  ', or on the mail host: take mail.example.net out of "/ssl/own/domains", then: cd "/opt/mailcow" && ' +
  "docker compose restart dovecot-mailcow nginx-mailcow postfix-mailcow";
const SEE_SERVICE = "see that its service runs";
const TRUST =
  "install or update ca-certificates here, or set verify.trust to the file of your own CA";

interface Case {
  readonly name: string;
  readonly legs: readonly Leg[];
  readonly expect?: Partial<Expectations>;
  readonly known?: Partial<Knowledge>;
  readonly status: Status;
  readonly staleAt?: LegName;
  /** Of each leg. */
  readonly words: readonly string[];
  /** The commands in their order, or else the words that stand in their place. */
  readonly next?: string;
  readonly advice?: string;
}

const behind = "another one";
const newer = "a newer one";
const onIts = "its own certificate";

/** What answers without SNI, or from afar, is not mailcow's own. */
const elsewhere = { service: "nginx-mailcow", sni: null, mayBeAnother: true } as const;
const unrouted = {
  obstacle: "no-route",
  ip: "2001:db8::1",
  error: "network is unreachable",
} as const;
const wrongKey = { keyError: "it is not the certificate's" } as const;
const refused = { obstacle: "refused", error: "connection refused", isConfigured: false } as const;
const ofOthers = { sni: undefined, domains: ["shop.example.net"], directory: "/ssl/it's" } as const;
const broader = ["mail.example.org", "mail.example.net"];
const leftAlone: SniDirectory = {
  areOurs: true,
  entries: [],
  files: null,
  name: "own",
  directory: "/ssl/own",
  domains: broader,
  domainsText: broader.join(" "),
  pair: {
    leaf: former,
    chain: [former],
    chainPem: new Uint8Array(),
    keyPem: new Uint8Array(),
    keyForm: "ec",
  },
  problem: null,
  isReadable: true,
  isTidy: true,
};
const loaded = (service: Service, leaf: string) => new Map([[null, new Map([[service, leaf]])]]);
const mailcow = { directory: "/opt/mailcow", compose: "docker compose", skipsLetsEncrypt: true };

const knowledge: Knowledge = {
  mailcow,
  loaded: new Map(),
  rejected: new Set(),
  unhelped: new Set(),
  made: new Set(),
  added: [],
  roles: { push: false, deploy: false },
  now,
};

const cases: Case[] = [
  {
    name: "mail host: the published records fit",
    legs: [...onMailHost(renewed, renewed), records(fitting)],
    status: "ok",
    words: ["ok", "ok", "ok", "ok", "ok"],
  },
  {
    name: "mail host: no published record fits",
    legs: [...onMailHost(renewed, renewed), records(lacking)],
    status: "critical",
    words: ["ok", "ok", "ok", "ok", "no record fits"],
    next: `in the DNS: ${LACKING}`,
  },
  {
    name: "mail host: no published record fits, and what was staged is not deployed",
    legs: [...onMailHost(renewed, former), records(lacking, former)],
    status: "critical",
    staleAt: "deployed",
    words: ["ok", behind, behind, behind, "no record fits"],
    next: DEPLOY, // and then see whether that one fits
  },
  {
    name: "mail host: what is published cannot be validated",
    legs: [...onMailHost(renewed, renewed), records(unknown)],
    status: "ok",
    words: ["ok", "ok", "ok", "ok", "not known: SERVFAIL"],
  },
  {
    name: "laptop: the records alone, of which no one fits",
    legs: [records(lacking)],
    expect: { isComparing: false },
    status: "critical",
    words: ["no record fits"],
    next: `in the DNS: ${LACKING}`,
  },
  {
    name: "one machine: all legs hold one certificate",
    legs: onOneMachine(renewed, [renewed, renewed, renewed]),
    status: "ok",
    words: ["ok", "ok", "ok", "ok", "ok", "ok"],
  },
  {
    name: "one machine: nothing was pushed since the renewal",
    legs: onOneMachine(renewed, [former, former, former]),
    status: "critical",
    staleAt: "pushed",
    words: ["ok", behind, behind, behind, behind, behind],
    next: PUSH + THEN_DEPLOY,
  },
  {
    name: "one machine: the staging lost what was pushed",
    legs: onOneMachine(renewed, [renewed, former, former]),
    status: "critical",
    staleAt: "staged",
    words: ["ok", "ok", behind, behind, behind, behind],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "one machine: what is staged was not deployed",
    legs: onOneMachine(renewed, [renewed, renewed, former]),
    status: "critical",
    staleAt: "deployed",
    words: ["ok", "ok", "ok", behind, behind, behind],
    next: DEPLOY,
  },
  {
    name: "one machine: the SNI directory was missed",
    legs: onOneMachine(renewed, [renewed, renewed, renewed, former]),
    status: "critical",
    staleAt: "sni",
    words: ["ok", "ok", "ok", "ok", behind, behind],
    next: DEPLOY,
  },
  {
    name: "one machine: the services were not told",
    legs: onOneMachine(renewed, [renewed, renewed, renewed, renewed, former]),
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", "ok", "ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "one machine: a service forgot what deploy saw it serve",
    legs: onOneMachine(renewed, [renewed, renewed, renewed, renewed, former]),
    known: { loaded: loaded("dovecot-mailcow", "NEW") },
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", "ok", "ok", "ok", behind],
    next: DEPLOY_FORCE,
  },
  {
    name: "one machine: another service than the one that forgot is remembered",
    legs: onOneMachine(renewed, [renewed, renewed, renewed, renewed, former]),
    known: { loaded: loaded("postfix-mailcow", "NEW") },
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", "ok", "ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "one machine: one of two targets was not reached",
    legs: [
      leg("source", renewed),
      pushed(renewed),
      leg("pushed", null, { obstacle: "empty", where: "u@b:/d/" }),
      leg("staged", renewed),
    ],
    status: "critical",
    staleAt: "pushed",
    words: ["ok", "ok", "nothing there yet", "ok"],
    next: PUSH,
  },
  {
    name: "one machine: the source is older than all that came of it",
    legs: onOneMachine(former, [renewed, renewed, renewed]),
    known: { loaded: loaded("dovecot-mailcow", "NEW") },
    status: "critical",
    staleAt: "pushed",
    words: ["ok", newer, newer, newer, newer, newer],
    next: RENEW + UNLESS_THERE + THEN_BOTH,
  },
  {
    name: "one machine: an older source has come as far as the staging",
    legs: onOneMachine(former, [former, former, renewed]),
    known: { loaded: loaded("dovecot-mailcow", "NEW") },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", "ok", "ok", newer, newer, newer],
    next: RENEW + UNLESS_THERE + THEN_BOTH,
  },
  {
    name: "mail host: what is staged is older than what is deployed, and was rolled back before",
    legs: onMailHost(former, renewed),
    known: { loaded: loaded("dovecot-mailcow", "NEW"), rejected: new Set(["OLD"]) },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", newer, newer, newer],
    next: RENEW + UNLESS_NEWER + THEN_FORCE,
  },
  {
    name: "NPM host: all that it sees is well",
    legs: onNpmHost(renewed, renewed, renewed),
    status: "ok",
    words: ["ok", "ok", "ok"],
  },
  {
    name: "NPM host: pushed, and not deployed yet",
    legs: onNpmHost(renewed, renewed, former),
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "NPM host: renewed, and not pushed yet",
    legs: onNpmHost(fresh, former, former),
    status: "warning",
    staleAt: "pushed",
    words: ["ok", "not yet here", "not yet here"],
    next: PUSH + THEN_DEPLOY,
  },
  {
    name: "NPM host: never pushed",
    legs: [leg("source", fresh), empty("pushed")],
    status: "warning",
    staleAt: "pushed",
    words: ["ok", "nothing there yet"],
    next: PUSH,
  },
  {
    name: "NPM host: this user may not read the source",
    legs: [leg("source", null, { obstacle: "forbidden" }), pushed(renewed), leg("served", renewed)],
    status: "critical",
    words: ["cannot be read", "ok", "ok"],
    next: "run on this host, as root: certsync verify",
  },
  {
    name: "NPM host: no certificate for the name",
    legs: [leg("source", null, { hint: "issue one" }), pushed(renewed), leg("served", renewed)],
    status: "critical",
    words: ["cannot be read", "ok", "ok"],
    advice: "issue one",
  },
  {
    name: "NPM host: nothing renews the certificate",
    legs: onNpmHost(ending, ending, ending),
    status: "warning",
    words: ["expires in 10 days", "ok", "expires in 10 days"],
    next: RENEW + THEN_BOTH,
  },
  {
    name: "NPM host: the source has a chain that does not verify",
    legs: [chained("source", renewed, 20, 0), pushed(renewed), chained("served", renewed, 20, 0)],
    status: "critical",
    words: ["wrong intermediate", "ok", "wrong intermediate"],
    next: RENEW + THEN_BOTH,
  },
  {
    name: "NPM host: the source has a certificate of another name",
    legs: onNpmHost(foreign, foreign, foreign),
    status: "critical",
    words: ["wrong name", "ok", "wrong name"],
    next: `in Nginx Proxy Manager: request a certificate for ${NAME}${THEN_BOTH}`,
  },
  {
    name: "mail host: all that it sees is well",
    legs: onMailHost(renewed, renewed),
    status: "ok",
    words: ["ok", "ok", "ok", "ok"],
  },
  {
    name: "mail host: what was pushed is not deployed",
    legs: onMailHost(renewed, former),
    status: "critical",
    staleAt: "deployed",
    words: ["ok", behind, behind, behind],
    next: DEPLOY,
  },
  {
    name: "mail host: fresh, with a newer pair of its own",
    legs: onMailHost(renewed, homemade),
    status: "critical",
    staleAt: "deployed",
    words: ["ok", newer, newer, newer],
    next: DEPLOY,
  },
  {
    name: "mail host: fresh, and nothing was pushed",
    legs: [empty("staged"), chained("deployed", homemade, 18, 0, [])],
    status: "critical",
    staleAt: "staged",
    words: ["nothing there yet", "self-signed"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "mail host: the staging was lost",
    legs: [empty("staged"), ...onMailHost(renewed, renewed).slice(1)],
    status: "critical",
    staleAt: "staged",
    words: ["nothing there yet", "ok", "ok", "ok"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "mail host: something in the staging is no certificate",
    legs: [leg("staged", null, { obstacle: "spoilt" }), ...onMailHost(renewed, renewed).slice(1)],
    status: "critical",
    words: ["cannot be read", "ok", "ok", "ok"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "mail host: a directory is in the way of the staged file",
    legs: [
      leg("staged", null, { obstacle: "blocked", inTheWay: ["/in/full chain.pem"] }),
      leg("deployed", renewed),
    ],
    status: "critical",
    words: ["cannot be read", "ok"],
    next: "run on the mail host: rm -r '/in/full chain.pem'; " +
      "then on the NPM host: certsync push --force" + THEN_DEPLOY,
  },
  {
    name: "mail host: the staging was set back to one older than what is deployed",
    legs: onMailHost(former, renewed),
    known: { loaded: loaded("dovecot-mailcow", "NEW") },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", newer, newer, newer],
    next: RENEW + UNLESS_NEWER + THEN_FORCE,
  },
  {
    name: "mail host: somebody put a newer pair there by hand",
    legs: onMailHost(former, renewed),
    known: { loaded: loaded("dovecot-mailcow", "OLD") },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", newer, newer, newer],
    next: DEPLOY,
  },
  {
    name: "one machine: what was pushed cannot be told",
    legs: [
      leg("source", renewed),
      leg("pushed", null, { obstacle: "spoilt", error: "no record" }),
      ...onMailHost(renewed, renewed),
    ],
    status: "critical",
    words: ["ok", "cannot be read", "ok", "ok", "ok", "ok"],
    next: PUSH,
  },
  {
    name: "laptop: what mailcow made for itself is served, and the source is not seen",
    legs: [chained("served", homemade, 18, 0, [])],
    known: { mailcow: null },
    status: "critical",
    words: ["self-signed"],
    next: DEPLOY,
  },
  {
    name: "mail host: the deployed file is gone",
    legs: [leg("staged", renewed), empty("deployed"), leg("served", renewed)],
    status: "critical",
    staleAt: "deployed",
    words: ["ok", "nothing there yet", "ok"],
    next: DEPLOY,
  },
  {
    name: "mail host: the deployed file is garbage",
    legs: [leg("staged", renewed), leg("deployed", null, { obstacle: "spoilt" })],
    status: "critical",
    words: ["ok", "cannot be read"],
    next: DEPLOY,
  },
  {
    name: "mail host: this user may read nothing but what is served",
    legs: [
      leg("staged", null, { obstacle: "forbidden" }),
      leg("deployed", null, { obstacle: "forbidden" }),
      leg("served", renewed),
    ],
    status: "critical",
    words: ["cannot be read", "cannot be read", "ok"],
    next: "run on this host, as root: certsync verify",
  },
  {
    name: "mail host: what is staged was rolled back before",
    legs: onMailHost(renewed, former),
    known: { rejected: new Set(["NEW"]) },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", behind, behind, behind],
    next: DEPLOY_FORCE,
  },
  {
    name: "mail host: mailcow's own ACME client is not told to stay away",
    legs: onMailHost(renewed, former),
    known: { mailcow: { ...mailcow, skipsLetsEncrypt: false } },
    status: "critical",
    staleAt: "deployed",
    words: ["ok", behind, behind, behind],
    next: 'run on the mail host: cd "/opt/mailcow" && ' +
      "sed -i -e '$a SKIP_LETS_ENCRYPT=y' -e '/^SKIP_LETS_ENCRYPT=/d' mailcow.conf; " +
      'then on the mail host: cd "/opt/mailcow" && docker compose up -d' + THEN_DEPLOY,
  },
  {
    name: "mail host: a restart did not help",
    legs: [leg("staged", renewed), leg("deployed", renewed), leg("served", former)],
    known: { unhelped: new Set(["dovecot-mailcow OLD"]) },
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    advice: "dovecot-mailcow gave this one after its restart too: see whether a mount in " +
      "docker-compose.override.yml or another server on that port gives it",
  },
  {
    name: "mail host: something else is served since a restart did not help",
    legs: [leg("staged", renewed), leg("deployed", renewed), leg("served", former)],
    known: { unhelped: new Set(["dovecot-mailcow AA", "nginx-mailcow OLD"]) },
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "mail host: the staged key is not the certificate's",
    legs: [leg("staged", renewed, wrongKey), leg("deployed", former), leg("served", former)],
    status: "critical",
    staleAt: "deployed",
    words: ["wrong key", behind, behind],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "one machine: the staged key is not the certificate's, and all else is well",
    legs: [
      ...[leg("source", renewed), pushed(renewed), leg("staged", renewed, wrongKey)],
      ...[leg("deployed", renewed), leg("served", renewed)],
    ],
    status: "critical",
    words: ["ok", "ok", "wrong key", "ok", "ok"],
    next: PUSH_FORCE,
  },
  {
    name: "mail host: the deployed key, or that of a directory, is not the certificate's",
    legs: [
      leg("staged", renewed),
      leg("deployed", renewed, wrongKey),
      leg("sni", renewed, wrongKey),
      leg("served", renewed),
    ],
    status: "critical",
    words: ["ok", "wrong key", "wrong key", "ok"],
    next: DEPLOY,
  },
  {
    name: "mail host: a directory of another name has a wrong key",
    legs: [leg("deployed", renewed), leg("sni", former, { ...ofOthers, ...wrongKey })],
    status: "critical",
    words: ["ok", "wrong key"],
    advice: "it is not the certificate's: put the right key.pem there, " +
      'or move the directory out of data/assets/ssl, then: cd "/opt/mailcow" && ' +
      "docker compose restart dovecot-mailcow nginx-mailcow postfix-mailcow",
  },
  {
    name: "mail host: all match and are near their end, and the source is not seen",
    legs: onMailHost(ending, ending),
    status: "warning",
    words: Array.from({ length: 4 }, () => "expires in 10 days"),
    next: `${RENEW}, unless that is done${THEN_BOTH}`,
  },
  {
    name: "mail host: all match and have expired",
    legs: onMailHost(expired, expired),
    status: "critical",
    words: ["expired", "expired", "expired", "expired"],
    next: `${RENEW}, unless that is done${THEN_BOTH}`,
  },
  {
    name: "mail host: one endpoint of several is left behind",
    legs: [leg("deployed", renewed), leg("served", renewed), leg("served", former)],
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "mail host: a service none of whose endpoints answers",
    legs: [leg("deployed", renewed), leg("served", null), leg("served", null)],
    status: "critical",
    words: ["ok", "no certificate", "no certificate"],
    next: `${RESTART} dovecot-mailcow`,
  },
  {
    name: "mail host: an endpoint that is not mailcow's gives nothing",
    legs: [leg("deployed", renewed), leg("served", null, { isMailcows: false })],
    status: "critical",
    words: ["ok", "no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "mail host: the one thing that was looked at gives nothing",
    legs: [leg("served", null)],
    expect: { isComparing: false },
    status: "critical",
    words: ["no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "mail host: the same by default",
    legs: [leg("deployed", renewed), leg("served", null, refused)],
    status: "warning",
    words: ["ok", "no certificate"],
    next: `${RESTART} dovecot-mailcow`,
  },
  {
    name: "mail host: a default endpoint is switched off",
    legs: [leg("deployed", renewed), leg("served", renewed), leg("served", null, refused)],
    status: "ok",
    words: ["ok", "ok", "switched off"],
  },
  {
    name: "mail host: the same endpoint where it was asked for",
    legs: [
      leg("deployed", renewed),
      leg("served", renewed),
      leg("served", null, { ...refused, isConfigured: true, hint: null }),
    ],
    status: "critical",
    words: ["ok", "ok", "no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "mail host: a default endpoint says nothing while another answers",
    legs: [
      leg("deployed", renewed),
      leg("served", renewed),
      leg("served", null, { isConfigured: false }),
    ],
    status: "warning",
    words: ["ok", "ok", "no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "mail host: an SNI directory that deploy leaves alone is served rightly",
    legs: [
      leg("deployed", renewed),
      leg("sni", former, { domains: broader }),
      leg("served", former),
      leg("served", renewed, { sni: null }),
    ],
    expect: { sniDirectories: [leftAlone] },
    status: "warning",
    words: ["ok", onIts, onIts, "ok"],
    next: `in Nginx Proxy Manager: request a certificate for ${broader.join(" ")}, ` +
      `unless that is done${OR_TAKE_OUT}${THEN_BOTH}`,
  },
  {
    name: "mail host: such a directory is right for those alone who name it",
    legs: [
      leg("deployed", renewed),
      leg("sni", former, { domains: broader }),
      leg("served", former, { sni: null }),
    ],
    expect: { sniDirectories: [leftAlone] },
    status: "critical",
    staleAt: "served",
    words: ["ok", onIts, behind],
    next: `in Nginx Proxy Manager: request a certificate for ${broader.join(" ")}, ` +
      `unless that is done${OR_TAKE_OUT}${THEN_BOTH}`,
  },
  {
    name: "mail host: a directory of another name is well",
    legs: [leg("deployed", renewed), leg("sni", former, ofOthers)],
    status: "ok",
    words: ["ok", "ok"],
  },
  {
    name: "mail host: a directory of another name is near its end",
    legs: [leg("deployed", renewed), leg("sni", ending, ofOthers)],
    status: "warning",
    words: ["ok", "expires in 10 days"],
    advice: "nobody renews it since SKIP_LETS_ENCRYPT=y: " +
      "name shop.example.net in also, or remove it",
  },
  {
    name: "mail host: a directory of another name has expired",
    legs: [leg("deployed", renewed), leg("sni", expired, ofOthers)],
    status: "warning",
    words: ["ok", "expired"],
    next: "run on the mail host: rm -r '/ssl/it'\\''s'; then on the mail host: " +
      'cd "/opt/mailcow" && docker compose restart postfix-mailcow dovecot-mailcow nginx-mailcow',
  },
  {
    name: "mail host: an ending certificate of another kind is served beside the right one",
    legs: [leg("deployed", renewed), leg("served", renewed, { beside: ending })],
    status: "warning",
    words: ["ok", "expires in 10 days"],
    advice: "see in Nginx Proxy Manager why it is not renewed",
  },
  {
    name: "mail host: the leaf is served without its intermediate",
    legs: [...onMailHost(renewed, renewed).slice(0, 3), chained("served", renewed, 20, 0, [])],
    status: "warning",
    words: ["ok", "ok", "ok", "no intermediate"],
    next: DEPLOY,
  },
  {
    name: "mail host: the same, and deploy saw it serve the leaf",
    legs: [...onMailHost(renewed, renewed).slice(0, 3), chained("served", renewed, 20, 0, [])],
    known: { loaded: loaded("dovecot-mailcow", "NEW") },
    status: "warning",
    words: ["ok", "ok", "ok", "no intermediate"],
    next: DEPLOY_FORCE,
  },
  {
    name: "mail host: the staged chain is broken already",
    legs: [chained("staged", renewed, 20, 0, []), chained("deployed", renewed, 20, 0, [])],
    status: "warning",
    words: ["no intermediate", "no intermediate"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "laptop: two endpoints are alike",
    legs: [leg("served", renewed), leg("served", renewed)],
    status: "ok",
    words: ["ok", "ok"],
  },
  {
    name: "laptop: renewed, and nothing was pushed",
    legs: onLaptop(renewed, former),
    status: "critical",
    staleAt: "served",
    words: ["ok", behind],
    next: PUSH + THEN_DEPLOY,
  },
  {
    name: "laptop: deployed, and not served",
    legs: [leg("source", renewed), leg("deployed", renewed), leg("served", former)],
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "laptop: what is served is newer than the source, and good",
    legs: onLaptop(former, renewed),
    known: { mailcow: null },
    status: "critical",
    staleAt: "served",
    words: ["ok", newer],
    next: RENEW + UNLESS_THERE + THEN_BOTH,
  },
  {
    name: "laptop: what is served is newer, and homemade",
    legs: onLaptop(renewed, homemade),
    status: "critical",
    staleAt: "served",
    words: ["ok", newer],
    next: PUSH + THEN_DEPLOY,
  },
  {
    name: "laptop: no endpoint answers",
    legs: [leg("source", renewed), leg("served", null)],
    known: { mailcow: null },
    status: "critical",
    words: ["ok", "no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "laptop: a wrong intermediate is served, and the source is not seen",
    legs: [chained("served", renewed, 20, 0), leg("served", renewed)],
    status: "critical",
    words: ["wrong intermediate", "ok"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "laptop: an expired intermediate is served",
    legs: [leg("source", renewed), chained("served", renewed, 10, 1)],
    status: "critical",
    words: ["ok", "intermediate expired"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "laptop: a chain whose signatures are wrong",
    legs: [leg("source", renewed), chained("served", renewed, 7, 0)],
    status: "critical",
    words: ["ok", "broken chain"],
    next: PUSH_FORCE + THEN_DEPLOY,
  },
  {
    name: "laptop: this host does not know the issuer",
    legs: [leg("source", renewed), chained("served", renewed, 20, 1)],
    status: "warning",
    words: ["ok", "issuer unknown here"],
    advice: TRUST,
  },
  {
    name: "laptop: this host does not know the root that is served",
    legs: [leg("source", renewed), chained("served", renewed, 19, 2, ["CN=E1,O=Kit", "CN=Root"])],
    status: "critical",
    words: ["ok", "root unknown here"],
    advice: TRUST,
  },
  {
    name: "laptop: one address of the name serves an old one",
    legs: [
      leg("source", renewed),
      leg("served", renewed, { ip: "192.0.2.1" }),
      leg("served", former, { ip: "192.0.2.2" }),
    ],
    status: "critical",
    staleAt: "served",
    words: ["ok", "ok", behind],
    next: DEPLOY,
  },
  {
    name: "laptop: this host has no IPv6",
    legs: [
      leg("source", renewed),
      leg("served", renewed, { ip: "192.0.2.1" }),
      leg("served", null, unrouted),
    ],
    status: "ok",
    words: ["ok", "ok", "not asked: no route from here"],
  },
  {
    name: "laptop: https without SNI gives another site's",
    legs: [leg("source", renewed), leg("served", renewed), leg("served", former, elsewhere)],
    status: "ok",
    words: ["ok", "ok", "another site, without SNI"],
  },
  {
    name: "laptop: https without SNI gives nothing",
    legs: [leg("source", renewed), leg("served", renewed), leg("served", null, elsewhere)],
    known: { mailcow: null },
    status: "critical",
    words: ["ok", "ok", "no certificate"],
    advice: SEE_SERVICE,
  },
  {
    name: "one leg alone is compared with nothing",
    legs: [leg("served", renewed), leg("served", former)],
    expect: { isComparing: false },
    status: "ok",
    words: ["ok", "ok"],
  },
  {
    name: "one leg alone is judged by its dates",
    legs: [leg("served", renewed), leg("served", expired)],
    expect: { isComparing: false },
    status: "critical",
    words: ["ok", "expired"],
    advice: "see in Nginx Proxy Manager why it is not renewed",
  },
  {
    name: "one leg alone that cannot be read is not unknown",
    legs: [leg("deployed", null, { hint: "h" })],
    expect: { isComparing: false },
    status: "critical",
    words: ["cannot be read"],
    advice: "h",
  },
  { name: "no leg at all", legs: [], status: "unknown", words: [] },
  {
    name: "none can be read",
    legs: [leg("source", null), empty("pushed"), leg("served", null, { isConfigured: false })],
    known: { mailcow: null },
    status: "unknown",
    words: ["cannot be read", "cannot be read", "no certificate"],
  },
  {
    name: "none can be read, and an endpoint that was asked for is down",
    legs: [leg("source", null), leg("served", null)],
    known: { mailcow: null },
    status: "critical",
    words: ["cannot be read", "no certificate"],
    advice: "gone", // the first one's own error
  },
  {
    name: "one leg alone that nobody here has a way to was not seen",
    legs: [leg("served", null, unrouted)],
    expect: { isComparing: false },
    status: "unknown",
    words: ["not asked: no route from here"],
  },
  {
    name: "the records alone that could not be asked were not seen",
    legs: [records(unknown)],
    expect: { isComparing: false },
    status: "unknown",
    words: ["not known: SERVFAIL"],
  },
  {
    name: "no record that senders go by, alone",
    legs: [records(idle)],
    expect: { isComparing: false },
    status: "ok",
    words: ["none published"],
  },
  {
    name: "fresh, and stopped halfway",
    legs: onOneMachine(fresh, [fresh, fresh, former]),
    status: "warning",
    staleAt: "deployed",
    words: ["ok", "ok", "ok", ...Array.from({ length: 3 }, () => "not yet here")],
    next: DEPLOY,
  },
  {
    name: "a source exactly a day old is late",
    legs: [
      leg("source", certificate({ fingerprint: "NEW", notBefore: inDays(-1) })),
      pushed(former),
    ],
    status: "critical",
    staleAt: "pushed",
    words: ["ok", behind],
    next: PUSH,
  },
  {
    name: "a fresh certificate that is staged is no excuse without the source",
    legs: [leg("staged", fresh), leg("deployed", former)],
    status: "critical",
    staleAt: "deployed",
    words: ["ok", behind],
    next: DEPLOY,
  },
  {
    name: "fresh, but what is still served has expired",
    legs: [leg("source", fresh), leg("served", expired)],
    status: "critical",
    staleAt: "served",
    words: ["ok", "expired"],
    next: PUSH + THEN_DEPLOY,
  },
  {
    name: "what was pushed is newer, as what is staged tells",
    legs: [leg("source", former), pushed(renewed), leg("staged", renewed)],
    status: "critical",
    staleAt: "pushed",
    words: ["ok", newer, newer],
    next: PUSH,
  },
  {
    name: "critical beats warning in one leg, whichever comes first",
    legs: [
      leg("source", fresh),
      leg("served", certificate({ fingerprint: "OLD", names: ["other"], notBefore: inDays(-20) })),
    ],
    status: "critical",
    staleAt: "served",
    words: ["ok", "wrong name"],
    next: PUSH + THEN_DEPLOY,
  },
];

/** One leg each: what its dates and names alone say. */
const alone: [
  name: string,
  held: Certificate,
  status: Status,
  words: string,
  changes?: Partial<
    Expectations
  >,
][] = [
  ["a wildcard for more than a label", named(["*.org"]), "critical", "wrong name"],
  ["a wildcard, in any case", named(["*.EXAMPLE.org"]), "ok", "ok"],
  ["no name where none is asked for", named([]), "ok", "ok", { name: null }],
  ["just expired", living(90, -0.001), "critical", "expired"],
  [
    "not yet valid",
    certificate({ fingerprint: "A", notBefore: inDays(1) }),
    "critical",
    "not yet valid",
  ],
  ...([
    // days left of ninety, warn, critical
    [23, { lifePart: 0.25 }, { lifePart: 0.1 }, "ok", "ok"],
    [22, { lifePart: 0.25 }, { lifePart: 0.1 }, "warning", "expires in 22 days"],
    [9, { lifePart: 0.25 }, { lifePart: 0.1 }, "warning", "expires in 9 days"],
    [8.9, { lifePart: 0.25 }, { lifePart: 0.1 }, "critical", "expires in 8 days"],
    [21, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "ok", "ok"],
    [20.9, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "warning", "expires in 20 days"],
    [7, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "warning", "expires in 7 days"],
    [6.9, { ms: 21 * DAY_MS }, { ms: 7 * DAY_MS }, "critical", "expires in 6 days"],
    [20, { ms: 21 * DAY_MS }, { lifePart: 0.1 }, "warning", "expires in 20 days"],
    [1, { ms: 0 }, { ms: 0 }, "ok", "ok"],
    [1.5, { lifePart: 1 }, { lifePart: 1 }, "critical", "expires in 1 day"],
    [0.5, { lifePart: 1 }, { lifePart: 0 }, "warning", "expires in hours"],
  ] as const).map(([left, warn, critical, status, words]) =>
    [
      `${left} days left, ${JSON.stringify(warn)} ${JSON.stringify(critical)}`,
      living(90, left),
      status,
      words,
      { warn, critical },
    ] as [string, Certificate, Status, string, Partial<Expectations>]
  ),
];

function named(names: string[]): Certificate {
  return certificate({ fingerprint: "A", names });
}

function living(days: number, left: number): Certificate {
  return certificate({
    fingerprint: "A",
    notBefore: inDays(left - days),
    notAfter: inDays(left),
  });
}

Deno.test("a certificate is judged by its dates and its names", async (t) => {
  for (const [name, held, status, words, changes] of alone) {
    await t.step(name, () => {
      const verdict = judgeLegs([leg("served", held)], { ...expectations, ...changes });
      deepEqual([verdict.status, verdict.legs[0]?.words], [status, words]);
    });
  }
});

function reportOf({ legs, expect = {}, known = {} }: Case, doubts: readonly Failure[] = []) {
  const { isComparing, sniDirectories, name, warn, critical } = { ...expectations, ...expect };
  return reportSight(
    { legs: isComparing ? null : ["served"], warn, critical },
    {
      strands: [{ name, isFurther: false, legs }],
      // deno-lint-ignore no-explicit-any -- nothing else of it is looked at
      mailcow: { sniDirectories, deployed: { pair: null }, conf: { hostname: NAME } } as any,
      furtherDirectories: new Set(),
      doubts,
      warnings: [],
    },
    [],
    { ...knowledge, ...known },
  );
}

Deno.test("every state of the chain has its verdict and its next step, the same in every format", async (t) => {
  equal(cases.length >= 60, true, `${cases.length} states`);
  for (const each of cases) {
    const { name, status, staleAt = null, words, next = "", advice } = each;
    await t.step(`${status}: ${name}`, () => {
      const report = reportOf(each);
      deepEqual([report.status, report.staleAt], [status, staleAt]);
      deepEqual(report.legs.map(({ verdict }) => verdict), words);
      equal(formatSteps(report.next), next);

      const look = { paint: (text: string) => text, width: 80, isTerminal: false, all: true, now };
      const thresholds = { ...expectations, now };
      const formatted = (format: "text" | "nagios" | "prometheus") =>
        verifyCommand.words(report, thresholds, { ...look, format });
      const last = formatted("text").at(-1) ?? "";
      const [nagios = ""] = formatted("nagios");
      match(nagios, new RegExp(`^CERTSYNC ${status.toUpperCase()} - `));
      if (status === "ok") match(last, /^(all \d+ match|not compared)$/);
      else if (status !== "unknown") {
        equal(last.endsWith(`: ${next || advice}`), true, last);
        equal(nagios.includes(`: ${next || advice} | `), true, nagios);
      }
      const code = statuses.indexOf(status);
      const prometheus = formatted("prometheus");
      equal(prometheus.includes(`certsync_status{domain="${NAME}"} ${code}`), true);
      const matches = prometheus.filter((line) => line.startsWith("certsync_match{"));
      // What counts for nothing is in no metric: no rule can fire for it.
      equal(report.legs.every(({ noted, match }) => !noted || match === null), true);
      deepEqual(
        new Set(matches.map((line) => line.at(-1))),
        new Set(report.legs.flatMap(({ match }) => match === null ? [] : [match ? "1" : "0"])),
      );
      // A state that alerts must have something that deviates, and the other way round.
      equal(matches.some((line) => line.endsWith(" 0")) && status === "ok", false);
      deepEqual(JSON.parse(JSON.stringify(report)).next, report.next);
    });
  }
});

Deno.test("--force is proposed in no state where something milder would do", () => {
  const forced = cases.filter(({ next }) => next?.includes("deploy --force"));
  deepEqual(forced.map(({ name }) => name.split(": ")[1]), [
    "a service forgot what deploy saw it serve",
    "what is staged was rolled back before",
    "the same, and deploy saw it serve the leaf",
  ]);
});

const SHOP = "shop.example.net", BLOG = "blog.example.net", WWW = "www.example.com";
const shops = certificate({ fingerprint: "SHOP", names: [SHOP, BLOG] });

/** One judged by what lies in its directory, which is for these names, with what the others hold. */
function judgeFurther(held: Certificate, domains: readonly string[], of: Expectations["others"]) {
  const placed = { directory: "/ssl/shop", domains, hostname: NAME };
  const { legs } = judgeLegs([leg("staged", shops), leg("deployed", held, placed)], {
    ...expectations,
    ...{ name: SHOP, isFurther: true, others: of },
  });
  return legs[1]?.words;
}

Deno.test("what lies in a further name's directory is right where it is for all who ask for that", () => {
  const longer = { notBefore: inDays(-5), notAfter: inDays(85) };
  const domains = certificate({ fingerprint: "NEW", names: [NAME, SHOP], ...longer });
  const everybodys = certificate({ ...domains, names: [NAME, SHOP, BLOG, WWW] });
  const top = new Map([["NEW", { name: NAME, isFurther: false }]]);
  const anothers = new Map([["NEW", { name: WWW, isFurther: true }]]);
  const [newer, of] = ["a newer one", (name: string) => `that of ${name}`];
  equal(judgeFurther(everybodys, [SHOP, BLOG], top), of(NAME));
  equal(judgeFurther(domains, [SHOP, BLOG], top), newer); // nobody gets a good one for BLOG
  equal(judgeFurther(certificate({ ...everybodys, notAfter: inDays(79) }), [SHOP], top), newer);
  const over = { notBefore: inDays(-91), notAfter: inDays(-1) };
  equal(judgeFurther(certificate({ ...everybodys, ...over }), [SHOP], top), "expired");
  equal(judgeFurther(everybodys, [SHOP, WWW], anothers), of(WWW));
  equal(judgeFurther(everybodys, [SHOP], anothers), newer); // it is not in this directory
  equal(judgeFurther(domains, [SHOP, WWW], anothers), "its own certificate");
  equal(judgeFurther(everybodys, [SHOP, BLOG], new Map()), newer);
  // In the place of one that has expired deploy puts what covers the name at least.
  equal(judgeFurther(certificate({ ...everybodys, ...over }), [SHOP, WWW], top), "expired");
});

Deno.test("a further name's directory is its own, also where the domain's certificate covers all of it", () => {
  const wide = certificate({ fingerprint: "NEW", names: [NAME, SHOP] });
  const own = certificate({ fingerprint: "OWN", names: [NAME, SHOP] });
  const pair = { ...leftAlone.pair, leaf: own, chain: [own] };
  const names = [SHOP, NAME];
  const directory = { ...leftAlone, domains: names, domainsText: names.join(" "), pair };
  const judge = (furtherDirectories: ReadonlySet<string>) =>
    judgeLegs([leg("deployed", wide, { hostname: NAME }), leg("served", own)], {
      ...{ ...expectations, sniDirectories: [directory as SniDirectory], furtherDirectories },
    }).legs[1]?.words;
  equal(judge(new Set([directory.directory])), "its own certificate");
  equal(judge(new Set()), "another one");
});

Deno.test("a further name that is served nothing, or not alike, has its own next step, or none", () => {
  const next = (shop: readonly Leg[], known: Partial<Knowledge> = {}) => {
    const report = reportSight(
      { legs: null, ...expectations },
      {
        strands: [
          { name: NAME, isFurther: false, legs: onMailHost(renewed, renewed) },
          { name: SHOP, isFurther: true, legs: shop },
        ],
        ...{ mailcow: null, furtherDirectories: new Set(), doubts: [], warnings: [] },
      },
      [],
      { ...knowledge, ...known },
    );
    return formatSteps(report.next);
  };
  const silent = leg("served", null, { sni: SHOP });
  const placed = { domains: [SHOP], hostname: NAME };
  const legs = [leg("staged", shops), leg("deployed", shops, placed), silent];
  equal(next(legs), DEPLOY); // Dovecot serves the domain: no restart of it is proposed
  const memory = new Map([[SHOP, new Map([["dovecot-mailcow" as const, "SHOP"]])]]);
  equal(next(legs, { loaded: memory }), `${DEPLOY_FORCE} --only ${SHOP}`);
  const unclear = leg("deployed", null, { obstacle: "unclear", error: "two", hint: "take it out" });
  equal(next([leg("staged", shops), unclear, leg("served", former, { sni: SHOP })]), "");
});

Deno.test("of a further name it counts what its own directory is served for, by each service", () => {
  const name = "shop.example.net";
  const own = certificate({ fingerprint: "SHOP", names: [name, NAME] });
  const pair = { ...leftAlone.pair, leaf: own, chain: [own] };
  const domains = [name, NAME];
  const directory = { ...leftAlone, domains, domainsText: domains.join(" "), pair } as SniDirectory;
  const around: Expectations = {
    ...{ ...expectations, name, isFurther: true, sniDirectories: [directory] },
    furtherDirectories: new Set([directory.directory]),
    others: new Map([["NEW", { name: NAME, isFurther: false }]]),
  };
  const placed = { directory: directory.directory, domains, hostname: NAME };
  const served = (held: Certificate, service: Service) =>
    leg("served", held, { service, sni: name });
  const judge = (...legs: Leg[]) =>
    judgeLegs([leg("deployed", own, placed), ...legs], around).legs
      .map(({ words, match }) => [words, match]);
  deepEqual(judge(served(own, "dovecot-mailcow"), served(renewed, "nginx-mailcow")), [
    ["ok", true],
    ["ok", true],
    ["that of the domain: nginx passes over the directory", null],
  ]);
  // Who asks nginx for a name that the domain's does not cover gets a wrong one.
  const passedOver = [leg("deployed", own, placed), served(renewed, "nginx-mailcow")];
  const verdict = judgeLegs(passedOver, around);
  deepEqual([verdict.status, verdict.staleAt], ["critical", null]);
  match(
    verdict.legs[1]?.findings[0]?.advice ?? "",
    /that holds mail\.example\.org: take that out of "\/ssl\/own\/domains", then: docker compose restart /,
  );
  const wide = certificate({ fingerprint: "NEW", names: [NAME, name] });
  equal(judgeLegs([...passedOver.slice(0, 1), served(wide, "nginx-mailcow")], around).status, "ok");
  // To those that do serve the directory, the domain's is another one; where it does not cover the name, that is worse.
  deepEqual(judge(served(renewed, "dovecot-mailcow"))[1], ["wrong name", false]);
  deepEqual(judge(served(former, "nginx-mailcow"))[1], ["wrong name", false]);
  deepEqual(judge(served(wide, "dovecot-mailcow"))[1], ["another one", false]);
});

Deno.test("what is advised of a leg is what would end it there", () => {
  const advice = (legs: Leg[], index: number, expect: Partial<Expectations> = {}) => {
    const verdict = judgeLegs(legs, { ...expectations, ...expect }).legs[index];
    return verdict?.findings.map(({ advice }) => advice ?? "").join();
  };
  // What is staged need not be what was issued.
  match(advice([leg("deployed", expired)], 0) ?? "", /renew/);
  equal(advice([leg("staged", expired), leg("deployed", expired)], 0), "");
  equal(advice([leg("staged", foreign)], 0), 'it is for "other.example.org"');
  const watched = (held: Certificate | null, facts: Partial<Leg> = {}) => [
    leg("deployed", renewed),
    leg("sni", held, { ...ofOthers, ...facts }),
  ];
  match(advice(watched(null, { obstacle: "unknown" }), 1) ?? "", /^mend it, or move the directory/);
  equal(advice(watched(null, { obstacle: "forbidden" }), 1), "");
  match(
    advice(watched(ending), 1) ?? "",
    /^nobody renews it since .* name shop\.example\.net in also/,
  );
  match(
    advice(watched(ending), 1, { made: new Set([SHOP]) }) ?? "",
    /^certsync made it for shop\.example\.net: name that in also again/,
  );
  // A renewal would not come to a directory whose names it does not cover.
  const own = [leg("deployed", renewed), leg("sni", ending, { domains: broader })];
  const lacking = 'the new certificate does not cover "mail.example.net"';
  equal(advice(own, 1, { sniDirectories: [leftAlone] }), `${lacking},${lacking}`);
});

Deno.test("a further name that was never sent is no more than a warning while another's pair serves it", () => {
  const everybodys = certificate({ fingerprint: "NEW", names: [NAME, SHOP] });
  const placed = { directory: "/ssl/shop", domains: [SHOP], hostname: NAME };
  const legs = [leg("staged", null, { obstacle: "unasked" }), leg("deployed", everybodys, placed)];
  const status = (others: Expectations["others"]) =>
    judgeLegs(legs, { ...expectations, name: SHOP, isFurther: true, others }).legs[0]?.status;
  equal(status(new Map([["NEW", { name: NAME, isFurther: false }]])), "warning");
  equal(status(new Map()), "critical");
});

Deno.test("where of the legs that were named one kind alone is there to be compared, nothing is", () => {
  const report = (legs: Leg[], further: Leg[] = []) =>
    reportSight(
      { ...expectations, legs: ["sni", "deployed"] },
      {
        strands: [
          { name: NAME, isFurther: false, legs },
          { name: SHOP, isFurther: true, legs: further },
        ],
        ...{ mailcow: null, furtherDirectories: new Set(), doubts: [], warnings: [] },
      },
      [],
      knowledge,
    );
  const deployed = leg("deployed", renewed);
  const last = (report: VerifyReport) =>
    verifyCommand.words(report, null, {
      ...{ paint: (text: string) => text, width: 80, isTerminal: false, all: true, now },
      format: "text",
    }).at(-1);
  const alone = report([leg("sni", shops, ofOthers), deployed], [leg("deployed", shops)]);
  deepEqual([alone.status, last(alone)], ["ok", "not compared"]);
  deepEqual(alone.legs.map(({ match }) => match), [null, null, null]);
  equal(last(report([leg("sni", renewed), deployed], [leg("deployed", shops)])), "all 2 match");
});

Deno.test("match is measured against the first leg that can be read", () => {
  const legs = [leg("source", null), leg("staged", former), leg("deployed", renewed)];
  const matches = (legs: Leg[]) => judgeLegs(legs, expectations).legs.map(({ match }) => match);
  deepEqual(matches(legs), [null, true, false]);
  // Of a record that cannot be read nobody can tell what was pushed; what is staged is no certificate.
  const spoilt = (name: LegName) => leg(name, null, { obstacle: "spoilt" });
  deepEqual(matches([leg("source", renewed), spoilt("pushed"), spoilt("staged")]), [
    true,
    null,
    false,
  ]);
});

Deno.test("what cannot be read is not called stale, and neither is anything before the stuck leg", () => {
  const legs = [leg("source", renewed), leg("staged", null), leg("served", former)];
  deepEqual(judgeLegs(legs, expectations).legs.map(({ isStale }) => isStale), [false, false, true]);
});

Deno.test("an incomplete chain is warned of once for each endpoint", () => {
  const incomplete = (where: string) => ({ ...chained("served", renewed, 20, 0, []), where });
  const { warnings } = judgeLegs([
    incomplete("imaps://a:993"),
    incomplete("imaps://a:993"),
    incomplete("b"),
  ], expectations);
  equal(warnings.length, 2);
  match(
    warnings[0] ?? "",
    /^imaps:\/\/a:993 serves its leaf without the intermediate "CN=E1,O=Kit"/,
  );
  deepEqual(judgeLegs([leg("served", renewed)], expectations).warnings, []);
  deepEqual(judgeLegs([leg("source", renewed)], expectations).warnings, []);
});

Deno.test("what this host could not look at is unknown, unless the rest is critical", () => {
  const doubts = [new Failure("openssl is gone", { hint: "h" }), new Failure("another")];
  const of = (held: Certificate) => reportOf({ ...none, legs: [leg("served", held)] }, doubts);
  const none = { name: "", expect: { isComparing: false }, status: "ok", words: [] } as const;
  for (const held of [renewed, ending]) {
    const { status, error, hint, warnings } = of(held);
    deepEqual([status, error, hint, warnings], ["unknown", "openssl is gone", "h", ["another"]]);
  }
  const { status, error, warnings } = of(expired);
  deepEqual([status, error, warnings], ["critical", undefined, ["openssl is gone", "another"]]);
});

Deno.test("a leg that was named and is not here is told, with the reason", () => {
  const absent = (name: LegName, mailcow: object | Failure | null, domain: string | null = NAME) =>
    absences([name], [], { domain, mailcow })[0]?.message.replace(/^.*--leg \w+: /, "");
  const forbidden = new Failure("mailcow.conf may not be read by this user");
  equal(absent("staged", null), "this host has no such leg");
  equal(absent("sni", null, null), "this host has no such leg");
  equal(absent("sni", {}), "this host has no such leg");
  equal(absent("served", null, null), "which certificate is meant is not known");
  equal(absent("served", forbidden, null), forbidden.message);
  deepEqual(absences(null, [], { domain: null, mailcow: null }), []);
  deepEqual(absences(["served"], [leg("served", null)], { domain: null, mailcow: null }), []);
});

Deno.test("endpoints that all have one fault are one row, and others a row each", () => {
  const rows = (...held: Certificate[]) => {
    const legs = held.map((each, index) => leg("served", each, { where: `imaps://h${index}:993` }));
    const report = reportOf({ name: "", legs, status: "ok", words: [] });
    const look = { paint: (text: string) => text, width: 80, isTerminal: false, all: false, now };
    const lines = verifyCommand.words(report, null, { ...look, format: "text" });
    return lines.filter((line) => / served /.test(` ${line}`));
  };
  const [row, ...none] = rows(expired, expired, expired);
  deepEqual(none, []);
  match(row ?? "", /^served +3 endpoints +OLD +2026-06-30 +expired$/);
  equal(rows(expired, expired, renewed).length, 3);
});
