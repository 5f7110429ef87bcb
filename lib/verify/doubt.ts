// What keeps a verdict from being relied on: legs that were named and are not here, and what this host
// could not judge. Pure.

import type { LegName } from "../config/verify_config.ts";
import { Failure } from "../failure.ts";
import { BrokenProgram, MissingProgram } from "../programs/run.ts";
import type { Leg } from "./leg.ts";

export interface Surroundings {
  readonly domain: string | null;
  /** A Failure where it is on this host and cannot be read. */
  readonly mailcow: object | Failure | null;
}

/** Of the legs that somebody named, those of which there is nothing. */
export function absences(
  named: readonly LegName[] | null,
  legs: readonly Leg[],
  around: Surroundings,
): Failure[] {
  const absent = [...new Set(named)].filter((name) => !legs.some(({ leg }) => leg === name));
  return absent.map((name) => {
    const { message, hint } = whyAbsent(name, around);
    return new Failure(`there is nothing to look at for --leg ${name}: ${message}`, { hint });
  });
}

function whyAbsent(name: LegName, { domain, mailcow }: Surroundings): Failure {
  const isMailcows = name === "sni" || name === "served" || name === "tlsa";
  if (isMailcows && mailcow instanceof Failure) return mailcow;
  if (domain === null && (name === "sni" ? mailcow !== null : isMailcows)) {
    return new Failure("which certificate is meant is not known", {
      hint: "set domain in the config file, or give --domain mail.example.org",
    });
  }
  return new Failure("this host has no such leg", {
    hint: `run it where that is, or leave out --leg ${name}`,
  });
}

/** Then this host's own fault hides what another host would see. */
export function lacksProgram({ cause }: Failure): boolean {
  return cause instanceof MissingProgram || cause instanceof BrokenProgram;
}

/** Endpoints that this host could not ask: that is none of their faults. */
export function unaskedEndpoints(legs: readonly Leg[]): Failure[] {
  const unasked = legs.filter(({ leg, obstacle }) => leg === "served" && obstacle === "unknown");
  const failures = unasked.map(({ error, hint }) =>
    new Failure(`no endpoint could be asked here: ${error}`, { hint: hint ?? undefined })
  );
  return [...new Map(failures.map((failure) => [failure.message, failure])).values()];
}
