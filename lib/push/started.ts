// push as its unit runs it: once all that it reads is quiet, and again where that changed meanwhile.

import { complaints } from "../cli/complaints.ts";
import type { PushConfig } from "../config/push_config.ts";
import { noteSandbox } from "../files/sandbox.ts";
import { traceOf } from "../files/trace.ts";
import type { RunContext } from "../run_context.ts";
import { pushPace, runRounds } from "../started.ts";
import { namesOf } from "./names.ts";
import { describePush, emptyOf, ending, type PushReport, reportOf } from "./report.ts";
import { whatPushReads } from "./watched.ts";

export function pushStarted(
  config: PushConfig,
  context: RunContext,
  push: (config: PushConfig, context: RunContext) => Promise<PushReport>,
): Promise<PushReport> {
  noteSandbox(config.state);
  const work = {
    look: () => traceOf(whatPushReads(config)),
    run: (context: RunContext) => push(config, context),
    words: (report: PushReport) => [
      ...describePush(report),
      ...complaints(report).map(({ message }) => message),
    ],
    ending,
    // What could not be pushed is tried in each round.
    hasFailedInDoing: () => false,
    idle: () =>
      reportOf(
        namesOf(config).map(({ name }) => ({ ...emptyOf(name), outcome: "unchanged" as const })),
        [],
      ),
  };
  return runRounds(work, pushPace, context);
}
