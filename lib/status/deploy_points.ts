// What deploy needs on this host: a mailcow that leaves the certificate to it, a staging, and docker.

import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { deliveredPaths } from "../certificate/pair.ts";
import { type Mailcow, readMailcow, serviceNames } from "../chain/mailcow.ts";
import { isYes } from "../chain/mailcow_conf.ts";
import { lookAtStaging, type StagingSight, stagingWarnings } from "../chain/staging.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import { checkPlaces } from "../config/places.ts";
import { STAGING } from "../config/standard.ts";
import { Failure, quote } from "../failure.ts";
import { isMissing, textOrNothing } from "../files/read_file.ts";
import { composeCommand, explainCompose, runCompose } from "../programs/compose.ts";
import {
  type Container,
  type ContainerState,
  readContainers,
  readDetails,
} from "../programs/containers.ts";
import type { RunContext } from "../run_context.ts";
import { holdsControl } from "../values/control_characters.ts";
import { shellWord } from "../values/shell_word.ts";
import { danePoint } from "./dane_point.ts";
import { failedPoint, type Point, point, pointsOf } from "./point.ts";

export async function lookAtDeploy(
  config: DeployConfig,
  context: RunContext,
  { offline, setup }: { readonly offline: boolean; readonly setup: string },
): Promise<Point[]> {
  const found = await pointsOf("mailcow", async () => {
    checkPlaces(config);
    const mailcow = readMailcow(config.mailcow);
    const docker = await pointsOf("docker", () => dockerPoints(mailcow, context));
    const dane = offline || config.dane === "off"
      ? []
      : [await danePoint(mailcow, config, context)];
    return [mailcowPoint(mailcow, config), ...docker, ...dane];
  });
  return [
    ...found.map(withoutOption),
    ...await pointsOf("staging", () => stagingPoints(config, setup)),
  ];
}

/** status has no --mailcow, and one run's is no cure for what the units run. */
function withoutOption({ mend, ...rest }: Point): Point {
  if (mend === undefined) return rest;
  const inFile = "deploy.mailcow in the config file";
  return { ...rest, mend: mend.replace(/--mailcow(?: DIR or deploy\.mailcow)?$/, inFile) };
}

function mailcowPoint({ directory, conf }: Mailcow, { domain }: DeployConfig): Point {
  const file = join(directory, "mailcow.conf");
  const name = domain ?? conf.hostname;
  if (name === null) {
    return point(
      "mailcow",
      "error",
      conf.hostnameProblem?.message ?? `MAILCOW_HOSTNAME is not set in ${quote(file)}`,
      `set MAILCOW_HOSTNAME in ${file}, or domain in the config file`,
    );
  }
  if (conf.skipsLetsEncrypt) {
    return point("mailcow", "ok", `${quote(file)}: ${name}, SKIP_LETS_ENCRYPT=y`);
  }
  const text = conf.skipsLetsEncryptText;
  return point(
    "mailcow",
    "error",
    `mailcow's own ACME client would overwrite the certificate: SKIP_LETS_ENCRYPT in ${
      quote(file)
    } is ${text === null ? "not set" : quote(text)}`,
    `printf '\\nSKIP_LETS_ENCRYPT=y\\n' >>${shellWord(file)}; cd ${shellWord(directory)} && ` +
      `${composeCommand({ version: conf.composeVersion ?? "native" })} up -d`,
  );
}

async function dockerPoints(
  { directory, conf }: Mailcow,
  context: RunContext,
): Promise<Point[]> {
  const { compose, containers } = await readContainers(directory, conf.composeVersion, context);
  const inDirectory = `cd ${shellWord(directory)} && ${composeCommand(compose)}`;
  if (containers === null) {
    const asked = await runCompose(compose, ["ps", "--all"], 10_000, context);
    const why = explainCompose(asked);
    const words = "words" in why ? why.words : "it did not list mailcow's containers";
    return [point(
      "docker",
      "error",
      `${composeCommand(compose)} could not be asked: ${words}`,
      "hint" in why && why.hint ? why.hint : `see what it says: ${inDirectory} ps`,
    )];
  }
  const acme = containers.find(({ service }) => service === "acme-mailcow");
  return [
    ...serviceNames.map((service) =>
      containerPoint(service, containers.find((one) => one.service === service), inDirectory)
    ),
    ...acme === undefined ? [] : await acmePoints(acme, inDirectory, context),
  ];
}

/** By state, how it is and what brings it up. */
const troubles: Readonly<
  Record<Exclude<ContainerState, "running" | "starting">, [Point["state"], string, string]>
> = {
  paused: ["warning", "is paused", "unpause"],
  stopped: ["warning", "was stopped", "up -d"],
  broken: ["error", "ends by itself, which its log explains", "up -d --force-recreate"],
  unknown: ["unknown", "is in a state that docker does not tell", "ps --all"],
};

function containerPoint(
  service: string,
  container: Container | undefined,
  inDirectory: string,
): Point {
  if (container === undefined) {
    return point(service, "error", "has no container", `${inDirectory} up -d ${service}`);
  }
  const { state } = container;
  if (state === "running" || state === "starting") return point(service, "ok", state);
  const [severity, words, command] = troubles[state];
  return point(service, severity, words, `${inDirectory} ${command} ${service}`);
}

async function acmePoints(
  acme: Container,
  inDirectory: string,
  context: RunContext,
): Promise<Point[]> {
  if (acme.state !== "running" && acme.state !== "starting") return [];
  const mend = `${inDirectory} up -d acme-mailcow`;
  const [details] = await readDetails([acme], context) ?? [];
  if (details === undefined) {
    return [point("acme-mailcow", "unknown", "docker did not tell its environment", mend)];
  }
  if (isYes(details.skipsLetsEncrypt)) {
    return [point("acme-mailcow", "ok", "runs with SKIP_LETS_ENCRYPT=y")];
  }
  return [point(
    "acme-mailcow",
    "warning",
    "runs without SKIP_LETS_ENCRYPT=y, and may put its own certificate in the place of this one",
    mend,
  )];
}

function stagingPoints({ staging, also }: DeployConfig, setup: string): Point[] {
  const found = lookAtStaging(staging);
  if (found instanceof Failure) {
    return isMissing(staging)
      ? [point("staging", "error", found.message, stagingMend(staging, setup))]
      : [failedPoint("staging", found)];
  }
  const warnings = stagingWarnings(staging, also).map((told) => {
    const [words = "", mend] = told.split("; run: ");
    return point("staging", "warning", words, mend);
  });
  return [
    ...(warnings.length > 0
      ? warnings
      : [point("staging", "ok", `${quote(staging)}, of uid ${found.uid}`)]),
    ...unaskedPoints(staging, found.unasked([...Object.values(deliveredPaths("")), ...also])),
  ];
}

/** Where nobody could push into it, a directory alone is no cure. */
function stagingMend(staging: string, setup: string): string {
  const hasUser = /^certsync:/m.test(textOrNothing("/etc/passwd"));
  const isSetUp = hasUser && !isMissing(join(dirname(STAGING), ".ssh/authorized_keys"));
  if (staging === STAGING && !isSetUp) return setup;
  return `install -d -m 700${hasUser ? " -o certsync" : ""} ${shellWord(staging)}`;
}

function unaskedPoints(
  staging: string,
  { others, hasMore }: ReturnType<StagingSight["unasked"]>,
): Point[] {
  if (others.length === 0) {
    return hasMore
      ? [point(
        "staging",
        "warning",
        "holds too many names to list them",
        `see whose they are: ls -Ul ${shellWord(staging)} | head -20`,
      )]
      : [];
  }
  return [point(
    "staging",
    "warning",
    `holds what nobody asked for: ${others.map(quote).join(", ")}${hasMore ? " and more" : ""}`,
    `${removal(staging, others)}; or name it in also in the config file, where mail is served by ` +
      "that name",
  )];
}

/** What no line can hold, or is no text, is found by its inode. */
function removal(staging: string, names: readonly string[]): string {
  const isTyped = (name: string) => !holdsControl(name) && !name.includes("\ufffd");
  const typed = names.filter(isTyped).map((name) => shellWord(join(staging, name)));
  const others = names.filter((name) => !isTyped(name));
  const inodes = others.flatMap((name) =>
    fs.lstatSync(join(staging, name), { throwIfNoEntry: false })?.ino ?? []
  );
  const where = `find ${shellWord(staging)} -mindepth 1 -maxdepth 1`;
  return [
    ...(typed.length === 0 ? [] : [`rm -r ${typed.join(" ")}`]),
    ...inodes.map((inode) => `${where} -inum ${inode} -exec rm -r {} +`),
    ...(inodes.length === others.length
      ? []
      : [`see what else is there: ls -lib ${shellWord(staging)}`]),
  ].join("; ");
}
