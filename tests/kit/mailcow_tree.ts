// A mailcow-dockerized directory as the mail host has it.

import type { Leaf } from "./authority.ts";

/** The part of a leaf that mailcow serves. */
export type Served = Pick<Leaf, "fullchainPem" | "keyPem">;

export interface MailcowOptions {
  /** Over the defaults of mailcow.conf; null leaves the key out. */
  conf?: Record<string, string | null>;
  /** The top-level pair; without one there is none. */
  leaf?: Served;
}

export interface MailcowTree {
  root: string;
  /** …/data/assets/ssl */
  ssl: string;
  /** …/mailcow.conf */
  confFile: string;
  certFile: string;
  keyFile: string;
  /** What mailcow.conf says now. */
  conf(): Record<string, string>;
  /** MAILCOW_HOSTNAME */
  hostname(): string;
  /** Writes mailcow.conf anew with these changes; null takes a key out. */
  configure(changes: Record<string, string | null>): Promise<void>;
  /** Writes the top-level pair: cert.pem 0644 and key.pem 0600. */
  put(leaf: Served): Promise<void>;
  /** Writes an SNI directory; `domains` is its one line. Gives its path. */
  putSni(name: string, leaf: Served, domains?: string[]): Promise<string>;
}

const DEFAULTS: Record<string, string> = {
  MAILCOW_HOSTNAME: "mail.example.org",
  MAILCOW_PASS_SCHEME: "BLF-CRYPT",
  DBNAME: "mailcow",
  DBUSER: "mailcow",
  DBPASS: "kitDbPass0123456789abcdefghi",
  DBROOT: "kitDbRoot0123456789abcdefghi",
  REDISPASS: "kitRedisPass0123456789abcdef",
  HTTP_PORT: "80",
  HTTP_BIND: "",
  HTTPS_PORT: "443",
  HTTPS_BIND: "",
  HTTP_REDIRECT: "n",
  SMTP_PORT: "25",
  SMTPS_PORT: "465",
  SUBMISSION_PORT: "587",
  IMAP_PORT: "143",
  IMAPS_PORT: "993",
  POP_PORT: "110",
  POPS_PORT: "995",
  SIEVE_PORT: "4190",
  DOVEADM_PORT: "127.0.0.1:19991",
  SQL_PORT: "127.0.0.1:13306",
  REDIS_PORT: "127.0.0.1:7654",
  TZ: "Europe/Berlin",
  COMPOSE_PROJECT_NAME: "mailcowdockerized",
  DOCKER_COMPOSE_VERSION: "native",
  ACL_ANYONE: "disallow",
  MAILDIR_GC_TIME: "7200",
  ADDITIONAL_SAN: "",
  AUTODISCOVER_SAN: "y",
  ADDITIONAL_SERVER_NAMES: "",
  SKIP_LETS_ENCRYPT: "y",
  ENABLE_SSL_SNI: "y",
  SKIP_IP_CHECK: "n",
  SKIP_HTTP_VERIFICATION: "n",
  SKIP_CLAMD: "n",
  SKIP_FTS: "n",
  ALLOW_ADMIN_EMAIL_LOGIN: "n",
  USE_WATCHDOG: "y",
  WATCHDOG_NOTIFY_EMAIL: "",
  LOG_LINES: "9999",
  IPV4_NETWORK: "172.22.1",
  IPV6_NETWORK: "fd4d:6169:6c63:6f77::/64",
  MAILDIR_SUB: "Maildir",
  SOGO_EXPIRE_SESSION: "480",
  DISABLE_NETFILTER_ISOLATION_RULE: "n",
};

const COMMENTS: Record<string, string[]> = {
  MAILCOW_HOSTNAME: [
    "# ------------------------------",
    "# mailcow web ui configuration",
    "# ------------------------------",
    "# example.org is _not_ a valid hostname, use a fqdn here.",
    '# Default admin user is "admin"',
    '# Default password is "moohoo"',
    "",
  ],
  DBNAME: [
    "# ------------------------------",
    "# SQL database configuration",
    "# ------------------------------",
    "",
  ],
  HTTP_PORT: [
    "# ------------------------------",
    "# HTTP/S Bindings",
    "# ------------------------------",
    "",
    "# IMPORTANT: Do not use port 8081, 9081, 9082 or 65510!",
    "# Example: HTTP_BIND=1.2.3.4",
    "",
  ],
  SMTP_PORT: [
    "# ------------------------------",
    "# Other bindings",
    "# ------------------------------",
    "# You should leave that alone",
    "# Format: 11.22.33.44:25 or 12.34.56.78:465 etc.",
    "",
  ],
  SKIP_LETS_ENCRYPT: [
    "# Skip running ACME (acme-mailcow, Let's Encrypt certs) - y/n",
    "",
  ],
  ENABLE_SSL_SNI: [
    "# Create seperate certificates for all domains - y/n",
    "# this will allow adding more than 100 domains, but some email clients will",
    "# not be able to connect with alternative hostnames",
    "",
  ],
};

const COMPOSE_FILE = `services:

    postfix-mailcow:
      image: mailcow/postfix:1.80
      volumes:
        - ./data/assets/ssl:/etc/ssl/mail/:ro
      ports:
        - "\${SMTP_PORT:-25}:25"
        - "\${SMTPS_PORT:-465}:465"
        - "\${SUBMISSION_PORT:-587}:587"
      restart: always

    dovecot-mailcow:
      image: mailcow/dovecot:2.33
      volumes:
        - ./data/assets/ssl:/etc/ssl/mail/:ro
      ports:
        - "\${IMAP_PORT:-143}:143"
        - "\${IMAPS_PORT:-993}:993"
        - "\${POP_PORT:-110}:110"
        - "\${POPS_PORT:-995}:995"
        - "\${SIEVE_PORT:-4190}:4190"
      restart: always

    nginx-mailcow:
      image: mailcow/nginx:1.03
      volumes:
        - ./data/assets/ssl/:/etc/ssl/mail/:ro
      ports:
        - "\${HTTPS_BIND:-}:\${HTTPS_PORT:-443}:\${HTTPS_PORT:-443}"
        - "\${HTTP_BIND:-}:\${HTTP_PORT:-80}:\${HTTP_PORT:-80}"
      restart: always
`;

// RFC 7919's ffdhe2048: dovecot wants one, nobody here uses it.
const DHPARAMS = `-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
`;

/** Makes the tree in a directory, which may exist. */
export async function mailcowTree(
  root: string,
  options: MailcowOptions = {},
): Promise<MailcowTree> {
  const ssl = `${root}/data/assets/ssl`;
  const confFile = `${root}/mailcow.conf`;
  let conf = merged(DEFAULTS, options.conf ?? {});

  async function configure(changes: Record<string, string | null>) {
    conf = merged(conf, changes);
    await writeMode(confFile, confText(conf), 0o600);
  }

  async function putPair(dir: string, leaf: Served) {
    await writeMode(`${dir}/cert.pem`, leaf.fullchainPem, 0o644);
    await writeMode(`${dir}/key.pem`, leaf.keyPem, 0o600);
  }

  await Deno.mkdir(ssl, { recursive: true });
  await configure({});
  await writeMode(`${root}/docker-compose.yml`, COMPOSE_FILE, 0o644);
  await writeMode(`${ssl}/dhparams.pem`, DHPARAMS, 0o644);
  if (options.leaf) await putPair(ssl, options.leaf);

  return {
    root,
    ssl,
    confFile,
    certFile: `${ssl}/cert.pem`,
    keyFile: `${ssl}/key.pem`,
    conf: () => ({ ...conf }),
    hostname: () => conf.MAILCOW_HOSTNAME ?? "",
    configure,
    put: (leaf) => putPair(ssl, leaf),
    putSni: async (name, leaf, domains = [name]) => {
      const dir = `${ssl}/${name}`;
      await Deno.mkdir(dir, { recursive: true });
      await putPair(dir, leaf);
      await writeMode(`${dir}/domains`, `${domains.join(" ")}\n`, 0o644);
      return dir;
    },
  };
}

function merged(
  conf: Record<string, string>,
  changes: Record<string, string | null>,
): Record<string, string> {
  const result = { ...conf };
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete result[key];
    else result[key] = value;
  }
  return result;
}

function confText(conf: Record<string, string>): string {
  return Object.entries(conf).map(([key, value]) =>
    [...(COMMENTS[key] ?? []), `${key}=${value}`, ""].join("\n")
  ).join("\n");
}

async function writeMode(path: string, text: string, mode: number) {
  await Deno.writeTextFile(path, text, { mode });
  await Deno.chmod(path, mode); // whatever the umask is
}
