// Puts all that was decided where it belongs, after what is needed should the run be cut off behind that.

import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import type { Owed, Rejected } from "../chain/deploy_memory.ts";
import { readMailcow } from "../chain/mailcow.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure, orFailure } from "../failure.ts";
import type { RunContext } from "../run_context.ts";
import type { DeployFacts } from "./facts.ts";
import { installAll, installNames, type Written } from "./install.ts";
import { prepareKeeping, replacedByDomain, replacedByName } from "./keep.ts";
import { writeAnswered, writeLoaded } from "./memory.ts";
import { owe, oweWhatIs } from "./owed.ts";
import { type Plan, planInstallations } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import type { LastAnswers } from "./questions.ts";
import { wishFor } from "./wish.ts";

/** The leaves that must not be kept or put back: when the run began, and since it was decided. */
export type Rejections = Readonly<Record<"before" | "now", Rejected>>;

interface WrittenAll extends Written {
  /** Why the domain's pair could not be put where it belongs, and what the top level goes on with. */
  readonly hindered: { readonly failure: Failure; readonly goesOn: Pair } | null;
  /** With what came and went. */
  readonly owed: Owed;
}

/** Each owner's pair for itself: what fails for one stops no other. */
export async function installEverything(
  { plan, facts, rejected }: { plan: Plan; facts: DeployFacts; rejected: Rejections },
  answered: LastAnswers,
  config: DeployConfig,
  context: RunContext,
): Promise<WrittenAll> {
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
  const isReturning = (name: string | null) => wishFor(name, config, domain) === "rollback";
  const { owed: before } = facts.memory;
  const isWriting = installations.length > 0 || further.some(({ deed }) => deed !== "none");
  if (isWriting) prepare(answered, plan, facts, state);
  const owing = isWriting ? owe(further, before, state) : before;
  using keeping = await prepareKeeping(replaced, { state, rejected: rejected.before }, context);
  keeping.putInPlace((name) => !isReturning(name));
  const own = keeping.failures.get(null) ?? orFailure(() => installAll(installations));
  const hindered = own instanceof Failure
    ? { failure: own, goesOn: await goesOnWith(own, facts, config, context) }
    : null;
  const unkept = further.flatMap(({ name, directory }) => {
    const alike = further.filter((one) => directory !== null && one.directory === directory);
    const failure = alike.map(({ name }) => keeping.failures.get(name))
      .find((one) => one !== undefined);
    return failure === undefined ? [] : [[name, failure] as const];
  });
  const names = new Map(unkept);
  const put = installNames(further.filter(({ name }) => !names.has(name)), state);
  const failures = new Map([...names, ...put.failures]);
  const failed = new Set(failures.keys());
  const owed = oweWhatIs(further, { owed: owing, before, failed }, facts, state);
  // What is gone back to is the previous pair itself, which lies nowhere else until it is installed.
  keeping.putInPlace((name) =>
    isReturning(name) && (name === null ? hindered === null : !failures.has(name))
  );
  // Theirs is the pair that was to be at the top level.
  const waiting = own instanceof Failure
    ? further.filter(({ directory, serving }) =>
      directory === null && serving?.leaf.fingerprint === facts.candidate.leaf.fingerprint
    ).map(({ name }) => [name, own] as const)
    : [];
  return {
    installed: [...(own instanceof Failure ? [] : own), ...put.installed],
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
