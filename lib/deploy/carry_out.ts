// Carries out what deploy decided: installs, has it loaded, looks at the wire, and goes back.

import type { Rejected } from "../chain/deploy_memory.ts";
import { readMailcow } from "../chain/mailcow.ts";
import { ACME_WARNING, readScene, type Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { applyAll } from "./apply_all.ts";
import { installAll, keepReplaced } from "./install.ts";
import { changeRejected, writeAcme, writeAnswered, writeLoaded } from "./memory.ts";
import { type DeployFacts, type Plan, planInstallations } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import { askBefore, type LastAnswers } from "./questions.ts";
import { remember } from "./remember.ts";
import { type DeployReport, describeKey, failed, summarize } from "./report.ts";
import { failingServices, formerPair, rollBack } from "./rollback.ts";

export interface Deed {
  readonly plan: Plan;
  readonly facts: DeployFacts;
  /** The leaves that must not be kept or put back: when the run began, and since it was decided. */
  readonly rejected: Record<"before" | "now", Rejected>;
  /** Where it was looked at before. */
  readonly scene?: Scene | undefined;
}

/** Installs what the plan says, has it loaded, looks at the wire, and goes back where it must. */
export async function carryOut(
  { plan, facts, rejected, scene: known }: Deed,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  let soFar = report;
  try {
    const scene = known ?? await readScene(facts.mailcow, config, context);
    const isAcmeBehind = scene.isAcmeBehind ?? facts.memory.isAcmeBehind;
    writeAcme(config.state, scene.isAcmeBehind);
    const answered = await askBefore(plan.services, facts, scene, config, context);
    const installations = planInstallations(
      { ...facts, memory: { ...facts.memory, rejected: rejected.now } },
      plan.directories,
      (name) => readPrevious(config.state, name),
    );
    const keep = () => keepReplaced(plan, facts, rejected.before, config.state, context);
    if (installations.length > 0) {
      prepare(answered, config.state);
      // What is gone back to is the previous pair itself, which lies nowhere else until it is installed.
      if (!config.rollback) await keep();
    }
    const installed = installAll(installations);
    if (config.rollback) await keep();
    if (installed.length > 0) context.tell(`installed ${installed.join(" ")}`);
    const done = {
      ...report,
      installed,
      warnings: [...report.warnings, ...(isAcmeBehind ? [ACME_WARNING] : [])],
      notes: [...describeKey(facts, "is"), ...scene.notes],
    };
    soFar = done;

    const modes = new Map(plan.services.map((service) => [service, config.apply] as const));
    const current: DeployFacts = { ...facts, mailcow: readMailcow(config.mailcow) };
    const outcomes = await applyAll(modes, current, answered, scene, config, context);
    soFar = summarize(done, plan, outcomes, scene);
    const failing = await failingServices(outcomes, scene, context);
    const former = await formerPair(failing, facts, config.state, context);
    if (former !== null) {
      const fall = { former, failing, outcomes, answered, rejected: rejected.now };
      return await rollBack(fall, plan, current, scene, done, config, context);
    }
    const wrongs = ["silent", "stale", "unhelped"] as const;
    remember({ outcomes, failing, wrongs, answered }, facts, scene, config.state);
    if (soFar.error === undefined && outcomes.every(({ isConfirmed }) => isConfirmed)) {
      const change = { add: null, remove: facts.candidate }; // it is deployed well after all
      changeRejected(rejected.now, change, facts.now, config.state);
    }
    return soFar;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // With what is done, and what went wrong, by now.
    const words = [soFar.error, error.message].filter((words) => words !== undefined);
    const undone = context.stop.aborted && soFar.installed.length > 0
      ? "it is installed, but not seen to be served yet: run certsync deploy again"
      : undefined;
    const hint = error.hint ?? undone ?? soFar.hint;
    return failed(soFar, "failed", { message: words.join("; "), hint });
  }
}

/**
 * Before anything is installed: after a crash behind this line the next run must not take the new
 * files for served ones, nor an endpoint that fell silent for one that always was.
 */
function prepare(answered: LastAnswers, state: string): void {
  writeLoaded(state, { loaded: new Map() });
  writeAnswered(state, [...answered.keys()]);
}
