// Carries out what deploy decided: installs, has it loaded, looks at the wire, and goes back.

import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Owed, Rejected } from "../chain/deploy_memory.ts";
import { readMailcow, type Service, serviceNames } from "../chain/mailcow.ts";
import { ACME_WARNING, readScene, type Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure, orFailure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import { applyAll, obstacleToStart } from "./apply_all.ts";
import { reportName, summarizeName, withFailure } from "./certificates.ts";
import type { DeployFacts } from "./facts.ts";
import { failingServices, planReturns } from "./fall.ts";
import { settleFilled } from "./fill.ts";
import { servicesToTell, wishFor } from "./further.ts";
import {
  installAll,
  type Installed,
  installNames,
  keepReplaced,
  replacedByDomain,
  replacedByName,
} from "./install.ts";
import { writeAcme, writeAnswered, writeLoaded } from "./memory.ts";
import { modesFor } from "./name_plan.ts";
import { goneDirectories, owe, oweGone, oweWhatIs, settleOwed } from "./owed.ts";
import { type Plan, planInstallations } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import { askBefore, type LastAnswers, outcomesFor } from "./questions.ts";
import { clearNames, remember } from "./remember.ts";
import { describeKey, describeKeys } from "./plan_words.ts";
import { type DeployReport, failed, summarize } from "./report.ts";
import { rollBack } from "./rollback.ts";

export interface Deed {
  /** The domain's; null where there is nothing to do for it. */
  readonly plan: Plan | null;
  readonly facts: DeployFacts;
  /** The leaves that must not be kept or put back: when the run began, and since it was decided. */
  readonly rejected: Record<"before" | "now", Rejected>;
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
      notes: [...describeKey(facts, "is"), ...describeKeys(further), ...scene.notes],
    };

    const current: DeployFacts = { ...facts, mailcow: readMailcow(config.mailcow) };
    // Where nothing could be written, there is nothing to tell of that.
    const telling = installed.length > 0 || hindered !== null
      ? services
      : servicesToTell({ ...planned, directories: [] }, facts);
    const modes = modesFor(telling, further, config.apply, owed);
    if (await obstacleToStart(current, context) === null) tellOfRestart(modes, owed, context);
    const outcomes = await applyAll(modes, current, answered, scene, config, context);
    settleOwed(outcomes, config.state);
    const done = soFar;
    const changesTop = plan.changesLeaf;
    const seen = new Map(
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
    const undone = context.stop.aborted && soFar.installed.length > 0
      ? "it is installed, but not seen to be served yet: run certsync deploy again"
      : undefined;
    const hint = error.hint ?? undone ?? hindrance?.hint ?? soFar.hint;
    const begun = new Set(
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

interface InstalledAll extends Installed {
  /** Why the domain's pair could not be put where it belongs, and what the top level goes on with. */
  readonly hindered: { readonly failure: Failure; readonly goesOn: Pair } | null;
  /** With what came and went. */
  readonly owed: Owed;
}

async function installEverything(
  { plan, facts, rejected }: { plan: Plan; facts: DeployFacts; rejected: Deed["rejected"] },
  answered: LastAnswers,
  config: DeployConfig,
  context: RunContext,
): Promise<InstalledAll> {
  const { state } = config;
  const { further, domain } = facts;
  const installations = planInstallations(
    { ...facts, memory: { ...facts.memory, rejected: rejected.now } },
    plan.directories,
    (name) => readPrevious(state, name),
  );
  const replaced = [
    ...(installations.length === 0
      ? []
      : [{ name: null, all: replacedByDomain(plan, facts, state) }]),
    ...further.filter(({ deed }) => deed === "install")
      .map((one) => ({ name: one.name, all: replacedByName(one, state) })),
  ];
  const isReturning = ({ name }: { name: string | null }) =>
    wishFor(name, config, domain) === "rollback";
  const keep = (those: typeof replaced) =>
    keepReplaced(those.flatMap(({ all }) => all), rejected.before, context);
  const { owed: before } = facts.memory;
  let owed = before;
  if (installations.length > 0 || further.some(({ deed }) => deed !== "none")) {
    prepare(answered, plan, facts, state);
    owed = owe(further, before, state);
    await keep(replaced.filter((one) => !isReturning(one)));
  }
  const own = orFailure(() => installAll(installations));
  const hindered = own instanceof Failure
    ? { failure: own, goesOn: await goesOnWith(own, facts, config, context) }
    : null;
  const { installed, failures } = installNames(further, state);
  const failed = new Set(failures.keys());
  owed = oweWhatIs(further, { owed, before, failed }, config);
  // What is gone back to is the previous pair itself, which lies nowhere else until it is installed.
  await keep(
    replaced.filter((one) =>
      isReturning(one) && (one.name === null ? hindered === null : !failures.has(one.name))
    ),
  );
  // Theirs is the pair that was to be at the top level.
  const waiting = own instanceof Failure
    ? further.filter(({ directory, serving }) =>
      directory === null && serving?.leaf.fingerprint === facts.candidate.leaf.fingerprint
    ).map(({ name }) => [name, own] as const)
    : [];
  return {
    installed: [...(own instanceof Failure ? [] : own), ...installed],
    failures: new Map([...waiting, ...failures]),
    ...{ hindered, owed },
  };
}

/**
 * The pair at the top level, with which the services can go on, and start, while further names get
 * theirs. Throws the failure where that is none, or nobody else has anything to get.
 */
async function goesOnWith(
  failure: Failure,
  { further }: DeployFacts,
  config: DeployConfig,
  context: RunContext,
): Promise<Pair> {
  const { pair } = readMailcow(config.mailcow).deployed;
  const hasOwn = further.some(({ directory, deed }) => directory !== null && deed !== "none");
  if (!hasOwn || pair === null || !await keyMatches(pair, context)) throw failure;
  return pair;
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

/**
 * Before anything is installed: after a crash behind this line the next run must not take the new
 * files for served ones, nor an endpoint that fell silent for one that always was.
 */
function prepare(
  answered: LastAnswers,
  { directories }: Plan,
  { memory, further, mailcow }: DeployFacts,
  state: string,
): void {
  const isTopNew = directories.includes(mailcow.sslDirectory);
  const changing = further.filter(({ deed, directory }) =>
    deed !== "none" || (directory === null && isTopNew)
  );
  const names = new Set(changing.map(({ name }) => name));
  const loadedFor = new Map([...memory.loadedFor].filter(([name]) => !names.has(name)));
  // What stays as it was is served as it was: it must not go back for what another one's pair does.
  writeLoaded(state, { loaded: directories.length > 0 ? new Map() : memory.loaded, loadedFor });
  writeAnswered(state, [...answered.keys()]);
}
