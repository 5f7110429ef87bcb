// `docker` and `docker-compose` on PATH, which act on the kit's mail services.

import {
  type Endpoint,
  ENDPOINT_NAMES,
  ENDPOINTS,
  type MailServices,
  type Service,
} from "./mail_services.ts";
import { need } from "./programs.ts";
import { tempDir } from "./temp_dir.ts";
import { isDisconnect, type Wire, wire } from "./wire.ts";

export interface Call {
  /** With the program's name first. */
  argv: string[];
  cwd: string;
  /** The environment it was started with. */
  env: Record<string, string>;
}

export interface Reply {
  code: number;
  stdout?: string;
  stderr?: string;
}

export type ContainerState =
  | "running"
  | "exited"
  | "paused"
  | "restarting"
  | "created";

/** What is wrong with the engine as a whole. */
export type Trouble = "none" | "engine-down" | "no-compose" | "hang";

export interface FakeDocker extends AsyncDisposable {
  /** The directory to put first on PATH. */
  bin: string;
  /** Every argv so far, in order. */
  calls: string[][];
  /** The same with cwd and env. */
  details: Call[];
  /** Forgets the calls so far. */
  forget(): void;
  trouble: Trouble;
  /**
   * A container's state; undefined: as the mail services say. A restart ends
   * any but "restarting", which is a container that ends whenever it starts.
   */
  containers: Record<Service, ContainerState | undefined>;
  /** A container's health; "" for one without a check, as mailcow's are. */
  health: Record<Service, string>;
  /**
   * What the containers publish on this host; undefined: each endpoint's port at its own place. An
   * endpoint that is left out is published nowhere.
   */
  published: Partial<Record<Endpoint, { address: string; port: number }>> | undefined;
  /** More mounts than mailcow's SSL directory. */
  mounts: Record<Service, { Source: string; Destination: string }[]>;
  /** SKIP_LETS_ENCRYPT in the running acme-mailcow; null: there is no such container. */
  acme: string | null;
  /** `ps --format json`: an object a line (2.21 on) or one array. */
  psFormat: "lines" | "array";
  /** Asked first; undefined leaves the call to the fake, "hang" never answers. */
  intercept: (call: Call) => Reply | "hang" | undefined;
}

const CONTAINERS: Record<string, Service> = {
  "postfix-mailcow": "postfix",
  "dovecot-mailcow": "dovecot",
  "nginx-mailcow": "nginx",
};

const VERSION = "2.29.7";

// Bash alone, so that it works whatever PATH it is given. Fields end in NUL.
const script = (bash: string, port: number) =>
  `#!${bash}
LC_ALL=C
exec 3<>/dev/tcp/127.0.0.1/${port} || exit 125
{
  printf '%s\\0' "$(($# + 1))" "\${0##*/}" "$@" "$PWD"
  while IFS= read -r -d '' variable; do
    printf '%s\\0' "$variable"
  done < /proc/$$/environ
  printf '\\0'
} >&3
IFS= read -r -d '' code <&3 || exit 125
IFS= read -r -d '' stdout <&3
IFS= read -r -d '' stderr <&3
printf '%s' "$stdout"
printf '%s' "$stderr" >&2
exit "$code"
`;

export async function fakeDocker(services: MailServices): Promise<FakeDocker> {
  const dir = await tempDir();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const running = new Set<Promise<void>>();

  const docker: FakeDocker = {
    bin: dir.path,
    calls: [],
    details: [],
    forget: () => {
      docker.calls.length = 0;
      docker.details.length = 0;
    },
    trouble: "none",
    containers: { postfix: undefined, dovecot: undefined, nginx: undefined },
    health: { postfix: "", dovecot: "", nginx: "" },
    published: undefined,
    mounts: { postfix: [], dovecot: [], nginx: [] },
    acme: "y",
    psFormat: "lines",
    intercept: () => undefined,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      for (const connection of open) hangUp(connection);
      await Promise.allSettled([...running, accepting]);
      await dir[Symbol.asyncDispose]();
    },
  };

  const text = script(need("bash"), listener.addr.port);
  for (const name of ["docker", "docker-compose"]) {
    await Deno.writeTextFile(`${dir.path}/${name}`, text, { mode: 0o755 });
    await Deno.chmod(`${dir.path}/${name}`, 0o755);
  }

  async function accept() {
    for await (const connection of listener) {
      const work = converse(connection).finally(() => running.delete(work));
      running.add(work);
    }
  }

  async function converse(connection: Deno.TcpConn) {
    open.add(connection);
    try {
      const script = wire(connection);
      const call = await readCall(script);
      if (call === undefined) return;
      docker.calls.push(call.argv);
      docker.details.push(call);
      const reply = await answer(docker, services, call);
      if (reply === "hang") {
        while (await script.more()); // until the caller kills it
        return;
      }
      const { code, stdout = "", stderr = "" } = reply;
      await script.write(`${code}\0${stdout}\0${stderr}\0`);
    } catch (error) {
      if (!isDisconnect(error)) throw error;
    } finally {
      open.delete(connection);
      hangUp(connection);
    }
  }

  const accepting = accept();
  return docker;
}

/** The directory of the last compose call: what containers mount lies below it. */
const projects = new WeakMap<FakeDocker, string>();

async function answer(
  docker: FakeDocker,
  services: MailServices,
  call: Call,
): Promise<Reply | "hang"> {
  const intercepted = docker.intercept(call);
  if (intercepted !== undefined) return intercepted;

  const [program = "", ...args] = call.argv;
  const project = projects.get(docker) ?? "";
  if (await hasComposeFile(call.cwd)) projects.set(docker, call.cwd);
  if (docker.trouble === "hang") return "hang";
  if (program === "docker") {
    if (args[0] === "--version" || args[0] === "-v") {
      return said("Docker version 27.3.1, build ce12230\n");
    }
    if (args[0] === "inspect" && docker.trouble === "none") {
      return inspect(docker, services, project, args);
    }
    if (args[0] !== "compose" || docker.trouble === "no-compose") {
      return failed(
        `docker: '${args[0]}' is not a docker command.\nSee 'docker --help'\n`,
      );
    }
    args.shift();
  }
  if (args[0] === "version" || args[0] === "--version") {
    return said(
      args.includes("--short") ? `${VERSION}\n` : `Docker Compose version v${VERSION}\n`,
    );
  }
  if (docker.trouble === "engine-down") {
    return failed(
      "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. " +
        "Is the docker daemon running?\n",
    );
  }
  if (!await hasComposeFile(call.cwd)) {
    return failed("no configuration file provided: not found\n");
  }
  const [command, ...rest] = args;
  switch (command) {
    case "exec":
      return await exec(docker, services, rest);
    case "restart":
      return await restart(docker, services, rest);
    case "up": // the services are up, and a container whose settings are others now is made anew
      if (docker.acme !== null) docker.acme = await skipsLetsEncrypt(call.cwd);
      return { code: 0, stdout: "", stderr: "" };
    case "ps":
      return ps(docker, services, rest);
    default:
      return failed(`unknown docker command: "compose ${command}"\n`);
  }
}

async function skipsLetsEncrypt(mailcow: string): Promise<string> {
  const conf = await Deno.readTextFile(`${mailcow}/mailcow.conf`).catch(() => "");
  // Of two lines compose takes the last.
  return [...conf.matchAll(/^SKIP_LETS_ENCRYPT=(\S*)$/mg)].at(-1)?.[1] ?? "";
}

async function exec(
  docker: FakeDocker,
  services: MailServices,
  args: string[],
): Promise<Reply> {
  if (args[0] !== "-T") return failed("the input device is not a TTY\n");
  const [container = "", ...command] = args.slice(1);
  const service = CONTAINERS[container];
  if (service === undefined) return failed(`no such service: ${container}\n`);
  switch (stateOf(docker, services, service)) {
    case "running":
      break;
    case "paused":
      return failed(
        `Error response from daemon: Container ${id(service)} is paused, ` +
          "unpause the container before exec\n",
      );
    case "restarting":
      return failed(
        `Error response from daemon: Container ${id(service)} is restarting, ` +
          "wait until the container is running\n",
      );
    default:
      return failed(`service "${container}" is not running\n`);
  }

  if (command.join(" ") === "true") return { code: 0 };
  if (command[0] === "pidof") {
    return services.isUp(service) ? { code: 0, stdout: "42\n" } : failed("");
  }
  switch (`${service}: ${command.join(" ")}`) {
    case "postfix: postfix reload":
      await services.reload("postfix");
      return {
        code: 0,
        stderr: "postfix/postfix-script: refreshing the Postfix mail system\n",
      };
    case "postfix: postmap -F hash:/opt/postfix/conf/sni.map":
      return await services.postmap()
        ? { code: 0 }
        : failed("postmap: fatal: cannot read a key or certificate\n");
    case "dovecot: dovecot reload":
      await services.reload("dovecot");
      return { code: 0 };
    case "nginx: nginx -s reload":
      return await services.reload("nginx")
        ? { code: 0, stderr: "[notice] 42#42: signal process started\n" }
        : failed(
          'nginx: [emerg] cannot load certificate "/etc/ssl/mail/cert.pem"\n',
        );
    default:
      return {
        code: 127,
        stderr: "OCI runtime exec failed: exec failed: unable to start " +
          `container process: exec: "${command[0]}": executable file not ` +
          "found in $PATH: unknown\n",
      };
  }
}

async function restart(
  docker: FakeDocker,
  services: MailServices,
  args: string[],
): Promise<Reply> {
  const names = args.length > 0 ? args : Object.keys(CONTAINERS);
  let stderr = "";
  for (const name of names) {
    const service = CONTAINERS[name];
    if (service === undefined) return failed(`no such service: ${name}\n`);
    await services.restart(service);
    if (docker.containers[service] !== "restarting") docker.containers[service] = undefined;
    stderr += ` Container ${containerName(name)}  Restarting\n` +
      ` Container ${containerName(name)}  Started\n`;
  }
  return { code: 0, stderr };
}

function ps(
  docker: FakeDocker,
  services: MailServices,
  args: string[],
): Reply {
  const known = Object.keys(CONTAINERS);
  const wanted = args.filter((arg) => arg.includes("-mailcow"));
  const stranger = wanted.find((name) => !known.includes(name));
  if (stranger) return failed(`no such service: ${stranger}\n`);

  const acme = docker.acme === null || wanted.length > 0 ? [] : [{
    Name: "mailcowdockerized-acme-mailcow-1",
    Service: "acme-mailcow",
    ID: ACME_ID,
    State: "running",
    Health: "",
    ExitCode: 0,
    Publishers: [],
  }];
  const all = args.includes("-a") || args.includes("--all");
  const rows = Object.entries(CONTAINERS)
    .filter(([name]) => wanted.length === 0 || wanted.includes(name))
    .map(([name, service]) => ({
      name,
      service,
      state: stateOf(docker, services, service),
    }))
    .filter(({ state }) => all || state !== "exited" && state !== "created");

  if (args.includes("--services")) {
    return said(rows.map(({ name }) => `${name}\n`).join(""));
  }
  if (args.includes("-q") || args.includes("--quiet")) {
    return said(rows.map(({ service }) => `${id(service)}\n`).join(""));
  }
  if (/--format[= ]json/.test(args.join(" "))) {
    const objects = rows.map(({ name, service, state }) => ({
      Command: '"/docker-entrypoint.sh"',
      CreatedAt: "2026-01-01 00:00:00 +0000 UTC",
      ExitCode: 0,
      Health: docker.health[service],
      ID: id(service),
      Image: `mailcow/${service}:1.00`,
      Labels: "",
      LocalVolumes: "0",
      Mounts: "",
      Name: containerName(name),
      Names: containerName(name),
      Networks: "mailcowdockerized_mailcow-network",
      Ports: "",
      Project: "mailcowdockerized",
      Publishers: state === "exited" || state === "created"
        ? []
        : publishedBy(docker, services, service).map(({ endpoint, address, port }) => ({
          URL: address,
          TargetPort: containerPort(endpoint, services),
          PublishedPort: port,
          Protocol: "tcp",
        })),
      RunningFor: "2 weeks ago",
      Service: name,
      Size: "0B",
      State: state,
      Status: statusText(state),
    }));
    const every = [...objects, ...acme];
    return said(
      docker.psFormat === "array"
        ? `${JSON.stringify(every)}\n`
        : every.map((object) => `${JSON.stringify(object)}\n`).join(""),
    );
  }
  const table = rows.map(({ name, service, state }) =>
    [
      containerName(name),
      `mailcow/${service}:1.00`,
      name,
      statusText(state),
    ].join("   ") + "\n"
  );
  return said(["NAME   IMAGE   SERVICE   STATUS\n", ...table].join(""));
}

const ACME_ID = "acac".repeat(16);

/** What mailcow maps its ports from. */
const CONTAINER_PORTS: Record<Exclude<Endpoint, "https">, number> = {
  smtp: 25,
  smtps: 465,
  submission: 587,
  imap: 143,
  imaps: 993,
  pop3: 110,
  pop3s: 995,
  sieve: 4190,
};

/** nginx listens on HTTPS_PORT inside, too. */
function containerPort(endpoint: Endpoint, services: MailServices): number {
  return endpoint === "https" ? services.ports.https : CONTAINER_PORTS[endpoint];
}

function publishedBy(docker: FakeDocker, services: MailServices, service: Service) {
  return ENDPOINT_NAMES.filter((name) => ENDPOINTS[name].service === service).flatMap(
    (endpoint) => {
      const place = docker.published === undefined
        ? { address: services.address, port: services.ports[endpoint] }
        : docker.published[endpoint];
      return place === undefined ? [] : [{ endpoint, ...place }];
    },
  );
}

/** As `docker inspect --format` with certsync's template prints it, in the order of the ids. */
function inspect(
  docker: FakeDocker,
  services: MailServices,
  mailcow: string,
  args: string[],
): Reply {
  const format = args[args.indexOf("--format") + 1];
  const lines = args.slice(args.indexOf("--format") + 2).map((wanted) => {
    const service = Object.values(CONTAINERS).find((service) => id(service) === wanted);
    if (wanted !== ACME_ID && service === undefined) return undefined;
    const ports = service === undefined ? [] : publishedBy(docker, services, service);
    return JSON.stringify({
      network: "mailcowdockerized_mailcow-network",
      bindings: Object.fromEntries(
        ports.map(({ endpoint, address, port }) => [
          `${containerPort(endpoint, services)}/tcp`,
          [{ HostIp: address, HostPort: String(port) }],
        ]),
      ),
      mounts: service === undefined ? [] : [
        { Source: `${mailcow}/data/assets/ssl`, Destination: "/etc/ssl/mail" },
        ...docker.mounts[service],
      ],
      skips: wanted === ACME_ID ? [docker.acme, null] : [null],
    });
  });
  if (format === undefined || lines.includes(undefined)) return failed("Error: No such object\n");
  return said(lines.map((line) => `${line}\n`).join(""));
}

function stateOf(
  docker: FakeDocker,
  services: MailServices,
  service: Service,
): ContainerState {
  return docker.containers[service] ??
    (services.isRunning(service) ? "running" : "exited");
}

function statusText(state: ContainerState): string {
  switch (state) {
    case "running":
      return "Up 2 weeks";
    case "paused":
      return "Up 2 weeks (Paused)";
    case "restarting":
      return "Restarting (1) 5 seconds ago";
    case "exited":
      return "Exited (0) 3 minutes ago";
    case "created":
      return "Created";
  }
}

function containerName(composeService: string): string {
  return `mailcowdockerized-${composeService}-1`;
}

/** A container id: 64 hex digits, the same each time. */
function id(service: Service): string {
  return new TextEncoder().encode(service).toHex().padEnd(64, "c0ffee");
}

function said(stdout: string): Reply {
  return { code: 0, stdout };
}

function failed(stderr: string): Reply {
  return { code: 1, stderr };
}

/** Compose looks for its file in the directory and those above it. */
async function hasComposeFile(cwd: string): Promise<boolean> {
  for (let dir = cwd; dir !== ""; dir = dir.slice(0, dir.lastIndexOf("/"))) {
    try {
      await Deno.stat(`${dir}/docker-compose.yml`);
      return true;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return false;
}

/** Count of arguments, arguments, cwd, environment, and an empty field. */
async function readCall(script: Wire): Promise<Call | undefined> {
  for (;;) {
    const text = new TextDecoder().decode(script.pending);
    const fields = text.split("\0").slice(0, -1);
    const cwdAt = 1 + Number(fields[0]);
    const end = fields.indexOf("", cwdAt + 1);
    if (end >= 0) {
      return {
        argv: fields.slice(1, cwdAt),
        cwd: fields[cwdAt] ?? "",
        env: Object.fromEntries(
          fields.slice(cwdAt + 1, end).map((variable) => {
            const at = variable.indexOf("=");
            return [variable.slice(0, at), variable.slice(at + 1)];
          }),
        ),
      };
    }
    if (!await script.more()) return undefined;
  }
}

function hangUp(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!isDisconnect(error)) throw error; // it is closed already
  }
}
