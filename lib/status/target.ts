// Whether a target would take a push, as far as its greeting can show that: nothing is sent.

import type { Destination } from "../config/push_config.ts";
import { Failure } from "../failure.ts";
import { checkOwnDirectory } from "../files/own_directory.ts";
import { forcedCommandLine } from "../programs/forced_command.ts";
import { askServer, serverCommand } from "../programs/rsync.ts";
import { explainTransfer } from "../programs/rsync_words.ts";
import { readPeer } from "../programs/ssh_peer.ts";
import type { RunContext } from "../run_context.ts";
import type { LocalTarget } from "../values/push_target.ts";
import { failedPoint, type Point, point } from "./point.ts";

const TIMEOUT_MS = 10_000;

export async function targetPoint(target: Destination, context: RunContext): Promise<Point> {
  const name = `target ${target.text}`;
  if (target.kind === "local") return localPoint(name, target);
  const { ssh } = target;
  try {
    using _told = context.wait(`asking ${target.host}`, TIMEOUT_MS);
    const asked = await serverCommand("-azL", target, context) ?? "";
    const question = { target, ssh, timeoutMs: TIMEOUT_MS };
    const answer = await askServer(question, asked, context);
    const { greeting, hasVersion, compresses } = answer;
    if (!hasVersion || greeting?.text !== "") {
      const peer = await readPeer(target, ssh, answer.stderr, context);
      const { error, hint } = explainTransfer(answer, { ...question, peer, greeting });
      return point(name, "error", error, hint);
    }
    if (asked === "" || compresses !== false) {
      return point(name, "ok", "lets this host in, and answers as rsync does");
    }
    return point(
      name,
      "warning",
      "its forced command is for rsync without -z: a push succeeds at the second try alone",
      `have this line in authorized_keys over there: ${await forcedCommandLine(target, context)}`,
    );
  } catch (error) {
    if (error instanceof Failure && !context.stop.aborted) return failedPoint(name, error);
    throw error;
  }
}

function localPoint(name: string, { directory }: LocalTarget): Point {
  try {
    checkOwnDirectory(directory, "push.to");
    return point(name, "ok", "a directory of this machine, root's alone");
  } catch (error) {
    if (error instanceof Failure) return failedPoint(name, error);
    throw error;
  }
}
