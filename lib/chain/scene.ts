// What a run deals with besides files: which docker compose there is, and which endpoints are mailcow's.

import * as fs from "node:fs";
import type { DeployConfig } from "../config/deploy_config.ts";
import { quote } from "../failure.ts";
import type { Compose } from "../programs/compose.ts";
import {
  type Container,
  type ContainerDetails,
  type Published,
  readContainers,
  readDetails,
} from "../programs/containers.ts";
import type { RunContext } from "../run_context.ts";
import { type Endpoint, type Protocol, protocols } from "../values/endpoint_url.ts";
import {
  type Mailcow,
  MOUNTED,
  type Service,
  serviceNames,
  serviceOf,
  services,
} from "./mailcow.ts";
import { isYes, type MailcowConf } from "./mailcow_conf.ts";

export interface Scene {
  readonly compose: Compose;
  readonly endpoints: readonly Endpoint[];
  /** Where mailcow's services are to be had here, whatever the config file names. */
  readonly published: readonly Endpoint[];
  readonly notes: readonly string[];
  /** Whether the running acme-mailcow does not know SKIP_LETS_ENCRYPT yet; null where docker did not tell. */
  readonly isAcmeBehind: boolean | null;
  /** Other files than mailcow's that a service's container reads in their place, in words. */
  readonly foreignMounts: ReadonlyMap<Service, readonly string[]>;
}

type Containers = ReadonlyMap<string, Container & Partial<ContainerDetails>>;

const ACME = "acme-mailcow";

/** Asks docker twice, and goes by mailcow.conf where it does not answer. */
export async function readScene(
  { directory, conf, sslDirectory }: Mailcow,
  { endpoints }: Pick<DeployConfig, "endpoints">,
  context: RunContext,
): Promise<Scene> {
  const { compose, containers } = await readContainers(directory, conf.composeVersion, context);
  const known = await withDetails(containers ?? [], context);
  const published = containers === null ? conf.endpoints : endpointsOf(conf, known);
  const unpublished = serviceNames.filter((service) =>
    endpoints === null && known.has(service) &&
    !published.some(({ protocol }) => serviceOf(protocol) === service)
  );
  return {
    compose,
    endpoints: endpoints ?? published,
    published,
    notes: unpublished.map((service) =>
      `${service} is published nowhere on this host: it was told, and not looked at`
    ),
    isAcmeBehind: containers === null ? null : isAcmeBehind(known.get(ACME)),
    foreignMounts: new Map(
      serviceNames.map((service) =>
        [service, foreignMounts(known.get(service), sslDirectory)] as const
      ),
    ),
  };
}

async function withDetails(
  containers: readonly Container[],
  context: RunContext,
): Promise<Containers> {
  const wanted = containers.filter(({ service }) =>
    service === ACME || (serviceNames as readonly string[]).includes(service)
  );
  const details = await readDetails(wanted, context);
  return new Map(
    wanted.map((container, index) => [container.service, { ...container, ...details?.[index] }]),
  );
}

/**
 * Where the services are to be had, as docker has it by the container's port: what is published, or
 * would be if it ran. The file counts for a container in the host's own network, which publishes
 * nothing, for one that was never made, and where docker did not tell which of these it is. Pure.
 */
export function endpointsOf(conf: MailcowConf, containers: Containers): Endpoint[] {
  return serviceNames.flatMap((service) => {
    const container = containers.get(service);
    const isUp = container !== undefined && container.published.length > 0;
    if (container === undefined || (!isUp && container.usesHostNetwork !== false)) {
      return conf.endpoints.filter(({ protocol }) => serviceOf(protocol) === service);
    }
    const published = isUp ? container.published : container.configured ?? [];
    return services[service].flatMap((protocol) => {
      if (protocol === "https" && conf.usesProxyProtocol) return [];
      const port = protocol === "https" ? conf.httpsPort : protocols[protocol].port;
      return placesOf(protocol, published.filter(({ containerPort }) => containerPort === port));
    });
  });
}

/** Published on all interfaces means: on loopback too. By IPv4, where it is published by both. */
function placesOf(protocol: Protocol, published: readonly Published[]): Endpoint[] {
  const places = new Map(published.map(({ address, port }) => {
    const host = ["", "0.0.0.0"].includes(address)
      ? "127.0.0.1"
      : address === "::"
      ? "::1"
      : address;
    return [`${host} ${port}`, { protocol, host, port }] as const;
  }));
  return [...places.values()].filter(({ host, port }) =>
    host !== "::1" || !places.has(`127.0.0.1 ${port}`)
  );
}

/** The environment of a container is that of the day on which it was made. */
function isAcmeBehind(acme: (Container & Partial<ContainerDetails>) | undefined): boolean | null {
  if (acme === undefined || !["running", "starting"].includes(acme.state)) return false;
  return acme.skipsLetsEncrypt === undefined ? null : !isYes(acme.skipsLetsEncrypt);
}

export const ACME_WARNING =
  `the running ${ACME} does not know SKIP_LETS_ENCRYPT=y yet, and may put its own certificate ` +
  `in the place of this one; make it anew with: docker compose up -d ${ACME}`;

function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => fs.statSync(path, { throwIfNoEntry: false }));
  return a !== undefined && a.dev === b?.dev && a.ino === b.ino;
}

function foreignMounts(
  container: Partial<ContainerDetails> | undefined,
  sslDirectory: string,
): string[] {
  return (container?.mounts ?? []).flatMap(({ source, destination }) => {
    const place = destination.replace(/\/+$/, "");
    const isOurs = place === MOUNTED && isSame(source, sslDirectory);
    const isThere = place === MOUNTED || place.startsWith(`${MOUNTED}/`);
    return isThere && !isOurs ? [`${quote(source)} at ${place}`] : [];
  });
}
