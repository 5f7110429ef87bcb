// Postfix, Dovecot and nginx as mailcow's clients see them: nine endpoints.

import { freePort } from "./free_port.ts";
import type { MailcowTree } from "./mailcow_tree.ts";
import { serverName } from "./server_name.ts";
import { greet, type Starttls } from "./starttls.ts";
import { type TlsBackend, tlsBackends } from "./tls_backends.ts";
import { isDisconnect, pump, type Wire, wire } from "./wire.ts";

export type Service = "postfix" | "dovecot" | "nginx";

export type Endpoint =
  | "smtp"
  | "submission"
  | "smtps"
  | "imap"
  | "imaps"
  | "pop3"
  | "pop3s"
  | "sieve"
  | "https";

export interface EndpointKind {
  service: Service;
  /** The plaintext protocol; without one TLS begins at once. */
  starttls?: Starttls;
  /** Its key in mailcow.conf. */
  portKey: string;
}

export const SERVICES: Service[] = ["postfix", "dovecot", "nginx"];

export const ENDPOINTS: Record<Endpoint, EndpointKind> = {
  smtp: { service: "postfix", starttls: "smtp", portKey: "SMTP_PORT" },
  submission: {
    service: "postfix",
    starttls: "smtp",
    portKey: "SUBMISSION_PORT",
  },
  smtps: { service: "postfix", portKey: "SMTPS_PORT" },
  imap: { service: "dovecot", starttls: "imap", portKey: "IMAP_PORT" },
  imaps: { service: "dovecot", portKey: "IMAPS_PORT" },
  pop3: { service: "dovecot", starttls: "pop3", portKey: "POP_PORT" },
  pop3s: { service: "dovecot", portKey: "POPS_PORT" },
  sieve: { service: "dovecot", starttls: "sieve", portKey: "SIEVE_PORT" },
  https: { service: "nginx", portKey: "HTTPS_PORT" },
};

export const ENDPOINT_NAMES = Object.keys(ENDPOINTS) as Endpoint[];

/** How an endpoint treats its clients. */
export type Manner =
  | "normal"
  /** Accepts and says nothing. */
  | "silent"
  /** Accepts and closes. */
  | "hangs-up"
  /** Does not listen. */
  | "closed"
  /** No STARTTLS; where TLS begins at once, a plaintext error and the end. */
  | "refuses-starttls"
  /** Garbage where the server's part of the handshake should come. */
  | "garbage"
  /** Goes on where the client has said that it is over. */
  | "never-closes"
  /** What is said before TLS byte by byte, that far apart. */
  | { greetingMs: number }
  /** TLS byte by byte, that far apart. */
  | { dribbleMs: number };

/** How a service takes reloads and restarts. */
export interface Temper {
  /** "restart": it keeps the old pair whatever is done. */
  ignores?: "nothing" | "reload" | "restart";
  /** How long after a reload it still serves the old pair. */
  reloadDelayMs?: number;
  /** After a reload its old processes go on taking every other client, until a restart. */
  lingers?: true;
  /** How long after a start or restart its ports stay closed. */
  startDelayMs?: number;
  /** Fingerprints of leaves that it cannot load. */
  cannotLoad?: string[];
}

export interface MailServices extends AsyncDisposable {
  ports: Record<Endpoint, number>;
  /** The same for `mailcow.configure`: IP:PORT, HTTPS_PORT and HTTPS_BIND. */
  conf: Record<string, string>;
  /** Where they listen. */
  address: string;
  /** "imaps://127.0.0.1:12345" */
  url(endpoint: Endpoint): string;
  /** What a client with this SNI gets now; undefined where nothing is served. */
  serves(endpoint: Endpoint, sni?: string): string | undefined;

  /** Reads everything from disk; does not run if a pair cannot be loaded. */
  start(service: Service): Promise<void>;
  stop(service: Service): Promise<void>;
  restart(service: Service): Promise<void>;
  /** Reads the pairs anew; false if one could not be loaded: it stays as it was. */
  reload(service: Service): Promise<boolean>;
  /** Rebuilds Postfix's SNI map, which its next reload takes. */
  postmap(): Promise<boolean>;
  /** Whether its container runs, be its ports open or not. */
  isRunning(service: Service): boolean;
  /** Whether the program in its container is up, and not only the container. */
  isUp(service: Service): boolean;

  behave(endpoint: Endpoint, manner: Manner): Promise<void>;
  /** Replaces the temper of a service. */
  temper(service: Service, temper: Temper): void;

  /** Connections accepted since the start, at one endpoint or at all. */
  connections(endpoint?: Endpoint): number;
}

export interface MailServicesOptions {
  /** Each endpoint listens on all of them, on the same port. */
  addresses?: string[];
  /** Those that are up at first; default all. */
  up?: Service[];
  /** Default free ones. */
  ports?: Record<Endpoint, number>;
}

/** What one SNI directory is served for. */
interface SniEntry {
  dir: string;
  names: string[];
  backend: TlsBackend;
}

interface Loaded {
  fallback: TlsBackend;
  sni: SniEntry[];
}

interface ServiceState {
  isRunning: boolean;
  /** Running, but its ports are still closed. */
  isStarting?: boolean;
  /** What it serves; undefined: its ports are closed. */
  loaded?: Loaded;
  /** What old processes that linger serve, and whether the last client was theirs. */
  former?: Loaded | undefined;
  isFormersTurn?: boolean;
  temper: Temper;
  /** What `postmap` made of Postfix's SNI directories. */
  sniMap?: SniEntry[];
  timer?: number;
}

interface EndpointState {
  manner: Manner;
  listeners: Deno.TcpListener[];
  /** Ends with the accepting: only then is a closed listener's port free again. */
  accepting: Promise<void>[];
  open: Set<Deno.TcpConn>;
  connections: number;
}

export async function mailServices(
  mailcow: MailcowTree,
  options: MailServicesOptions = {},
): Promise<MailServices> {
  const addresses = options.addresses ?? ["127.0.0.1"];
  const backends = await tlsBackends();
  const running = new Set<Promise<void>>();

  const services: Record<Service, ServiceState> = {
    postfix: { isRunning: false, temper: {} },
    dovecot: { isRunning: false, temper: {} },
    nginx: { isRunning: false, temper: {} },
  };
  const endpoints = eachEndpoint((): EndpointState => ({
    manner: "normal",
    listeners: [],
    accepting: [],
    open: new Set(),
    connections: 0,
  }));
  const ports = options.ports ?? eachEndpoint(() => freePort(addresses));

  // What is on disk

  async function load(service: Service, dir: string) {
    try {
      const [fullchainPem, keyPem] = await Promise.all([
        Deno.readTextFile(`${dir}/cert.pem`),
        Deno.readTextFile(`${dir}/key.pem`),
      ]);
      const backend = await backends.load({ fullchainPem, keyPem });
      const refused = services[service].temper.cannotLoad ?? [];
      return backend && !refused.includes(backend.fingerprint) ? backend : undefined;
    } catch (error) {
      const isNoFile = error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.IsADirectory;
      if (isNoFile) return undefined;
      throw error;
    }
  }

  /** Undefined if any of them cannot be loaded. */
  async function loadSni(
    service: Service,
    dirs: { dir: string; names: string[] }[],
  ): Promise<SniEntry[] | undefined> {
    const entries = await Promise.all(dirs.map(async (entry) => {
      const backend = await load(service, entry.dir);
      return backend && { ...entry, backend };
    }));
    const good = entries.filter((entry) => entry !== undefined);
    return good.length === entries.length ? good : undefined;
  }

  async function loadAll(service: Service): Promise<Loaded | undefined> {
    const [fallback, sni] = await Promise.all([
      load(service, mailcow.ssl),
      loadSni(service, await sniDirs(service, mailcow)),
    ]);
    return fallback && sni && { fallback, sni };
  }

  // What is done to a service

  async function start(service: Service) {
    const state = services[service];
    cancelTimer(state);
    const loaded = state.temper.ignores === "restart" && state.loaded
      ? state.loaded
      : await loadAll(service);
    state.isRunning = true;
    const serve = () => {
      state.isStarting = false;
      state.former = undefined;
      state.loaded = loaded;
      state.sniMap = undefined;
      return listen(service);
    };
    const { startDelayMs } = state.temper;
    if (startDelayMs === undefined) return await serve();
    state.isStarting = true;
    state.timer = setTimeout(() => track(serve()), startDelayMs);
  }

  async function stop(service: Service) {
    const state = services[service];
    cancelTimer(state);
    state.isRunning = false;
    await listen(service);
  }

  async function reload(service: Service): Promise<boolean> {
    const state = services[service];
    const { loaded, sniMap, temper } = state;
    if (temper.ignores === "reload" || temper.ignores === "restart") return true;
    if (!state.isRunning || state.isStarting) return true;
    if (loaded === undefined) {
      state.loaded = await loadAll(service);
      await listen(service);
      return state.loaded !== undefined;
    }
    // New directories need a restart, and Postfix's known ones postmap first.
    const [fallback, sni] = await Promise.all([
      load(service, mailcow.ssl),
      service === "postfix" ? sniMap ?? loaded.sni : loadSni(service, loaded.sni),
    ]);
    const take = () => {
      if (temper.lingers) state.former = loaded;
      state.sniMap = undefined;
      state.loaded = {
        fallback: fallback ?? loaded.fallback,
        sni: sni ?? loaded.sni,
      };
    };
    cancelTimer(state);
    if (temper.reloadDelayMs) {
      state.timer = setTimeout(take, temper.reloadDelayMs);
    } else take();
    return fallback !== undefined && sni !== undefined;
  }

  async function postmap(): Promise<boolean> {
    const state = services.postfix;
    state.sniMap = await loadSni("postfix", state.loaded?.sni ?? []);
    return state.sniMap !== undefined;
  }

  // What is seen on the wire

  /** Opens and closes the ports of a service as its state has it. */
  async function listen(service: Service) {
    await Promise.all(
      namesOf(service).map(async (name) => {
        const endpoint = endpoints[name];
        if (!isOpen(name)) close(endpoint);
        if (endpoint.listeners.length > 0) return;
        await Promise.all(endpoint.accepting);
        if (endpoint.listeners.length > 0) return;
        // A process that is being started holds a copy of every listener between fork and exec: a
        // port that was closed just then is free only when it has come that far.
        for (let attempt = 1; endpoint.listeners.length === 0; attempt++) {
          if (!isOpen(name)) return;
          endpoint.listeners = listenOn(addresses, ports[name], attempt === 200);
          if (endpoint.listeners.length > 0) break;
          await new Promise((resolve) => setTimeout(resolve, 10));
          if (endpoint.listeners.length > 0) return; // somebody else has come that far
        }
        endpoint.accepting = endpoint.listeners.map((listener) => accept(name, endpoint, listener));
      }),
    );
  }

  function isOpen(name: Endpoint): boolean {
    const { isRunning, isStarting, loaded } = services[ENDPOINTS[name].service];
    return isRunning && !isStarting && loaded !== undefined &&
      endpoints[name].manner !== "closed";
  }

  async function accept(
    name: Endpoint,
    endpoint: EndpointState,
    listener: Deno.TcpListener,
  ) {
    for await (const connection of listener) {
      endpoint.connections++;
      track(converse(name, endpoint, connection));
    }
  }

  async function converse(
    name: Endpoint,
    endpoint: EndpointState,
    connection: Deno.TcpConn,
  ) {
    endpoint.open.add(connection);
    try {
      connection.setNoDelay();
      await serve(name, endpoint.manner, connection);
    } catch (error) {
      if (!isDisconnect(error)) throw error;
    } finally {
      endpoint.open.delete(connection);
      hangUp(connection);
    }
  }

  async function serve(name: Endpoint, manner: Manner, stream: Deno.TcpConn) {
    const pace: { greetingMs?: number; dribbleMs?: number } = typeof manner === "string"
      ? {}
      : manner;
    const plain = wire(stream, { everyMs: pace.greetingMs });
    const { starttls } = ENDPOINTS[name];

    if (manner === "hangs-up") return;
    if (manner === "silent") return await untilEnd(plain);
    if (starttls !== undefined) {
      const grants = manner === "refuses-starttls" ? "refuses" : "grants";
      if (!await greet(plain, starttls, grants)) return;
    } else if (manner === "refuses-starttls") {
      return await plain.write("plain text only\r\n");
    }

    const client = wire(stream, { pending: plain.pending, everyMs: pace.dribbleMs });
    const sni = await readServerName(client);
    if (sni === undefined) return;
    if (manner === "garbage") {
      await client.write("\0\xff garbage \x16\x03 garbage\r\n".repeat(9));
      return;
    }
    const backend = backendFor(name, sni, loadedForNext(services[ENDPOINTS[name].service]));
    if (backend === undefined) return;
    const server = await backend.connect();
    const toServer = wire(server.stream);
    const directions = [
      toServer.write(client.pending).then(() => pump(stream, toServer)),
      pump(server.stream, client),
    ];
    try {
      await (manner === "never-closes" ? directions[0] : Promise.race(directions));
    } finally {
      hangUp(stream);
      server[Symbol.dispose]();
      await Promise.allSettled(directions);
    }
  }

  function backendFor(
    name: Endpoint,
    sni: string,
    loaded = services[ENDPOINTS[name].service].loaded,
  ): TlsBackend | undefined {
    const entry = loaded?.sni.find(({ names }) => covers(names, sni));
    return entry?.backend ?? loaded?.fallback;
  }

  /** Old processes that linger and the new ones take clients in turn. */
  function loadedForNext(state: ServiceState): Loaded | undefined {
    if (state.former === undefined) return state.loaded;
    state.isFormersTurn = !state.isFormersTurn;
    return state.isFormersTurn ? state.former : state.loaded;
  }

  function track(work: Promise<void>) {
    const tracked = work.finally(() => running.delete(tracked));
    running.add(tracked);
  }

  /** As docker does it: one thing after the other, also for one who is gone by then. */
  const turns = new Map<Service, Promise<void>>();
  function inTurn(service: Service, deed: () => Promise<void>): Promise<void> {
    const turn = (turns.get(service) ?? Promise.resolve()).then(deed);
    turns.set(service, turn.catch(() => {}));
    return turn;
  }

  await Promise.all((options.up ?? SERVICES).map(start));

  return {
    ports,
    address: addresses[0] ?? "127.0.0.1",
    conf: confOf(ports, addresses[0] ?? "127.0.0.1"),
    url: (endpoint) => {
      const [address = "127.0.0.1"] = addresses;
      const host = address.includes(":") ? `[${address}]` : address;
      return `${endpoint}://${host}:${ports[endpoint]}`;
    },
    serves: (endpoint, sni = "") =>
      endpoints[endpoint].listeners.length === 0
        ? undefined
        : backendFor(endpoint, sni)?.fingerprint,
    start: (service) => inTurn(service, () => start(service)),
    stop: (service) => inTurn(service, () => stop(service)),
    restart: (service) =>
      inTurn(service, async () => {
        await stop(service);
        await start(service);
      }),
    reload,
    postmap,
    isRunning: (service) => services[service].isRunning,
    isUp: (service) => services[service].isRunning && !services[service].isStarting,
    behave: async (endpoint, manner) => {
      endpoints[endpoint].manner = manner;
      const { service } = ENDPOINTS[endpoint];
      await listen(service);
    },
    temper: (service, temper) => {
      services[service].temper = temper;
    },
    connections: (endpoint) =>
      (endpoint ? [endpoint] : ENDPOINT_NAMES)
        .reduce((sum, name) => sum + endpoints[name].connections, 0),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(SERVICES.map((service) => inTurn(service, () => stop(service))));
      await Promise.allSettled(running);
      await backends[Symbol.asyncDispose]();
    },
  };
}

function eachEndpoint<T>(make: () => T): Record<Endpoint, T> {
  return Object.fromEntries(
    ENDPOINT_NAMES.map((name) => [name, make()]),
  ) as Record<Endpoint, T>;
}

function namesOf(service: Service): Endpoint[] {
  return ENDPOINT_NAMES.filter((name) => ENDPOINTS[name].service === service);
}

function confOf(ports: Record<Endpoint, number>, address: string) {
  const conf: Record<string, string> = { HTTPS_BIND: address };
  for (const name of ENDPOINT_NAMES) {
    conf[ENDPOINTS[name].portKey] = name === "https"
      ? String(ports[name])
      : `${address}:${ports[name]}`;
  }
  return conf;
}

/** The first-level directories that a service serves, as its start-up script finds and reads them. */
async function sniDirs(service: Service, { ssl, hostname }: MailcowTree) {
  const found: { dir: string; names: string[] }[] = [];
  for await (const { name } of Deno.readDir(ssl)) {
    if (name.startsWith(".") && service !== "nginx") continue;
    const dir = `${ssl}/${name}`;
    try {
      await Promise.all([
        Deno.stat(`${dir}/cert.pem`),
        Deno.stat(`${dir}/key.pem`),
      ]);
      const names = namesIn(await Deno.readTextFile(`${dir}/domains`), service);
      if (service !== "nginx" || !names.includes(hostname())) found.push({ dir, names });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      if (error instanceof Deno.errors.NotADirectory) continue;
      throw error;
    }
  }
  return found.sort((a, b) => a.dir < b.dir ? -1 : 1);
}

/** Postfix: `read` with blanks as IFS, and a map without wildcards; Dovecot: `$(cat)` unquoted. */
function namesIn(domains: string, service: Service): string[] {
  const text = domains.toLowerCase();
  const words = service === "postfix"
    ? (text.split("\n")[0] ?? "").split(/ +/).filter((word) => !word.includes("*"))
    : text.split(service === "dovecot" ? /[ \t\n]+/ : /\s+/);
  return words.filter(Boolean);
}

function covers(names: string[], sni: string): boolean {
  return names.includes(sni) || names.includes(sni.replace(/^[^.]+/, "*"));
}

async function readServerName(client: Wire): Promise<string | undefined> {
  for (;;) {
    const name = serverName(client.pending);
    if (name !== undefined) return name;
    if (!await client.more()) return undefined;
  }
}

async function untilEnd(client: Wire): Promise<void> {
  while (await client.more());
}

/** On all of the addresses, or none, where that is no error yet. */
function listenOn(addresses: string[], port: number, isLast: boolean): Deno.TcpListener[] {
  const listeners: Deno.TcpListener[] = [];
  try {
    for (const hostname of addresses) listeners.push(Deno.listen({ hostname, port }));
    return listeners;
  } catch (error) {
    for (const listener of listeners) listener.close();
    if (isLast || !(error instanceof Deno.errors.AddrInUse)) throw error;
    return [];
  }
}

function close(endpoint: EndpointState): void {
  for (const listener of endpoint.listeners) listener.close();
  endpoint.listeners = [];
  for (const connection of endpoint.open) hangUp(connection);
}

function hangUp(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!isDisconnect(error)) throw error; // it is closed already
  }
}

function cancelTimer(state: ServiceState): void {
  clearTimeout(state.timer);
  state.timer = undefined;
}
