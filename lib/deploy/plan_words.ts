// What is decided, in words.

import { tlsaRecord } from "../certificate/certificate.ts";
import type { Service } from "../chain/mailcow.ts";
import type { DeployConfig } from "../config/deploy_config.ts";
import type { DeployFacts } from "./facts.ts";
import type { NamePlan } from "./name_plan.ts";
import type { Plan } from "./plan.ts";

/** What would be done, a line each. Pure. */
export function describePlan(
  plan: Plan | null,
  further: readonly NamePlan[],
  services: ReadonlyMap<Service, string>,
): string[] {
  const install = (directory: string) => `would install cert.pem and key.pem in ${directory}`;
  const words = [
    ...(plan?.directories ?? []).map(install),
    ...further.flatMap(({ name, deed, directory }) => {
      if (directory === null || deed === "none") return [];
      if (deed === "install") return [install(directory)];
      return [
        deed === "make"
          ? `would make ${directory}, served for ${name}`
          : `would take ${directory} out of service`,
      ];
    }),
    ...Array.from(services, ([service, mode]) => `would ${mode} ${service}`),
  ];
  return [...new Set(words)]; // one directory may be that of two names
}

/** What a new key has for its record; nothing where it is the old one. Pure. */
export function describeKey(
  { mailcow, candidate }: Pick<DeployFacts, "mailcow" | "candidate">,
  verb: "is" | "will be",
): string[] {
  const old = mailcow.deployed.pair?.leaf.publicKey;
  if (old === undefined || old.toString() === candidate.leaf.publicKey.toString()) return [];
  const changes = verb === "is" ? "changed" : "changes";
  return [`TLSA 3 1 1 ${changes} with the key: it ${verb} ${tlsaRecord(candidate.leaf)}`];
}

/** The same for further names. Pure. */
export function describeKeys(
  further: readonly NamePlan[],
  verb: "is" | "will be",
): string[] {
  const changes = verb === "is" ? "changed" : "changes";
  return further.flatMap(({ name, former, serving }) => {
    if (former === null || serving === null) return [];
    if (former.leaf.publicKey.toString() === serving.leaf.publicKey.toString()) return [];
    return [
      `TLSA 3 1 1 of ${name} ${changes} with its key: it ${verb} ${tlsaRecord(serving.leaf)}`,
    ];
  });
}

/** What is done although the candidate is refused, as a warning. */
export function describeHealing(
  { directories, warnings }: Plan,
  { candidate }: Pick<DeployFacts, "candidate">,
  { dryRun }: DeployConfig,
): string {
  const { fingerprint } = candidate.leaf;
  const put = `put ${fingerprint} there`;
  const deed = directories.length > 0
    ? dryRun ? `would ${put}` : put
    : dryRun
    ? "would see to it now"
    : "saw to it now";
  return `${warnings.join("; ")}: ${deed}`;
}
