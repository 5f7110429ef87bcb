// Every key of the config file: what it is called, how it is read, what it means, what else holds.

import { quote, UsageFailure } from "../failure.ts";
import { holdsControl } from "../values/control_characters.ts";
import { parseEndpoint, parsePort } from "../values/endpoint_url.ts";
import { parseFurtherName, parseHostName } from "../values/host_name.ts";
import { type Location, parseLocation } from "../values/location.ts";
import { parsePushTarget, type PushTarget } from "../values/push_target.ts";
import { parseResolver } from "../values/resolver.ts";
import { parseAge, parseDuration } from "../values/time.ts";
import {
  describe,
  type Described,
  type Key,
  list,
  listOrNone,
  type Place,
  section,
  text,
} from "./reader.ts";

/** Whose word a certificate chain is taken on. */
export type Trust = { readonly kind: "system" | "none" } | {
  readonly kind: "file";
  readonly path: string;
};

/** Which lineage push sends. */
export type Source = { readonly kind: "auto" } | {
  readonly kind: "lineage" | "directory";
  readonly name: string;
};

/** A target, and what differs there from the keys of the same names beside `push.to`. */
export type TargetEntry = PushTarget & {
  readonly port?: number;
  readonly identity?: string;
  readonly known_hosts?: string;
};

export const schema = {
  domain: key(text(parseHostName), {
    argument: "NAME",
    help: "The host name that the certificate must cover. Required on the NPM host.",
    example: "mail.example.org",
    otherwise: "MAILCOW_HOSTNAME on the mail host",
  }),
  also: key(listOrNone(text(parseFurtherName)), {
    argument: "NAME, or a list",
    help: "Further names under which mailcow serves mail, each with a certificate of its own.",
    example: "[mail.example.com]",
    otherwise: "none",
  }),
  resolver: key(text(parseResolver), {
    argument: "ADDRESS",
    help: "The name server that is asked for the records of DANE, IP or IP:PORT; it must validate.",
    example: "127.0.0.1:53",
    otherwise: "mailcow's own, else this host's",
  }),
  push: {
    live: key(list(text(parsePath)), {
      argument: "DIRECTORY, or a list",
      help: "Where this host sees the certificates of NPM; with Docker, its side of the volume.",
      example: "[/etc/nginx/letsencrypt/live, /etc/letsencrypt/live]",
      otherwise: "/etc/nginx/letsencrypt/live and /etc/letsencrypt/live, those that exist",
    }),
    source: key(text(parseSource), {
      argument: "auto|npm-N|DIRECTORY",
      help: "Which of them: auto, what find-npm-dir picks, anew each run; or one, by its name; " +
        "or a directory, for domain alone.",
      example: "auto",
      standard: "auto",
    }),
    to: key(list(targetEntry), {
      argument: "TARGET, or a list",
      help:
        "Where it goes: user@host:/directory/, or a directory of root's where NPM and mailcow " +
        "are on one machine. Required. An entry may also be {to: TARGET, port: …, identity: …, " +
        "known_hosts: …}, for what differs there.",
      example: "certsync@mail.example.org:/home/certsync/incoming/",
    }),
    port: key(text(parsePort), {
      argument: "NUMBER",
      help: "The port of ssh on the mail host.",
      example: "22",
      otherwise: "ssh's own for that host",
    }),
    identity: key(text(parsePath), {
      argument: "FILE",
      help: "The private key for ssh, without a passphrase.",
      example: "/root/.ssh/mailcow_certsync",
      otherwise: "ssh's own",
    }),
    known_hosts: key(text(parsePath), {
      argument: "FILE",
      help: "Where the ssh key of the mail host is looked for.",
      example: "/etc/certsync/known_hosts",
      otherwise: "/etc/certsync/known_hosts if it exists, and ssh's own",
    }),
    state: key(text(parsePath), {
      argument: "DIRECTORY",
      help: "What push remembers.",
      example: "/var/lib/mailcow-cert-push",
      standard: "/var/lib/mailcow-cert-push",
    }),
    trust: trust("push"),
    timeout: key(text(parseDuration), {
      argument: "DURATION",
      help: "How long each attempt on each target may take.",
      example: "60s",
      standard: "60s",
    }),
  },
  deploy: {
    mailcow: key(text(parsePath), {
      argument: "DIRECTORY",
      help: "Where mailcow is installed: the directory that holds mailcow.conf.",
      example: "/opt/mailcow-dockerized",
      standard: "/opt/mailcow-dockerized",
    }),
    staging: key(text(parsePath), {
      argument: "DIRECTORY",
      help: "Where push delivers.",
      example: "/home/certsync/incoming",
      standard: "/home/certsync/incoming",
    }),
    state: key(text(parsePath), {
      argument: "DIRECTORY",
      help: "What deploy remembers, and the previous certificate with its key.",
      example: "/var/lib/mailcow-cert-deploy",
      standard: "/var/lib/mailcow-cert-deploy",
    }),
    trust: trust("deploy"),
    apply: key(text(oneOf("reload", "restart")), {
      argument: "reload|restart",
      help: "How the services take a new certificate. One that a reload leaves on the old one is " +
        "restarted anyway.",
      example: "reload",
      standard: "reload",
    }),
    settle: key(text(parseDuration), {
      argument: "DURATION",
      help: "How long a reloaded service may take to serve the new one.",
      example: "30s",
      standard: "30s",
    }),
    restart_timeout: key(text(parseDuration), {
      argument: "DURATION",
      help: "How long a restarted one may take; the unit ends after 60 minutes.",
      example: "5m",
      standard: "5m",
    }),
    endpoints: key(list(text(parseEndpoint)), {
      argument: "URL, or a list",
      help: "What is looked at afterwards.",
      example: "[imaps://127.0.0.1:993]",
      otherwise: "all that docker publishes of the three services",
    }),
    dane: key(text(oneOf("warn", "off")), {
      argument: "warn|off",
      help:
        "Whether the TLSA records of port 25 are looked up when a name gets another certificate.",
      example: "warn",
      standard: "warn",
    }),
  },
  verify: {
    source: key(text(parseFixedLocation), {
      argument: "LOCATION",
      help:
        "Where the certificate of NPM lies: a file here, or host:/path, which is read over ssh.",
      example: "npm-host:/etc/letsencrypt/live/npm-5/fullchain.pem",
      otherwise: "what this host has",
    }),
    deployed: key(text(parseFixedLocation), {
      argument: "LOCATION",
      help: "Where the one of mailcow lies, likewise.",
      example: "mail-host:/opt/mailcow-dockerized/data/assets/ssl/cert.pem",
      otherwise: "what this host has",
    }),
    endpoints: key(list(text(parseEndpoint)), {
      argument: "URL, or a list",
      help: "Where it is served.",
      example: "[imaps://mail.example.org]",
      otherwise: "on the mail host what deploy looks at, elsewhere imaps on the domain",
    }),
    trust: trust("verify"),
    warn: key(text(parseAge), {
      argument: "AGE",
      help:
        "With less than this left it is a warning: a part of the certificate's whole life, or " +
        "a time such as 21d.",
      example: "25%",
      standard: "25%",
    }),
    critical: key(text(parseAge), {
      argument: "AGE",
      help: "With less than this left it is critical.",
      example: "10%",
      standard: "10%",
    }),
    timeout: key(text(parseDuration), {
      argument: "DURATION",
      help: "How long each endpoint may take.",
      example: "10s",
      standard: "10s",
    }),
  },
} as const;

function key<T>(read: Key<T>["read"], described: Described): Key<T> {
  return { ...described, read };
}

function trust(command: string): Key<Trust> {
  return key(text(parseTrust), {
    argument: "system|none|FILE",
    help: `Whose word ${command} takes the chain on: this host's CAs, nobody's, or a CA file.`,
    example: "system",
    standard: "system",
  });
}

function targetEntry(value: unknown, place: Place): TargetEntry {
  const target = text(parsePushTarget);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return target(value, place);
  }
  const { to, ...settings } = section({
    to: key(target, schema.push.to),
    port: schema.push.port,
    identity: schema.push.identity,
    known_hosts: schema.push.known_hosts,
  })(value, place);
  if (to !== undefined) return { ...to, ...settings };
  throw new UsageFailure(`${describe(place)} has an entry without its target`, {
    hint: "write {to: user@host:/dir/, port: 2222}",
  });
}

export function parsePath(path: string, what: string): string {
  if (holdsControl(path)) {
    throw new UsageFailure(`${what} holds a control character: ${quote(path)}`);
  }
  if (path.startsWith("/")) return path;
  throw new UsageFailure(`${what} is not an absolute path: ${quote(path)}`, {
    hint: "write it from the root on, beginning with / (no ~)",
  });
}

/** A local one must not depend on where certsync was started. */
function parseFixedLocation(value: string, what: string): Location {
  const location = parseLocation(value, what);
  if (location.kind === "local") parsePath(location.path, what);
  return location;
}

/** `auto`, the name of a lineage such as `npm-5`, or a directory. */
export function parseSource(value: string, what: string): Source {
  if (value === "auto") return { kind: "auto" };
  if (/^npm-\d+(-\d+)?$/.test(value)) return { kind: "lineage", name: value };
  if (value.startsWith("/")) return { kind: "directory", name: parsePath(value, what) };
  throw new UsageFailure(`${what} is not a source: ${quote(value)}`, {
    hint: "write auto, a lineage's name such as npm-5, or a directory's path",
  });
}

function parseTrust(value: string, what: string): Trust {
  if (value === "system" || value === "none") return { kind: value };
  if (value.startsWith("/")) return { kind: "file", path: parsePath(value, what) };
  throw new UsageFailure(`${what} is not system, none or a CA file's path: ${quote(value)}`);
}

function oneOf<Word extends string>(...words: readonly Word[]) {
  return (value: string, what: string): Word => {
    const word = words.find((each) => each === value);
    if (word !== undefined) return word;
    throw new UsageFailure(`${what} is not ${words.join(" or ")}: ${quote(value)}`);
  };
}
