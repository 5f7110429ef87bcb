// A letsencrypt tree as certbot leaves it under Nginx Proxy Manager.

import type { Leaf } from "./authority.ts";

export type Kind = "cert" | "privkey" | "chain" | "fullchain";

/** The part of a leaf that certbot stores. */
export type Issued = Pick<
  Leaf,
  "certPem" | "chainPem" | "fullchainPem" | "keyPem"
>;

/** What a renewal has just done to one link. */
export interface RenewalStep {
  kind: Kind;
  done: "unlinked" | "linked";
}

export interface NpmTree {
  root: string;
  /** …/live, 0700. */
  live: string;
  /** …/archive, 0700. */
  archive: string;
  /** …/custom_ssl, where NPM keeps certificates that were uploaded. */
  customSsl: string;
  /** The directory of a lineage: live/npm-5 for 5 or "5", also "5-0001". */
  dir(n: number | string): string;
  /** A first issue: files, then links. Gives the lineage's directory. */
  add(n: number | string, leaf: Issued): Promise<string>;
  /**
   * A renewal in certbot's order: new files in archive/, then unlink and link
   * one by one. The hook runs after each step; a renewal stops for good where
   * it throws.
   */
  renew(
    n: number | string,
    leaf: Issued,
    after?: (step: RenewalStep) => void | Promise<void>,
  ): Promise<void>;
  /** A lineage whose files were deleted from archive/: all links dangle. */
  addDangling(n: number | string): Promise<string>;
  /** A lineage with its README alone. */
  addEmpty(n: number | string): Promise<string>;
  /** A certificate uploaded by hand: plain files in custom_ssl/npm-N. */
  addCustom(n: number | string, leaf: Issued): Promise<string>;
}

// certbot's ALL_FOUR, in which it also updates the links.
const KINDS: Kind[] = ["cert", "privkey", "chain", "fullchain"];

const LIVE_README = `This directory contains your keys and certificates.

\`[cert name]/privkey.pem\`  : the private key for your certificate.
\`[cert name]/fullchain.pem\`: the certificate file used in most server software.

WARNING: DO NOT MOVE OR RENAME THESE FILES!
`;

const LINEAGE_README = `This directory contains your keys and certificates.

\`privkey.pem\`  : the private key for your certificate.
\`fullchain.pem\`: the certificate file used in most server software.
\`chain.pem\`    : used for OCSP stapling in Nginx >=1.3.7.
\`cert.pem\`     : will break many server configurations, and should not be used
                 without reading further documentation.

WARNING: DO NOT MOVE OR RENAME THESE FILES!
`;

/** Makes the tree in a directory, which may exist. */
export async function npmTree(root: string): Promise<NpmTree> {
  const live = `${root}/live`;
  const archive = `${root}/archive`;
  const customSsl = `${root}/custom_ssl`;
  const versions = new Map<string, number>();
  const dir = (n: number | string) => `${live}/npm-${n}`;

  for (const path of [live, archive]) {
    await Deno.mkdir(path, { recursive: true });
    await Deno.chmod(path, 0o700);
  }
  await Deno.writeTextFile(`${live}/README`, LIVE_README);

  async function archiveFiles(n: number | string, leaf: Issued) {
    const version = (versions.get(String(n)) ?? 0) + 1;
    versions.set(String(n), version);
    const dir = `${archive}/npm-${n}`;
    await Deno.mkdir(dir, { recursive: true });
    for (const kind of KINDS) {
      await writePem(`${dir}/${kind}${version}.pem`, pemOf(leaf, kind));
    }
    return version;
  }

  async function link(n: number | string, kind: Kind, version: number) {
    await Deno.symlink(
      `../../archive/npm-${n}/${kind}${version}.pem`,
      `${dir(n)}/${kind}.pem`,
    );
  }

  async function addEmpty(n: number | string) {
    await Deno.mkdir(dir(n), { recursive: true });
    await Deno.writeTextFile(`${dir(n)}/README`, LINEAGE_README);
    return dir(n);
  }

  async function addDangling(n: number | string) {
    await addEmpty(n);
    for (const kind of KINDS) await link(n, kind, 1);
    return dir(n);
  }

  return {
    root,
    live,
    archive,
    customSsl,
    dir,
    addEmpty,
    addDangling,
    add: async (n, leaf) => {
      await addEmpty(n);
      const version = await archiveFiles(n, leaf);
      for (const kind of KINDS) await link(n, kind, version);
      return dir(n);
    },
    renew: async (n, leaf, after = () => {}) => {
      const version = await archiveFiles(n, leaf);
      for (const kind of KINDS) {
        await Deno.remove(`${dir(n)}/${kind}.pem`);
        await after({ kind, done: "unlinked" });
        await link(n, kind, version);
        await after({ kind, done: "linked" });
      }
    },
    addCustom: async (n, leaf) => {
      const dir = `${customSsl}/npm-${n}`;
      await Deno.mkdir(dir, { recursive: true });
      for (const kind of ["fullchain", "privkey"] as const) {
        await writePem(`${dir}/${kind}.pem`, pemOf(leaf, kind));
      }
      return dir;
    },
  };
}

function pemOf(leaf: Issued, kind: Kind): string {
  switch (kind) {
    case "cert":
      return leaf.certPem;
    case "privkey":
      return leaf.keyPem;
    case "chain":
      return leaf.chainPem;
    case "fullchain":
      return leaf.fullchainPem;
  }
}

async function writePem(path: string, pem: string): Promise<void> {
  const mode = path.includes("/privkey") ? 0o600 : 0o644;
  await Deno.writeTextFile(path, pem, { mode });
}
