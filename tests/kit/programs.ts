// Finds the programs that the tests run, or says which Debian package has them.

import { fileURLToPath } from "node:url";

const PACKAGES = {
  bash: "bash",
  chage: "passwd",
  dash: "dash",
  delv: "bind9-dnsutils",
  dig: "bind9-dnsutils",
  dovecot: "dovecot-imapd",
  "dpkg-deb": "dpkg",
  flock: "util-linux",
  groff: "groff-base",
  mandoc: "mandoc",
  ip: "iproute2",
  keymgr: "knot",
  knotd: "knot",
  make: "make",
  nginx: "nginx-light",
  nsenter: "util-linux",
  openssl: "openssl",
  postfix: "postfix",
  "prometheus-node-exporter": "prometheus-node-exporter",
  promtool: "prometheus",
  rrsync: "rsync",
  rsync: "rsync",
  script: "bsdutils",
  sftp: "openssh-client",
  shellcheck: "shellcheck",
  ssh: "openssh-client",
  "ssh-add": "openssh-client",
  "ssh-agent": "openssh-client",
  "ssh-keygen": "openssh-client",
  sshd: "openssh-server",
  strace: "strace",
  sudo: "sudo",
  "systemd-analyze": "systemd",
  tmux: "tmux",
  unbound: "unbound",
  unshare: "util-linux",
  useradd: "passwd",
  userdel: "passwd",
  usermod: "passwd",
  zsh: "zsh",
} as const;

export type Program = keyof typeof PACKAGES;

/** What the project installed for itself. */
const TOOLS = fileURLToPath(new URL("../../.tools", import.meta.url));

/** The path of a program; throws an error that names its Debian package. */
export function need(program: Program, path = Deno.env.get("PATH") ?? ""): string {
  for (const dir of [...path.split(":"), "/usr/sbin", "/sbin", TOOLS]) {
    if (dir !== "" && isExecutable(`${dir}/${program}`)) {
      return `${dir}/${program}`;
    }
  }
  throw new Error(
    `${program} is missing: install the Debian package ${PACKAGES[program]}`,
  );
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}
