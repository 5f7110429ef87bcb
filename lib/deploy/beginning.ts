// What a run of deploy begins with: the places as they are, and what is to be put there.

import * as fs from "node:fs";
import { join } from "node:path";
import { type DeployMemory, readMemory } from "../chain/deploy_memory.ts";
import { type Mailcow, readMailcow } from "../chain/mailcow.ts";
import { describeHalf, describeLeft } from "../chain/name_refusals.ts";
import { ownDirectory } from "../chain/sni.ts";
import { awaitStaged, lookAtStaged, type Staged, stagingWarnings } from "../chain/staging.ts";
import { unclearDirectories } from "../chain/unclear.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { checkDistinct, checkOnly } from "../config/names.ts";
import { explain, Failure, quote, UsageFailure } from "../failure.ts";
import { exposure } from "../files/exposure.ts";
import { isMissing } from "../files/read_file.ts";
import { isTemporary, removeLeftovers } from "../files/write_file.ts";
import type { RunContext } from "../run_context.ts";
import { describeUnclear } from "./broken.ts";
import { unloadedNames } from "./further.ts";
import { writeLoaded, writeMade } from "./memory.ts";
import {
  noPrevious,
  previousDirectories,
  previousDirectory,
  previousSniDirectories,
  readPrevious,
} from "./previous.ts";
import { whyUnclear } from "./whole_mailcow.ts";
import { wishFor } from "./wish.ts";

/** What there is before anything is known of what is staged. */
export interface Beginning {
  readonly mailcow: Mailcow;
  readonly memory: DeployMemory;
  readonly domain: string;
  readonly now: Date;
  /** The names of the SNI directories whose pair was replaced before. */
  readonly taken: ReadonlySet<string>;
}

/** Looks, and removes what an earlier run left lying around. Throws a Failure. */
export function begin(config: DeployConfig, now: Date): Beginning {
  const mailcow = readMailcow(config.mailcow);
  const why = whyUnclear(mailcow);
  if (why !== null) throw new Failure(why.message, { hint: `nothing was changed; ${why.hint}` });
  const domain = domainOf(config, mailcow);
  checkDistinct(domain, config.also);
  checkOnly(config.only, domain, config.also);
  const memory = withoutUnread(mailcow, config, memoryFor(config));
  const taken = new Set(previousSniDirectories(config.state));
  if (!config.dryRun) {
    sweep(mailcow, config, memory);
    forgetGone(mailcow, config, memory);
  }
  return { mailcow, memory, domain, now, taken };
}

/** Who forces it wants what did not help tried again. */
function memoryFor(config: DeployConfig): DeployMemory {
  const memory = readMemory(config.state);
  return config.force || config.rollback ? { ...memory, unhelped: new Map() } : memory;
}

/**
 * Without what was loaded for names whose directories no service, or not each, reads as it was meant: who
 * was started since knows nothing of them once that is mended.
 */
function withoutUnread(
  { sniDirectories }: Mailcow,
  { also, state, dryRun }: DeployConfig,
  memory: DeployMemory,
): DeployMemory {
  const owns = also.map((name) => ({ name, own: ownDirectory(name, sniDirectories) }));
  const unread = unloadedNames(owns, memory);
  if (unread.length === 0) return memory;
  const loadedFor = new Map([...memory.loadedFor].filter(([name]) => !unread.includes(name)));
  if (!dryRun) writeLoaded(state, { loaded: memory.loaded, loadedFor });
  return { ...memory, loadedFor };
}

function sweep(
  { sslDirectory, sniDirectories }: Mailcow,
  { state }: DeployConfig,
  { made }: DeployMemory,
): void {
  try {
    const sni = sniDirectories.filter(({ entries }) => entries.some(isTemporary))
      .map(({ directory }) => directory);
    // One that was begun may not be served yet, and so is not among them.
    const served = new Set(sniDirectories.map(({ name }) => name));
    const begun = [...made.keys()].filter((name) => !served.has(name))
      .map((name) => join(sslDirectory, name))
      .filter((path) => fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory());
    [sslDirectory, ...new Set([...sni, ...begun]), ...previousDirectories(state)]
      .forEach(removeLeftovers);
  } catch (error) {
    const where = `${quote(sslDirectory)} or ${quote(previousDirectory(state))}`;
    throw explain(error, `remove the temporary files of an earlier run in ${where}`);
  }
}

/** Of a name that nobody asks for, and whose directory was removed, nothing is left to be told. */
function forgetGone(
  { sslDirectory }: Mailcow,
  { also, state }: DeployConfig,
  { made }: DeployMemory,
): void {
  const left = new Map(
    [...made].filter(([name]) => also.includes(name) || !isMissing(join(sslDirectory, name))),
  );
  if (left.size < made.size) writeMade(state, left);
}

/** What is wrong with the staging is a reason to refuse, as is what is wrong with the certificate. */
export async function readCandidates(
  config: DeployConfig,
  domain: string,
  context: RunContext,
): Promise<Staged> {
  const { staging, also, state } = config;
  // Where a unit started it, it has been waited for; who goes back waits for no push.
  const staged = config.started || config.rollback
    ? lookAtStaged(staging, also)
    : await awaitStaged(staging, also, context);
  if (wishFor(null, config, domain) !== "rollback") return staged;
  return { ...staged, top: readPrevious(state) ?? noPrevious(previousDirectory(state)) };
}

/** What is wrong with the places themselves, at every run. */
export function placeWarnings(
  { state, staging, also }: DeployConfig,
  { mailcow, memory }: Beginning,
): string[] {
  const { problems, sniDirectories, halfDirectories } = mailcow;
  const left = sniDirectories.filter(({ name, domains }) =>
    memory.made.has(name) && !also.includes(name) && domains.includes(name)
  );
  return [
    ...[exposure(state), ...stagingWarnings(staging, also), ...problems].filter((words) =>
      words !== null
    ),
    ...unclearDirectories(mailcow).map(describeUnclear),
    ...halfDirectories.map((half) => describeHalf(half, also, sniDirectories)),
    ...left.map(({ name, directory }) => describeLeft(name, directory)),
  ];
}

function domainOf(config: DeployConfig, { conf }: Mailcow): string {
  const domain = config.domain ?? conf.hostname;
  if (domain !== null) return domain;
  if (conf.hostnameProblem !== null) throw conf.hostnameProblem;
  throw new UsageFailure("no domain: neither MAILCOW_HOSTNAME nor the config file names it", {
    hint: "give --domain mail.example.org, or set MAILCOW_HOSTNAME in mailcow.conf",
  });
}
