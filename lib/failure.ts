// What we tell the operator: what went wrong, where, and what to do about it.

/** A fault of the world, not of the program: anything else that is thrown is a bug. */
export class Failure extends Error {
  override name = "Failure";
  readonly hint: string | undefined;

  constructor(message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.hint = options.hint;
  }
}

/** The command line or the configuration cannot be right: exit code 2. */
export class UsageFailure extends Failure {
  override name = "UsageFailure";
}

/** What comes of it, or the Failure that it throws. */
export function orFailure<T>(deed: () => T): T | Failure {
  try {
    return deed();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** No path is longer. */
const MAX_QUOTED = 4_096;

/**
 * Quotes a value for a message so that nothing in it can pass for the message itself. A key that
 * somebody gave for something else is not repeated.
 */
export function quote(value: string): string {
  if (/PRIVATE KEY-----/.test(value)) return '"(a private key)"';
  return JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}…` : value);
}

/** More would not be read. */
const MAX_LISTED = 10;

/** As many as somebody would read, and how many more there are. */
export function firstFew(texts: readonly string[]): string[] {
  const more = texts.length - MAX_LISTED;
  return [...texts.slice(0, MAX_LISTED), ...(more > 0 ? [`and ${more} more`] : [])];
}

/** The values, quoted, as far as somebody would read them. */
export function quoteAll(values: readonly string[]): string {
  return firstFew(values.map(quote)).join(", ");
}

/** The hint where root may do what others may not; `otherwise` is what who is root already can do. */
export function asRoot(otherwise: string): string {
  return Deno.uid() === 0 ? otherwise : "run this as root";
}

function refusedHint(): string {
  return asRoot("ask lsattr, SELinux or AppArmor, and the unit's ReadWritePaths=");
}

type Hint = string | (() => string);

const systemErrors: Record<string, readonly [words: string, hint?: Hint]> = {
  ENOSPC: ["no space left on the device", "free some space there and run this again"],
  EDQUOT: ["the disk quota is used up", "free some space there and run this again"],
  EROFS: [
    "the file system is read-only",
    "remount it; where it is the unit that may not, certsync status says what lets it",
  ],
  EACCES: ["permission denied", refusedHint],
  EPERM: ["operation not permitted", refusedHint],
  EBUSY: ["it is in use", "see with findmnt whether something is mounted there, and unmount it"],
  EIO: ["input/output error", "look at the disk: dmesg tells more"],
  EMFILE: ["too many open files"],
  ENFILE: ["too many open files on this host"],
  ENOENT: ["no such file or directory"],
  ENOTDIR: ["a part of the path is not a directory"],
  EISDIR: ["it is a directory", "remove it, if nothing in it is needed"],
  ELOOP: ["its symbolic links lead nowhere", "see where they lead with: namei -l"],
  EEXIST: ["something else is there already"],
  ENAMETOOLONG: ["the name is too long"],
};

/** A system call's error as a Failure, `cannot <deed>: …`; anything else is handed back. */
export function explain(error: unknown, deed: string): unknown {
  if (error instanceof Failure || !(error instanceof Error)) return error;
  if (error instanceof Deno.errors.NotCapable) {
    return new Failure(`cannot ${deed}: a program that certsync runs lies in or below there`, {
      hint: "choose another directory: where such a program lies, certsync may not write",
      cause: error,
    });
  }
  const code = "code" in error && typeof error.code === "string"
    ? error.code.replace(/^ERR_FS_/, "") // what node's own code says instead of the system
    : null;
  if (code === null || !/^E[A-Z0-9]+$/.test(code)) return error;
  const [words, hint] = systemErrors[code] ?? [code];
  const wayOut = typeof hint === "function" ? hint() : hint;
  return new Failure(`cannot ${deed}: ${words}`, { hint: wayOut, cause: error });
}
