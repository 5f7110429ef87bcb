// certsync setup: prints the script that makes this host a part of the chain, and changes nothing.

import { DEPLOY_STATE, MAILCOW, PUSH_STATE, STAGING, STANDARD_FILE } from "../config.ts";
import type { PushTarget } from "../push_target.ts";
import {
  type DeploySetup,
  knownHostName,
  type MonitorSetup,
  type PushSetup,
  type Role,
  type Settings,
  type SetupConfig,
} from "./config.ts";
import { feed, formatScript, shellQuote } from "./script.ts";
import type { AuthorizedKey } from "./ssh_public_key.ts";

/** Unit files by name, as `systemd/` holds them. */
export type Units = ReadonlyMap<string, string>;

/** The units that the binary carries, for one role. */
export async function readUnits(role: Role): Promise<Units> {
  const unit = unitOf(role);
  const names = [`${unit}.service`, `${unit}.timer`, "mailcow-cert-alert@.service"];
  const read = async (name: string) =>
    [name, await Deno.readTextFile(new URL(`../../systemd/${name}`, import.meta.url))] as const;
  return new Map(await Promise.all(names.map(read)));
}

function unitOf(role: Role): string {
  return `mailcow-cert-${role === "monitor" ? "verify" : role}`;
}

/** Pure. */
export function setupScript(config: SetupConfig, units: Units): string {
  switch (config.role) {
    case "push":
      return pushScript(config, units);
    case "deploy":
      return deployScript(config, units);
    case "monitor":
      return monitorScript(config, units);
  }
}

function pushScript(config: PushSetup, units: Units): string {
  const { domain, to, identity, knownHosts, state, hostKey } = config;
  return formatScript({
    title: `Makes this host push the certificate of ${domain} to ${
      to.map(({ text }) => text).join(" and ")
    }.`,
    programs: {
      rsync: "rsync",
      openssl: "openssl",
      ssh: "openssh-client",
      "ssh-keygen": "openssh-client",
    },
    functions: [ensureKey, knownHost, serverCommand],
    steps: [
      "",
      "directory 755 root:root /etc/certsync",
      `parents ${state}`,
      `directory 700 root:root ${state}`,
      `ensure_key ${identity}`,
      ...(hostKey === null ? [] : [
        `known_host ${
          shellQuote(hostKey.name)
        } '${hostKey.key.type} ${hostKey.key.blob}' ${knownHosts}`,
      ]),
      feed(`config ${config.file}`, pushConfigText(config)),
      ...install(config, units, state === PUSH_STATE ? [] : [`ReadWritePaths=${state}`]),
      "",
      sumUp(config),
      `"$certsync" find-npm-dir --config ${config.file} ${domain} >/dev/null ||
    todo 'NPM has no certificate of ${domain} where certsync looks; say where this host sees it:' \\
        '${config.file}: push.live'`,
      ...to.flatMap((target) => tellMailHost(target, config)),
      `todo 'last, here:' ${shellQuote(`certsync push --force${configFlag(config)}`)}`,
    ],
  });
}

const ensureKey = `# ensure_key FILE: an ssh key without a passphrase; one that is there is kept.
ensure_key() {
    [ -d "$(dirname "$1")" ] || directory 700 root:root "$(dirname "$1")"
    if [ ! -e "$1" ]; then
        ssh-keygen -q -t ed25519 -N '' -C "$comment" -f "$1"
        changed "created: $1"
    elif [ "$(stat -L -c %a:%u "$1")" != 600:0 ]; then
        chown root "$1"
        chmod 600 "$1"
        changed "now of root alone: $1"
    else
        say "unchanged: $1"
    fi
    key=$(ssh-keygen -y -P '' -f "$1" | cut -d ' ' -f 1,2)
    [ -n "$key" ] || fail "\\"$1\\" is no key that push can use" 'it must be a private ssh key without a passphrase'
}
comment=certsync-push@$(uname -n | tr -cd 'A-Za-z0-9._-')
`;

/** Only this host's entry: a rebuilt one has a new key, others keep theirs. */
const knownHost =
  `# known_host NAME KEY FILE: makes KEY the only one of that host; all other entries stay.
known_host() {
    mode=644
    : >"$work/known"
    if [ -e "$3" ]; then
        mode=$(stat -L -c %a "$3")
        cat "$3" >"$work/known"
    fi
    # Which of the hashed names is this one, ssh-keygen alone can tell.
    lines=$(ssh-keygen -F "$1" -f "$work/known" | sed -n 's/^# Host .* found: line \\([0-9]*\\).*/\\1/p')
    awk -v name="$1" -v entry="$1 $2" -v lines="$lines" '
        function put_entry() { if (!is_put++) print entry }
        BEGIN { count = split(lines, list); for (i = 1; i <= count; i++) is_named[list[i]] = 1 }
        $1 ~ /^\\|/ && NR in is_named { put_entry(); next }
        {
            is_found = 0; others = ""
            count = split($1, names, ",")
            for (i = 1; i <= count; i++) {
                if (names[i] == name) is_found = 1
                else others = others (others == "" ? "" : ",") names[i]
            }
            if (is_found) put_entry()
            if (is_found && others == "") next
            if (is_found) sub(/^[ \\t]*[^ \\t]+/, others)
            print
        }
        END { put_entry() }' "$work/known" >"$work/known.new"
    put "$mode" "$3" <"$work/known.new"
}
`;

const serverCommand =
  `# server_command TARGET: what the rsync of this host will ask the other one to run.
server_command() {
    # As push calls it: without the settings of whoever runs this.
    env -i PATH="$PATH" rsync -azL --debug=CMD -e /bin/false -- /dev/null "$1" 2>&1 |
        sed -n 's/.*\\(rsync --server .*\\)/\\1/; s/ *([0-9]* args) *$//; s/"//g; /^rsync --server /p'
}
`;

function tellMailHost(target: PushTarget, { port, knownHosts, ...config }: PushSetup): string[] {
  const { text, host } = target;
  const name = shellQuote(knownHostName(host, port));
  const user = /^(?:([^@]*)@)?/.exec(text)?.[1] ?? "root";
  return [
    `command=$(server_command ${shellQuote(text)})
[ -n "$command" ] || fail 'this rsync does not tell what it asks for' 'install rsync 3.1 or newer'
line="command=\\"$command\\",restrict $key $comment"
todo ${
      shellQuote(`on ${host}, as root, unless this line is in its authorized_keys:`)
    } '' "$line" '' \\
    "certsync setup deploy --authorized-key '$line' | sh" ''`,
    ...(user === "certsync" ? [] : [
      `todo ${
        shellQuote(`setup deploy makes the user certsync there; ${text} logs in as ${user}`)
      }`,
    ]),
    `ssh-keygen -F ${name} -f ${knownHosts} >/dev/null 2>&1 ||
    todo 'here, with the ssh host key that it prints there:' \\
        ${
      shellQuote(
        `certsync setup push${configFlag(config)} --host-key '${
          port === 22 ? "" : `${knownHostName(host, port)} `
        }ssh-ed25519 AAAA…' | sh`,
      )
    }`,
  ];
}

function pushConfigText(config: PushSetup): string {
  const { domain, to, port, identity, knownHosts, state } = config;
  const [only, ...others] = to;
  return `# certsync on the host with Nginx Proxy Manager. Flags override this file.

# The name that the certificate must cover.
domain: ${yaml(domain)}
push:
  # Where it goes; a list if to several hosts.
${
    only !== undefined && others.length === 0
      ? `  to: ${yaml(only.text)}`
      : `  to:\n${to.map(({ text }) => `    - ${yaml(text)}`).join("\n")}`
  }
  identity: ${identity}
  known_hosts: ${knownHosts}
${setting("port", String(port), "22")}
${setting("state", state, PUSH_STATE)}
  # Where this host sees NPM's certificates; with Docker, its side of the volume. The default is
  # those of these two that exist:
  # live: [/etc/nginx/letsencrypt/live, /etc/letsencrypt/live]
  # Which of them: auto, the best for the domain, anew each run; or npm-5; or a directory.
  # source: auto
  # Whose word the chain is taken on: system, none, or a CA file.
  # trust: system
  # How long each attempt on each target may take.
  # timeout: 60s`;
}

function deployScript(config: DeploySetup, units: Units): string {
  const { mailcow, staging, state, authorizedKeys } = config;
  const conf = `${mailcow}/mailcow.conf`;
  return formatScript({
    title: `Makes this host deploy what is pushed to ${staging} into ${mailcow}.`,
    programs: { rsync: "rsync", openssl: "openssl", sshd: "openssh-server" },
    functions: [ensureUser, hostKey],
    steps: [
      "",
      "ensure_user certsync /home/certsync",
      "directory 755 root:root /home/certsync",
      `parents ${staging}`,
      `directory 700 "certsync:$(id -gn certsync)" ${staging}`,
      // The account must not be able to change what it may do.
      "directory 755 root:root /home/certsync/.ssh",
      feed(
        "put 644 /home/certsync/.ssh/authorized_keys",
        authorizedKeys.map(authorizedKeysLine).join("\n"),
      ),
      `if [ -e /home/certsync/.ssh/authorized_keys2 ]; then
    mv -f /home/certsync/.ssh/authorized_keys2 /home/certsync/.ssh/authorized_keys2.disabled
    changed 'set aside: /home/certsync/.ssh/authorized_keys2, which sshd reads too'
fi`,
      "",
      "directory 755 root:root /etc/certsync",
      `parents ${state}`,
      `directory 700 root:root ${state}`,
      feed(`config ${config.file}`, deployConfigText(config)),
      ...install(config, units, [
        // As in the unit: certsync itself says it best if mailcow is not there.
        ...(mailcow === MAILCOW ? [] : [`ReadWritePaths=-${mailcow}/data/assets/ssl`]),
        ...(state === DEPLOY_STATE ? [] : [`ReadWritePaths=${state}`]),
      ]),
      "",
      sumUp(config),
      `if [ ! -f ${conf} ]; then
    todo 'mailcow belongs here; if it is elsewhere, certsync setup deploy has --mailcow DIR:' ${mailcow}
elif ! grep -Eiq '^SKIP_LETS_ENCRYPT=(y|yes)[[:space:]]*$' ${conf}; then
    todo 'leave the certificate to certsync: in ${conf}' SKIP_LETS_ENCRYPT=y \\
        'then: docker compose up -d'
fi
logins=$(sshd -T -C user=certsync,host=localhost,addr=127.0.0.1 2>/dev/null |
    grep -E '^(allow|deny)(users|groups) ') || :
[ -z "$logins" ] || todo 'see that sshd lets certsync in:' "$logins"
key=$(host_key)
todo 'on the NPM host, as root:' '' "$key" '' ${
        shellQuote(`certsync setup push --host-key '`)
      }"$key' | sh" 'certsync push --force' ''
[ -e ${staging}/fullchain.pem ] ||
    say 'until that push, mailcow-cert-deploy.service fails with "no staged cert"'`,
    ],
  });
}

const ensureUser = `# ensure_user NAME HOME: an account that nothing but a key lets in.
ensure_user() {
    if ! getent passwd "$1" >/dev/null; then
        useradd --no-create-home --home-dir "$2" --shell /bin/sh --password '*' --user-group "$1"
        changed "created: user $1"
        return
    fi
    did=unchanged
    # sshd runs the forced command through the login shell, and takes ! for a locked account.
    if [ "$(getent passwd "$1" | cut -d : -f 6,7)" != "$2:/bin/sh" ] ||
        [ "$(getent shadow "$1" | cut -d : -f 2)" != '*' ]; then
        usermod --home "$2" --shell /bin/sh --password '*' "$1"
        did="home $2, shell /bin/sh and no password now"
    fi
    if [ "$did" = unchanged ]; then say "$did: user $1"; else changed "user $1: $did"; fi
}
`;

const hostKey = `# host_key: the key by which ssh knows this host.
host_key() {
    for file in $(sshd -T 2>/dev/null | sed -n 's/^hostkey //p') /etc/ssh/ssh_host_ed25519_key; do
        ! grep -s '^ssh-ed25519 ' "$file.pub" | cut -d ' ' -f 1,2 | grep . || return 0
    done
    fail 'this host has no ed25519 ssh host key' 'ssh-keygen -A makes one'
}
`;

function authorizedKeysLine({ command, type, blob, comment }: AuthorizedKey): string {
  return `command="${command}",restrict ${type} ${blob}${comment === "" ? "" : ` ${comment}`}`;
}

function deployConfigText({ domain, mailcow, staging, state }: DeploySetup): string {
  return `# certsync on the mail host. Flags override this file, and it overrides mailcow.conf.

# The name that the certificate must cover; the default is MAILCOW_HOSTNAME.
${domain === null ? "# domain: mail.example.org" : `domain: ${yaml(domain)}`}
deploy:
${setting("mailcow", mailcow, MAILCOW)}
${setting("staging", staging, STAGING)}
${setting("state", state, DEPLOY_STATE)}
  # Whose word the chain is taken on: system, none, or a CA file.
  # trust: system
  # How the services take a new certificate: reload, or restart.
  # apply: reload
  # How long a reloaded service may take to serve the new one, and a restarted one.
  # settle: 30s
  # restart_timeout: 5m
  # What is looked at afterwards; the default is all that mailcow.conf publishes.
  # endpoints: [imaps://127.0.0.1:993]`;
}

function monitorScript(config: MonitorSetup, units: Units): string {
  const { domain } = config;
  return formatScript({
    title: "Makes this host verify the chain daily.",
    programs: { openssl: "openssl" },
    functions: [],
    steps: [
      "",
      "directory 755 root:root /etc/certsync",
      ...(domain === null ? [] : [feed(`config ${config.file}`, monitorConfigText(domain))]),
      ...install(config, units, []),
      "",
      sumUp(config),
      `[ -x /etc/certsync/alert ] ||
    todo 'to be told of failures, put a program there:' /etc/certsync/alert`,
    ],
  });
}

function monitorConfigText(domain: string): string {
  return `# certsync on a host that watches the chain. Flags override this file.

# The name that the certificate must cover.
domain: ${yaml(domain)}
verify:
  # Where the copies lie: a file here, or host:/path, which is read over ssh.
  # source: npm-host:/etc/letsencrypt/live/npm-5/fullchain.pem
  # deployed: mail-host:/opt/mailcow-dockerized/data/assets/ssl/cert.pem
  # Where the certificate is served.
  # endpoints: [imaps://${domain}, smtp://${domain}]
  # How much must be left of the certificate's whole life, or how many days.
  # warn: 25%
  # critical: 10%
  # How long each endpoint may take to answer.
  # timeout: 10s`;
}

/** A key of the section, as a comment where it says what holds anyway. */
function setting(key: string, value: string, standard: string): string {
  return value === standard ? `  # ${key}: ${value}` : `  ${key}: ${value}`;
}

/** Plain where YAML takes it for a text anyway. */
function yaml(text: string): string {
  return /^[A-Za-z][A-Za-z0-9@:_-]*[./][A-Za-z0-9@:._/+-]*[A-Za-z0-9/]$/.test(text)
    ? text
    : JSON.stringify(text);
}

function install(config: SetupConfig, units: Units, changes: readonly string[]): string[] {
  const unit = unitOf(config.role);
  const command = config.role === "monitor" ? "verify" : config.role;
  const lines = [
    ...(config.file === STANDARD_FILE
      ? []
      : ["ExecStart=", `ExecStart=certsync ${command}${configFlag(config)}`]),
    ...changes,
  ];
  const text = lines.length === 0
    ? ""
    : ["# What differs from the standard on this host.", "[Service]", ...lines].join("\n");
  return [
    ...Array.from(units, ([name, text]) => feed(`unit ${name}`, text)),
    feed(`drop_in ${unit}.service`, text),
    `start ${unit}.timer`,
  ];
}

function configFlag({ file }: { readonly file: string }): string {
  return file === STANDARD_FILE ? "" : ` --config ${file}`;
}

function sumUp(config: SetupConfig): string {
  const lines = settingLines(config.missing).map(shellQuote);
  return ["sum_up", `${unitOf(config.role)}.timer`, ...lines].join(" ");
}

/** As they stand in the config file, a section's name before its first key. */
function settingLines(settings: Settings): string[] {
  const sections = new Set<string>();
  return Object.entries(settings).flatMap(([key, value]) => {
    const [section, name] = key.split(".");
    if (section === undefined || name === undefined) return [`${key}: ${value}`];
    const isNew = !sections.has(section);
    sections.add(section);
    return [...(isNew ? [`${section}:`] : []), `  ${name}: ${value}`];
  });
}
