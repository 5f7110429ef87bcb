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
  /** What alone this key may run. */
  readonly command: string;
  /** Where that writes. */
  readonly directory: string;
  readonly comment: string;
}

const KEY = "(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,}={0,2})";

const hostKeyLine = new RegExp(`^(?:([A-Za-z0-9.,:_|=+/[\\]-]+) )?${KEY}(?: .*)?$`);

const authorizedKeyLine = new RegExp(
  '^command="(rsync --server -[A-Za-z]+(?:\\.[A-Za-z]*)? \\. (/[A-Za-z0-9._/+@-]*))",restrict ' +
    `${KEY}(?: ([A-Za-z0-9@._ -]*))?$`,
);

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

/** `command="rsync --server …",restrict <type> <key> <comment>`, and nothing that can do more. */
export function parseAuthorizedKey(text: string, what: string): AuthorizedKey {
  const [, command, directory, type, blob, comment = ""] = authorizedKeyLine.exec(text.trim()) ??
    [];
  if (
    command === undefined || directory === undefined || type === undefined || blob === undefined ||
    !isWhole({ type, blob })
  ) {
    throw new UsageFailure(`${what} is not one whole line that lets a key receive files alone`, {
      hint:
        'copy the line that the script of certsync setup push prints: command="rsync --server …",restrict ssh-ed25519 AAAA…',
    });
  }
  return { command, directory, type, blob, comment };
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
