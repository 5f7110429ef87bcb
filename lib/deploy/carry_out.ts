// Carries out what deploy decided: installs, has it loaded, looks at the wire, and goes back.

import { tlsaRecord } from "../certificate/certificate.ts";
import { keyMatches } from "../certificate/judgement.ts";
import { installPair, type Pair, sameBytes } from "../certificate/pair.ts";
import {
  processNames,
  readMailcow,
  type Service,
  serviceNames,
  serviceOf,
} from "../chain/mailcow.ts";
import { rightLeaves } from "../chain/sni.ts";
import type { DeployConfig } from "../config/config.ts";
import { explain, Failure, quote } from "../failure.ts";
import { type Compose, composeExec, readContainerState } from "../programs/compose.ts";
import { TimedOut } from "../programs/run.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { type Application, applyTo, ask } from "./apply.ts";
import { readAnswered, readMemory, writeAnswered, writeLoaded, writeRejected } from "./memory.ts";
import {
  carriers,
  type DeployFacts,
  type Installation,
  mailHostname,
  type Plan,
  planInstallations,
  servedPlaces,
  type Situation,
} from "./plan.ts";
import { keepPrevious, readPrevious } from "./previous.ts";
import { type DeployReport, describeSilence, failed, summarize } from "./report.ts";
import {
  type Answered,
  type Expectation,
  formatProbe,
  type Probe,
  type ServiceOutcome,
  type Verdict,
} from "./wire.ts";

export interface Deed {
  readonly plan: Plan;
  readonly facts: DeployFacts;
  /** The leaves that must not be kept or put back: when the run began, and since it was decided. */
  readonly rejected: Record<"before" | "now", ReadonlySet<string>>;
}

/** Installs what the plan says, has it loaded, looks at the wire, and goes back where it must. */
export async function carryOut(
  { plan, facts, rejected }: Deed,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  let soFar = report;
  try {
    const answered = await askBefore(plan.services, facts, config, context);
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
    const notes = keyChanged(facts)
      ? [`TLSA 3 1 1 changed with the key: it is ${tlsaRecord(facts.candidate.leaf)}`]
      : [];
    const done = { ...report, installed, notes };
    soFar = done;

    const modes = new Map(plan.services.map((service) => [service, config.apply] as const));
    const current: DeployFacts = { ...facts, mailcow: readMailcow(config.mailcow) };
    const outcomes = await apply(modes, current, answered, config, context);
    soFar = summarize(done, plan, outcomes, facts);
    const failing = await failingServices(outcomes, facts, context);
    const former = failing.length === 0 ? null : await formerPair(facts, config.state, context);
    if (former !== null) {
      const fall = { former, failing, outcomes, answered, rejected: rejected.now };
      return await rollBack(fall, plan, current, done, config, context);
    }
    remember(outcomes, ["silent", "stale"], answered, facts, config);
    return soFar;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // With what is done, and what went wrong, by now.
    const words = [soFar.error, error.message].filter((words) => words !== undefined);
    return failed(soFar, "failed", { message: words.join("; "), hint: error.hint ?? soFar.hint });
  }
}

/** When a handshake last gave a certificate, by its name. */
type LastAnswers = ReadonlyMap<string, Answered>;

/** The handshakes that give a certificate, and those that an earlier run left owing one. */
async function askBefore(
  services: readonly Service[],
  facts: DeployFacts,
  config: DeployConfig,
  context: RunContext,
): Promise<LastAnswers> {
  const answers = await ask(probesFor(services, facts, config), context);
  const answering = answers.filter(({ served }) => served.kind === "certificate");
  return new Map([
    ...Array.from(readAnswered(config.state), (probe) => [probe, "earlier"] as const),
    ...answering.map(({ probe }) => [formatProbe(probe), "now"] as const),
  ]);
}

/** Every endpoint of the services, with the mail hostname as SNI and without SNI. */
function probesFor(
  services: readonly Service[],
  facts: DeployFacts,
  { endpoints }: DeployConfig,
): Probe[] {
  const { conf } = facts.mailcow;
  return (endpoints ?? conf.endpoints).flatMap((endpoint) => {
    const service = serviceOf(endpoint.protocol);
    if (!services.includes(service)) return [];
    return [mailHostname(facts), null].map((sni) => ({ endpoint, sni }));
  });
}

function expect(probe: Probe, facts: DeployFacts, answered: LastAnswers): Expectation {
  const question = { service: serviceOf(probe.endpoint.protocol), name: probe.sni };
  return {
    probe,
    right: [
      facts.candidate.leaf.fingerprint,
      ...rightLeaves(question, servedPlaces(facts), facts.now),
    ],
    answered: answered.get(formatProbe(probe)) ?? "never",
  };
}

/**
 * Before anything is installed: after a crash behind this line the next run must not take the new
 * files for served ones, nor an endpoint that fell silent for one that always was.
 */
function prepare(answered: LastAnswers, state: string): void {
  writeLoaded(state, new Map());
  writeAnswered(state, [...answered.keys()]);
}

/** Keeps each good pair that another one takes the place of. */
async function keepReplaced(
  { directories }: Plan,
  { mailcow, candidate }: DeployFacts,
  rejected: ReadonlySet<string>,
  state: string,
  context: RunContext,
): Promise<void> {
  const places = [
    { ...mailcow.deployed, name: null },
    ...mailcow.sniDirectories.filter(({ directory }) => directories.includes(directory)),
  ];
  for (const { pair, name } of places) {
    if (pair === null || rejected.has(pair.leaf.fingerprint)) continue;
    if (pair.leaf.fingerprint === candidate.leaf.fingerprint) continue;
    if (await keyMatches(pair, context)) keepPrevious(pair, state, name);
  }
}

function installAll(installations: readonly Installation[]): string[] {
  return installations.flatMap(({ pair, directories }) => {
    try {
      return installPair(pair, directories);
    } catch (error) {
      throw explain(error, `install the certificate in ${directories.map(quote).join(", ")}`);
    }
  });
}

function composeOf({ mailcow }: Situation): Compose {
  return { directory: mailcow.directory, version: mailcow.conf.composeVersion };
}

/** Services side by side: one that takes minutes to come back delays none. */
function apply(
  modes: ReadonlyMap<Service, Application["mode"]>,
  facts: DeployFacts,
  answered: LastAnswers,
  config: DeployConfig,
  context: RunContext,
): Promise<ServiceOutcome[]> {
  const expectations = probesFor([...modes.keys()], facts, config)
    .map((probe) => expect(probe, facts, answered));
  return allEnded(Array.from(modes, ([service, mode]) =>
    applyTo(service, {
      compose: composeOf(facts),
      mode,
      hasSniDirectories: facts.mailcow.sniDirectories.length > 0,
      settleMs: config.settleMs,
      restartTimeoutMs: config.restartTimeoutMs,
      expectations,
    }, context)));
}

/**
 * Those that gave a certificate before and give none now, although they were restarted and run. Not
 * one that has served this very pair before: whatever ails it, the former pair is no cure.
 */
async function failingServices(
  outcomes: readonly ServiceOutcome[],
  facts: DeployFacts,
  context: RunContext,
): Promise<Service[]> {
  const silent = outcomes.filter(({ service, action, checks }) =>
    action === "restarted" && checks.some(({ verdict }) => verdict === "silent") &&
    !hasServed(service, facts)
  );
  const failing = await allEnded(
    silent.map(async ({ service }) =>
      await isStillStarting(service, composeOf(facts), context) ? [] : [service]
    ),
  );
  return failing.flat();
}

/** The container may be up long before the program in it is. */
async function isStillStarting(
  service: Service,
  compose: Compose,
  context: RunContext,
): Promise<boolean> {
  try {
    switch (await readContainerState(compose, service, context)) {
      case "broken":
        return false;
      case "starting":
      case "stopped":
        return true;
      case "running":
      case "unknown": {
        const command = ["pidof", processNames[service]];
        const found = await composeExec(compose, service, command, context);
        // pidof(1): 1 where there is no such process. Where there is no pidof, docker says 126 or 127.
        return found.kind === "failed" ? found.code === 1 : found.kind !== "done";
      }
    }
  } catch (error) {
    if (error instanceof TimedOut) return true; // the engine is too busy to tell
    throw error;
  }
}

/** What to go back to; never an expired one. */
async function formerPair(
  { candidate, now }: DeployFacts,
  state: string,
  context: RunContext,
): Promise<Pair | null> {
  const pair = readPrevious(state);
  const isUsable = pair !== null && now <= pair.leaf.notAfter &&
    pair.leaf.fingerprint !== candidate.leaf.fingerprint && await keyMatches(pair, context);
  return isUsable ? pair : null;
}

interface Fall {
  readonly former: Pair;
  readonly failing: readonly Service[];
  readonly outcomes: readonly ServiceOutcome[];
  readonly answered: LastAnswers;
  readonly rejected: ReadonlySet<string>;
}

async function rollBack(
  { former, failing, outcomes, answered, rejected }: Fall,
  plan: Plan,
  facts: DeployFacts,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const silence = describeSilence(outcomes);
  context.tell(`${silence}; putting the previous certificate back`);
  // First: after a crash it must not be tried again.
  const now = changeRejected(rejected, { add: facts.candidate, remove: former }, config.state);
  writeLoaded(config.state, new Map());

  const memory = { loaded: new Map(), rejected: now };
  const back: DeployFacts = { ...facts, memory, candidate: former };
  const kept = (name: string) => readPrevious(config.state, name);
  installAll(planInstallations(back, carriers(back), kept));
  const current: DeployFacts = { ...back, mailcow: readMailcow(config.mailcow) };
  const modes = new Map(
    serviceNames.map((service) =>
      [service, failing.includes(service) ? "revive" : config.apply] as const
    ),
  );
  const returned = await apply(modes, current, answered, config, context);
  // What is as silent with the former certificate is not owed one any more.
  remember(returned, ["stale"], answered, back, config);
  const after = summarize(report, plan, returned, back, "former");
  const { fingerprint, notAfter } = former.leaf;
  return {
    ...after,
    outcome: "rolled-back",
    notes: [],
    error: `${silence}; rolled back to ${fingerprint}, valid until ${formatTime(notAfter)}` +
      (after.error === undefined ? "" : `, but: ${after.error}`),
    hint: "see the log of the service for why; the certificate that was refused is tried again " +
      "only by certsync deploy --force",
  };
}

/** Returns what is rejected from now on. */
export function changeRejected(
  rejected: ReadonlySet<string>,
  { add, remove }: { readonly add: Pair | null; readonly remove: Pair | null },
  state: string,
): ReadonlySet<string> {
  const changed = new Set(rejected);
  if (remove !== null) changed.delete(remove.leaf.fingerprint);
  if (add !== null) changed.add(add.leaf.fingerprint);
  if (changed.symmetricDifference(rejected).size > 0) writeRejected(state, changed);
  return changed;
}

/**
 * Which services serve the leaf, and which handshakes are still owed: those that went wrong in one
 * of these ways, and those of a container that did not run, so that they were not asked.
 */
function remember(
  outcomes: readonly ServiceOutcome[],
  wrongs: readonly Verdict[],
  answered: LastAnswers,
  facts: DeployFacts,
  config: DeployConfig,
): void {
  const { state } = config;
  const { fingerprint } = facts.candidate.leaf;
  const loaded = new Map(readMemory(state).loaded);
  for (const { service, isConfirmed } of outcomes) {
    if (isConfirmed) loaded.set(service, fingerprint);
    else loaded.delete(service);
  }
  writeLoaded(state, loaded);
  const wrong = outcomes.filter(({ service }) => !hasServed(service, facts))
    .flatMap(({ checks }) => checks)
    .filter(({ verdict }) => wrongs.includes(verdict))
    .map(({ probe }) => formatProbe(probe));
  const notAsked = outcomes.filter(({ checks }) => checks.length === 0)
    .map(({ service }) => service);
  const open = probesFor(notAsked, facts, config).map(formatProbe)
    .filter((probe) => answered.has(probe));
  writeAnswered(state, [...wrong, ...open]);
}

/** Whether the service was confirmed with this very pair before this run. */
function hasServed(service: Service, { mailcow, candidate, memory }: DeployFacts): boolean {
  const { pair } = mailcow.deployed;
  return pair !== null && sameBytes(pair, candidate) &&
    memory.loaded.get(service) === candidate.leaf.fingerprint;
}

function keyChanged({ mailcow, candidate }: DeployFacts): boolean {
  const old = mailcow.deployed.pair?.leaf.publicKey;
  return old !== undefined && old.toString() !== candidate.leaf.publicKey.toString();
}
