// Carries out what deploy decided: installs, has it loaded, looks at the wire, and goes back.

import type { Owed } from "../chain/deploy_memory.ts";
import { type Service, serviceNames } from "../chain/mailcow.ts";
import { ACME_WARNING, readScene, type Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { applyAll, obstacleToStart } from "./apply_all.ts";
import { type CertificateReport, reportName, summarizeName, withFailure } from "./certificates.ts";
import type { DeployFacts } from "./facts.ts";
import { failingServices, planReturns } from "./fall.ts";
import { settleFilled } from "./fill.ts";
import { servicesToTell } from "./further.ts";
import { installEverything, type Rejections } from "./install_everything.ts";
import { writeAcme } from "./memory.ts";
import { modesFor } from "./name_plan.ts";
import { goneDirectories, oweGone } from "./owed.ts";
import type { Plan } from "./plan.ts";
import { askBefore, outcomesFor } from "./questions.ts";
import { clearNames, remember } from "./remember.ts";
import { describeKey, describeKeys } from "./plan_words.ts";
import { type DeployReport, failed, summarize } from "./report.ts";
import { rollBack } from "./rollback.ts";
import { readWholeMailcow } from "./whole_mailcow.ts";

export interface Deed {
  /** The domain's; null where there is nothing to do for it. */
  readonly plan: Plan | null;
  readonly facts: DeployFacts;
  readonly rejected: Rejections;
  /** Where it was looked at before. */
  readonly scene?: Scene | undefined;
}

const NOTHING: Plan = {
  ...{ kind: "install", directories: [], services: [], changesLeaf: false, warnings: [] },
};

/** Installs what the plan says, has it loaded, looks at the wire, and goes back where it must. */
export async function carryOut(
  { plan: own, facts: found, rejected, scene: known }: Deed,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const certificates = found.further.map((one) => reportName(one, found.now));
  let soFar: DeployReport = { ...report, certificates };
  let hindrance: Failure | null = null;
  try {
    const scene = known ?? await readScene(found.mailcow, config, context);
    const gone = goneDirectories(found, config.also);
    const debt = await oweGone(gone, found, scene, config.state, context);
    const decided: DeployFacts = { ...found, memory: { ...found.memory, owed: debt } };
    const isBeside = (service: Service) => {
      const names = debt.get(service) ?? new Set();
      return !names.isSubsetOf(new Set(found.further.map(({ name }) => name)));
    };
    const planned = own ?? { ...NOTHING, services: serviceNames.filter(isBeside) };
    const isAcmeBehind = scene.isAcmeBehind ?? decided.memory.isAcmeBehind;
    writeAcme(config.state, scene.isAcmeBehind);
    const services = servicesToTell(planned, decided);
    const answered = await askBefore(services, decided, scene, config, context);
    const deed = { plan: planned, facts: decided, rejected };
    const { installed, failures, hindered, owed } = await installEverything(
      ...[deed, answered, config, context] as const,
    );
    hindrance = hindered?.failure ?? null;
    const plan = hindered === null ? planned : { ...NOTHING, services };
    if (installed.length > 0) context.tell(`installed ${installed.join(" ")}`);
    const further = decided.further.filter(({ name }) => !failures.has(name));
    const facts: DeployFacts = {
      ...{ ...decided, further, memory: { ...decided.memory, owed } },
      candidate: hindered?.goesOn ?? decided.candidate,
    };
    soFar = {
      ...soFar,
      installed,
      certificates: certificates.map((one) => withFailure(one, failures.get(one.name))),
      warnings: [...report.warnings, ...(isAcmeBehind ? [ACME_WARNING] : [])],
      notes: [...describeKey(facts, "is"), ...describeKeys(further, "is"), ...scene.notes],
    };

    const current: DeployFacts = { ...facts, mailcow: readWholeMailcow(found.mailcow) };
    // Where nothing could be written, there is nothing to tell of that.
    const telling = installed.length > 0 || hindered !== null
      ? services
      : servicesToTell({ ...planned, directories: [] }, facts);
    const modes = modesFor(telling, further, config.apply, owed);
    if (await obstacleToStart(current, context) === null) tellOfRestart(modes, owed, context);
    const outcomes = await applyAll(modes, current, answered, scene, config, context);
    const done = soFar;
    const changesTop = plan.changesLeaf;
    const seen = new Map<string | null, CertificateReport>(
      further.map((one) =>
        [one.name, summarizeName(one, outcomes, current, { scene, changesTop })] as const
      ),
    );
    soFar = {
      ...summarize(done, plan, outcomes, outcomesFor(null, outcomes, facts), scene),
      certificates: done.certificates.map((one) => seen.get(one.name) ?? one),
    };
    const failing = await failingServices(outcomes, scene, context);
    const due = await planReturns(failing, outcomes, facts, config.state, context);
    const returns = due.returns.filter(({ name }) => name !== null || hindrance === null);
    if (returns.length > 0) {
      const fall = { ...due, returns, failing, outcomes, answered, rejected: rejected.now };
      return withHindrance(
        await rollBack(fall, plan, current, scene, done, config, context),
        hindrance,
      );
    }
    const wrongs = ["silent", "stale", "unhelped"] as const;
    remember({ outcomes, failing, wrongs, answered }, current, scene, config.state);
    // What is deployed well after all:
    const confirmed = [...(hindrance === null ? [null] : []), ...further.map(({ name }) => name)]
      .filter((name) => {
        const own = outcomesFor(name, outcomes, facts);
        return own.length > 0 && own.every(({ isConfirmed }) => isConfirmed);
      });
    clearNames(confirmed, current, rejected.now, config.state);
    settleFilled(
      further.filter(({ name }) => confirmed.includes(name))
        .flatMap(({ directory }) => directory ?? []),
      config.state,
    );
    return withHindrance(soFar, hindrance);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // With what is done, and what went wrong, by now.
    const words = [hindrance?.message, soFar.error, error.message]
      .filter((words) => words !== undefined);
    const state = soFar.installed.length > 0
      ? "it is installed, but not seen to be served yet"
      : "nothing was installed";
    const undone = context.stop.aborted ? `${state}: run certsync deploy again` : undefined;
    const hint = error.hint ?? undone ?? hindrance?.hint ?? soFar.hint;
    const begun = new Set<string | null>(
      found.further.filter(({ deed }) => deed !== "none").map(({ name }) => name),
    );
    const told = {
      ...soFar,
      certificates: soFar.certificates.map((one) =>
        one.outcome === "unchanged" && begun.has(one.name)
          ? withFailure(one, { message: error.message, hint })
          : one
      ),
    };
    return failed(told, "failed", { message: words.join("; "), hint });
  }
}

/** The domain's own pair is not where it belongs, whatever else became of the run. */
function withHindrance(report: DeployReport, hindrance: Failure | null): DeployReport {
  if (hindrance === null) return report;
  const words = [hindrance.message, report.error].filter((words) => words !== undefined);
  const hint = hindrance.hint ?? report.hint;
  return failed(report, "failed", { message: words.join("; "), hint });
}

/** As mailcow does it itself where the number of directories changes. */
function tellOfRestart(
  modes: ReadonlyMap<Service, unknown>,
  owed: Owed,
  context: RunContext,
): void {
  const [first, ...others] = [...modes.keys()].filter((service) => owed.has(service))
    .sort();
  if (first === undefined) return;
  const names = [...new Set([...owed.values()].flatMap((names) => [...names]))].join(", ");
  context.tell(
    others.length === 0
      ? `restarting ${first} once: it finds the directories of ${names} at a start alone`
      : `restarting ${first}, then ${others.join(" and ")}, once: they find the directories of ` +
        `${names} at a start alone`,
  );
}
