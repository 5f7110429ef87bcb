// Whether ssh can use a key file of this host, told before a connection is made for nothing.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { asRoot, quote } from "../failure.ts";
import { FileProblem, readFile, textOrNothing } from "../files/read_file.ts";
import type { RunContext } from "../run_context.ts";
import { shellWord } from "../values/shell_word.ts";
import { lastWords, MissingProgram, run, TimedOut } from "./run.ts";
import type { SshView } from "./ssh_view.ts";

export interface KeyTrouble {
  readonly cause: string;
  readonly hint: string;
  /** Where the file itself is at fault. */
  readonly file?: FileProblem["kind"];
}

export interface KeyJudgement {
  readonly path: string;
  /** Null where ssh can use it. */
  readonly trouble: KeyTrouble | null;
  /** Such as `ssh-ed25519`; null where that cannot be told. */
  readonly type: string | null;
}

/** A key without them may do there whatever it likes. */
export const AS_SETUP = 'with the command="…",restrict that certsync setup push prints';

/** What is wrong with the key, or null. A key of OpenSSH's own form costs no process. */
export async function judgeKey(path: string, context: RunContext): Promise<KeyTrouble | null> {
  const text = readKey(path);
  if (typeof text !== "string") return text;
  if (isPlainOpensshKey(text)) return null;
  const words = await refusal(path, context);
  return words === null ? null : explainRefusal(path, text, words);
}

/** Its text, or what keeps ssh from reading it. */
function readKey(path: string): string | KeyTrouble {
  const name = quote(path);
  try {
    const { bytes, mode, uid } = readFile(path, { follow: true });
    const text = new TextDecoder("latin1").decode(bytes);
    if (/^(ssh|ecdsa|sk)-\S+ AAAA/.test(text)) {
      return {
        cause: `the key file is the public half: ${name}`,
        hint: `name the private one with push.identity: ${quote(path.replace(/\.pub$/, ""))}`,
      };
    }
    // ssh leaves it at that where the file is somebody else's.
    if (uid !== Deno.uid() || (mode & 0o077) === 0) return text;
    return {
      cause: `ssh refuses the private key, because others can read it: ${name}`,
      hint: `chmod 600 ${shellWord(path)}`,
    };
  } catch (error) {
    if (!(error instanceof FileProblem)) throw error;
    return {
      cause: `the key file ${name} ${error.detail}`,
      file: error.kind,
      hint: error.kind === "unreadable"
        ? asRoot("look at the disk, and at lsattr: dmesg tells more")
        : error.kind === "not-regular"
        ? "name the file of the private key with push.identity"
        : `make one with: ${makeKey(path)}; or name the right one with push.identity`,
    };
  }
}

function explainRefusal(path: string, text: string, words: string): KeyTrouble {
  const name = quote(path);
  const word = shellWord(path);
  if (/passphrase/.test(words) || isEncrypted(text)) {
    return {
      cause: `the private key is encrypted, and nobody is there to type its passphrase: ${name}`,
      hint: `take the passphrase off: ssh-keygen -p -N '' -f ${word}`,
    };
  }
  return {
    cause: `ssh cannot read the private key: ${name}: ${words}`,
    hint: text.includes("\r")
      ? `take the carriage returns out of it: sed -i 's/\\r$//' ${word}`
      : /-----END [A-Z ]*PRIVATE KEY-----$/.test(text)
      ? `it lacks its last line end: echo >>${word}`
      : `it is damaged: remove it and make a new one with: ${makeKey(path)}`,
  };
}

function makeKey(path: string): string {
  return `ssh-keygen -t ed25519 -N '' -f ${shellWord(path)}; and put ${
    quote(`${path}.pub`)
  } into ` +
    `authorized_keys over there, ${AS_SETUP}`;
}

const MAGIC = "openssh-key-v1\0";

/** The key's own container: what it says of a cipher, and the public half. PROTOCOL.key */
function opensshKey(text: string): { cipher: string; blob: Buffer } | null {
  const [, base64] = /^-----BEGIN OPENSSH PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)\n-----END /
    .exec(text) ?? [];
  if (base64 === undefined) return null;
  const bytes = Buffer.from(base64, "base64");
  if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return null;
  let at = MAGIC.length;
  const next = () => {
    const length = bytes.readUInt32BE(at);
    const field = bytes.subarray(at + 4, at += 4 + length);
    if (field.length !== length) throw new RangeError("cut off");
    return field;
  };
  try {
    const cipher = next().toString("latin1");
    next(), next(); // how the passphrase is stretched
    at += 4; // the number of keys
    const blob = next();
    next(); // the private half is whole
    return { cipher, blob };
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function isPlainOpensshKey(text: string): boolean {
  return text.endsWith("-----END OPENSSH PRIVATE KEY-----\n") &&
    opensshKey(text)?.cipher === "none";
}

function isEncrypted(text: string): boolean {
  const cipher = opensshKey(text)?.cipher;
  return (cipher !== undefined && cipher !== "none") ||
    /ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(text);
}

/** ssh-keygen's words; null where it can read the key, or is not there to ask. */
async function refusal(path: string, context: RunContext): Promise<string | null> {
  try {
    const args = ["-y", "-P", "", "-f", path];
    const { code, stderr } = await run("ssh-keygen", args, { timeoutMs: 10_000 }, context);
    if (code === 0) return null;
    return lastWords(stderr).replace(`Load key "${path}": `, "") || `ssh-keygen ended with ${code}`;
  } catch (error) {
    if (error instanceof MissingProgram || error instanceof TimedOut) return null;
    throw error;
  }
}

/**
 * Whether some other way than that file may give ssh the key: an agent that has it, a second
 * identity of the operator's config, a smart card. What cannot be told may be.
 */
export async function mayDoWithout(
  path: string,
  view: SshView,
  context: RunContext,
): Promise<boolean> {
  if (view.hasKeyProvider) return true;
  const others = view.identityFiles.slice(1);
  if ((await Promise.all(others.map((other) => judgeKey(other, context)))).includes(null)) {
    return true;
  }
  const socket = view.identityAgent ?? context.environment.SSH_AUTH_SOCK;
  if (socket === undefined) return false;
  if (!socket.startsWith("/") && socket !== "SSH_AUTH_SOCK") return true;
  return await agentHolds(
    [path, ...others],
    socket === "SSH_AUTH_SOCK" ? context.environment.SSH_AUTH_SOCK : socket,
    context,
  );
}

async function agentHolds(
  paths: readonly string[],
  socket: string | undefined,
  context: RunContext,
): Promise<boolean> {
  const fingerprints = paths.flatMap((path) => fingerprintOf(path) ?? []);
  if (socket === undefined || fingerprints.length === 0) return false;
  try {
    const limits = { timeoutMs: 5_000, environment: { SSH_AUTH_SOCK: socket } };
    const { code, stdout } = await run("ssh-add", ["-l"], limits, context);
    return code === 0 && fingerprints.some((fingerprint) => stdout.includes(` ${fingerprint} `));
  } catch (error) {
    if (error instanceof MissingProgram || error instanceof TimedOut) return true;
    throw error;
  }
}

/** As ssh-add prints it. */
function fingerprintOf(path: string): string | null {
  const blob = publicBlob(path);
  return blob === null
    ? null
    : `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** The public half: it lies beside the key, or in it. */
function publicBlob(path: string): Buffer | null {
  for (const file of [path, `${path}.pub`]) {
    const text = textOrNothing(file);
    const [, base64] = /^(?:ssh|ecdsa|sk)-\S+ ([A-Za-z0-9+/=]+)/.exec(text) ?? [];
    const blob = base64 === undefined ? opensshKey(text)?.blob : Buffer.from(base64, "base64");
    if (blob !== undefined) return blob;
  }
  return null;
}

/** Its name stands at the beginning of the public half. */
export function keyType(path: string): string | null {
  const blob = publicBlob(path);
  return blob === null || blob.length < 4
    ? null
    : blob.toString("latin1", 4, 4 + Math.min(blob.readUInt32BE(0), 64));
}

/** A line of `<identity>.pub` that can be shown to anybody; null where that is not what is there. */
export function publicKeyLine(path: string): string | null {
  const text = textOrNothing(path).trim();
  return /^(ssh|ecdsa|sk)-[\w@.-]+ AAAA[A-Za-z0-9+/=]+( [^\r\n]*)?$/.test(text) ? text : null;
}
