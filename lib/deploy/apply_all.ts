// Has the services load what lies in the directories, side by side.

import { keyMatches } from "../certificate/judgement.ts";
import type { Pair } from "../certificate/pair.ts";
import { type Service, serviceNames, type SniDirectory } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import { isHidden, namesServed } from "../chain/sni.ts";
import { unclearDirectories } from "../chain/unclear.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure, quote } from "../failure.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { type Application, applyTo } from "./apply.ts";
import { ask } from "./look.ts";
import { changesDirectories } from "./name_plan.ts";
import { type DeployFacts, mailHostname } from "./facts.ts";
import { isOwed, settleStarted } from "./owed.ts";
import { expect, type LastAnswers, probesFor } from "./questions.ts";
import { rememberService } from "./remember.ts";
import { formatProbe, leafOf, NO_LEAF, type ServiceOutcome, type Trouble } from "./wire.ts";

/** What a reload takes that does anything, old processes that still answer for a moment included. */
const TURNOVER_MS = 2_000;

/** One that takes minutes to come back delays none but Postfix, which asks Dovecot for logins. */
export async function applyAll(
  modes: ReadonlyMap<Service, Application["mode"]>,
  facts: DeployFacts,
  answered: LastAnswers,
  scene: Scene,
  config: DeployConfig,
  context: RunContext,
): Promise<ServiceOutcome[]> {
  const unusable = await unusableDirectories(facts, context);
  const obstacles = new Map(
    serviceNames.map((service) => [service, obstacleFor(service, unusable, facts)] as const),
  );
  // All are to be restarted, or none: nginx alone would not come up.
  const isForAll = changesDirectories(facts.further);
  const { owed } = facts.memory;
  const anyObstacle = [...obstacles.values()].find((trouble) => trouble !== null) ?? null;
  const [dovecotBegan, dovecotEnded] = [
    Promise.withResolvers<void>(),
    Promise.withResolvers<void>(),
  ];
  // Started beside a Dovecot that does not answer yet, Postfix would let nobody log in for a minute.
  const turns = {
    "dovecot-mailcow": { hasBegun: dovecotBegan.resolve },
    "postfix-mailcow": { turn: dovecotEnded.promise },
    "nginx-mailcow": { turn: dovecotBegan.promise },
  };
  const running = new Map<Service, Promise<ServiceOutcome>>();
  const dovecotIsThere = wasThere(facts, answered, modes, scene);
  const whetherDovecotIs = async () => {
    const outcome = await running.get("dovecot-mailcow");
    const answers = outcome?.checks ??
      await ask(probesFor(["dovecot-mailcow"], facts, scene), context);
    if (answers.some((answer) => leafOf(answer) !== NO_LEAF)) {
      return dovecotIsThere && outcome?.wasAway !== true ? "there" : "back";
    }
    return outcome?.checks.length === 0 && outcome.isConfirmed ? "back" : "away";
  };
  for (const [service, mode] of modes) {
    const expectations = probesFor([service], facts, scene)
      .map((probe) => expect(probe, facts, answered));
    const isStart = isForAll || owed.has(service);
    const withheld = isStart && mode !== "revive" ? anyObstacle : null;
    const applying = applyTo(service, {
      compose: scene.compose,
      // Not to be restarted again for what a restart did not help.
      mode: mode === "restart" &&
          (anyObstacle !== null ||
            (!isStart && expectations.some(({ unhelped }) => unhelped !== null)))
        ? withheld === null || hasOther(service, facts) ? "reload" : "look"
        : mode,
      withheld,
      ...((isForAll || owed.size > 0) && modes.has("dovecot-mailcow") && turns[service]),
      hasSniDirectories: facts.mailcow.sniDirectories.some(({ name }) => !isHidden(name)),
      settleMs: isDirectoryGone(facts) ? Math.min(TURNOVER_MS, config.settleMs) : config.settleMs,
      restartTimeoutMs: config.restartTimeoutMs,
      expectations,
      obstacle: obstacles.get(service) ?? (isForAll ? anyObstacle : null),
      ...(withheld === null && { hasRestarted: () => settleStarted(service, config.state) }),
      whetherDovecotIs,
    }, context).finally(() => {
      if (service !== "dovecot-mailcow") return;
      dovecotBegan.resolve(); // whatever kept it from that
      dovecotEnded.resolve();
    });
    const remembering = applying.then((outcome) => {
      rememberService(outcome, facts, scene, config.state);
      return outcome;
    });
    running.set(service, remembering);
  }
  return await allEnded([...running.values()]);
}

/** Whether there is anything that a reload could bring, besides what a restart would. */
function hasOther(
  service: Service,
  { memory, candidate, further }: DeployFacts,
): boolean {
  return memory.loaded.get(service) !== candidate.leaf.fingerprint ||
    further.some(({ name, deed, serving }) =>
      !isOwed(service, name, { memory }) &&
      (deed === "install" ||
        memory.loadedFor.get(name)?.get(service) !== serving?.leaf.fingerprint)
    );
}

/** What keeps a service from being restarted; null where nothing does. */
export async function obstacleToStart(
  facts: DeployFacts,
  context: RunContext,
): Promise<Trouble | null> {
  const unusable = await unusableDirectories(facts, context);
  return serviceNames.map((service) => obstacleFor(service, unusable, facts))
    .find((trouble) => trouble !== null) ?? null;
}

/** Whether Dovecot answered before anything was installed, as far as it was asked. */
function wasThere(
  facts: DeployFacts,
  answered: LastAnswers,
  modes: ReadonlyMap<Service, Application["mode"]>,
  scene: Scene,
): boolean {
  if (!facts.memory.loaded.has("dovecot-mailcow")) return false;
  return !modes.has("dovecot-mailcow") ||
    probesFor(["dovecot-mailcow"], facts, scene)
      .some((probe) => answered.get(formatProbe(probe)) === "now");
}

/**
 * With one that it knows and does not find a reload does nothing: only a restart does, which may have
 * been made since.
 */
function isDirectoryGone({ mailcow, memory }: DeployFacts): boolean {
  const there = new Set(mailcow.sniDirectories.map(({ name }) => name));
  return !memory.directories.isSubsetOf(there);
}

/** Those whose pair does not fit; whether one that cannot be read does, nobody can tell. */
async function unusableDirectories(
  { mailcow }: DeployFacts,
  context: RunContext,
): Promise<readonly SniDirectory[]> {
  const readable = mailcow.sniDirectories.filter(({ isReadable }) => isReadable);
  const fit = await allEnded(
    readable.map(({ pair }) => pair === null ? false : couldMatch(pair, context)),
  );
  return readable.filter((_, index) => !fit[index]);
}

/** What could not be told is no obstacle. */
async function couldMatch(pair: Pair, context: RunContext): Promise<boolean> {
  try {
    return await keyMatches(pair, context);
  } catch (error) {
    context.stop.throwIfAborted();
    if (error instanceof Failure) return true;
    throw error;
  }
}

/** A restart reads every directory anew: nginx does not come up again where one of them is no pair. */
function obstacleFor(
  service: Service,
  unusable: readonly SniDirectory[],
  facts: DeployFacts,
): Trouble | null {
  const read = unusable.filter((directory) =>
    namesServed(directory, service, mailHostname(facts)).length > 0
  );
  const broken = read.map(({ directory, problem }) =>
    `${quote(directory)} holds no pair: ${problem ?? "its key does not match its certificate"}`
  );
  const unclear = unclearDirectories(facts.mailcow);
  if (broken.length + unclear.length === 0) return null;
  const wayOut = "mend that pair, or move its directory out of data/assets/ssl";
  const hints = [...(broken.length > 0 ? [wayOut] : []), ...unclear.map(({ wayOut }) => wayOut)];
  return {
    words: [...broken, ...unclear.map(({ words }) => words)].join("; "),
    hint: [...new Set(hints)].join("; "),
  };
}
