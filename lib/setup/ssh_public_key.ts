// The two lines that go across: the mail host's ssh key, and the line for its authorized_keys.

import { UsageFailure } from "../failure.ts";

/** `type base64`, as in /etc/ssh/ssh_host_ed25519_key.pub. */
export interface PublicKey {
  readonly type: string;
  readonly blob: string;
}

export interface HostKey extends PublicKey {
  /** The names that stood before it, if any did; a hashed one tells nothing. */
  readonly names: readonly string[];
}

export interface AuthorizedKey extends PublicKey {
  /** From where and until when alone it may be used, with a comma behind each; or nothing. */
  readonly options: string;
  /** What alone this key may run. */
  readonly command: string;
  /** Where that writes. */
  readonly directory: string;
  readonly comment: string;
}

const TYPE = "(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256|ecdsa-sha2-nistp384|ecdsa-sha2-nistp521)";
const KEY = `${TYPE} ([A-Za-z0-9+/]{40,}={0,2})`;
const COMMENT = "( [A-Za-z0-9@._ -]*)?";

const hostKeyLine = new RegExp(`^(?:([A-Za-z0-9.,:_|=+/[\\]-]+) )?${KEY}(?: .*)?$`);

/**
 * A line that lets a key do no more than receive into the directory, as a regular expression of
 * grep -E too. Only the letters that a push asks for: -s and -K would let it write elsewhere.
 */
function linePattern(directory: string): string {
  const options = '(((from|expiry-time)="[A-Za-z0-9.:,*?!/_-]+",)*)';
  const command = `(rsync --server -logDtprz?e\\.[iLsfxCIvu]* \\. (${directory}))`;
  return `^${options}command="${command}",restrict ${KEY}${COMMENT}$`;
}

/** For grep -E: the lines that may stay beside those that are given. */
export function keptLines(staging: string): string {
  return linePattern(`${staging.replace(/[.+]/g, "\\$&")}/?`);
}

const authorizedKeyLine = new RegExp(linePattern("/[A-Za-z0-9._/+@-]*"));
const bareKeyLine = new RegExp(`^${KEY}${COMMENT}$`);

/** A public key, with or without names before it and a comment behind. */
export function parseHostKey(text: string, what: string): HostKey {
  const [, names, type, blob] = hostKeyLine.exec(text.trim()) ?? [];
  // The text is not repeated: it may be a private key that was pasted by mistake.
  if (type === undefined || blob === undefined || !isWhole({ type, blob })) {
    throw new UsageFailure(`${what} is not one whole ssh host key: ssh-ed25519 AAAA…`, {
      hint: "copy the line that certsync setup deploy prints on the mail host",
    });
  }
  const known = names === undefined || names.startsWith("|") ? [] : names.split(",");
  return { names: known, type, blob };
}

/**
 * `command="rsync --server …",restrict <type> <key> <comment>`, and nothing that can do more; or a
 * public key alone, which gets a command that old and new rsyncs can talk to.
 */
export function parseAuthorizedKey(text: string, what: string, staging: string): AuthorizedKey {
  const line = text.trim();
  const [, type = "", blob = "", comment = ""] = bareKeyLine.exec(line) ?? [];
  const key = type !== ""
    ? {
      options: "",
      command: `rsync --server -logDtprze.iLsfxC . ${staging}/`,
      directory: staging,
      ...{ type, blob, comment: comment.trim() },
    }
    : parseForcedCommand(line);
  if (key !== null && isWhole(key)) return key;
  throw new UsageFailure(`${what} is not one whole line that lets a key receive files alone`, {
    hint:
      'copy the line that the script of certsync setup push prints: command="rsync --server …",restrict ssh-ed25519 AAAA…',
  });
}

function parseForcedCommand(line: string): AuthorizedKey | null {
  const groups = authorizedKeyLine.exec(line);
  if (groups === null) return null;
  const [, options = "", , , command = "", directory = "", type = "", blob = "", comment = ""] =
    groups;
  return { options, command, directory, type, blob, comment: comment.trim() };
}

/** Whether the blob is complete: a row of fields, each with its length before it. RFC 4253, 6.6 */
function isWhole({ type, blob }: PublicKey): boolean {
  const bytes = decodeBase64(blob);
  if (bytes === null) return false;
  const view = new DataView(bytes.buffer);
  const fields: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + 4 > bytes.length) return false;
    const end = at + 4 + view.getUint32(at);
    if (end > bytes.length) return false;
    fields.push(bytes.subarray(at + 4, end));
    at = end;
  }
  const [name] = fields;
  return fields.length > 1 && name !== undefined && new TextDecoder().decode(name) === type;
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch (error) {
    if (error instanceof DOMException) return null; // not base64
    throw error;
  }
}
