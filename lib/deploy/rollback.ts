// Goes back to the pairs that were served before, where a service gives no certificate with new ones.

import { headline, shortFingerprint } from "../certificate/headline.ts";
import type { Pair } from "../certificate/pair.ts";
import { readMemory, type Rejected } from "../chain/deploy_memory.ts";
import { serviceNames } from "../chain/mailcow.ts";
import type { Scene } from "../chain/scene.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { Failure, orFailure } from "../failure.ts";
import { composeCommand } from "../programs/compose.ts";
import type { RunContext } from "../run_context.ts";
import { formatTime } from "../values/time.ts";
import { applyAll } from "./apply_all.ts";
import type { CertificateReport } from "./certificates.ts";
import { summarizeName, withFailure } from "./certificates.ts";
import { carriers, type DeployFacts } from "./facts.ts";
import type { Fall, Return } from "./fall.ts";
import { installAll, installNames, type Written } from "./install.ts";
import { changeRejected, writeLoaded, writeSuspects } from "./memory.ts";
import type { NamePlan } from "./name_plan.ts";
import { owe, oweWhatIs } from "./owed.ts";
import { type Plan, planInstallations } from "./plan.ts";
import { readPrevious } from "./previous.ts";
import { outcomesFor } from "./questions.ts";
import { remember } from "./remember.ts";
import { type DeployReport, failed, summarize } from "./report.ts";
import { describeSilence } from "./trouble.ts";
import type { Verdict } from "./wire.ts";
import { readWholeMailcow } from "./whole_mailcow.ts";

/** Puts back what fell. */
export async function rollBack(
  { returns, isEverything, failing, outcomes, answered, rejected }: Fall,
  plan: Plan,
  facts: DeployFacts,
  scene: Scene,
  report: DeployReport,
  config: DeployConfig,
  context: RunContext,
): Promise<DeployReport> {
  const silence = describeSilence(outcomes);
  const isBlamed = !isEverything;
  context.tell(`${silence}; putting back what was there before`);
  // First: after a crash it must not be tried again.
  const now = isBlamed ? rejectAll(returns, rejected, facts, config.state) : rejected;
  const refused = new Set(returns.map(({ refused }) => refused.leaf.fingerprint));
  const { suspects } = facts.memory;
  writeSuspects(config.state, isBlamed ? suspects.difference(refused) : suspects.union(refused));
  const { back, current, failures, hindrance } = putBack(
    returns,
    { ...facts, memory: forget(facts, now) },
    config,
  );
  const isDirectoryLost = returns.some(({ name, former }) =>
    former === null && !failures.has(name ?? "")
  );
  const modes = new Map(
    serviceNames.map((service) => {
      const mode = failing.includes(service)
        ? "revive"
        : isDirectoryLost
        ? "restart"
        : config.apply;
      return [service, mode] as const;
    }),
  );
  const returned = await applyAll(modes, current, answered, scene, config, context)
    .catch((error) => {
      throw error instanceof Failure ? cutShort(error) : error;
    });
  // What is as silent with the former certificate is not owed one any more.
  const isBack = hindrance === null && failures.size === 0;
  const wrongs: Verdict[] = isBack ? ["stale", "unhelped"] : ["stale", "unhelped", "silent"];
  const run = { outcomes: returned, failing: [], wrongs, answered };
  remember(run, { ...back, mailcow: current.mailcow }, scene, config.state);

  const after = summarize(
    { ...report, notes: [] },
    { ...plan, changesLeaf: plan.changesLeaf && !returns.some(({ name }) => name === null) },
    returned,
    outcomesFor(null, returned, current),
    scene,
    returns.some(({ name }) => name === null) ? "former" : "new",
  );
  const why = `see why with: ${composeCommand(scene.compose)} logs --tail=50 ${failing.join(" ")}`;
  const tell = (one: Return) => describeReturn(one, outcomes, facts, isBlamed, why);
  const own = returns.find(({ name }) => name === null);
  const changesTop = plan.changesLeaf && own === undefined;
  const stuck = ({ message, hint }: Failure) => ({
    message: `${silence}; but what was there before could not be put back: ${message}`,
    hint,
  });
  return {
    ...(hindrance === null ? after : failed(after, "failed", stuck(hindrance))),
    ...(own !== undefined && hindrance === null && {
      outcome: "rolled-back",
      ...withTrouble(tell(own), after),
      notes: describeFormer(own, report),
    }),
    certificates: report.certificates.map((before): CertificateReport => {
      const one = back.further.find(({ name }) => name === before.name);
      const failure = failures.get(before.name);
      if (failure !== undefined) return withFailure(before, stuck(failure));
      if (one === undefined) return before;
      const fallen = returns.find(({ name }) => name === one.name);
      const known = { ...current, memory: facts.memory };
      const seen = summarizeName(one, returned, known, { scene, changesTop });
      if (fallen === undefined) return seen;
      // As of the domain: the leaf that was to take the other one's place.
      return { ...before, outcome: "rolled-back", ...withTrouble(tell(fallen), seen) };
    }),
  };
}

/** Why nobody has seen what came of it. */
function cutShort({ message, hint }: Failure): Failure {
  const what = `what was there before is put back, and not seen to be served yet: ${message}`;
  return new Failure(what, { hint: hint ?? "run certsync deploy again" });
}

function describeFormer({ former }: Return, { domain }: DeployReport): string[] {
  if (former === null) return [];
  const { fingerprint, notAfter } = former.leaf;
  const leaf = { fingerprint, notAfter: formatTime(notAfter) };
  return [headline(`rolled back ${domain} to`, leaf), `fingerprint ${fingerprint}`];
}

function withTrouble(
  { error, hint }: { readonly error: string; readonly hint: string },
  after: { readonly error?: string | undefined },
) {
  return { error: error + (after.error === undefined ? "" : `, but: ${after.error}`), hint };
}

function rejectAll(
  returns: readonly Return[],
  before: Rejected,
  { now }: DeployFacts,
  state: string,
): Rejected {
  return returns.reduce(
    (rejected, { refused, former }) =>
      changeRejected(rejected, { add: refused, remove: former }, now, state),
    before,
  );
}

/** What was loaded, and what no restart helped, is known of these no more. */
function forget({ memory, further }: DeployFacts, rejected: Rejected) {
  const names = new Set(further.map(({ name }) => name));
  const loadedFor = new Map([...memory.loadedFor].filter(([name]) => !names.has(name)));
  return { ...memory, loaded: new Map(), loadedFor, unhelped: new Map(), rejected };
}

interface PutBack extends Pick<Written, "failures"> {
  /** By what is to be served. */
  readonly back: DeployFacts;
  /** By what lies there too. */
  readonly current: DeployFacts;
  /** Why the domain's pair could not be put back: that stops no further name's. */
  readonly hindrance: Failure | null;
}

/** What owes its restart is not owed one anew by what goes back beside it. */
export function putBack(
  returns: readonly Return[],
  facts: DeployFacts,
  config: Pick<DeployConfig, "mailcow" | "state">,
): PutBack {
  writeLoaded(config.state, facts.memory);
  const own = returns.find(({ name }) => name === null);
  const further = facts.further.map((plan): NamePlan => {
    const one = returns.find(({ name }) => name === plan.name);
    if (one === undefined) return { ...plan };
    return one.former === null
      ? { ...plan, deed: "unmake", serving: null }
      : { ...plan, deed: "install", serving: one.former };
  });
  const candidate: Pair = own?.former ?? facts.candidate;
  const wanted: DeployFacts = { ...facts, candidate, further };
  const kept = (name: string) => readPrevious(config.state, name);
  const put = orFailure(() =>
    own === undefined ? [] : installAll(planInstallations(wanted, carriers(wanted), kept))
  );
  const fallen = new Set(returns.map(({ name }) => name));
  const returning = further.filter(({ name }) => fallen.has(name));
  const hindrance = put instanceof Failure ? put : null;
  if (hindrance !== null && returning.length === 0) throw hindrance;
  const { owed: before } = readMemory(config.state);
  const owing = owe(returning, before, config.state);
  const { failures } = installNames(returning, config.state);
  const failed = new Set(failures.keys());
  const owed = oweWhatIs(returning, { owed: owing, before, failed }, facts, config.state);
  const unmade = further.filter(({ name }) => !failures.has(name)).map((plan): NamePlan =>
    plan.deed === "unmake" ? { ...plan, directory: null } : plan
  );
  const mailcow = readWholeMailcow(facts.mailcow);
  const back: DeployFacts = {
    ...{ ...wanted, further: unmade, memory: { ...facts.memory, owed } },
    // What could not give way is there still.
    candidate: hindrance === null ? candidate : facts.candidate,
  };
  return { back, current: { ...back, mailcow }, failures, hindrance };
}

function describeReturn(
  { name, former, refused }: Return,
  outcomes: Fall["outcomes"],
  facts: DeployFacts,
  isBlamed: boolean,
  why: string,
): { error: string; hint: string } {
  const silence = describeSilence(outcomesFor(name, outcomes, facts));
  const back = former === null
    ? "its directory was taken out of service again"
    : `rolled back to ${former.leaf.fingerprint}, valid until ${formatTime(former.leaf.notAfter)}`;
  const again = name === null ? "" : ` --only ${name}`;
  return {
    error: `${silence}; ${back}`,
    hint: isBlamed
      ? `${why}; the certificate that was refused is tried again only by certsync deploy ` +
        `--force${again}`
      : `${why}; several were new, and are tried again one a run: certsync deploy; ${
        shortFingerprint(refused.leaf.fingerprint)
      } is one of them`,
  };
}
