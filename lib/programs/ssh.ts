// How ssh is called: nothing in the operator's own ssh config may change what comes of it.

import { textOrNothing } from "../files/read_file.ts";
import type { RunContext } from "../run_context.ts";
import type { SshOptions } from "../values/push_target.ts";
import { shellWord } from "../values/shell_word.ts";
import { type Completion, run } from "./run.ts";

/** Neither ask, nor trust on first use, nor share a connection, nor run or forward anything else. */
const settings = [
  "BatchMode=yes",
  "StrictHostKeyChecking=yes",
  "ConnectTimeout=10",
  "ControlMaster=no",
  "ControlPath=none",
  "UpdateHostKeys=no",
  "AddKeysToAgent=no",
  "ClearAllForwardings=yes",
  "ExitOnForwardFailure=no",
  "ForwardAgent=no",
  "ForwardX11=no",
  "PermitLocalCommand=no",
  "PreferredAuthentications=gssapi-with-mic,hostbased,publickey",
  "PubkeyAuthentication=yes",
  "RemoteCommand=none",
  "RequestTTY=no",
  "Tunnel=no",
];

/** What an ssh from before 8.7 does not know: its config cannot hold them either. */
const newerSettings = ["ForkAfterAuthentication=no", "SessionType=default", "StdinNull=no"];

/** ssh_config(5). The first value that ssh is given for a keyword is the one that counts. */
export function sshOptions(
  { port, identity, knownHosts }: SshOptions,
  context: RunContext,
): string[] {
  const unknown = newerSettings.map((setting) => setting.replace(/=.*/, ""));
  const all = [
    `IgnoreUnknown=${[...unknown, ...ignoredByOperator(context)].join(",")}`,
    ...newerSettings,
    ...settings,
    ...(identity === null ? [] : ["IdentitiesOnly=yes", `IdentityFile=${quoteSetting(identity)}`]),
    ...(knownHosts === null
      ? []
      : [`UserKnownHostsFile=${knownHosts.map(quoteSetting).join(" ")}`]),
  ];
  return [
    ...all.flatMap((setting) => ["-o", setting]),
    ...(port === null ? [] : ["-p", String(port)]),
  ];
}

/** Our own list takes the place of the one in the operator's config, which may need it. */
function ignoredByOperator({ environment: { HOME = "/root" } }: RunContext): string[] {
  return [`${HOME}/.ssh/config`, "/etc/ssh/ssh_config"].flatMap((path) => {
    const lines = textOrNothing(path).matchAll(
      /^[ \t]*IgnoreUnknown(?:[ \t]*=|[ \t])[ \t]*(.+)$/gim,
    );
    return Array.from(lines, ([, list = ""]) => list.replaceAll('"', "").trim());
  }).filter((list) => /^[\w*?,]+$/.test(list));
}

function quoteSetting(path: string): string {
  const text = literal(path);
  return /[\s"']/.test(text) ? `"${text.replaceAll('"', '\\"')}"` : text;
}

/** ssh would put something else in place of `%h`. */
function literal(path: string): string {
  return path.replaceAll("%", "%%");
}

/** What ssh needs from our own environment. */
export function sshEnvironment({ environment }: RunContext): Record<string, string | undefined> {
  return { HOME: environment.HOME, SSH_AUTH_SOCK: environment.SSH_AUTH_SOCK };
}

/** Runs a command on the other host; each word of it must be free of shell syntax. */
export function runRemotely(
  destination: string,
  command: readonly string[],
  options: SshOptions,
  timeoutMs: number,
  context: RunContext,
): Promise<Completion> {
  const args = [...sshOptions(options, context), "--", destination, ...command];
  return run("ssh", args, { timeoutMs, environment: sshEnvironment(context) }, context);
}

/** Lets ssh say when it has been let in: what then goes wrong is the command's over there. */
export const sayWhenLetIn = ["-o", "LogLevel=VERBOSE"];

/** As somebody would type it, to see for himself. */
export function sshByHand(login: string, { port, identity }: SshOptions): string {
  return `ssh -v ${port === null ? "" : `-p ${port} `}` +
    `${identity === null ? "" : `-i ${shellWord(identity)} `}${login}`;
}
