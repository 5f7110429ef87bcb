// A certificate authority of the tests' own: root, intermediates, and leaves.

import { X509Certificate } from "node:crypto";
import { need } from "./programs.ts";
import { run } from "./run.ts";
import { tempDir } from "./temp_dir.ts";

export type Algorithm =
  | "rsa"
  | "ecdsa-p256"
  | "ecdsa-p384"
  | "ecdsa-p521"
  | "ed25519";

export interface LeafOptions {
  /** DNS names or IP addresses; the first one becomes the CN. */
  names: string[];
  /** Default the authority's own. */
  algorithm?: Algorithm;
  /** Default an hour ago, as Let's Encrypt has it. */
  notBefore?: Date;
  /** Default 90 days after notBefore. */
  notAfter?: Date;
  /** As openssl writes it, "/C=DE/CN=x"; "" is a certificate without subject. */
  subject?: string;
  /** Subject alternative names, default `names`; [] leaves the extension out. */
  san?: string[];
  /** CN of the issuing intermediate; each name gets an intermediate of its own. */
  issuerName?: string;
  /** The end of that intermediate, if not far away. */
  issuerNotAfter?: Date;
  /** Who signs; "self" is what a fresh mailcow has. */
  signedBy?: "intermediate" | "self";
  /** Default "serverAuth"; "" leaves the extension out. */
  extendedKeyUsage?: string;
  /** Default "CA:FALSE". */
  basicConstraints?: string;
  /** An existing private key, as `--reuse-key` keeps it; default a new one. */
  keyPem?: string;
}

export interface Leaf {
  names: string[];
  certPem: string;
  /** The intermediate alone, as in chain.pem; empty when self-signed. */
  chainPem: string;
  fullchainPem: string;
  /** PKCS#8, as certbot writes it. */
  keyPem: string;
  /** SHA-256, "AA:BB:…". */
  fingerprint: string;
  notBefore: Date;
  notAfter: Date;
}

export interface Authority extends AsyncDisposable {
  issue(options: LeafOptions): Promise<Leaf>;
  rootPem: string;
  /** A CA file for `trust:`. */
  rootFile: string;
}

export interface Issuer {
  certPem: string;
  keyPem: string;
}

const NEWKEY: Record<Algorithm, string[]> = {
  rsa: ["rsa:2048"],
  "ecdsa-p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  "ecdsa-p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
  "ecdsa-p521": ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
  ed25519: ["ed25519"],
};

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * Certbot's keys are on P-256; Nginx Proxy Manager asks it for P-384, which takes openssl a third
 * more time at every handshake.
 */
export async function authority(
  name = "Kit",
  algorithm: Algorithm = "ecdsa-p256",
): Promise<Authority> {
  const dir = await tempDir();
  const openssl = need("openssl");
  const intermediates = new Map<string, Promise<Issuer>>();

  const root = await sign(openssl, dir.path, {
    ...CA,
    subject: `/O=${name}/CN=${name} Root X1`,
  });
  const rootFile = `${dir.path}/root.pem`;
  await Deno.writeTextFile(rootFile, root.certPem);

  function intermediate(issuerName: string, notAfter?: Date): Promise<Issuer> {
    const known = intermediates.get(issuerName);
    if (known) return known;
    const made = sign(openssl, dir.path, {
      ...CA,
      basicConstraints: "CA:TRUE,pathlen:0",
      subject: `/O=${name}/CN=${issuerName}`,
      issuer: root,
      ...(notAfter && { notBefore: new Date(notAfter.getTime() - 365 * DAY_MS), notAfter }),
    });
    intermediates.set(issuerName, made);
    return made;
  }

  async function issue(options: LeafOptions): Promise<Leaf> {
    const notBefore = wholeSeconds(
      options.notBefore ?? new Date(Date.now() - HOUR_MS),
    );
    const notAfter = wholeSeconds(
      options.notAfter ?? new Date(notBefore.getTime() + 90 * DAY_MS),
    );
    const issuer = options.signedBy === "self" ? undefined : await intermediate(
      options.issuerName ?? `${name} Intermediate E1`,
      options.issuerNotAfter,
    );
    const { certPem, keyPem } = await sign(openssl, dir.path, {
      algorithm: options.algorithm ?? algorithm,
      keyPem: options.keyPem,
      subject: options.subject ?? `/CN=${options.names[0] ?? ""}`,
      san: options.san ?? options.names,
      keyUsage: "digitalSignature",
      extendedKeyUsage: options.extendedKeyUsage ?? "serverAuth",
      basicConstraints: options.basicConstraints ?? "CA:FALSE",
      notBefore,
      notAfter,
      issuer,
    });
    const chainPem = issuer?.certPem ?? "";
    return {
      names: options.names,
      certPem,
      chainPem,
      fullchainPem: certPem + chainPem,
      keyPem,
      fingerprint: new X509Certificate(certPem).fingerprint256,
      notBefore,
      notAfter,
    };
  }

  return {
    issue,
    rootPem: root.certPem,
    rootFile,
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}

/** The DANE record "3 1 1 …" for the key of a leaf, as openssl sees it. */
export async function tlsa(leaf: { keyPem: string }): Promise<string> {
  const openssl = need("openssl");
  const publicKey = await run(openssl, ["pkey", "-pubout"], {
    stdin: leaf.keyPem,
  });
  const der = Uint8Array.fromBase64(publicKey.replaceAll(/-----.*-----|\s/g, ""));
  const digest = await crypto.subtle.digest("SHA-256", der);
  return `3 1 1 ${new Uint8Array(digest).toHex()}`;
}

export interface Request {
  algorithm: Algorithm;
  keyPem?: string;
  subject: string;
  san: string[];
  keyUsage: string;
  extendedKeyUsage: string;
  basicConstraints: string;
  notBefore: Date;
  notAfter: Date;
  issuer?: Issuer;
}

export const CA = {
  algorithm: "ecdsa-p256",
  san: [],
  keyUsage: "keyCertSign,cRLSign",
  extendedKeyUsage: "",
  basicConstraints: "CA:TRUE",
  notBefore: new Date("2000-01-01T00:00:00Z"),
  notAfter: new Date("2099-01-01T00:00:00Z"),
} as const satisfies Partial<Request>;

/**
 * One key and one certificate. `openssl ca` is the only one of 3.0's commands
 * that sets both dates; with a database of its own each call is independent.
 */
export async function sign(
  openssl: string,
  parent: string,
  request: Request,
): Promise<Issuer> {
  const cwd = await Deno.makeTempDir({ dir: parent });
  await Promise.all([
    Deno.writeTextFile(`${cwd}/kit.cnf`, configuration(request)),
    Deno.writeTextFile(`${cwd}/index.txt`, ""),
    request.keyPem && Deno.writeTextFile(`${cwd}/key.pem`, request.keyPem),
    request.issuer &&
    Deno.writeTextFile(`${cwd}/issuer.pem`, request.issuer.certPem),
    request.issuer &&
    Deno.writeTextFile(`${cwd}/issuer.key`, request.issuer.keyPem),
  ]);
  const key = request.keyPem
    ? ["-key", "key.pem"]
    : ["-newkey", ...NEWKEY[request.algorithm], "-noenc", "-keyout", "key.pem"];
  await run(openssl, [
    ...["req", "-config", "kit.cnf", "-new", "-utf8", "-out", "request.pem"],
    ...["-subj", request.subject.replace(/^(?!\/)/, "/"), ...key],
  ], { cwd });
  await run(openssl, [
    ...["ca", "-config", "kit.cnf", "-batch", "-notext", "-preserveDN"],
    ...["-rand_serial", "-in", "request.pem", "-out", "cert.pem"],
    ...["-startdate", asn1Time(request.notBefore)],
    ...["-enddate", asn1Time(request.notAfter)],
    ...(request.issuer
      ? ["-cert", "issuer.pem", "-keyfile", "issuer.key"]
      : ["-selfsign", "-keyfile", "key.pem"]),
  ], { cwd });
  const [certPem, keyPem] = await Promise.all([
    Deno.readTextFile(`${cwd}/cert.pem`),
    Deno.readTextFile(`${cwd}/key.pem`),
  ]);
  return { certPem, keyPem };
}

function configuration(request: Request): string {
  const lines = [
    "[req]",
    "distinguished_name = none",
    "[ca]",
    "default_ca = kit",
    "[kit]",
    "database = index.txt",
    "serial = serial",
    "new_certs_dir = .",
    "default_md = sha256",
    "policy = none",
    "x509_extensions = extensions",
    "unique_subject = no",
    "[none]",
    "[extensions]",
    `basicConstraints = critical,${request.basicConstraints}`,
    `keyUsage = critical,${request.keyUsage}`,
    "subjectKeyIdentifier = hash",
    "authorityKeyIdentifier = keyid",
  ];
  if (request.extendedKeyUsage !== "") {
    lines.push(`extendedKeyUsage = ${request.extendedKeyUsage}`);
  }
  if (request.san.length > 0) {
    const critical = request.subject === "" ? "critical," : "";
    lines.push(`subjectAltName = ${critical}@names`, "[names]");
    for (const [i, name] of request.san.entries()) {
      const type = /^[\d.]+$|:/.test(name) ? "IP" : "DNS";
      lines.push(`${type}.${i + 1} = ${name}`);
    }
  }
  return lines.join("\n") + "\n";
}

function asn1Time(date: Date): string {
  return date.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}
