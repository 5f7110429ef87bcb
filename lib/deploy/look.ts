// Looks at the wire until all of a service is right, or the time is over.

import { serviceOf } from "../chain/mailcow.ts";
import { keyKindOf, readAllServed } from "../chain/served.ts";
import type { KeyKind } from "../programs/openssl.ts";
import { pause, type RunContext } from "../run_context.ts";
import {
  type Answer,
  type Check,
  type Expectation,
  isBlamed,
  isSettled,
  isWrong,
  judgeAnswers,
  leafOf,
  NO_LEAF,
  type Probe,
} from "./wire.ts";

const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Asks the wire. */
export async function ask(
  probes: readonly (Probe & { readonly keyKind?: KeyKind | null })[],
  context: RunContext,
): Promise<Answer[]> {
  const served = await readAllServed(probes, HANDSHAKE_TIMEOUT_MS, context);
  return probes.flatMap((probe, index) => {
    const one = served[index];
    return one === undefined ? [] : [{ probe, served: one }];
  });
}

/** What came of looking. */
export interface Seen {
  readonly checks: readonly Check[];
  /** At some moment the service gave no certificate where it had given one. */
  readonly wasAway: boolean;
}

/** How long to wait for what the service could be to blame for, and for what it could not. */
export interface Patience {
  readonly waitMs: number;
  readonly settleMs: number;
}

/** Just after a reload the old processes still answer, for a moment. */
const BETWEEN_ROUNDS_MS = { first: 100, most: 500 };
/** nginx lets its old workers accept for 100 ms beside the new ones; Postfix's may take longer. */
const BETWEEN_LOOKS_MS = 250;

/**
 * Asks until all is right or the time is over. All is right when every endpoint says so at two
 * moments, with SNI and then without: for a while old and new processes accept side by side. Nobody
 * is blamed for an answer to what was asked before the time was over, which another endpoint that
 * does not answer may have held up.
 */
export async function lookUntilRight(
  expectations: readonly Expectation[],
  { waitMs, settleMs }: Patience,
  context: RunContext,
): Promise<Seen> {
  const [one] = expectations;
  if (one === undefined) return { checks: [], wasAway: false };
  const start = performance.now();
  const elapsedMs = () => performance.now() - start;
  let askedAtMs = 0;
  const mayGoOn = (checks: readonly Check[]) =>
    checks.some(isBlamed) ? askedAtMs < waitMs : elapsedMs() < Math.min(waitMs, settleMs);
  const withoutSni = expectations.filter(({ probe }) => probe.sni === null);
  const first = await look(
    expectations.filter((one) => one.probe.sni !== null || !hasTwin(one, expectations)),
    context,
  );
  if (isSettled(first)) await pause(BETWEEN_LOOKS_MS, context);
  const second = await look(withoutSni, context);
  let checks = judgeAnswers([...second, ...first.filter(({ probe }) => probe.sni !== null)]);
  let wasAway = isAway(checks);
  if (isSettled(checks)) return { checks: inOrder(checks, expectations), wasAway };

  using _wait = context.wait(
    `waiting for the right certificate from ${serviceOf(one.probe.endpoint.protocol)}`,
    checks.some(isBlamed) ? waitMs : Math.min(waitMs, settleMs),
  );
  for (
    let betweenMs = BETWEEN_ROUNDS_MS.first;
    !isSettled(checks) && mayGoOn(checks);
    betweenMs = Math.min(2 * betweenMs, BETWEEN_ROUNDS_MS.most)
  ) {
    await pause(betweenMs, context);
    askedAtMs = elapsedMs();
    const right = checks.filter(({ verdict }) => verdict === "ok");
    const wrong = expectations.filter(({ probe }) => right.every((check) => check.probe !== probe));
    checks = judgeAnswers([...right, ...await look(wrong, context)]);
    wasAway ||= isAway(checks);
    if (!isSettled(checks)) continue;
    await pause(BETWEEN_LOOKS_MS, context);
    askedAtMs = elapsedMs();
    checks = await look(expectations, context);
  }
  return { checks: inOrder(checks, expectations), wasAway };
}

function inOrder(checks: readonly Check[], expectations: readonly Expectation[]): Check[] {
  return expectations.flatMap(({ probe }) => checks.filter((check) => check.probe === probe));
}

function isAway(checks: readonly Check[]): boolean {
  return checks.some(isWrong) && checks.every((check) => leafOf(check) === NO_LEAF);
}

/** Whether the other question to the same endpoint tells new from old as well as this one. */
function hasTwin({ probe, right }: Expectation, expectations: readonly Expectation[]): boolean {
  return expectations.some(({ probe: other, right: others }) =>
    other !== probe && other.endpoint === probe.endpoint &&
    others.every((leaf) => right.includes(leaf))
  );
}

/** Where a leaf of another kind of key is not right, the server may have one of ours as well. */
async function look(expectations: readonly Expectation[], context: RunContext): Promise<Check[]> {
  const byProbe = new Map(expectations.map((expectation) => [expectation.probe, expectation]));
  const judged = (answers: readonly Answer[]) =>
    judgeAnswers(answers.flatMap((answer) => {
      const expectation = byProbe.get(answer.probe);
      return expectation === undefined ? [] : [{ ...expectation, ...answer }];
    }));
  const answers = await ask([...byProbe.keys()], context);
  const others = judged(answers).filter(({ verdict, served, keyKind }) =>
    verdict !== "ok" && served.kind === "certificate" && keyKind !== null &&
    keyKindOf(served.leaf) !== keyKind
  );
  if (others.length === 0) return judged(answers);
  const asked = await ask(others.map(({ probe, keyKind }) => ({ ...probe, keyKind })), context);
  const again = new Map(others.map(({ probe }, index) => [probe, asked[index]?.served]));
  return judged(answers.map((answer) => {
    const served = again.get(answer.probe);
    const isRight = served?.kind === "certificate" &&
      byProbe.get(answer.probe)?.right.includes(served.leaf.fingerprint);
    return isRight ? { ...answer, served } : answer;
  }));
}
