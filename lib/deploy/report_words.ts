// What deploy reports, in words.

import { headline } from "../certificate/headline.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { describeCertificates } from "./certificates.ts";
import type { DeployReport } from "./report.ts";
import { wishFor } from "./wish.ts";

/**
 * The report, a line each. What changed comes first, with what was done for it; where that is nothing of
 * the domain's, the names are first.
 */
export function describeDeploy(report: DeployReport, config: DeployConfig | null): string[] {
  const further = report.certificates.slice(1);
  const isBack = (name: string | null) =>
    config !== null && wishFor(name, config, report.domain ?? "") === "rollback";
  const { changed, unchanged } = describeCertificates(further, isBack);
  const isIdle = further.every(({ outcome }) => outcome === "unchanged");
  const { head, details, rest } = describeDomain(report, { isBack: isBack(null), isIdle });
  return head === null
    ? [...changed, ...details, ...rest, ...unchanged]
    : [head, ...details, ...changed, ...rest, ...unchanged];
}

interface OwnWords {
  /** What became of the domain; null where that is told elsewhere, or nothing. */
  readonly head: string | null;
  /** What was done, or would be. */
  readonly details: readonly string[];
  /** What stays as it is. */
  readonly rest: readonly string[];
}

function describeDomain(
  report: DeployReport,
  { isBack, isIdle }: {
    readonly isBack: boolean;
    /** Nothing is told of any further name but that it is as it was. */
    readonly isIdle: boolean;
  },
): OwnWords {
  const { domain, outcome, fingerprint, notes } = report;
  const services = report.services.map(({ service, action }) => `${service}: ${action}`).join(", ");
  const confirmed = report.served.filter(({ ok }) => ok).length;
  const deeds = [
    ...(services === "" ? [] : [services]),
    ...(report.served.length === 0
      ? []
      : [`on the wire: ${confirmed} of ${report.served.length} handshakes gave the right one`]),
  ];
  const full = [...(fingerprint === null ? [] : [`fingerprint ${fingerprint}`]), ...deeds];
  switch (outcome) {
    case "unchanged": {
      const unseen = report.unseen.length === 0
        ? []
        : [`not seen to be served by ${report.unseen.join(", ")}`];
      const details = [...unseen, ...deeds, ...notes];
      if (fingerprint === null) return { head: null, details, rest: [] };
      const verb = unseen.length === 0 ? "serves" : "has";
      return isIdle
        ? {
          head: headline(`nothing to do: mailcow ${verb} ${domain}`, report),
          ...{ details, rest: [] },
        }
        : { head: null, details, rest: [headline(`unchanged: ${domain}`, report)] };
    }
    case "would-deploy": {
      const deed = isBack ? `would roll back ${domain} to` : `would deploy ${domain}`;
      return { head: headline(deed, report), details: [...full, ...notes], rest: [] };
    }
    case "deployed":
    case "repaired": {
      const isReturned = isBack && outcome === "deployed";
      const deed = isReturned ? `rolled back ${domain} to` : `${outcome} ${domain}`;
      return { head: headline(deed, report), details: [...full, ...notes], rest: [] };
    }
    case "stale":
      return report.installed.length === 0
        ? { head: null, details: [...deeds, ...notes], rest: [] }
        : {
          head: headline(`installed ${domain}`, report),
          ...{ details: [...full, ...notes], rest: [] },
        };
    case "rolled-back": {
      const [head = null, ...others] = notes;
      return { head, details: [...others, ...deeds], rest: [] };
    }
    case "refused":
    case "failed":
      return { head: null, details: [...deeds, ...notes], rest: [] };
  }
}
