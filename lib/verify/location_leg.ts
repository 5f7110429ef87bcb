// A copy that somebody named by its place: a file here, or one that is read over ssh.

import { type Certificate, parseFirst } from "../certificate/certificate.ts";
import { deliveredPaths } from "../certificate/pair.ts";
import type { VerifyConfig } from "../config/verify_config.ts";
import { Failure, quote } from "../failure.ts";
import { lookThrough } from "../files/look_at.ts";
import { readFile } from "../files/read_file.ts";
import { lastWords } from "../programs/run.ts";
import { runRemotely } from "../programs/ssh.ts";
import { causeOfDoor } from "../programs/ssh_door.ts";
import type { RunContext } from "../run_context.ts";
import { formatLocation, type Location } from "../values/location.ts";
import { attempt, type Leg } from "./leg.ts";

export function locationLeg(
  leg: "source" | "deployed",
  location: Location,
  config: VerifyConfig,
  context: RunContext,
): Promise<Leg> {
  if (location.kind === "remote") {
    const facts = { leg, where: formatLocation(location) };
    return attempt(facts, context, async () => ({
      certificate: await readRemote(location, config, context),
    }));
  }
  const isDirectory = lookThrough(location.path)?.isDirectory() ?? false;
  const where = isDirectory ? deliveredPaths(location.path).chain : location.path;
  return attempt({ leg, where }, context, () => ({
    // A leaf alone is as good here: what it goes with is not said.
    certificate: parseFirst(readFile(where, { follow: true }).bytes, quote(where)),
  }));
}

async function readRemote(
  { host: peer, path }: Extract<Location, { kind: "remote" }>,
  { knownHosts, timeoutMs }: VerifyConfig,
  context: RunContext,
): Promise<Certificate> {
  const { code, stdout, stderr } = await runRemotely(
    peer,
    ["openssl", "x509", "-in", path],
    { port: null, identity: null, knownHosts },
    timeoutMs,
    context,
  );
  if (code === 0) return parseFirst(new TextEncoder().encode(stdout), quote(`${peer}:${path}`));
  if (code === SSH_FAILED) {
    const words = [causeOfDoor(stderr, peer), lastWords(stderr) || "ssh ended with code 255"];
    throw new Failure(words.filter((each) => each !== null).join(": "), {
      hint: `this must work first, and ask nothing: ssh ${peer} true`,
    });
  }
  const known = remoteReasons.find(([pattern]) => pattern.test(stderr));
  throw new Failure(known?.[1] ?? (lastWords(stderr) || `openssl ended there with code ${code}`), {
    hint: known?.[2],
  });
}

/** Any other exit code is that of the command on the other side. ssh(1) */
const SSH_FAILED = 255;

const remoteReasons: readonly [RegExp, string, string?][] = [
  [/No such file or directory/, "does not exist"],
  [/Permission denied/, "may not be read by that user", "name one who may: root@host:/path"],
  [/openssl: (command )?not found/, "there is no openssl on that host"],
  [/unable to load certificate|Could not (read|find) certificate/, "is not a certificate"],
];
