// deploy as its units start it: which wait for the first push, and then for what is being written.

import { wasStaged } from "../chain/deploy_memory.ts";
import { hostnameIn } from "../chain/mailcow.ts";
import { isEmptyStaging, whatIsStaged } from "../chain/staging.ts";
import { complaints } from "../cli/complaints.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { quote } from "../failure.ts";
import { noteSandbox } from "../files/sandbox.ts";
import { traceOf } from "../files/trace.ts";
import type { RunContext } from "../run_context.ts";
import { deployPace, runRounds, type Work } from "../started.ts";
import { writeStaged } from "./memory.ts";
import { type DeployReport, emptyDeployReport } from "./report.ts";
import { describeDeploy } from "./report_words.ts";

export async function deployStarted(
  config: DeployConfig,
  { run, ending }: Pick<Work<DeployReport>, "run" | "ending">,
  context: RunContext,
): Promise<DeployReport> {
  const { staging, also, state } = config;
  noteSandbox(state);
  if (isEmptyStaging(staging, also) && !wasStaged(state)) {
    return idle(config, [
      `nothing was ever pushed to ${quote(staging)}; on the NPM host: certsync push --force`,
    ]);
  }
  const work: Work<DeployReport> = {
    look: () => traceOf(whatIsStaged(staging, also)),
    words: (report: DeployReport) => [
      ...describeDeploy(report, config),
      ...complaints(report).map(({ message }) => message),
    ],
    idle: () => idle(config, []),
    ...{ run, ending, hasFailedInDoing },
  };
  return await runRounds(work, deployPace, context);
}

/** Installed, and that went wrong: a refusal is of what the next round finds changed. Pure. */
export function hasFailedInDoing(
  { installed, ...report }: Pick<DeployReport, "installed" | "certificates" | "outcome" | "error">,
): boolean {
  return installed.length > 0 &&
    [report, ...report.certificates].some(({ outcome, error }) =>
      error !== undefined && outcome !== "refused"
    );
}

function idle(config: DeployConfig, notes: readonly string[]): DeployReport {
  const report = emptyDeployReport(config, config.domain ?? hostnameIn(config.mailcow));
  const certificates = report.certificates.map((one) => ({
    ...one,
    outcome: "unchanged" as const,
  }));
  return { ...report, outcome: "unchanged", result: "unchanged", certificates, notes };
}

/** That the first push came. */
export function rememberStaged(
  { staging, also, state }: Pick<DeployConfig, "staging" | "also" | "state">,
  now: Date,
): void {
  if (!isEmptyStaging(staging, also) && !wasStaged(state)) writeStaged(state, now);
}
