// The legs of each name's chain that can be seen from this host, each with what it holds.

import { type DeployMemory, readMemory } from "../chain/deploy_memory.ts";
import type { Mailcow } from "../chain/mailcow.ts";
import { readScene, type Scene } from "../chain/scene.ts";
import { type LegName, legNames, type VerifyConfig } from "../config/verify_config.ts";
import { Failure, orFailure } from "../failure.ts";
import type { Compose } from "../programs/compose.ts";
import { allEnded, type RunContext } from "../run_context.ts";
import { judgeChains } from "./chains.ts";
import { absences, lacksProgram, unaskedEndpoints } from "./doubt.ts";
import { filedLegs } from "./filed_legs.ts";
import type { Leg } from "./leg.ts";
import { directoriesOf, readMailcowIfAny } from "./mailcow_legs.ts";
import { servedLegs } from "./served_legs.ts";
import { type Subject, subjectsOf } from "./subject.ts";
import { daneName, tlsaLegs } from "./tlsa_leg.ts";

/** The copies of one name's certificate. */
export interface Strand extends Subject {
  readonly legs: readonly Leg[];
}

export interface Sight {
  readonly domain: string | null;
  /** The domain's first. */
  readonly strands: readonly Strand[];
  /** Where it is on this host and can be read. */
  readonly mailcow: Mailcow | null;
  /** The SNI directories of it that belong to further names. */
  readonly furtherDirectories: ReadonlySet<string>;
  readonly compose: Compose["version"];
  /** Nothing where it cannot be seen. */
  readonly memory: DeployMemory | null;
  /** What this host could not do. */
  readonly warnings: readonly string[];
  /** What was to be looked at, and is not here or could not be judged here. */
  readonly doubts: readonly Failure[];
  readonly roles: { readonly push: boolean; readonly deploy: boolean };
}

/** Reads all legs that are wanted at once; none waits for another. */
export async function readLegs(config: VerifyConfig, context: RunContext): Promise<Sight> {
  const mailcow = readMailcowIfAny(config);
  const ours = orNull(mailcow);
  const domain = config.domain ?? ours?.conf.hostname ?? null;
  const subjects = subjectsOf(domain, config);
  const wanted = config.legs ?? legNames;
  const memory = orNull(orFailure(() => readMemory(config.deploy.state)));
  let read: Promise<Scene> | null = null;
  const sceneOf = (mailcow: Mailcow) => read ??= readScene(mailcow, { endpoints: null }, context);
  const isAcmeBehind = async () => ours && (await sceneOf(ours)).isAcmeBehind;
  const filed = filedLegs(subjects, { config, mailcow, memory, isAcmeBehind }, context);
  const isAsked = (config.endpoints ?? config.deploy.endpoints) === null;
  const scene = ours !== null && isAsked && wanted.includes("served") ? await sceneOf(ours) : null;
  const compose = scene?.compose.version ?? ours?.conf.composeVersion ?? "native";
  const [served, tlsa] = await allEnded([
    wanted.includes("served")
      ? servedLegs({
        ...{ config, own: scene?.endpoints ?? null, domain, subjects, filed: filed.of },
        published: scene?.published ?? ours?.conf.endpoints ?? [],
      }, context)
      : new Map<Subject, readonly Leg[]>(),
    wanted.includes("tlsa")
      ? tlsaLegs({
        config,
        names: subjects.flatMap((subject) =>
          subject.name === null
            ? []
            : [daneName(subject.name, ours, (leg) => filed.servedFrom(subject, leg))]
        ),
        mailcow: ours && { directory: ours.directory, version: compose },
        ports: async () =>
          (ours === null ? [] : (await sceneOf(ours)).published)
            .filter(({ protocol }) => protocol === "smtp"),
      }, context)
      : new Map<string, readonly Leg[]>(),
  ]);
  const seen = await Promise.all(subjects.map(async (subject): Promise<Strand> => ({
    ...subject,
    legs: inOrder(wanted, [
      ...await filed.of(subject),
      ...served.get(subject) ?? [],
      ...tlsa.get(subject.name ?? "") ?? [],
    ]),
  })));
  const all = seen.flatMap(({ legs }) => legs);
  const { judged, failures } = await judgeChains(all, config.trust, context);
  const has = (name: LegName) => all.some(({ leg }) => leg === name);
  const { push, deploy } = config;
  return {
    domain,
    strands: seen.map((strand) => ({ ...strand, legs: strand.legs.map(judged) })),
    mailcow: ours,
    furtherDirectories: ours === null ? new Set() : directoriesOf(config.also, ours),
    compose,
    memory,
    warnings: failures.filter((failure) => !lacksProgram(failure)).map(({ message }) => message),
    doubts: [
      ...absences(config.legs, all, { domain: domain ?? config.only, mailcow }),
      ...unaskedEndpoints(all),
      ...failures.filter(lacksProgram),
    ],
    roles: {
      push: push.isConfigured || has("pushed") || (config.source === null && has("source")),
      deploy: deploy.isConfigured || mailcow !== null,
    },
  };
}

function orNull<T>(read: T | Failure): T | null {
  return read instanceof Failure ? null : read;
}

function inOrder(wanted: readonly LegName[], legs: readonly Leg[]): Leg[] {
  return wanted.flatMap((name) => legs.filter(({ leg }) => leg === name));
}
