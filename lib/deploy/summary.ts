// What came of what deploy did, for its report.

import { composeCommand } from "../programs/compose.ts";
import { formatEndpoint } from "../values/endpoint_url.ts";
import type { DeployFacts, Plan } from "./plan.ts";
import { type DeployReport, failed } from "./report.ts";
import { type Check, describeChecks, type ServiceOutcome } from "./wire.ts";

/** Pure. */
export function summarize(
  report: DeployReport,
  plan: Plan,
  outcomes: readonly ServiceOutcome[],
  { mailcow }: DeployFacts,
  which: "new" | "former" = "new",
): DeployReport {
  const summary = {
    ...report,
    services: outcomes.map(({ service, action }) => ({ service, action })),
    served: outcomes.flatMap(({ checks }) => checks).map(({ probe, served, verdict }) => ({
      endpoint: formatEndpoint(probe.endpoint),
      sni: probe.sni,
      fingerprint: served.kind === "certificate" ? served.leaf.fingerprint : null,
      ok: verdict === "ok",
    })),
    warnings: [...report.warnings, ...outcomes.flatMap(({ warnings }) => warnings)],
  };
  const compose = composeCommand({ version: mailcow.conf.composeVersion });
  const unfinished = outcomes.filter(({ isConfirmed }) => !isConfirmed);
  const troubled = unfinished.filter(({ trouble }) => trouble !== null);
  const stale = unfinished.filter(({ trouble, checks }) =>
    trouble === null && checks.some(isWrong)
  );
  const errors = [...describeTroubles(troubled, compose), ...describeStale(stale, which)];
  if (troubled.length > 0) {
    const hint = troubled.find(({ trouble }) => trouble?.hint !== undefined)?.trouble?.hint;
    return failed(summary, "failed", { message: errors.join("; "), hint });
  }
  if (stale.length > 0) {
    return {
      ...summary,
      outcome: "stale",
      error: errors.join("; "),
      hint: "the next run tries again; see the log of the service: " +
        `${compose} logs --tail=50 ${stale.map(({ service }) => service).join(" ")}`,
    };
  }
  return { ...summary, outcome: plan.changesLeaf ? "deployed" : "repaired" };
}

/** A line for each thing that docker said, with the services of which it said it. */
function describeTroubles(troubled: readonly ServiceOutcome[], compose: string): string[] {
  const said = Map.groupBy(troubled, ({ trouble }) => trouble?.words ?? "");
  return Array.from(said, ([words, outcomes]) => {
    const names = outcomes.map(({ service }) => service).join(", ");
    return `${compose} could not reload or restart ${names}: ${words}`;
  });
}

function describeStale(stale: readonly ServiceOutcome[], which: "new" | "former"): string[] {
  if (stale.length === 0) return [];
  const wrong = stale.flatMap(({ checks }) => checks).filter(isWrong);
  return [`not serving the ${which} certificate: ${describeChecks(wrong).join("; ")}`];
}

/** Which handshakes give no certificate any more. */
export function describeSilence(outcomes: readonly ServiceOutcome[]): string {
  const silent = outcomes.flatMap(({ checks }) => checks)
    .filter(({ verdict }) => verdict === "silent");
  return `no certificate any more with the new one: ${describeChecks(silent).join("; ")}`;
}

function isWrong({ verdict }: Check): boolean {
  return verdict === "stale" || verdict === "silent";
}
