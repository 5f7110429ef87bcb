// Whether the chains that were seen verify: each distinct one is asked of openssl once.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "../certificate/certificate.ts";
import type { Trust } from "../config/schema.ts";
import { explain, Failure } from "../failure.ts";
import { makeScratch } from "../files/state.ts";
import { type ChainError, verifyChain } from "../programs/openssl.ts";
import { turns } from "../programs/turns.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import type { Leg } from "./leg.ts";

/** As many processes at a time as there is use for. */
const AT_ONCE = { inAll: 8, inOnePlace: 8 };

/** What gives a leg what is wrong with its chain, and what this host could not judge. */
export async function judgeChains(
  legs: readonly Leg[],
  trust: Trust,
  context: RunContext,
): Promise<{ readonly judged: (leg: Leg) => Leg; readonly failures: readonly Failure[] }> {
  if (trust.kind === "none") return { judged: (leg) => leg, failures: [] };
  // An SNI directory of other names is watched for its dates alone.
  const judged = legs.filter(({ leg, sni }) => leg !== "sni" || sni !== undefined);
  const distinct = new Map(judged.flatMap(({ chain }) => chain ? [[keyOf(chain), chain]] : []));
  const takeTurn = turns(AT_ONCE);
  const answers = await allEnded(
    Array.from(
      distinct,
      async ([key, chain]) =>
        [key, await takeTurn("openssl", () => judge(chain, trust, context))] as const,
    ),
  );
  const errors = new Map(answers);
  const failures = answers.flatMap(([, answer]) => answer instanceof Failure ? [answer] : []);
  return {
    judged: (leg) => {
      const answer = leg.chain === null ? null : errors.get(keyOf(leg.chain)) ?? null;
      return answer instanceof Failure ? leg : { ...leg, chainError: answer };
    },
    failures: [...new Map(failures.map((failure) => [failure.message, failure])).values()]
      .map((cause) =>
        new Failure(`no chain could be verified here: ${cause.message}`, {
          hint: cause.hint,
          cause,
        })
      ),
  };
}

function keyOf(chain: readonly Certificate[]): string {
  return chain.map(({ fingerprint }) => fingerprint).join();
}

async function judge(
  chain: readonly Certificate[],
  trust: Exclude<Trust, { kind: "none" }>,
  context: RunContext,
): Promise<ChainError | Failure | null> {
  try {
    using scratch = makeScratch(null);
    const file = join(scratch.directory, "chain.pem");
    writeFileSync(file, chain.map(formatPem).join(""), { mode: 0o600 });
    const error = await verifyChain(file, trust, context);
    // Without a number openssl did not come to the chain: a CA file that is none, for one.
    return error === null || error.code !== null ? error : new Failure(error.words);
  } catch (thrown) {
    context.stop.throwIfAborted();
    const error = explain(thrown, "write a chain to verify it");
    if (error instanceof Failure) return error;
    throw error;
  }
}

function formatPem({ x509 }: Certificate): string {
  return `${x509.toString().trimEnd()}\n`;
}
