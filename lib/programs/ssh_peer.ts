// Gathers what explains ssh's words, once something went wrong: a connection that is well costs none of it.

import { FileProblem, isMissing, readFile } from "../files/read_file.ts";
import type { RunContext } from "../run_context.ts";
import type { SshOptions, SshTarget } from "../values/push_target.ts";
import { run } from "./run.ts";
import { sshEnvironment } from "./ssh.ts";
import { refusedOffer } from "./ssh_door.ts";
import { judgeKey, type KeyTrouble, keyType, mayDoWithout } from "./ssh_key.ts";
import { readJumpViews, readSshView, type SshView } from "./ssh_view.ts";
import { type Peer, spokenLines } from "./ssh_words.ts";

/** `stderr` is what was said: it decides what is worth a look. */
export async function readPeer(
  { login }: Pick<SshTarget, "login">,
  options: SshOptions,
  stderr: string,
  context: RunContext,
): Promise<Peer> {
  const view = lookedAt(await readSshView(login, options, context));
  const jumps = (await readJumpViews(view, context)).map(lookedAt);
  const isDenied = /Permission denied \(|Too many authentication failures/.test(stderr);
  const paths = isDenied ? view.identityFiles : [];
  const keys = await Promise.all(
    paths.map(async (path) => ({
      path,
      trouble: await judgeKey(path, context),
      type: keyType(path),
    })),
  );
  return {
    login,
    options,
    view,
    jumps,
    // Of ssh's own list most are never there.
    keys: keys.filter(({ trouble, path }) =>
      trouble?.file !== "missing" || path === options.identity
    ),
    commonAlgorithms: await commonAlgorithms(stderr, context),
    configFile: `${context.environment.HOME ?? "/root"}/.ssh/config`,
    uid: Deno.uid(),
  };
}

/** ssh passes over a file of host keys that it cannot read without a word. */
function lookedAt(view: SshView): SshView {
  const useless = view.knownHosts.filter((path) => {
    if (path === "none" || isMissing(path)) return path === "none";
    try {
      readFile(path, { follow: true });
      return false;
    } catch (error) {
      if (error instanceof FileProblem) return error.kind !== "missing";
      throw error;
    }
  });
  return {
    ...view,
    knownHosts: view.knownHosts.filter((path) => !useless.includes(path)),
    uselessKnownHosts: useless,
  };
}

async function commonAlgorithms(stderr: string, context: RunContext): Promise<string[]> {
  const refused = refusedOffer(spokenLines(stderr));
  if (refused === null) return [];
  const limits = { timeoutMs: 10_000, environment: sshEnvironment(context) };
  const { stdout } = await run("ssh", ["-Q", refused.query], limits, context);
  const known = stdout.split("\n");
  return refused.offer.filter((algorithm) => known.includes(algorithm));
}

/** What is wrong with the identity that push is told to use; null where it may do. */
export async function judgeIdentity(
  { login }: Pick<SshTarget, "login">,
  options: SshOptions,
  context: RunContext,
): Promise<KeyTrouble | null> {
  if (options.identity === null) return null;
  const trouble = await judgeKey(options.identity, context);
  if (trouble === null) return null;
  const view = await readSshView(login, options, context);
  return await mayDoWithout(options.identity, view, context) ? null : trouble;
}
