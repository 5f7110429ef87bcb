// Where push sends to, as rsync writes it: `user@host:/dir/`, or a directory of this host.

import { normalize } from "node:path";
import { quote, UsageFailure } from "../failure.ts";
import { holdsControl } from "./control_characters.ts";

interface AnyTarget {
  /** As the operator wrote it: its name in `last_fp` and in reports, and rsync's argument. */
  readonly text: string;
  readonly directory: string;
}

export interface SshTarget extends AnyTarget {
  readonly kind: "ssh";
  readonly host: string;
  /** What ssh is given: `user@host`, and no brackets. */
  readonly login: string;
}

/** Where NPM and mailcow are on one machine. */
export interface LocalTarget extends AnyTarget {
  readonly kind: "local";
}

export type PushTarget = SshTarget | LocalTarget;

/** What ssh is to use on the way there. */
export interface SshOptions {
  /** Null means ssh's own for that host, which an alias in its config may name. */
  readonly port: number | null;
  /** Null means ssh's own. */
  readonly identity: string | null;
  /** Files to look for host keys in, `~` allowed; null means ssh's own. */
  readonly knownHosts: readonly string[] | null;
}

/** `what` names the origin in a message. */
export function parsePushTarget(text: string, what: string): PushTarget {
  const refuse = (why: string) =>
    new UsageFailure(`${what} ${why}: ${quote(text)}`, {
      hint:
        "write user@host:/dir/, such as certsync@mail.example.org:/home/certsync/incoming/; or " +
        "where NPM and mailcow are on one machine, a directory's path from the root on",
    });
  if (holdsControl(text)) throw refuse("holds a control character");
  if (text.startsWith("-")) throw refuse("begins with a hyphen");
  if (/^\/[./]*$/.test(text)) throw refuse("is the root of this host");
  if (text.startsWith("/")) return { kind: "local", text, directory: normalize(text) };
  // rsync takes this for a URL, in any case; the pattern below would take it for a host.
  if (/^rsync:\/\//i.test(text)) throw refuse("names an rsync daemon, which is not encrypted");
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text)) throw asPort(text, `${what} is a URL`);
  const [, user, name, ipv6, directory] =
    /^(?:([A-Za-z0-9._-]+)@)?(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]):(.+)$/
      .exec(text) ?? [];
  const host = name ?? ipv6;
  if (host === undefined || directory === undefined) throw refuse("is not a target over SSH");
  if (name !== undefined && /^[0-9A-Fa-f]{1,4}$/.test(name) && /^[0-9A-Fa-f:]+:/.test(directory)) {
    throw refuse("has an IPv6 address without brackets");
  }
  if (directory.startsWith(":")) throw refuse("names an rsync daemon, which is not encrypted");
  if (/^\d+[:/]/.test(directory)) throw asPort(text, `${what} holds a port`);
  if (host.startsWith("-")) throw refuse("has a host that begins with a hyphen");
  if (directory.startsWith("-")) throw refuse("has a directory that begins with a hyphen");
  return {
    kind: "ssh",
    text,
    host,
    login: user === undefined ? host : `${user}@${host}`,
    directory,
  };
}

/** The port has a key of its own; what is left of the text is a target. */
function asPort(text: string, message: string): UsageFailure {
  const [, login = "user@host", port, directory = "/dir/"] =
    /^(?:\w[\w+.-]*:\/\/)?((?:[^@/]*@)?(?:\[[^\]]*\]|[^:/[\]]+))(?::(\d+))?:?(\/.*)?$/.exec(text) ??
      [];
  return new UsageFailure(`${message}: ${quote(text)}`, {
    hint: `write ${login}:${directory}, and the port with the key push.port` +
      (port === undefined ? ", where it is not 22" : ` (push.port: ${port})`),
  });
}
